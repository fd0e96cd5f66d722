"""word-lstm: a recurrent network that reads words instead of characters, with borrowed vectors or more text.

A network foretells each next word, and pays -log2 p(word | words before) bits for it; an unknown word costs its token
and its spelling (data/words.py). The words' vectors are drawn, trained before on the same text (word2vec), or on six
billion words of other text (GloVe). The training text is as it is, or stands beside a copy of itself in which words
gave way to synonyms (Wei and Zou 2019, sec. 2), or that was translated into French and back by a small network of our
own (as in QANet, arXiv:1804.09541, sec. 3, after Sennrich et al. 2016, arXiv:1511.06709).

    etudes run word-lstm                       9 minutes on two cores, 10 variants, 5 seeds: poems of Emily Dickinson
    etudes run word-lstm --scale shakespeare   an hour, 3 seeds: eight times as much text

At laptop scale a difference of less than 0.01 bits per byte is taken as too small to matter.

Departures from the papers: theirs classify or translate, and ours foretells the next word. Synonyms are only those that
the network has a token for.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from etudes.core import Claim, Paper, Run, Scale, Study, Variant, at_least, below, difference, lower, positive, within
from etudes.core.claims import Measure
from etudes.core.files import write_text
from etudes.data.synonyms import thesaurus, with_synonyms, wordnet
from etudes.data.text import beginnings, texts
from etudes.data.tokens import Tokenizer, Windows, characters, ids
from etudes.data.words import WordTokenizer, bare, glove, table, word2vec, word_tokenizer
from etudes.generate.samples import samples
from etudes.measure.bits import bits_per_byte
from etudes.nn.recurrent import Recurrent
from etudes.reports.charts import bars, curves, pictures
from etudes.studies.language.word_lstm.findings import spelling, unigram, unknown_words
from etudes.tools.translator import back_translation
from etudes.train import Adam, adam, descend, fitted, part, seeded, weights

BITS = "test/bits-per-byte"
LETTERS = 5  # characters read for each word: about as many as an English word has, with its space
BEGINNINGS = ("", "The ")  # of samples
SPAN = 20  # windows of training that are read in one go where bits are measured, half of them again in the next


@dataclass(frozen=True)
class Config(Adam):
    dataset: str = "dickinson"  # a text set, as listed by `etudes data`; in English, for vectors and synonyms
    characters: Annotated[int, at_least(0)] = 0  # of the training works, from their beginnings; 0: all
    tested: Annotated[int, at_least(1000)] = 100_000  # characters of each held-out part, from its works' beginnings
    share: Annotated[float, within(0, 1)] = 1.0  # of the training characters that is trained on, and of the steps taken
    entries: Literal["characters", "words"] = "words"  # what the network reads one by one
    often: Annotated[int, at_least(1)] = 2  # times that the training text has a word that is known
    vectors: Literal["drawn", "word2vec", "glove"] = "drawn"  # of the words, before training
    augment: Literal["none", "synonyms", "back-translation"] = "none"  # what the text's copy beside it went through
    alpha: Annotated[float, within(0, 1)] = 0.1  # share of a line's words that give way to synonyms, at least one word
    vector: Annotated[int, at_least(1)] = 50  # numbers in a word's vector; GloVe's have 50
    hidden: Annotated[int, at_least(1)] = 128  # units of a layer
    layers: Annotated[int, at_least(1)] = 1  # LSTM layers
    dropout: Annotated[float, within(0, 1)] = 0.5  # share of a layer's outputs set to zero
    context: Annotated[int, at_least(1)] = 20  # words that gradients go back through, five times as many characters
    effort: Annotated[float, positive] = 1.0  # arithmetic of training, as a multiple of that of `steps` with words
    translator_width: Annotated[int, at_least(2)] = 256  # units of the translator's layers
    translator_steps: Annotated[int, at_least(1)] = 3000  # batches of 64 pairs that the translator learns from
    batch: Annotated[int, at_least(1)] = 16  # windows a step, over all processes together
    lr: Annotated[float, positive] = 1e-2  # peak learning rate
    clip: Annotated[float, positive] = 1.0  # largest norm of a gradient


def network(cfg: Config, vocabulary: int) -> Recurrent:
    """The language network, whose tokens have vectors of cfg.vector numbers: model.embedding[0].weight."""
    model = Recurrent("lstm", vocabulary, cfg.hidden, cfg.layers, cfg.dropout)
    model.embedding = nn.Sequential(nn.Embedding(vocabulary, cfg.vector), nn.Linear(cfg.vector, cfg.hidden))
    return model


def arithmetic(model: Recurrent) -> int:
    """Multiply-adds of one token on its way through: one for each entry of a matrix that is not looked up."""
    return sum(p.numel() for p in model.parameters() if p.ndim == 2) - model.embedding[0].weight.numel()


def equal_cost_steps(cfg: Config, vocabulary: int, known: int) -> int:
    """The steps for a network with this vocabulary that cost cfg.effort times the arithmetic of cfg.steps * cfg.share
    with words, of which `known` are known."""
    as_many = LETTERS if cfg.entries == "characters" else 1
    cheaper = arithmetic(network(cfg, known)) / (as_many * arithmetic(network(cfg, vocabulary)))
    return max(1, round(cfg.effort * cfg.steps * cfg.share * cheaper))


def word_vectors(cfg: Config, run: Run, known: WordTokenizer, works: Sequence[str]) -> Tensor:
    """The words' vectors [n, cfg.vector] before training; those without one are drawn."""
    seed = run.seed("word2vec")
    learnt = glove(map(bare, known.known)) if cfg.vectors == "glove" else word2vec(works, cfg.vector, seed)
    vectors, share = table(known, learnt, run.seed("vectors"))
    run.result(**{"train/with-vectors": share})
    return vectors


