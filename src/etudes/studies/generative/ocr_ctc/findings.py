"""What a trained reader reads, where it errs, and what it says frame by frame."""

from collections.abc import Sequence

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

LEAST = -9.0  # the logarithm of a class's probability in a frame, below which a beam does not begin it
SHOWN = 24  # lines of the analysis


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


def spell(classes: Sequence[int], letters: str) -> str:
    return "".join(letters[c - 1] for c in classes)


def read_lines(logits: Sequence[Tensor], letters: str) -> list[str]:
    """Each line's text, greedily."""
    return [spell(greedy(each[None], torch.tensor([len(each)]))[0], letters) for each in logits]


def error_rate(model: Reader, lines: Lines, letters: str) -> float:
    """The character error rate of greedy reading."""
    return character_error_rate(read_lines(frame_logits(model, lines), letters), lines.texts)


def blank_share(logits: Sequence[Tensor]) -> float:
    """The share of frames whose likeliest class is the blank."""
    return torch.cat([each.argmax(-1) == 0 for each in logits]).double().mean().item()


def measure(run: Run, model: Reader, test: Lines, letters: str, language: Letters, width: int, weight: float) -> None:
    """Put into the result how the test lines are read, and save an analysis of the errors, worst lines first."""
    logits = frame_logits(model, test)
    read = read_lines(logits, letters)
    searched = [spell(beam(each, width, least=LEAST), letters) for each in logits]
    told = [spell(beam(each, width, language, weight, bonus=weight, least=LEAST), letters) for each in logits]
    run.result(
        **{
            "test/cer": character_error_rate(read, test.texts),
            "test/wer": word_error_rate(read, test.texts),
            "test/cer-beam": character_error_rate(searched, test.texts),
            "test/cer-language": character_error_rate(told, test.texts),
            "test/blank-share": blank_share(logits),
        }
        | {f"test/{kind}": share for kind, share in errors_by_kind(read, test.texts).items()}
    )
    with appearing(run.path("errors.txt")) as draft:
        draft.write_text(_analysis(read, told, test.texts), encoding="utf-8")


def _analysis(read: Sequence[str], told: Sequence[str], texts: Sequence[str]) -> str:
    """The commonest confusions, then lines with what was read of them, those with most errors first."""
    common = [f"{a or 'nothing'!s} read as {b or 'nothing'!s}: {n}" for (a, b), n in confusions(read, texts).items()]
    order = sorted(range(len(texts)), key=lambda i: -character_error_rate([read[i]], [texts[i]]))
    lines = [f"says  {texts[i]}\ngreedy {read[i]}\nmodel  {told[i]}\n" for i in order[:SHOWN]]
    return "Confusions\n" + "\n".join(common[:20]) + "\n\nLines with most errors\n" + "\n".join(lines)
