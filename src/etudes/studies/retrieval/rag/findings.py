"""What a run of rag finds: a sheet of numbers a question, and what claims read in it."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from etudes.core.claims import Trial
from etudes.data.questions import Question
from etudes.retrieval.chunks import Chunk
from etudes.retrieval.scores import auroc, balanced_accuracy, contains_answer, exact_match, word_f1

DEEP = 10  # the last rank at which a chunk is looked for


class Sheet:
    """A row of numbers a question, filled as the questions are asked: what a killed run goes on from."""

    COLUMNS = ("rank", "near", "near-without", "found", "f1", "exact", "model", "model-f1", "model-exact")

    def __init__(self, rows: int) -> None:
        self.rows = torch.zeros(rows, len(self.COLUMNS), dtype=torch.float64)

    def column(self, name: str) -> np.ndarray:
        return self.rows[:, self.COLUMNS.index(name)].numpy()

    def state_dict(self) -> dict[str, Tensor]:
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.rows = state["rows"]


def rank(asked: Question, chunks: Sequence[Chunk]) -> int:
    """The rank, from 1, of the first chunk in which the whole answer stands where it should; 0 where none has it."""
    for place, c in enumerate(chunks, start=1):
        if c.document == asked.passage and c.start <= asked.start and asked.end <= c.end:
            return place
    return 0


def judged(answer: str, gold: str) -> tuple[float, float, float]:
    return contains_answer(answer, gold), word_f1(answer, gold), exact_match(answer, gold)


def answers(sheet: Sheet, parts: Sequence[Sequence[Question]], most: int, written: int) -> dict[str, float]:
    """How often the answer was found and given, on the first set and, as `hand-...`, on the last (or only) one.

    `most` chunks were read, and the model answered the first `written` questions.
    """
    found: dict[str, float] = {}
    begins = np.cumsum([0, *map(len, parts)])
    for number, head in ((0, "test/"), (len(parts) - 1, "test/hand-")):
        known = begins[number] + np.arange(sum(bool(q.answer) for q in parts[number]))
        ranks = sheet.column("rank")[known]
        for k in (1, 3, DEEP):
            found[f"{head}recall-at-{k}"] = float(np.mean((ranks > 0) & (ranks <= k)))
        found[f"{head}recall"] = float(np.mean((ranks > 0) & (ranks <= most)))
        found[f"{head}reader-accuracy"] = float(sheet.column("found")[known].mean())
        found[f"{head}reader-f1"] = float(sheet.column("f1")[known].mean())
        found[f"{head}reader-exact"] = float(sheet.column("exact")[known].mean())
    if written:
        for name, column in (("accuracy", "model"), ("f1", "model-f1"), ("exact", "model-exact")):
            found[f"test/model-{name}"] = float(sheet.column(column)[:written].mean())
    return found


def refusals(sheet: Sheet, parts: Sequence[Sequence[Question]], limits: Sequence[float]) -> dict[str, float]:
    """How well nearness tells questions with an answer from those without: whose passage is out, and hand-written."""
    whole, without = sheet.column("near"), sheet.column("near-without")
    n = sum(bool(q.answer) for q in parts[0])
    has = np.array([bool(q.answer) for part in parts for q in part])
    last = np.arange(len(has)) >= len(has) - len(parts[-1])
    with_, none = whole[last & has], whole[last & ~has]
    return {
        "test/auroc": auroc(whole[:n], without[:n]),
        "test/refusal-accuracy": balanced_accuracy(whole[:n], without[:n], limits[0]),
        "test/hand-auroc": auroc(with_, none) if len(none) else 0.5,
        "test/hand-refusal-accuracy": balanced_accuracy(with_, none, limits[-1]) if len(none) else 0.5,
    }


def tracks(trial: Trial) -> float:
    """Spearman's correlation over the variants between recall and the reader's accuracy."""
    from scipy.stats import rankdata

    pairs = [(m["test/recall"], m["test/reader-accuracy"]) for name, m in trial.items() if name != "closed-book"]
    a, b = (rankdata(column) for column in zip(*pairs, strict=True))
    return float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) and np.ptp(b) else 0.0


def over_both(trial: Trial) -> float:
    found = {name: trial[name]["test/recall-at-1"] for name in ("bm25", "dense", "hybrid")}
    return found["hybrid"] - max(found["bm25"], found["dense"])
