"""rag: find passages, put them before the question, and let a language model answer.

    p(y | x) = sum over passages z of p(z | x) p(y | x, z)    (Lewis et al. 2020, sec. 2.1)

Passages z are found for a question x, and the answer y rests on them. Here nothing is trained: documents are cut into
chunks, a sentence embedder and BM25 find those for a question, and a small chat model or a quoted sentence answers.

    etudes run rag                  6 minutes on two cores, 9 variants, 5 seeds
    etudes run rag --scale paper    every test question, a model of 1.7 billion parameters, 5 seeds: 2 hours

A seed asks a twentieth of the test questions, the same of all variants; tuning seeds ask questions of validation.

Departures from the paper: no training end to end; one prompt with all passages instead of a sum over them; hundreds of
passages instead of 21 million; 135 million parameters; SQuAD's questions and our own. So the claims compare variants.
"""

import functools
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np

from etudes.core import Claim, Paper, Run, Scale, Study, Variant, above, at_least, between, higher, lower
from etudes.core.spec import TUNING
from etudes.data.questions import Question, Questions, Split, questions
from etudes.generate.chat import chat
from etudes.reports.charts import against, bars
from etudes.retrieval.answer import extract_answer, write_answer
from etudes.retrieval.chunks import Chunk, cut_chunks
from etudes.retrieval.documents import Document
from etudes.retrieval.embedders import CachedEmbedder, embedder
from etudes.retrieval.search import Hit, Searcher, fuse, in_memory
from etudes.studies.retrieval.rag.findings import (
    COLUMNS,
    DEEP,
    answer_metrics,
    answer_scores,
    rank,
    recall_correlation,
    refusal_metrics,
    rows_of,
)
from etudes.studies.retrieval.rag.refusal import nearness, threshold
from etudes.train import Rows, fit

TOGETHER = 64  # chunks that are embedded at once


@dataclass(frozen=True)
class Config:
    datasets: tuple[Literal["xquad", "debian-faq", "capitals"], ...] = ("xquad", "debian-faq")  # searched, asked about
    embedder: str = "minilm"  # as `etudes ask --embedder` takes it
    writer: str = "smollm2-135m"  # the chat model that answers; "extract": the reader in its place
    mode: Literal["none", "random", "bm25", "dense", "hybrid", "reranked"] = "hybrid"  # how chunks are found
    size: Annotated[int, at_least(8)] = 64  # tokens of a chunk, a quarter of them shared with its neighbour
    context: Annotated[int, at_least(1)] = 256  # tokens of the chunks that an answer may rest on
    parts: Annotated[int, at_least(1)] = 20  # of each set's test questions; a seed has one of them
    writes: bool = False  # whether the chat model answers too
    writer_questions: Annotated[int, at_least(1)] = 20  # at most, of a seed's first set, which the chat model gets
    writer_tokens: Annotated[int, at_least(1)] = 24  # of the chat model's answer
    threshold_questions: Annotated[int, at_least(1)] = 100  # of validation, on which the threshold is chosen