def augmentation(cfg: Config, run: Run, known: WordTokenizer, works: Sequence[str]) -> tuple[str, ...]:
    """The copy of the works that is trained on beside them, changed line by line; () without one."""
    if cfg.augment == "none":
        return ()
    lines = [line for work in works for line in work.split("\n")]
    if cfg.augment == "synonyms":
        synonyms = thesaurus(wordnet(), map(bare, known.known))
        changed = [with_synonyms(line, cfg.alpha, synonyms, run.rng("synonyms", i)) for i, line in enumerate(lines)]
    else:
        changed, quality = back_translation(run, lines, cfg.translator_width, cfg.translator_steps)
        run.result(**quality)
    run.result(**{"train/changed": sum(a != b for a, b in zip(lines, changed, strict=True)) / len(lines)})
    rest = iter(changed)
    return tuple("\n".join(next(rest) for _ in work.split("\n")) for work in works)


def load_network(cfg: Config, folder: Path) -> tuple[Recurrent, Tokenizer | WordTokenizer]:
    """The network of a finished run, and what cuts its text into tokens."""
    tokenizer = (WordTokenizer if cfg.entries == "words" else Tokenizer).load(folder / "tokenizer.json")
    return weights.load(folder / "model.safetensors", network(cfg, tokenizer.size)), tokenizer


