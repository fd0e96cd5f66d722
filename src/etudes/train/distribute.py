"""Several processes on one run, under `accelerate launch`: each takes its rows of a batch, gradients are averaged.

In a single process everything here returns its argument. All processes assemble the whole batch and then keep their
rows, so that draws addressed by step are the single process's, and so is the result, within float tolerance.

With `--use_fsdp` each process also keeps only its rows of the parameters, gradients and optimiser's state, of the
networks that a study hands to `shard` (Rajbhandari et al. 2020, arXiv:1910.02054, stage 3). PyTorch brings a block's
parameters together while it computes. A shard is a DTensor, which acts as the whole tensor in most operations; those
that look at it must be performed by all processes together.
"""

import functools
import inspect
import os
import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from etudes.core.errors import Problem


def processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


@functools.cache
def join() -> None:
    """Meet the other processes; the first call opens the connection."""
    from accelerate import PartialState

    PartialState(cpu=not torch.cuda.is_available())


def agree(value: int) -> int:
    """The first process's value, in all of them."""
    if processes() == 1:
        return value
    join()
    from accelerate.utils import broadcast_object_list

    return broadcast_object_list([value])[0]


def wait() -> None:
    """Until all processes are here."""
    if processes() > 1:
        join()
        torch.distributed.barrier()


def part(*tensors: Tensor) -> tuple[Tensor, ...]:
    """This process's rows of each tensor, which have one length. Raises Problem where it cannot be split evenly."""
    n, count = len(tensors[0]), processes()
    if count == 1:
        return tensors
    if n % count:
        raise Problem(f"a batch of {n} cannot be split over {count} processes; choose a multiple of {count}")
    mine = slice(rank() * n // count, (rank() + 1) * n // count)
    return tuple(tensor[mine] for tensor in tensors)


def average_gradients(parameters: Iterable[Tensor], loss: Tensor) -> Tensor:
    """Replace the gradients by their mean over the processes, in one message; the mean of `loss`.

    Those of shards are means already: PyTorch averages them block by block during the backward pass.
    """
    if processes() == 1:
        return loss
    join()
    gradients = [p.grad for p in parameters if p.grad is not None and not is_shard(p)]
    flat = torch.cat([loss.reshape(1).float(), *(g.reshape(-1).float() for g in gradients)])
    torch.distributed.all_reduce(flat)
    flat /= processes()
    for gradient, mean in zip(gradients, flat[1:].split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))
    return flat[0]


def shards() -> bool:
    """Whether `accelerate launch --use_fsdp` asks for networks in shards. None of its other FSDP options is read."""
    return processes() > 1 and os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def shard(*models: nn.Module) -> None:
    """Where `shards()`, leave each process its rows of every parameter; else change nothing.

    To be called before the optimiser is made, since parameters become other objects. A network's `blocks` are brought
    together one at a time, what is outside them once more for the whole; all are let go of after use.
    """
    if not shards():
        return
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    join()
    # Nothing here changes an output in place, which is what PyTorch warns of.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    for model in models:
        model.to(memory_format=torch.contiguous_format)  # rows of filters in channels_last cannot be sent
        mesh = init_device_mesh(next(model.parameters()).device.type, (processes(),))
        for module in (*getattr(model, "blocks", ()), model):
            fully_shard(module, mesh=mesh, reshard_after_forward=True)
        for method in ("start", "next", "last"):  # a decoder's ways beside forward
            if inspect.ismethod(getattr(model, method, None)):
                register_fsdp_forward_method(model, method)


def is_shard(tensor: Any) -> bool:
    if not shards():
        return False
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)


def whole(tensor: Tensor) -> Tensor:
    """The tensor itself, or that of which it is a shard; then all processes must ask together."""
    return tensor.full_tensor() if is_shard(tensor) else tensor  # type: ignore[attr-defined]


def as_shard(tensor: Tensor, like: Any) -> Tensor:
    """The tensor itself, or this process's part of it where `like` is a shard of a tensor of this shape."""
    if not is_shard(like) or tensor.shape != like.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)  # all have the whole one
