"""What the last digits of a run hang on beside its program: threads of libraries, and generators that all share."""

import contextlib
import os
import random
from collections.abc import Iterator

# Which the libraries that multiply matrices read when they are loaded.
TEAM_SIZES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def pools() -> dict[str, str]:
    """{library that multiplies matrices or shares loops out: its threads, and for which processors}, of those loaded.

    A library has other loops for other processors, which end in other digits.
    """
    from threadpoolctl import threadpool_info

    return {
        pool["internal_api"]: ", ".join([str(pool["num_threads"]), *filter(None, [pool.get("architecture")])])
        for pool in threadpool_info()
    }


@contextlib.contextmanager
def limit_threads(count: int) -> Iterator[None]:
    """The block computes with so many threads, in PyTorch and in all that multiplies matrices, loaded before or in it.

    More threads add up in another order, and so end in other digits.
    """
    import torch
    from threadpoolctl import threadpool_limits

    own, variables = torch.get_num_threads(), {name: os.environ.get(name) for name in TEAM_SIZES}
    os.environ.update(dict.fromkeys(TEAM_SIZES, str(count)))
    torch.set_num_threads(count)
    try:
        with threadpool_limits(count):
            yield
    finally:
        torch.set_num_threads(own)
        for name, value in variables.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


@contextlib.contextmanager
def seed_generators(seed: int) -> Iterator[None]:
    """The block meets the generators of Python, NumPy and PyTorch seeded: those that ordinary code draws from.

    Whoever comes after it meets them as they were; else it would matter whether something shared was made just now.
    """
    import numpy
    import torch

    own, numpys, torchs = random.getstate(), numpy.random.get_state(), torch.get_rng_state()
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    random.seed(seed)
    numpy.random.seed(seed % 2**32)  # NumPy's old generator takes no more
    torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(own)
        numpy.random.set_state(numpys)
        torch.set_rng_state(torchs)
        if gpus:
            torch.cuda.set_rng_state_all(gpus)