@functools.cache
def cut_sets(names: tuple[str, ...], embedder_name: str, size: int) -> tuple[tuple[Questions, ...], list[Chunk]]:
    """The sets of questions of these names, and all their passages in chunks of `size` tokens."""
    model = cached_embedder(embedder_name)
    sets = tuple(questions(name) for name in names)
    documents = [Document(p.name, p.title, p.text) for one in sets for p in one.passages]
    return sets, [chunk for document in documents for chunk in cut_chunks(document, model, size, size // 4)]


def library(cfg: Config, run: Run) -> tuple[tuple[Questions, ...], Searcher]:
    """The sets of questions, and the searcher over their chunks, whose vectors are computed once for all seeds."""
    names, embedder_name, size = cfg.datasets, cfg.embedder, cfg.size

    def make(own: Run) -> None:
        model = cached_embedder(embedder_name)
        texts = [chunk.text for chunk in cut_sets(names, embedder_name, size)[1]]
        vectors = [model.encode(texts[i : i + TOGETHER]) for i in range(0, len(texts), TOGETHER)]
        np.save(own.path("vectors.npy"), np.concatenate(vectors))
        own.result(**{"train/chunks": len(texts)})

    config = {"datasets": names, "embedder": embedder_name, "size": size}
    vectors = run.once("vectors", config, make, seed=0).folder / "vectors.npy"
    return cut_sets(names, embedder_name, size)[0], searcher_over(names, embedder_name, size, vectors)


@functools.cache
def searcher_over(names: tuple[str, ...], embedder_name: str, size: int, vectors: Path) -> Searcher:
    return in_memory(cut_sets(names, embedder_name, size)[1], np.load(vectors), cached_embedder(embedder_name))


@functools.cache
def cached_embedder(name: str) -> CachedEmbedder:
    return CachedEmbedder(embedder(name))


def seed_questions(sets: Sequence[Questions], seed: int, parts: int, revision: int = 1) -> list[list[Question]]:
    """For each set, the seed's part of its test questions with an answer, then all without one.

    Seeds 0 to parts - 1 share none with an answer and together have all; the next `parts` seeds are another division.
    Questions on one passage stay together, as far as the parts' equal sizes allow, for they are alike. Tuning seeds
    have questions of validation.
    """
    split: Split = "validation" if seed >= TUNING else "test"
    division, number = divmod(seed, parts)

    def place(question: Question) -> tuple[str, str]:
        return hashlib.sha256(f"{revision} {division} {question.passage}".encode()).hexdigest(), question.text

    chosen = []
    for one in sets:
        some = [q for q in one.questions if q.split == split]
        known = sorted([q for q in some if q.answer], key=place)
        part = known[number * len(known) // parts : (number + 1) * len(known) // parts]
        chosen.append(part + [q for q in some if not q.answer])
    return chosen


def retrieve(cfg: Config, run: Run, searcher: Searcher, question: str, i: int, count: int) -> list[Hit]:
    """The `count` best chunks for question i, best first; chunks drawn blindly, or none, in the modes of that name."""
    if cfg.mode == "none":
        return []
    if cfg.mode == "random":
        return [Hit(searcher.chunks[p], 0.0) for p in run.rng("random", i).permutation(len(searcher.chunks))[:DEEP]]
    return searcher.search(question, count, cfg.mode)


def program(cfg: Config, run: Run) -> None:
    sets, searcher = library(cfg, run)
    run.note(data=[one.source for one in sets], embedder=searcher.embedder.name)
    parts = seed_questions(sets, run.spec.seed, cfg.parts, run.spec.revision)
    asked = [question for part in parts for question in part]
    top = max(1, cfg.context // cfg.size)  # chunks that an answer rests on
    writer = chat(cfg.writer) if cfg.writes and cfg.writer != "extract" else None
    if cfg.writes:
        run.note(writer=writer.name if writer else "the quoted sentence")
    written = rows_of(parts, 0)[0][: cfg.writer_questions if cfg.writes else 0]  # rows that the chat model answers
    rows = Rows(len(asked), *COLUMNS)

    def step(i: int) -> dict[str, float]:
        question = asked[i]
        hits = retrieve(cfg, run, searcher, question.text, i, max(DEEP, top))
        place = rank(question, [hit.chunk for hit in hits])
        near, near_without = nearness(searcher, cfg.mode, question)
        rows.put(i, rank=place, near=near, near_without=near_without)
        if question.answer:
            quote = extract_answer(question.text, hits[:top], searcher.embedder)
            answer = quote.text if quote else ""
            rows.put(i, **answer_scores("reader", answer, question.answer))
            if i in written:
                if writer:
                    answer = "".join(write_answer(question.text, hits[:top], writer, cfg.writer_tokens))
                rows.put(i, **answer_scores("model", answer, question.answer))
        return {"test/found": float(0 < place <= top)}

    fit(run, {"rows": rows}, step, len(asked), log_every=10)
    run.result(**answer_metrics(rows, parts, top, written))
    if cfg.mode not in ("none", "random"):
        validation = [[q for q in one.questions if q.split == "validation"] for one in sets]
        thresholds = [
            threshold(searcher, cfg.mode, some, cfg.threshold_questions, run.rng("choosing")) for some in validation
        ]
        run.result(**{"validation/threshold": thresholds[0], "validation/hand-threshold": thresholds[-1]})
        run.result(**refusal_metrics(rows, parts, thresholds))


EMBEDDED = {"datasets": ("capitals",), "embedder": "hashing", "writer": "extract"}  # nothing is fetched
SMOKE = EMBEDDED | {"parts": 5, "threshold_questions": 6}
ALL = {"parts": 5, "writer_questions": 1000, "threshold_questions": 1000}  # more than there are; five seeds ask all
FEW = 0.05  # of the questions, or of a reciprocal rank: too few to matter
PAPER = ALL | {"writer": "HuggingFaceTB/SmolLM2-1.7B-Instruct"}

STUDY = Study(
    name="rag",
    question="Does a small model answer from documents what it does not know, and what does that hang on?",
    paper=Paper(
        "Retrieval-Augmented Generation for Knowledge-Intensive NLP Tasks",
        "Lewis, Perez, Piktus, Petroni, Karpukhin, Goyal, Kuettler, Lewis, Yih, Rocktaeschel, Riedel, Kiela",
        2020,
        "https://arxiv.org/abs/2005.11401",
    ),
    config=Config,
    program=program,
    variants=(
        Variant("closed-book", {"mode": "none", "writes": True}, "the model alone"),
        Variant("random", {"mode": "random"}, "chunks drawn blindly"),
        Variant("bm25", {"mode": "bm25"}, "by words"),
        Variant("dense", {"mode": "dense"}, "by meaning"),
        Variant("hybrid", {"writes": True}, "both rankings fused"),
        Variant("reranked", {"mode": "reranked"}, "the fused ranking, ordered by late interaction"),
        *(Variant(f"dense-{size}", {"mode": "dense", "size": size}) for size in (16, 128, 256)),
    ),
    scales={
        "smoke": Scale(SMOKE, seeds=2, minutes=0.2, judges=False),
        "laptop": Scale({}, seeds=(5, 8, 12, 20), minutes=6, offline=EMBEDDED | {"parts": 5}),
        "paper": Scale(PAPER, seeds=5, minutes=120),
    },
    words={
        "test/recall": "share of questions whose answer is in the chunks",
        "test/reciprocal-rank": "mean reciprocal rank of the answer",
        "test/reader-accuracy": "share of answers in the quoted sentence",
        "test/model-accuracy": "share of answers by the chat model",
        "test/hand-recall": "share of hand-written questions whose answer is in the chunks",
        "test/hand-reader-accuracy": "share of hand-written questions answered by the quoted sentence",
        "test/auroc": "AUROC of answerable questions against unanswerable ones",
        "test/refusal-accuracy": "share of right decisions to answer or refuse",
    },
    idea=fuse,
    claims={
        "with passages found for the question the chat model gives the answer more often than without any": higher(
            "hybrid",
            "closed-book",
            "table 1, RAG-Sequence and T5-11B on Natural Questions",
            of="test/model-accuracy",
            paper=0.445 - 0.345,
        ),
        "over the ways to find chunks, the more often the chunks hold the answer the more often the sentence quoted "
        "from them does: their rank correlation is above 0.5 (our mark)": Claim(
            recall_correlation,
            above(0.5),
            "sec. 4.5, fig. 3",
            number="rank correlation of test/recall and test/reader-accuracy over the variants that search",
            kind="correlation",
        ),
        "on SQuAD's questions, which share words with their passage, the chunks of dense retrieval hold the answer "
        "less often than those of BM25": lower(
            "dense",
            "bm25",
            "Karpukhin et al. 2020 (DPR), table 2, top-20 on SQuAD",
            of="test/recall",
            paper=0.632 - 0.688,
            matters=FEW,
        ),
        "on questions in other words than their passage's, the chunks of dense retrieval hold the answer more often "
        "than those of BM25": higher(
            "dense",
            "bm25",
            "Karpukhin et al. 2020 (DPR), table 2, top-20 on Natural Questions",
            of="test/hand-recall",
            paper=0.784 - 0.591,
        ),
        **{
            f"BM25 and dense retrieval fused rank the answer higher than {words} alone": higher(
                "hybrid",
                name,
                "Cormack et al. 2009 (reciprocal rank fusion), table 2",
                of="test/reciprocal-rank",
                matters=FEW,
            )
            for name, words in (("bm25", "BM25"), ("dense", "dense retrieval"))
        },
        "late interaction ranks the answer higher than the fused ranking that it starts from": higher(
            "reranked",
            "hybrid",
            "Khattab and Zaharia 2020 (ColBERT), table 1",
            of="test/reciprocal-rank",
            matters=FEW,
        ),
        **{
            f"at equal tokens of context, chunks of 64 tokens hold the answer more often than those of {size}": higher(
                "dense",
                f"dense-{size}",
                "not in the paper: the common advice on chunks",
                of="test/recall",
                matters=FEW,
            )
            for size in (16, 256)
        },
        "questions whose passage was taken out have no chunk as near as they had: the area under the ROC curve is "
        "above 0.7 (our mark)": between("dense", 0.7, math.inf, "not in the paper: when to refuse", of="test/auroc"),
    },
    charts=(
        bars("test/reader-accuracy", "test/model-accuracy", title="Questions answered, by a quotation, by the model"),
        bars("test/recall-at-1", "test/recall", "test/reciprocal-rank", title="Chunks found that hold the answer"),
        against(
            "size",
            "test/recall",
            "test/reader-accuracy",
            by="mode",
            title="Answers found, and quoted",
            x="tokens a chunk",
        ),
        bars("test/hand-recall", "test/hand-reader-accuracy", title="Of questions in other words than their passage's"),
        bars("test/auroc", "test/refusal-accuracy", "test/hand-auroc", title="Questions without an answer, told apart"),
    ),
    origin="A10",
    revisions=(
        "seeds ask questions of their own, in twenty parts for five, and the chat model answers twenty for six; orders "
        "are compared by reciprocal rank, no longer by the first place, and SQuAD's questions by recall; fusion is set "
        "against each of its rankings, no longer against the better one of a seed, which chance makes better; the "
        "correlation is on Fisher's scale and leaves out chunks drawn blindly; margins are named",
    ),
    precision="fp32",
)
