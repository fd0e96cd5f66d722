"""The exceptions that a user may see."""

import difflib
import traceback
from collections.abc import Iterable
from types import TracebackType


class Problem(Exception):
    """One sentence: what is wrong, by name, and what to do about it. The command line shows it without a traceback."""


class Diverged(Problem):
    """A number of a run stopped being finite. The run keeps its log and leaves no result."""


class Broken(Exception):
    """A study's program raised an error of its own. `trace` is the traceback of the program alone, for its author."""

    def __init__(self, sentence: str, trace: str) -> None:
        super().__init__(sentence, trace)
        self.sentence, self.trace = sentence, trace

    def __str__(self) -> str:
        return f"{self.sentence}\n\n{self.trace}"


def broken(key: str, error: BaseException) -> Broken | None:
    """What to say of an error that came up in the program of the run `key`; None where it came up around it."""
    frames: TracebackType | None = error.__traceback__
    while frames and frames.tb_frame.f_code.co_name != "call_program":
        frames = frames.tb_next
    if frames is None:
        return None
    trace = "".join(traceback.format_exception(type(error), error, frames.tb_next))
    words = f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")
    return Broken(f"{key}: the program raised {words}; finished runs are kept", trace)


def out_of_memory(error: Exception) -> bool:
    """Whether more memory was asked for than there is. PyTorch has an error of its own for GPUs alone."""
    words = ("DefaultCPUAllocator", "Storage size calculation overflowed")
    own = type(error).__name__ == "OutOfMemoryError"
    return isinstance(error, MemoryError) or own or any(word in str(error) for word in words)


def unknown(kind: str, name: str, known: Iterable[str]) -> Problem:
    """The Problem for a name that does not exist, with the nearest that does."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(known) or 'none'}"
    return Problem(f"no {kind} '{name}'; {hint}")