def train(cfg: Config, run: Run) -> None:
    d = texts(cfg.dataset).take(cfg.characters)
    run.note(data=d.source)
    if cfg.share < 1:
        d = d.take(max(1, round(cfg.share * sum(map(len, d.train)))))
    known = word_tokenizer(d.train, cfg.often)
    tokenizer = known if cfg.entries == "words" else characters(d.train)
    scored = {split: beginnings(getattr(d, split), cfg.tested) for split in ("validation", "test")}
    scored["train"] = [work for work in beginnings(d.train, sum(map(len, scored["test"]))) if work]

    model = seeded(run, "init", lambda: network(cfg, tokenizer.size))
    if cfg.vectors != "drawn":
        with torch.no_grad():
            model.embedding[0].weight.copy_(word_vectors(cfg, run, known, d.train))
    window = cfg.context * (LETTERS if cfg.entries == "characters" else 1)
    tokens = ids(tokenizer, d.train + augmentation(cfg, run, known, d.train))
    windows = Windows(tokens, window, cfg.batch, run.seed("order"))
    steps = equal_cost_steps(cfg, tokenizer.size, known.size)
    every = max(1, round(cfg.eval_every * steps / cfg.steps)) if cfg.eval_every else 0
    recipe = replace(cfg, steps=steps, eval_every=every)
    opt, schedule = adam(model, recipe)

    def step(i: int) -> dict[str, Tensor]:
        (block,) = part(windows.at(i).to(run.device))
        loss = functional.cross_entropy(model(block[:, :-1]).float().flatten(0, 1), block[:, 1:].flatten())
        return {"train/loss": descend(loss, opt, schedule, cfg.clip)}

    def bits(split: str) -> float:
        return bits_per_byte(model, tokenizer, scored[split], SPAN * window, SPAN * window // 2)

    def evaluate() -> dict[str, float]:
        return {f"{split}/bits-per-byte": bits(split) for split in ("validation", "train")}

    run.result(**fitted(run, recipe, {"model": model, "opt": opt, "schedule": schedule}, step, evaluate))
    with run.autocast():
        run.result(**{BITS: bits("test"), "train/passes": steps * cfg.batch * window / len(tokens)})
    run.result(**{f"{BITS}-unigram": unigram(tokenizer, d.train, scored["test"])})
    run.result(**{f"{BITS}-spelling": spelling(tokenizer, scored["test"])})
    if cfg.entries == "words":
        run.result(**{"test/unknown": unknown_words(known, scored["test"])})
        with torch.no_grad():  # the network that is kept writes known words alone
            model.head.bias[known.unknown] = -math.inf
    weights.save(run.path("model.safetensors"), model)
    if run.leader:
        writing = samples(model.eval(), tokenizer, BEGINNINGS, 2 * window, run.seed("samples"))
        write_text(run.path("samples.txt"), writing)
        tokenizer.save(run.path("tokenizer.json"))


def extra_gain(variant: str) -> Measure:
    """A measure: what a variant changes in bits per byte on a quarter of the text, minus what it changes on all."""
    quarter, whole = difference(f"{variant}-quarter", "words-quarter", BITS), difference(variant, "words", BITS)
    return lambda trial: quarter(trial) - whole(trial)


LITTLE = {"share": 0.25}
MARGIN = 0.01  # bits per byte that are too few to matter
GAIN = "bits per byte changed on a quarter of the text, minus those changed on all of it"

STUDY = Study(
    name="word-lstm",
    question="Do words, vectors learnt elsewhere or augmented text help a small recurrent network to write?",
    paper=Paper(
        "EDA: Easy Data Augmentation Techniques for Boosting Performance on Text Classification Tasks",
        "Wei, Zou",
        2019,
        "https://arxiv.org/abs/1901.11196",
    ),
    config=Config,
    program=train,
    generator=load_network,
    variants=(
        Variant("characters", {"entries": "characters", "dropout": 0.1}, "for the arithmetic that words take"),
        Variant(
            "characters-longer", {"entries": "characters", "dropout": 0.1, "effort": 4.0}, "for four times as much"
        ),
        Variant("words", says="vectors drawn, the text as it is"),
        Variant("words-quarter", LITTLE, "a quarter of the text, passed over as often"),
        Variant("word2vec", {"vectors": "word2vec"}, "vectors trained on the same text before"),
        Variant("glove", {"vectors": "glove"}, "vectors trained on six billion other words"),
        Variant("glove-quarter", LITTLE | {"vectors": "glove"}),
        Variant("synonyms", {"augment": "synonyms"}, "half of the text with synonyms in it"),
        Variant("synonyms-quarter", LITTLE | {"augment": "synonyms"}),
        Variant("back-translation", {"augment": "back-translation"}, "half of the text by way of French"),
    ),
    scales={
        "smoke": Scale(
            {"dataset": "python", "characters": 30_000, "tested": 2000, "hidden": 16, "context": 8, "batch": 4}
            | {"steps": 16, "log_every": 2},
            seeds=1,
            minutes=0.1,
            judges=False,
            variants=("characters", "words", "words-quarter", "word2vec"),
        ),
        "laptop": Scale(
            {"steps": 800, "eval_every": 200},
            seeds=(5, 8, 12, 20),
            minutes=9,
            offline={"dataset": "python", "characters": 150_000},
        ),
        "shakespeare": Scale({"dataset": "shakespeare", "steps": 2400, "eval_every": 600}, seeds=3, minutes=60),
    },
    words={
        BITS: "bits per byte of the test text",
        "train/bits-per-byte": "bits per byte of the training text",
        f"{BITS}-unigram": "bits per byte of a unigram",
        f"{BITS}-spelling": "bits per byte for the spelling of unknown words",
        "test/unknown": "share of unknown words",
        "train/with-vectors": "share of words that have a borrowed vector",
        "train/changed": "share of lines that the copy changes",
        "train/passes": "passes over the text",
    },
    idea=with_synonyms,
    claims={
        "at equal arithmetic words need fewer bits per byte than characters, unknown words spelt out": lower(
            "words", "characters", "arXiv:1308.0850, sec. 3.1 (where unknown words are free)", of=BITS, matters=MARGIN
        ),
        "word vectors trained on six billion words of other text need fewer bits per byte than drawn ones": lower(
            "glove", "words", "arXiv:1408.5882, table 2 (of classifiers, with word2vec's)", of=BITS, matters=MARGIN
        ),
        "word vectors trained on six billion words of other text need fewer bits per byte than the text's own": lower(
            "glove", "word2vec", "Pennington et al. 2014, sec. 4.5 (of analogies)", of=BITS, matters=MARGIN
        ),
        "training on the text and a copy with synonyms needs fewer bits per byte than on the text alone": lower(
            "synonyms", "words", "sec. 4.4 (of classifiers)", of=BITS, matters=MARGIN
        ),
        "training on the text and a copy by way of French needs fewer bits per byte than on the text alone": lower(
            "back-translation",
            "words",
            "arXiv:1804.09541, sec. 3; arXiv:1511.06709 (of answers and translations)",
            of=BITS,
            matters=MARGIN,
        ),
        "a copy with synonyms saves more bits per byte on a quarter of the text than on all of it": Claim(
            extra_gain("synonyms"), below(0), "sec. 4.2, figure 1", matters=MARGIN, number=GAIN
        ),
        "vectors of six billion other words save more bits per byte on a quarter of the text than on all of it": Claim(
            extra_gain("glove"), below(0), "arXiv:1804.06323 (of translation)", matters=MARGIN, number=GAIN
        ),
    },
    charts=(
        bars(
            BITS,
            "train/bits-per-byte",
            f"{BITS}-unigram",
            title="Bits per byte by words, vectors and augmentation",
            sections={
                "Words or characters": ("characters", "characters-longer", "words"),
                "Vectors": ("words", "word2vec", "glove"),
                "Augmented text": ("words", "synonyms", "back-translation"),
                "A quarter of the text": ("words-quarter", "glove-quarter", "synonyms-quarter"),
            },
        ),
        curves("validation/bits-per-byte", title="Validation bits per byte during training"),
        bars("test/unknown", f"{BITS}-spelling", title="Unknown words, and the bits that spelling them takes"),
        pictures("samples.txt", title="Samples", says="Beginnings and how the network went on, in three ways."),
    ),
    revisions=("all claims have a margin of 0.01 bits per byte, and up to twenty seeds in place of five.",),
    origin="C",
)
