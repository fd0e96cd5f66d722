"""lossy-text: a sentence is sent as a few bits of its embedding, and written anew from them.

An embedder phi gives a text x a vector e = phi(x), here of 384 numbers. A network that has learnt to write

    x = arg max p(x | e),    corrected by    p(x_t+1 | e, phi(x_t), e - phi(x_t), x_t),

makes embeddings a code for texts (Morris et al. 2023, sec. 3). Each number in 8, 4, 2 or 1 bits, or groups of numbers
by the nearest of a codebook, the code gets smaller, and meaning and style should go slowly. It is set against zstd, a
lossless coder driven by a language model of the same size, dropping words, and the nearest training sentence.

    etudes run lossy-text                  5 minutes on two cores, 19 variants, 5 seeds
    etudes run lossy-text --scale paper    6,000 minutes on a GPU, 3 variants, 3 seeds: a guess

To expect: words come back, exact sentences seldom; only the coarsest code is smaller than the text, and text without
loss is smaller still.

Departures from the paper: networks of half a million parameters for 220 million, 10,000 sentences of 3 to 8 words for
5 million passages of 32 tokens, so that few sentences come back exactly; a GRU with attention for T5; greedy writing; a
corrector that starts from the inverter's weights and learns mostly from nearest lines as hypotheses; the hypothesis
whose embedding is nearest is kept.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from etudes.core import Paper, Run, Scale, Study, Variant, alike, at_least, higher, lower, positive, within
from etudes.core.files import write_text
from etudes.core.spec import TUNING
from etudes.optim.schedules import Schedule
from etudes.reports.charts import bars, pictures, plane
from etudes.retrieval.embedders import embedder
from etudes.studies.language.lossy_text.compressor import decompress
from etudes.studies.language.lossy_text.measures import text_metrics
from etudes.studies.language.lossy_text.training import corpus
from etudes.studies.language.lossy_text.trial import cosines, embedding_codes, text_codes
from etudes.train import Adam

BYTES, F1, COSINE, BLEU = "test/bytes", "test/f1", "test/cosine", "test/bleu"
SHOWN = 12  # lines in a run's samples


@dataclass(frozen=True)
class Config(Adam):
    dataset: str = "tatoeba-eng-fra"  # a set of lines, as `lines` knows them
    second: str = "debian-depends"  # the set of the variants that read another one
    reads: Literal["first", "second"] = "first"  # which of the two sets
    embedder: str = "minilm"  # as `etudes ask --embedder` takes it
    trained: Annotated[int, at_least(20)] = 10_000  # lines of the training split, at most
    pool: Annotated[int, at_least(2)] = 1000  # lines of each held-out split, at most, that a file holds
    tested: Annotated[int, at_least(2)] = 300  # of these lines, drawn by the seed, are looked at when they come back
    vocabulary: Annotated[int, at_least(257)] = 1000  # sub-words, learnt from the training lines
    width: Annotated[int, at_least(1)] = 128  # units of the networks
    prefix: Annotated[int, at_least(1)] = 2  # vectors that the linear map makes of an embedding
    context: Annotated[int, at_least(1)] = 24  # tokens of a line, at most
    steps: Annotated[int, at_least(1)] = 300  # optimiser steps of the inverter and of the language model
    batch: Annotated[int, at_least(1)] = 64  # lines a step
    lr: Annotated[float, positive] = 4e-3  # peak learning rate of Adam
    schedule: Schedule = "warmup"  # learning rate over the steps
    guessed: Annotated[int, at_least(2)] = 2000  # training lines of which the corrector is shown the inverter's guess
    corrector_steps: Annotated[int, at_least(1)] = 200  # optimiser steps of the corrector
    method: Literal["invert", "correct", "edit", "rerank", "nearest", "lossless", "zstd"] = "invert"  # the way back
    rounds: Annotated[int, at_least(1)] = 2  # hypotheses after the first, of corrections or of drawn candidates
    temperature: Annotated[float, positive] = 0.5  # of drawn candidates
    quantiser: Literal["float", "scalar", "product"] = "float"  # how a vector is told
    bits: Annotated[int, within(1, 8)] = 8  # of a number, or of a piece
    kept: Annotated[float, within(0, 1)] = 1.0  # share of a vector's numbers that are told at all
    piece: Annotated[int, at_least(1)] = 4  # numbers of a vector that product quantisation tells together
    centred: bool = True  # whether the training vectors' mean is taken off before a number is told
    trained_on_codes: bool = False  # whether the inverter learns from vectors as they come out of the code
    words_kept: Annotated[float, within(0, 1)] = 1.0  # share of a line's words, the rarest, that texts keep


def transmit(cfg: Config, run: Run) -> None:
    c = corpus(cfg, run)
    run.note(data=c.source, embedder=cfg.embedder)
    split = "validation" if run.spec.seed >= TUNING else "test"
    rows = run.rng("tested").permutation(len(c.lines[split]))[: cfg.tested]
    texts, e = [c.lines[split][i] for i in rows], c.vectors[split][rows]
    codes_of = text_codes if cfg.method in ("zstd", "lossless") else embedding_codes
    found = codes_of(cfg, run, c, split, rows)
    pool = c.lines[split]
    run.result(
        **{
            "test/bytes": found.file / len(pool),
            "test/bytes-codes": found.codes / len(pool),
            "test/bytes-text": sum(len(text.encode()) + 1 for text in pool) / len(pool),  # a line ends in a byte
            "test/cosine": cosines(embedder(cfg.embedder).encode(found.texts), e).mean(),
        }
    )
    run.result(**{f"test/{name}": number for name, number in text_metrics(found.texts, texts).items()})
    if run.leader:
        shown = [f"{text}\n    {back}" for text, back in list(zip(texts, found.texts, strict=True))[:SHOWN]]
        write_text(run.path("samples.txt"), "\n".join(shown) + "\n")


def bits(n: int) -> dict[str, str | int]:
    return {"quantiser": "scalar", "bits": n}


def product(piece: int) -> dict[str, str | int]:
    return {"quantiser": "product", "bits": 4, "piece": piece}


BY_WORDS = ("lossless", "zstd", "half-words")
VARIANTS = (
    Variant("float", {}, "the whole embedding, inverted at once"),
    Variant("bits-8", bits(8), "8 bits a number"),
    Variant("bits-4", bits(4), "4 bits a number"),
    Variant("bits-2", bits(2), "2 bits a number"),
    Variant("bits-1", bits(1), "1 bit a number"),
    Variant("bits-1-raw", bits(1) | {"centred": False}, "1 bit a number, its sign, without taking the mean off"),
    Variant("bits-1-trained", bits(1) | {"trained_on_codes": True}, "1 bit, of an inverter that learnt from 1 bit"),
    Variant("dims-48", bits(8) | {"kept": 0.125}, "8 bits for each of the first 48 numbers, none for the others"),
    Variant("product-48", product(4), "the nearest of 16 centroids for every 4 numbers"),
    Variant("product-12", product(16), "the nearest of 16 centroids for every 16 numbers"),
    Variant("corrected", {"method": "correct"}, "the whole embedding, corrected twice"),
    Variant("reranked", {"method": "rerank"}, "the whole embedding, the nearest of three hypotheses"),
    Variant("nearest", {"method": "nearest"}, "the training line with the nearest embedding"),
    Variant("edited", {"method": "edit"}, "the nearest training line, corrected twice"),
    Variant("lossless", {"method": "lossless"}, "no loss: arithmetic coding by a language model"),
    Variant("zstd", {"method": "zstd"}, "no loss: zstd with a dictionary"),
    Variant("half-words", {"method": "lossless", "words_kept": 0.5}, "the rarer half of the words, without loss"),
    Variant("packages", {"reads": "second"}, "as float, of package descriptions"),
    Variant("packages-1", bits(1) | {"reads": "second"}, "as bits-1, of package descriptions"),
)

TINY = {"dataset": "templates", "second": "templates", "embedder": "hashing", "trained": 60, "pool": 12, "tested": 6}
NARROW = {"vocabulary": 270, "width": 8, "prefix": 2, "batch": 8}
SMOKE = TINY | NARROW | {"steps": 4, "guessed": 8, "corrector_steps": 2, "rounds": 1}
OFFLINE = {"dataset": "templates", "second": "templates", "embedder": "hashing"}
LARGE = {"trained": 30_000, "pool": 3500, "tested": 1000, "vocabulary": 32_000, "width": 2880, "prefix": 16}
PAPER = LARGE | {"steps": 200_000, "batch": 128, "lr": 1e-3, "guessed": 30_000, "corrector_steps": 200_000}
MORRIS, ASKED, BEYOND = "table 1", "the course's question", "beyond the paper"
LOST, ADDED, STYLE = "test/negation-lost", "test/negation-added", "test/function-words"
FEW = 0.01  # of F1, BLEU or cosine: too few to matter

STUDY = Study(
    name="lossy-text",
    question="Can a sentence be sent as a few bits of its embedding, and what is lost on the way?",
    paper=Paper(
        "Text Embeddings Reveal (Almost) As Much As Text",
        "Morris, Kuleshov, Shmatikov, Rush",
        2023,
        "https://arxiv.org/abs/2310.06816",
    ),
    config=Config,
    program=transmit,
    variants=VARIANTS,
    scales={
        "smoke": Scale(SMOKE, seeds=2, minutes=0.1, judges=False),
        "laptop": Scale({}, seeds=(5, 8, 12, 20), minutes=5, offline=OFFLINE),
        "paper": Scale(
            PAPER | {"rounds": 50},
            seeds=3,
            minutes=6000,
            judges=False,
            variants=("float", "bits-1", "corrected"),
        ),
    },
    words={
        F1: "F1 of words",
        BYTES: "bytes a line",
        COSINE: "cosine with the true embedding",
        BLEU: "BLEU",
        "test/exact": "share of lines that come back exactly",
        LOST: "share of negations that are lost",
        STYLE: "distance of style, by function words",
        ADDED: "share of other lines that get a negation",
    },
    idea=decompress,
    claims={
        "two corrections raise the BLEU of what the inverter writes at once": higher(
            "corrected", "float", MORRIS, of=BLEU, matters=FEW
        ),
        "with as many looks, corrected lines are nearer to the true embedding than lines chosen among draws": higher(
            "corrected", "reranked", BEYOND, of=COSINE, matters=FEW
        ),
        "with 8 bits a number as many words come back as with the whole embedding, within 0.01 of F1": alike(
            "bits-8", "float", FEW, ASKED, of=F1
        ),
        "with 1 bit a number fewer words come back than with 8 bits": lower("bits-1", "bits-8", ASKED, of=F1),
        "of codes of 48 bytes, 1 bit for every number brings more words back than 8 bits for an eighth of them": higher(
            "bits-1", "dims-48", ASKED, of=F1
        ),
        "1-bit codes give lines nearer to the true embedding if the training mean is taken off first": higher(
            "bits-1", "bits-1-raw", BEYOND, of=COSINE, matters=FEW
        ),
        "an inverter of 1-bit codes writes nearer to the embedding if it has learnt from such codes": higher(
            "bits-1-trained", "bits-1", BEYOND, of=COSINE
        ),
        "the nearest training line, corrected twice, has more of the words than as it was": higher(
            "edited", "nearest", BEYOND, of=F1, matters=FEW
        ),
        "half of the words, sent without loss in fewer bytes, are more words than come back of 12-byte codes": (
            higher("half-words", "product-12", ASKED, of=F1)
        ),
        "dropping half of the words loses a negation more often than 1-bit codes of embeddings do": higher(
            "half-words", "bits-1", ASKED, of=LOST
        ),
        "of package descriptions, whose words are rarer, fewer words come back than of sentences": lower(
            "packages", "float", BEYOND, of=F1
        ),
    },
    charts=(
        plane(
            (BYTES, F1),
            x="bytes a line, in a file of a thousand",
            y="F1 of words",
            title="Words that come back, by the bytes that a line takes",
            log_x=True,
            variants=("float", "bits-8", "bits-4", "bits-2", "bits-1", "product-48", "product-12", *BY_WORDS),
        ),
        bars(
            F1,
            COSINE,
            title="Words, and likeness in meaning",
            sections={
                "Whole embeddings": ("float", "corrected", "reranked", "nearest", "edited"),
                "Fewer bits": ("bits-8", "bits-4", "bits-2", "bits-1", "bits-1-raw", "bits-1-trained"),
                "Fewer numbers, or groups": ("dims-48", "product-48", "product-12"),
                "By words": BY_WORDS,
                "Package descriptions": ("packages", "packages-1"),
            },
        ),
        bars(LOST, ADDED, STYLE, title="Negations lost and added, and how far the style is off"),
        plane(
            ("train/f1", F1),
            x="F1 of words, lines that it learnt from",
            y="F1 of words, others",
            title="Lines that the inverter has not seen, against those that it learnt from",
            variants=("float", "bits-1", "bits-1-trained", "packages", "packages-1"),
        ),
        pictures(
            "samples.txt", title="Lines, and below each what came back", variants=("float", "bits-1", "product-12")
        ),
    ),
    origin="B13",
)
