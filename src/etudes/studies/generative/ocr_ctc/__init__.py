"""ocr-ctc: lines of text are read without knowing where their letters are.

A network gives odds over letters and a blank for each frame of a line. A path, a class a frame, says a text once equal
neighbours are joined and blanks left out, and the loss is

    -log p(text | line),  p = the sum over all paths that say the text     (Graves et al. 2006, eq. 14).

Convolutions halve the line's height three times; what is left of it is folded into channels; an LSTM or a transformer
sees the frames in both directions (Diaz et al. 2021 compare them).

    etudes run ocr-ctc                        6 minutes on two cores, 9 variants, 5 seeds (to 20 with --until decided)
    etudes run ocr-ctc --scale lines          longer lines in print, two variants: 10 minutes
    etudes run ocr-ctc --scale handwriting    French handwriting, from an eighth to all of it: an hour

Departures from the papers at laptop scale: printed words of up to 8 letters from a to z, 16 pixels high, one layer of
an encoder, and no pretraining. The test lines are in fonts that no training line has.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

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
from etudes.studies.generative.ocr_ctc.findings import error_rate, ink, measure, share_of_blanks
from etudes.studies.generative.ocr_ctc.language import Letters
from etudes.studies.generative.ocr_ctc.reader import Encoder, Reader, Stride, classes_of, ctc_loss, frames_of, slant
from etudes.studies.generative.ocr_ctc.texts import FONTS, UNSEEN, drawn_texts, plain_sentences
from etudes.train import Adam, adam, descend, fitted, seeded, weights

CLIP = 5.0  # norm of the gradient, to which a larger one is scaled down


@dataclass(frozen=True)
class Config(Adam):
    task: Literal["lines", "digits"] = "lines"  # lines of a set, or strings of digits
    dataset: str = "iam"  # handwriting, or sentences that are drawn in fonts, as listed by `etudes data`
    split: Literal["page", "document"] = "page"  # how handwriting is held out; document: hardly a hand recurs
    digits: str = "digits"  # pictures of digits, for strings of them
    style: Literal["print", "hand"] = "print"  # of fonts
    fonts: Annotated[int, at_least(1)] = 10  # to learn from, at most; there are ten of print and seven like hands
    letters: Annotated[int, at_least(3)] = 12  # of a drawn line, at most
    height: Annotated[int, at_least(8)] = 40  # pixels of a line, a multiple of 8
    longest: Annotated[int, at_least(8)] = 128  # pixels of a line in fonts, at most
    squeeze: bool = False  # every line in fonts is brought to the longest width, whatever becomes of its letters
    examples: Annotated[int, at_least(16)] = 3000  # training lines that are drawn; of handwriting all are taken
    share: Annotated[float, within(0.01, 1)] = 1.0  # of the training lines that are learnt from
    tested: Annotated[int, at_least(8)] = 300  # test lines that are drawn, and as many in fonts that are known
    warp: Annotated[float, within(0, 1)] = 0.0  # training lines lean by up to so many pixels across a pixel up
    encoder: Encoder = "transformer"  # over the frames
    stride: Stride = 4  # pixels across of a frame
    layers: Annotated[int, at_least(1)] = 4  # of the encoder
    width: Annotated[int, at_least(1)] = 64  # channels of the first convolution; the encoder has 8 times as many
    fold: Literal["stack", "max"] = "stack"  # the height that is left: into channels, or the largest of a column
    shortcut: bool = False  # a second way to the loss, around the encoder
    beam: Annotated[int, at_least(1)] = 8  # prefixes of the search
    language: Annotated[float, at_least(0)] = 0.4  # weight of the letters' model in it
    bonus: Annotated[float, at_least(0)] = 1.0  # what a letter adds to a text's score, as each lowers its probability


@dataclass(frozen=True, eq=False)
class Material:
    """What is learnt from, tested on, and tested on in known fonts (None: there are none)."""

    train: Lines
    test: Lines
    seen: Lines | None
    note: dict[str, str]


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
        texts = {p: [str(number) for number in run.rng(f"texts {p}").integers(10, 10**8, n)] for p, n in counts.items()}
        known, unseen, says = (BUILT_IN,), (BUILT_IN,), "numbers in the font that Pillow brings"
    else:
        sentences = pairs(cfg.dataset)
        plain = {part: plain_sentences([french for _, french in getattr(sentences, part)]) for part in counts}
        texts = {part: drawn_texts(run.rng(f"texts {part}"), plain[part], n, cfg.letters) for part, n in counts.items()}
        known, unseen = FONTS[cfg.style][: cfg.fonts], UNSEEN[cfg.style]
        says = f"French of {cfg.dataset}, a to z, in {len(known)} fonts; tested in {len(unseen)} others"
    shape = (cfg.height, cfg.longest)
    train = font_lines(texts["train"], known, *shape, run.rng("ink train"), cfg.squeeze)
    test = font_lines(texts["test"], unseen, *shape, run.rng("ink test"), cfg.squeeze)
    seen = font_lines(texts["test"], known, *shape, run.rng("ink seen"), cfg.squeeze)
    return Material(train, test, seen, {"dataset": f"font-lines {cfg.dataset}", "kind": "drawn", "says": says})


def train(cfg: Config, run: Run) -> None:
    d = material(cfg, run)
    run.note(data=d.note)
    letters = d.train.letters
    targets = classes_of(d.train.texts, letters)
    frames = frames_of(d.train.widths, cfg.stride).tolist()
    fits = [i for i, target in enumerate(targets) if 0 < frames_needed(target.tolist()) <= frames[i]]
    order = run.rng("share").permutation(len(fits))[: max(1, round(cfg.share * len(fits)))]
    rows = torch.tensor([fits[i] for i in order])
    if len(rows) < cfg.batch:
        raise Problem(
            f"ocr-ctc: {len(rows)} lines fit their frames, fewer than a batch of {cfg.batch}; take a smaller one"
        )
    shape = (cfg.height, len(letters) + 1, cfg.width, cfg.encoder, cfg.layers, cfg.fold, cfg.shortcut, cfg.stride)
    model = seeded(run, "init", lambda: Reader(*shape))
    opt, schedule = adam(model, cfg, (0.9, 0.99))
    batches = Batches(len(rows), cfg.batch, run.seed("order"))

    def step(i: int) -> dict[str, Tensor]:
        chosen = rows[batches.at(i)]
        x = ink(d.train, chosen)
        if cfg.warp:
            lean, tall = run.rng("warp", i).uniform((-cfg.warp, 0.85), (cfg.warp, 1.1), (len(x), 2)).T
            x = slant(x, *(torch.from_numpy(each).float() for each in (lean, tall)))
        features, frames = model.features(x.to(run.device), d.train.widths[chosen].to(run.device))
        logits, wanted = model.read(features, frames), [targets[row] for row in chosen]
        loss = ctc_loss(logits, frames, wanted)
        total, around = loss, model.shortcut(features)
        if around is not None:
            total = loss + 0.1 * ctc_loss(around, frames, wanted)
        descend(total, opt, schedule, clip=CLIP)
        return {"train/loss": loss.detach(), "train/blank-share": share_of_blanks(logits.detach(), frames)}

    def evaluate() -> dict[str, float]:
        return {"test/cer": error_rate(model, d.test, letters)}

    run.result(**fitted(run, cfg, {"model": model, "opt": opt, "schedule": schedule}, step, evaluate))
    weights.save(run.path("model.safetensors"), model)
    run.result(**{"train/blank-peak": max(run.logged("train/blank-share"))})
    language = Letters([targets[row].tolist() for row in rows], len(letters))
    with run.autocast():
        measure(run, model, d.test, letters, language, (cfg.beam, cfg.language, cfg.bonus))
        if d.seen:
            run.result(**{"test/cer-seen": error_rate(model, d.seen, letters)})
    run.result(**{"test/cer-nothing": 1.0})  # of who reads nothing


CER = "test/cer"
SMALL = {
    "schedule": "warmup",
    "dataset": "tatoeba-eng-fra",
    "height": 16,
    "longest": 96,
    "width": 12,
    "layers": 1,
    "batch": 16,
    "lr": 1e-2,
}
LAPTOP = SMALL | {"steps": 600, "eval_every": 150, "letters": 8, "examples": 2500, "tested": 200}
NUMBERS = {"dataset": BUILT_IN}
TINY = SMALL | NUMBERS | {"steps": 4, "eval_every": 2, "examples": 40, "tested": 8, "width": 2, "batch": 4, "beam": 2}
LARGE = {"schedule": "warmup", "layers": 2, "width": 16, "eval_every": 500}
LINES = {"height": 32, "longest": 256, "letters": 16, "examples": 12_000, "batch": 32, "lr": 5e-3, "steps": 2000}
HANDS = LARGE | {"dataset": "handwriting", "batch": 16, "lr": 3e-3, "steps": 6000, "warp": 0.3}
PAPER = {"steps": 100_000, "batch": 64, "eval_every": 2000, "log_every": 100}
CURVE = ("eighth", "quarter", "half", "lstm")
FAST = ("lstm", "transformer", "no-encoder", "column-max", "shortcut", "squeezed", "quarter", "two-fonts", "strings")
MATTERS = 0.02  # a letter in fifty
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
        Variant("eighth", {"encoder": "lstm", "share": 0.125}, "as lstm, from an eighth of the lines"),
        Variant("quarter", {"encoder": "lstm", "share": 0.25}, "as lstm, from a quarter of the lines"),
        Variant("half", {"encoder": "lstm", "share": 0.5}, "as lstm, from half of the lines"),
        Variant("two-fonts", {"encoder": "lstm", "fonts": 2}, "as lstm, from two fonts in place of ten"),
        Variant("strings", {"encoder": "lstm", "task": "digits"}, "as lstm, strings of digits"),
    ),
    scales={
        "smoke": Scale(TINY, seeds=1, minutes=0.1, judges=False),
        "laptop": Scale(LAPTOP, seeds=(5, 8, 12, 20), minutes=6, offline=NUMBERS, variants=FAST),
        "lines": Scale(SMALL | LARGE | LINES, 1, 10, judges=False, variants=("lstm", "transformer")),
        "handwriting": Scale(HANDS, 1, 60, judges=False, variants=CURVE, threads=2),
        "documents": Scale(HANDS | {"split": "document"}, 1, 60, judges=False, variants=CURVE, threads=2),
        "paper": Scale(PAPER, seeds=3, minutes=2000, offline={"dataset": "handwriting"}),
    },
    claims={
        "an LSTM over the frames reads with fewer errors than convolutions alone": lower(
            "lstm", "no-encoder", DIAZ, of=CER, matters=MATTERS
        ),
        "self-attention over the frames reads with fewer errors than convolutions alone": lower(
            "transformer", "no-encoder", DIAZ, of=CER, matters=MATTERS
        ),
        "self-attention reads with fewer errors than an LSTM": lower(
            "transformer", "lstm", DIAZ, of=CER, matters=MATTERS
        ),
        "a model of letters in the search lowers the errors": lower(
            ("lstm", "test/cer-language"), ("lstm", "test/cer-beam"), DIAZ
        ),
        "a column's largest values read with fewer errors than its height folded into channels": lower(
            "column-max", "lstm", PRACTICES, of=CER, matters=MATTERS
        ),
        "a second way to the loss, around the encoder, lowers the errors": lower(
            "shortcut", "lstm", PRACTICES, of=CER, matters=MATTERS
        ),
        "lines in proportion are read with fewer errors than lines pressed to one width": lower(
            "lstm", "squeezed", PRACTICES, of=CER, matters=MATTERS
        ),
        "strings of digits are read with a character error rate below 5 %": between(
            "strings", -math.inf, 0.05, "no paper", of=CER
        ),
        "from four times as many lines a network learns to read with fewer errors": lower(
            "lstm", "quarter", "no paper", of=CER
        ),
        "from lines in ten fonts a network learns to read unseen fonts better than from as many in two": lower(
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
        pictures(
            "alignment.png",
            title="What is said of each frame",
            says="Five test lines, and the five with most errors. Below each frame stands its likeliest letter; "
            "a dot is the blank, a low line a space.",
            variants=("lstm",),
        ),
        pictures("errors.txt", title="Which letters are confused, and the lines with most errors", variants=("lstm",)),
    ),
    origin="A8",
)
