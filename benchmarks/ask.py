"""Sixty questions about ten documents: etudes bench ask

The documents and questions are those of tests/asked.py, in English and French. Of the questions with an answer: how
often the first sentence shown holds it, quoted or with doubt, and how often they are refused. Of those without one: how
often no sentence is quoted as the answer. Shares have their counts and Wilson's intervals of 95 %. The open half is the
one on which the marks were chosen; the sealed half counts. Then the processor's seconds for reading, indexing and
answering, and the most memory that the process had.
"""

import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import asked
from etudes.retrieval.embedders import embedder
from etudes.retrieval.index import Index
from etudes.retrieval.quote import Quotation, quoter

Turn = tuple[asked.Asked, Quotation]


def right(turn: Turn) -> bool:
    """Whether the sentence shown holds the answer and stands in the right document."""
    row, found = turn
    text = " ".join(found.sentence.text.split()).lower()
    return found.sentence.document == row.document and row.answer.lower() in text


# {what: (of those with an answer or of those without, whether it holds, the goal)}
ROWS: dict[str, tuple[bool, Callable[[Turn], bool], str]] = {
    "with an answer: the right sentence first, quoted or with doubt": (True, right, ">= 90 %"),
    "... quoted as the answer": (True, lambda t: right(t) and t[1].verdict == "quoted", ""),
    "... another sentence quoted as the answer": (True, lambda t: not right(t) and t[1].verdict == "quoted", ""),
    "... refused": (True, lambda t: t[1].verdict == "absent", "<= 5 %"),
    "without an answer: no sentence quoted as one": (False, lambda t: t[1].verdict != "quoted", ">= 80 %"),
    "... told that it is not there": (False, lambda t: t[1].verdict == "absent", ""),
}


def share(turns: list[Turn], known: bool, holds: Callable[[Turn], bool]) -> str:
    some = [holds(turn) for turn in turns if bool(turn[0].answer) == known]
    ends = binomtest(sum(some), len(some)).proportion_ci(method="wilson")
    percents = f"{100 * sum(some) / len(some):.0f} % [{100 * ends.low:.0f}, {100 * ends.high:.0f}]"
    return f"{sum(some)} of {len(some)}: {percents}"


def main() -> None:
    times = {"reading the ten documents": time.process_time()}
    documents = asked.documents()
    times["loading the encoder"] = time.process_time()
    model = embedder("e5-small")
    model.encode(["warm"])
    times["indexing"] = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        index = Index(Path(folder) / "index", model)
        for document in documents:
            index.add(document)
        quotes = quoter(index, Path(folder) / "sentences")
        marks = [*times.values(), time.process_time()]
        seconds, turns = [], {}
        for half in ("open", "sealed"):
            turns[half] = []
            for row in asked.questions(half):
                begun = time.process_time()
                found = quotes.quote(row.question)
                seconds.append(time.process_time() - begun)
                turns[half].append((row, found))
        index.close()
    table = Table("what", "open half", "sealed half", "goal", title="60 questions, 10 documents, multilingual-e5-small")
    for what, (known, holds, goal) in ROWS.items():
        table.add_row(what, *(share(turns[half], known, holds) for half in ("open", "sealed")), goal)
    console = Console(width=150)
    console.print(table)
    for what, begun, ended in zip(times, marks[:-1], marks[1:], strict=True):
        console.print(f"{what}: {ended - begun:.1f} s of the processor")
    median = statistics.median(seconds[1:])
    console.print(f"first answer: {seconds[0]:.2f} s of the processor; the median of the others: {median:.2f} s")
    console.print(f"most memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")


if __name__ == "__main__":
    main()
