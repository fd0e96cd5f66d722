"""Retrieval-augmented generation: find passages, put them before the question, and let a language model answer.

p(y|x) rests on passages z found for x (Lewis et al. 2020, sec. 2.1). Here nothing is trained: documents are cut into
chunks, a sentence embedder and BM25 find those for a question, and a small chat model or a quoted sentence answers.

    etudes run rag                    8 minutes on two cores, 9 variants, 5 seeds
    etudes run rag --scale paper      every test question, and a model of 1.7 billion parameters

A seed is a fifth of the test questions, of articles and chapters that validation does not have: the seeds share no
question, so intervals are over questions. All variants of a seed get the same ones, and the same tokens of context.
A question without an answer is one whose passage was taken out, or one that was written to have none.

Departures from the paper: no training end to end; hundreds of passages instead of 21 million; a model of 135 million
parameters; SQuAD's questions (XQuAD's English part) and hand-written ones on Debian's FAQ. So the claims kept are
comparisons, not the paper's scores.
"""

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch

from etudes.core.claims import Claim, above, below, difference
from etudes.core.run import Run
from etudes.core.spec import Paper, Scale, Study, Variant
from etudes.data.questions import Question, Questions, questions
from etudes.generate.chat import chat
from etudes.reports.charts import against, bars
from etudes.retrieval.answer import extract_answer, write_answer
from etudes.retrieval.chunks import cut_chunks
from etudes.retrieval.documents import Document
from etudes.retrieval.embedders import CachedEmbedder, embedder
from etudes.retrieval.scores import best_threshold
from etudes.retrieval.search import Hit, Searcher, in_memory
from etudes.studies.retrieval.rag.findings import DEEP, Sheet, answers, judged, over_both, rank, refusals, tracks
from etudes.train.loop import fit

PARTS = 5  # of the test questions; a seed has one of them


@dataclass(frozen=True)
class Config:
    texts: Literal["xquad and debian-faq", "capitals"] = "xquad and debian-faq"  # what is searched and asked about
    embedder: str = "minilm"  # as `etudes ask --embedder` takes it
    writer: str = "smollm2-135m"  # the chat model that answers; "extract": the reader in its place
    mode: Literal["none", "random", "bm25", "dense", "hybrid", "reranked"] = "hybrid"  # how chunks are found
    size: Annotated[int, above(8)] = 64  # tokens of a chunk, a quarter of them shared with its neighbour
    context: Annotated[int, above(1)] = 256  # tokens of the chunks that an answer may rest on
    asked: Annotated[int, above(1)] = 40  # questions a set and seed; there may be fewer
    writes: bool = False  # whether the chat model answers too
    written: Annotated[int, above(1)] = 6  # of the questions, those that the chat model gets
    tokens: Annotated[int, above(1)] = 24  # of the chat model's answer
    choosing: Annotated[int, above(1)] = 100  # validation questions on which the threshold is chosen


