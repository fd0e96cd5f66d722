"""ocr-ctc: lines of text are read without knowing where their letters are.

A network gives odds over letters and a blank for each frame of a line. A path, a class a frame, says a text once equal
neighbours are joined and blanks left out, and the loss is

    -log p(text | line),  p = the sum over all paths that say the text     (Graves et al. 2006, eq. 14).

Convolutions halve the line's height three times; what is left of it is folded into channels; an LSTM or a transformer
sees the frames in both directions (Diaz et al. 2021 compare them).

    etudes run ocr-ctc                        9 minutes on two cores, 10 variants, 5 seeds (to 20 with --until decided)
    etudes run ocr-ctc --scale handwriting    French handwriting, one variant and seed: an hour on two cores

Departures from the papers at laptop scale: lines of up to 16 letters drawn in fonts that look like handwriting, 16
pixels high, a small network and no pretraining. The test lines are in fonts that no training line has.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy
import torch
from torch import Tensor

from etudes.core import Paper, Problem, Run, Scale, Study, Variant, at_least, between, lower, within
from etudes.data.batches import Batches
from etudes.data.fonts import BUILT_IN
from etudes.data.images import images
from etudes.data.lines import Lines, digit_strings, font_lines, handwriting
from etudes.data.pairs import pairs
from etudes.data.sources import find
from etudes.generate.ctc import frames_needed
from etudes.reports.charts import bars, curves, pictures
from etudes.studies.generative.ocr_ctc.findings import blank_share, error_rate, frame_logits, ink, measure
from etudes.studies.generative.ocr_ctc.language import Letters
from etudes.studies.generative.ocr_ctc.reader import STRIDE, Encoder, Reader, classes_of, ctc_loss
from etudes.train import Adam, adam, descend, fitted, seeded, weights

FONTS = ("breip", "dancing", "delphine", "dkg", "ecolier", "joscelyn", "steve")  # to learn from
UNSEEN = ("femke", "kaushan", "kristi")  # to test on; each has other faults


@dataclass(frozen=True)
class Config(Adam):
    task: Literal["lines", "digits"] = "lines"  # lines of a set, or strings of digits
    dataset: str = "iam"  # handwriting, or sentences that are drawn in fonts, as listed by `etudes data`
    split: Literal["page", "document"] = "page"  # how handwriting is held out; document: hardly a hand recurs
    digits: str = "digits"  # pictures of digits, for strings of them
    height: Annotated[int, at_least(8)] = 40  # pixels of a line, a multiple of 8
    longest: Annotated[int, at_least(8)] = 128  # pixels of a line in fonts, at most
    squeeze: bool = False  # every line in fonts is brought to the longest width, whatever becomes of its letters
    examples: Annotated[int, at_least(16)] = 3000  # training lines that are drawn; of handwriting all are taken
    share: Annotated[float, within(0.01, 1)] = 1.0  # of the training lines that are learnt from
    fonts: Annotated[int, within(1, len(FONTS))] = len(FONTS)  # to learn from
    tested: Annotated[int, at_least(8)] = 300  # test lines that are drawn, and as many in fonts that are known
    encoder: Encoder = "transformer"  # over the frames
    layers: Annotated[int, at_least(1)] = 4  # of the encoder
    width: Annotated[int, at_least(1)] = 64  # channels of the first convolution; the encoder has 8 times as many
    fold: Literal["stack", "max"] = "stack"  # the height that is left: into channels, or the largest of a column
    shortcut: bool = False  # a second way to the loss, around the encoder
    beam: Annotated[int, at_least(1)] = 8  # prefixes of the search
    language: Annotated[float, at_least(0)] = 0.5  # weight of the letters' model in it


@dataclass(frozen=True, eq=False)
class Material:
    """What is learnt from, tested on, and tested on in known fonts (None: there are none)."""

    train: Lines
    test: Lines
    seen: Lines | None
    note: dict[str, str]


def drawn_texts(rng: numpy.random.Generator, sentences: list[str], n: int, most: int = 16) -> list[str]:
    """n pieces of sentences, of whole words and at most so many letters."""
    found: list[str] = []
    while len(found) < n:
        words = sentences[int(rng.integers(len(sentences)))].split()
        first = int(rng.integers(len(words)))
        piece = words[first]
        for word in words[first + 1 :]:
            if len(piece) + 1 + len(word) > most:
                break
            piece += f" {word}"
        if 2 <= len(piece) <= most:
            found.append(piece)
    return found


def material(cfg: Config, run: Run) -> Material:
    """The lines of a run. Raises Problem where a source cannot be had."""
    counts = {"train": cfg.examples, "test": cfg.tested}
    if cfg.task == "digits":
        d = images(cfg.digits)
        drawn = (digit_strings(d, part, n, cfg.height, run.rng(f"strings {part}")) for part, n in counts.items())
        return Material(*drawn, None, d.source)
    if cfg.dataset != BUILT_IN and find(cfg.dataset).task == "handwriting":
        lines = handwriting(cfg.dataset, cfg.height, cfg.split)
        return Material(lines.train, lines.test, None, lines.source)
    if cfg.dataset == BUILT_IN:  # numbers in the font that is always there
        texts = {
            p: [str(number) for number in run.rng(f"numbers {p}").integers(10, 10**8, n)] for p, n in counts.items()
        }
        known, unseen, says = (BUILT_IN,), (BUILT_IN,), "numbers in the font that Pillow brings"
    else:
        sentences, rng = pairs(cfg.dataset), run.rng("texts")
        plain = {part: [french for _, french in getattr(sentences, part) if is_plain(french)] for part in counts}
        texts = {part: drawn_texts(rng, plain[part], n) for part, n in counts.items()}
        known, unseen, says = (
            FONTS[: cfg.fonts],
            UNSEEN,
            f"French of {cfg.dataset} drawn in fonts, three of them held out",
        )
    shape = (cfg.height, cfg.longest)
    train = font_lines(texts["train"], known, *shape, run.rng("ink train"), cfg.squeeze)
    test = font_lines(texts["test"], unseen, *shape, run.rng("ink test"), cfg.squeeze)
    seen = font_lines(texts["test"], known, *shape, run.rng("ink seen"), cfg.squeeze)
    return Material(train, test, seen, {"dataset": f"font-lines {cfg.dataset}", "kind": "drawn", "says": says})


def is_plain(text: str) -> bool:
    """Whether all fonts can draw the text: letters without accents, digits, and few marks."""
    return all(letter.isascii() and (letter.isalnum() or letter in " ,.!?-") for letter in text)


def train(cfg: Config, run: Run) -> None:
    d = material(cfg, run)
    run.note(data=d.note)
    letters = d.train.letters
    targets = classes_of(d.train.texts, letters)
    fits = [i for i, target in enumerate(targets) if 0 < frames_needed(target) <= int(d.train.widths[i]) // STRIDE]
    order = run.rng("share").permutation(len(fits))[: max(1, round(cfg.share * len(fits)))]
    rows = torch.tensor([fits[i] for i in order])
    if len(rows) < cfg.batch:
        raise Problem(
            f"ocr-ctc: {len(rows)} lines fit their frames, fewer than a batch of {cfg.batch}; take a smaller one"
        )
    shape = (cfg.height, len(letters) + 1, cfg.width, cfg.encoder, cfg.layers, cfg.fold, cfg.shortcut)
    model = seeded(run, "init", lambda: Reader(*shape))
    opt, schedule = adam(model, cfg)
    batches = Batches(len(rows), cfg.batch, run.seed("order"))

    def step(i: int) -> dict[str, Tensor]:
        chosen = rows[batches.at(i)]
        features, frames = model.features(ink(d.train, chosen).to(run.device), d.train.widths[chosen].to(run.device))
        wanted = [targets[row] for row in chosen]
        loss = ctc_loss(model.read(features, frames), frames, wanted)
        total, around = loss, model.shortcut(features)
        if around is not None:
            total = loss + 0.1 * ctc_loss(around, frames, wanted)
        descend(total, opt, schedule)
        return {"train/loss": loss.detach()}

    probe = d.train.take(rows[:100])

    def evaluate() -> dict[str, float]:
        return {
            "train/blank-share": blank_share(frame_logits(model, probe)),
            "test/cer": error_rate(model, d.test, letters),
        }

    run.result(**fitted(run, cfg, {"model": model, "opt": opt, "schedule": schedule}, step, evaluate))
    weights.save(run.path("model.safetensors"), model)
    run.result(**{"train/blank-peak": max(run.logged("train/blank-share"))})
    language = Letters([targets[row] for row in rows], len(letters))
    with run.autocast():
        measure(run, model, d.test, letters, language, cfg.beam, cfg.language)
        if d.seen:
            run.result(**{"test/cer-seen": error_rate(model, d.seen, letters)})
    run.result(**{"test/cer-nothing": 1.0})  # of who reads nothing


CER = "test/cer"
SMALL = {"dataset": "tatoeba-eng-fra", "height": 16, "width": 8, "layers": 1, "batch": 32, "lr": 3e-3}
LAPTOP = SMALL | {"steps": 900, "eval_every": 100, "examples": 4000}
NUMBERS = {"dataset": BUILT_IN}
TINY = SMALL | NUMBERS | {"steps": 4, "eval_every": 2, "examples": 40, "tested": 8, "width": 2, "batch": 8, "beam": 2}
ALONE = {"seeds": 1, "judges": False, "variants": ("lstm",), "threads": 2}
LINES = {"dataset": "handwriting", "width": 24, "layers": 2, "batch": 32, "lr": 1e-3, "steps": 3000, "eval_every": 300}
DIAZ, PRACTICES = "Diaz et al. 2021, abstract", "Retsinas et al. 2024 (arXiv:2404.11339), sec. 3"

STUDY = Study(
    name="ocr-ctc",
    question="Can a network read lines without knowing where letters are, and what makes it read well?",
    paper=Paper(
        "Rethinking Text Line Recognition Models",
        "Diaz, Qin, Ingle, Fujii, Bissacco",
        2021,
        "https://arxiv.org/abs/2104.07787",
    ),
    config=Config,
    program=train,
    variants=(
        Variant("lstm", {"encoder": "lstm"}, "convolutions, a bidirectional LSTM, CTC"),
        Variant("transformer", {"encoder": "transformer"}, "as lstm, with self-attention"),
        Variant("no-encoder", {"encoder": "none"}, "as lstm, a frame sees its surroundings by convolutions alone"),
        Variant("column-max", {"encoder": "lstm", "fold": "max"}, "as lstm, a column's largest values"),
        Variant("shortcut", {"encoder": "lstm", "shortcut": True}, "as lstm, a second way to the loss"),
        Variant("squeezed", {"encoder": "lstm", "squeeze": True}, "as lstm, all lines pressed to one width"),
        Variant("quarter", {"encoder": "lstm", "share": 0.25}, "as lstm, from a quarter of the lines"),
        Variant("two-fonts", {"encoder": "lstm", "fonts": 2}, "as lstm, from two fonts in place of seven"),
        Variant("strings", {"encoder": "lstm", "task": "digits"}, "as lstm, strings of digits"),
    ),
    scales={
        "smoke": Scale(TINY, seeds=1, minutes=0.1, judges=False),
        "laptop": Scale(LAPTOP, seeds=(5, 8, 12, 20), minutes=9, offline=NUMBERS),
        "handwriting": Scale(LINES, minutes=60, **ALONE),
        "documents": Scale(LINES | {"split": "document"}, minutes=60, **ALONE),
        "paper": Scale({"steps": 100_000, "batch": 64, "eval_every": 2000, "log_every": 100}, seeds=3, minutes=2000),
    },
    claims={
        "an LSTM over the frames reads with fewer errors than convolutions alone": lower(
            "lstm", "no-encoder", DIAZ, of=CER
        ),
        "self-attention over the frames reads with fewer errors than convolutions alone": lower(
            "transformer", "no-encoder", DIAZ, of=CER
        ),
        "self-attention reads with fewer errors than an LSTM": lower("transformer", "lstm", DIAZ, of=CER, matters=0.02),
        "a model of letters in the search lowers the errors": lower(
            ("lstm", "test/cer-language"), ("lstm", "test/cer-beam"), DIAZ
        ),
        "a column's largest values read with fewer errors than its height folded into channels": lower(
            "column-max", "lstm", PRACTICES, of=CER, matters=0.02
        ),
        "a second way to the loss, around the encoder, lowers the errors": lower(
            "shortcut", "lstm", PRACTICES, of=CER, matters=0.02
        ),
        "lines in proportion are read with fewer errors than lines pressed to one width": lower(
            "lstm", "squeezed", PRACTICES, of=CER
        ),
        "before it reads, a network calls more than 95 % of all frames blank": between(
            "lstm", 0.95, math.inf, "no paper", of="train/blank-peak"
        ),
        "strings of digits are read with less than 5 % of errors": between(
            "strings", -math.inf, 0.05, "the goal", of=CER
        ),
        "four times the lines lower the errors": lower("lstm", "quarter", "no paper", of=CER),
        "seven fonts in place of two, for as many lines, lower the errors on unseen fonts": lower(
            "lstm", "two-fonts", "no paper", of=CER
        ),
    },
    words={
        CER: "character error rate",
        "test/wer": "word error rate",
        "test/cer-seen": "character error rate in known fonts",
        "test/cer-language": "character error rate, searched with a model of letters",
        "test/substituted": "letters taken for others",
        "test/deleted": "letters left out",
        "test/inserted": "letters too many",
        "train/blank-peak": "largest share of blank frames",
    },
    idea=ctc_loss,
    charts=(
        bars(CER, "test/cer-seen", title="Errors in fonts that were never seen, and in known ones"),
        curves("train/blank-share", CER, title="First all frames are blank, then letters come"),
        bars("test/cer-beam", "test/cer-language", title="What a model of letters adds to the search"),
        bars("test/substituted", "test/deleted", "test/inserted", title="Errors by kind"),
        pictures("errors.txt", title="Where it errs", variants=("lstm",)),
    ),
    origin="A8",
)
