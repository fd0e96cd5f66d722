"""What a trained reader reads, where it errs, and what it says frame by frame."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from etudes.core import Run
from etudes.core.files import appearing
from etudes.data.lines import Lines
from etudes.generate.ctc import beam, greedy
from etudes.measure.edits import character_error_rate, confusions, errors_by_kind, word_error_rate
from etudes.measure.error import evaluation_mode
from etudes.studies.generative.ocr_ctc.language import Letters
from etudes.studies.generative.ocr_ctc.reader import Reader

if TYPE_CHECKING:
    from PIL import Image

LEAST = -6.0  # the logarithm of a class's probability in a frame, below which a beam does not begin it
SHOWN = 24  # lines of the analysis
ZOOM = 5  # times as large as a line is seen, it is shown in the alignment


def ink(lines: Lines, rows: Tensor) -> Tensor:
    """Pictures float32 [n, 1, h, w] of these rows, 0 for paper and 1 for black, cut to the widest of them."""
    widest = int(lines.widths[rows].max())
    return 1 - lines.x[rows][..., :widest].float() / 255


def frame_logits(model: Reader, lines: Lines, batch: int = 100) -> list[Tensor]:
    """For each line its logits [frames, classes]."""
    found: list[Tensor] = []
    device = next(model.parameters()).device
    with evaluation_mode(model):
        for rows in torch.arange(len(lines)).split(batch):
            logits, frames = model(ink(lines, rows).to(device), lines.widths[rows].to(device))
            found += [each[:n].float().cpu() for each, n in zip(logits, frames.tolist(), strict=True)]
    return found


def frames_read(logits: Tensor, letters: str) -> list[tuple[str, float]]:
    """Of each frame of logits [t, classes] its likeliest letter, "" for the blank, with its probability."""
    odds, classes = logits.float().softmax(-1).max(-1)
    return [(letters[c - 1] if c else "", p) for c, p in zip(classes.tolist(), odds.tolist(), strict=True)]


def spell(classes: Sequence[int], letters: str) -> str:
    return "".join(letters[c - 1] for c in classes)


def read_lines(logits: Sequence[Tensor], letters: str) -> list[str]:
    """Each line's text, greedily."""
    return [spell(greedy(each[None], torch.tensor([len(each)]))[0], letters) for each in logits]


def error_rate(model: Reader, lines: Lines, letters: str) -> float:
    """The character error rate of greedy reading."""
    return character_error_rate(read_lines(frame_logits(model, lines), letters), lines.texts)


def share_of_blanks(logits: Tensor, frames: Tensor) -> Tensor:
    """The share of the frames that count, of logits [n, t, classes], whose likeliest class is the blank."""
    counts = torch.arange(logits.shape[1], device=logits.device) < frames[:, None]
    return (logits.argmax(-1) == 0)[counts].float().mean()


def measure(
    run: Run, model: Reader, test: Lines, letters: str, language: Letters, search: tuple[int, float, float]
) -> None:
    """Put into the result how the test lines are read, and save an analysis of the errors, worst lines first."""
    width, weight, bonus = search
    logits = frame_logits(model, test)
    read = read_lines(logits, letters)
    searched = [spell(beam(each, width, least=LEAST), letters) for each in logits]
    modelled = [spell(beam(each, width, language, weight, bonus, LEAST), letters) for each in logits]
    run.result(
        **{
            "test/cer": character_error_rate(read, test.texts),
            "test/wer": word_error_rate(read, test.texts),
            "test/cer-beam": character_error_rate(searched, test.texts),
            "test/cer-language": character_error_rate(modelled, test.texts),
        }
        | {f"test/{kind}": share for kind, share in errors_by_kind(read, test.texts).items()}
    )
    order = sorted(range(len(test)), key=lambda i: -character_error_rate([read[i]], [test.texts[i]]))
    with appearing(run.path("errors.txt")) as draft:
        draft.write_text(_analysis(read, modelled, test.texts, order), encoding="utf-8")
    with appearing(run.path("letters.txt")) as draft:
        draft.write_text(letters, encoding="utf-8")
    rows = [*range(min(5, len(test))), *order[:5]]
    with appearing(run.path("alignment.png")) as draft:
        alignment(test.take(rows), [logits[row] for row in rows], letters).save(draft, "png", optimize=True)


def _analysis(read: Sequence[str], searched: Sequence[str], texts: Sequence[str], order: Sequence[int]) -> str:
    """The commonest confusions as a table, then lines with what was read of them in an order."""
    names = {"": "nothing", " ": "space"}
    pairs = ((names.get(a, a), names.get(b, b), n) for (a, b), n in confusions(read, texts).items())
    common = [f"{a:10}{b:10}{n:5}" for a, b, n in pairs]
    lines = [f"{texts[i]:14}{read[i]:14}{searched[i]}" for i in order[:SHOWN]]
    head = f"{'says':14}{'greedily':14}with a model of letters"
    return "\n".join(["stands    read as   times", *common[:20], "", "Lines with most errors", head, *lines]) + "\n"


def alignment(lines: Lines, logits: Sequence[Tensor], letters: str) -> "Image.Image":
    """Each line enlarged, below each of its frames the likeliest letter (a dot for the blank, paler the less sure it
    is), and beside it what it says and what is read."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(13)
    height, wide = lines.x.shape[2] * ZOOM, int(lines.widths.max()) * ZOOM
    sheet = Image.new("L", (wide + 180, (height + 34) * len(lines)), 255)
    pen = ImageDraw.Draw(sheet)
    for i, (each, width) in enumerate(zip(logits, lines.widths.tolist(), strict=True)):
        top = i * (height + 34)
        picture = Image.fromarray(lines.x[i, 0, :, :width].numpy())
        sheet.paste(picture.resize((width * ZOOM, height), Image.Resampling.NEAREST), (0, top))
        across = width * ZOOM / len(each)
        for t, (letter, odds) in enumerate(frames_read(each, letters)):
            shown = {"": "·", " ": "_"}.get(letter, letter)
            pen.text(((t + 0.5) * across, top + height + 12), shown, int(200 * (1 - odds)), font, anchor="mm")
        words = f"says: {lines.texts[i]}\nread: {read_lines([each], letters)[0]}"
        pen.multiline_text((wide + 12, top + height / 2), words, 0, font, anchor="lm")
    return sheet
