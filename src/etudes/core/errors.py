"""The one exception that a user may see."""

import difflib
from collections.abc import Iterable


class Problem(Exception):
    """One sentence: what is wrong, by name, and what to do about it. The command line shows it without a traceback."""


class Diverged(Problem):
    """A number of a run stopped being finite. The run keeps its log and leaves no result."""


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