@functools.cache
def library(texts: str, name: str, size: int) -> tuple[tuple[Questions, ...], Searcher, np.ndarray]:
    """The sets of questions, the searcher over all their passages in chunks of `size` tokens, and its vectors."""
    model = remembered(name)
    sets = tuple(questions(one) for one in texts.split(" and "))
    passages = [passage for one in sets for passage in one.passages]
    chunks = [
        chunk for p in passages for chunk in cut_chunks(Document(p.name, p.title, p.text), model, size, size // 4)
    ]
    vectors = np.concatenate([model.encode([c.text for c in chunks[i : i + 64]]) for i in range(0, len(chunks), 64)])
    return sets, in_memory(chunks, vectors, model), vectors


@functools.cache
def remembered(name: str) -> CachedEmbedder:
    return CachedEmbedder(embedder(name))


def near(cfg: Config, searcher: Searcher, vectors: np.ndarray, asked: Question) -> tuple[float, float]:
    """How near the nearest chunk is to a question, and how near without the chunks of the passage that answers it."""
    if cfg.mode == "bm25":
        scores = searcher.words.scores(asked.text)
    else:
        scores = (vectors @ searcher.embedder.encode([asked.text])[0]).astype(np.float64)
    other = np.array([chunk.document != asked.passage for chunk in searcher.chunks])
    return float(scores.max()), float(scores[other].max())


def drawn(run: Run, sets: Sequence[Questions], asked: int) -> list[list[Question]]:
    """For each set, `asked` of the seed's fifth of its test questions, and all unanswerable ones of that fifth."""
    part = run.spec.seed % PARTS
    found = []
    for one in sets:
        test = [q for q in one.questions if q.split == "test"]
        # An order that is the same under all seeds, so that their fifths are disjoint.
        mine = sorted(test, key=lambda q: hashlib.sha256(q.text.encode()).hexdigest())[part::PARTS]
        found.append([q for q in mine if q.answer][:asked] + [q for q in mine if not q.answer])
    return found


def threshold(cfg: Config, run: Run, one: Questions, searcher: Searcher, vectors: np.ndarray) -> float:
    """The nearness from which on it is best to answer, on a set's validation questions: those with an answer against
    those without, or where it has none, against the same with their passages taken out."""
    validation = [q for q in one.questions if q.split == "validation"]
    known, lost = ([q for q in validation if bool(q.answer) == answered] for answered in (True, False))
    chosen = run.rng("choosing").permutation(len(known))[: cfg.choosing]
    pairs = [near(cfg, searcher, vectors, known[i]) for i in chosen]
    without = [near(cfg, searcher, vectors, q)[0] for q in lost] or [b for _, b in pairs]
    return best_threshold([a for a, _ in pairs], without)


def program(cfg: Config, run: Run) -> None:
    sets, searcher, vectors = library(cfg.texts, cfg.embedder, cfg.size)
    run.note(data=[one.source for one in sets], embedder=searcher.embedder.name)
    parts = drawn(run, sets, cfg.asked)
    asked = [q for part in parts for q in part]
    most = max(1, cfg.context // cfg.size)
    model = searcher.embedder
    writer = chat(cfg.writer) if cfg.writes and cfg.writer != "extract" else None
    if cfg.writes:
        run.note(writer=writer.name if writer else "the quoted sentence")
    sheet = Sheet(len(asked))

    def find(i: int) -> list[Hit]:
        if cfg.mode == "none":
            return []
        if cfg.mode == "random":
            picks = run.rng("random", i).permutation(len(searcher.chunks))[:DEEP]
            return [Hit(searcher.chunks[p], 0.0) for p in picks]
        return searcher.search(asked[i].text, max(DEEP, most), cfg.mode)

    def step(i: int) -> dict[str, float]:
        q, hits = asked[i], find(i)
        row = [0.0] * len(Sheet.COLUMNS)
        row[0] = rank(q, [hit.chunk for hit in hits])
        row[1:3] = near(cfg, searcher, vectors, q)
        quoted = extract_answer(q.text, hits[:most], model)
        if q.answer:
            row[3:6] = judged(quoted.text if quoted else "", q.answer)
            if cfg.writes and i < cfg.written:
                said = (
                    "".join(write_answer(q.text, hits[:most], writer, cfg.tokens)) if writer else quoted and quoted.text
                )
                row[6:9] = judged(said or "", q.answer)
        sheet.rows[i] = torch.tensor(row, dtype=torch.float64)
        return {"test/found": float(0 < row[0] <= most)}

    fit(run, {"sheet": sheet}, step, len(asked), log_every=10)
    run.result(**answers(sheet, parts, most, cfg.written if cfg.writes else 0))
    if cfg.mode not in ("none", "random"):
        limits = [threshold(cfg, run, one, searcher, vectors) for one in sets]
        run.result(**{"validation/threshold": limits[0], "validation/hand-threshold": limits[-1]})
        run.result(**refusals(sheet, parts, limits))


EMBEDDED = {"texts": "capitals", "embedder": "hashing", "writer": "extract"}  # nothing is fetched

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
    threads=1,
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
        "smoke": Scale(
            EMBEDDED | {"asked": 3, "choosing": 6},
            seeds=2,
            minutes=0.2,
            judges=False,
        ),
        "laptop": Scale({}, seeds=5, minutes=8, offline=EMBEDDED),
        "paper": Scale(
            {"writer": "HuggingFaceTB/SmolLM2-1.7B-Instruct", "asked": 1000, "written": 1000, "choosing": 1000},
            seeds=5,
            minutes=120,
        ),
    },
    claims=(
        Claim(
            "context beats memory",
            "with passages the model gives the answer more often than without",
            "table 1, RAG-Sequence and T5-11B on Natural Questions",
            difference("hybrid", "closed-book", "test/model-accuracy"),
            above(0),
            paper=0.445 - 0.345,
        ),
        Claim(
            "answers follow retrieval",
            "over the variants the quoted sentence holds the answer the more often, the more often it was found",
            "sec. 4.5, fig. 3",
            tracks,
            above(0.5),
        ),
        Claim(
            "words win on SQuAD",
            "dense retrieval ranks the answer first less often than BM25 where questions share the passage's words",
            "Karpukhin et al. 2020 (DPR), table 2, top-20 on SQuAD",
            difference("dense", "bm25", "test/recall-at-1"),
            below(0),
            paper=0.632 - 0.688,
        ),
        Claim(
            "meaning wins in other words",
            "dense retrieval finds more than BM25 where questions were written in other words than the passage's",
            "Karpukhin et al. 2020 (DPR), table 2, top-20 on Natural Questions",
            difference("dense", "bm25", "test/hand-recall"),
            above(0),
            paper=0.784 - 0.591,
        ),
        Claim(
            "both beat either",
            "the fused ranking has the answer first more often than the better one of its two",
            "Cormack et al. 2009 (reciprocal rank fusion), table 2",
            over_both,
            above(0),
        ),
        Claim(
            "a second look helps",
            "late interaction ranks the answer first more often than the fused ranking that it starts from",
            "Khattab and Zaharia 2020 (ColBERT), table 1",
            difference("reranked", "hybrid", "test/recall-at-1"),
            above(0),
        ),
        Claim(
            "not too small",
            "at equal tokens of context, chunks of 64 tokens hold the answer more often than those of 16",
            "not in the paper: the common advice on chunks",
            difference("dense", "dense-16", "test/recall"),
            above(0),
        ),
        Claim(
            "not too large",
            "at equal tokens of context, chunks of 64 tokens hold the answer more often than those of 256",
            "not in the paper: the common advice on chunks",
            difference("dense", "dense-256", "test/recall"),
            above(0),
        ),
        Claim(
            "knows what is missing",
            "questions whose passage was taken out have no chunk as near as they had: area under the ROC curve",
            "not in the paper: when to refuse",
            lambda trial: trial["dense"]["test/auroc"],
            above(0.7),
        ),
    ),
    charts=(
        bars("test/recall-at-1", "test/recall", "test/recall-at-10"),
        bars("test/reader-accuracy", "test/model-accuracy"),
        against("size", "test/recall", "test/reader-accuracy", by="mode"),
        bars("test/hand-recall", "test/hand-reader-accuracy"),
        bars("test/auroc", "test/refusal-accuracy", "test/hand-auroc"),
    ),
    origin="A10",
    precision="fp32",
)
