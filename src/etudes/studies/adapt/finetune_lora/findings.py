"""What a run tells beside its errors, and the claims' own numbers."""

import copy
from collections.abc import Callable, Sequence

import torch
from safetensors.torch import save_file
from torch import Tensor

from etudes.core import Run
from etudes.core.files import appearing
from etudes.measure.memory import step_memory
from etudes.measure.size import count_parameters
from etudes.nn.lora import LowRankLinear, merge
from etudes.tools.text_to_text import TextToText

OUTSIDE = -1  # the class of an answer that names none


def read_answers(answers: Sequence[str], classes: Sequence[str]) -> list[int]:
    """The class that each answer names, letter by letter but for case and spaces around it; else OUTSIDE.

    >>> read_answers(["positive", " Neutral", "positively"], ["negative", "neutral", "positive"])
    [2, 1, -1]
    """
    places = {name.lower(): i for i, name in enumerate(classes)}
    return [places.get(answer.strip().lower(), OUTSIDE) for answer in answers]


def answer_scores(found: Sequence[int], labels: Sequence[int], classes: int) -> dict[str, float]:
    """`error`, the share of wrong answers; `macro-f1`, the mean over classes of 2 TP / (2 TP + FP + FN), 0 for a class
    that is neither there nor named; `outside`, the share of answers that name no class, which are errors."""
    pairs = list(zip(found, labels, strict=True))
    f1 = []
    for label in range(classes):
        hits = sum(a == label == b for a, b in pairs)
        wrong = sum((a == label) != (b == label) for a, b in pairs)
        f1.append(2 * hits / (2 * hits + wrong) if hits else 0.0)
    return {
        "error": sum(a != b for a, b in pairs) / len(pairs),
        "macro-f1": sum(f1) / classes,
        "outside": sum(a == OUTSIDE for a in found) / len(found),
    }


def trained_tensors(model: torch.nn.Module) -> dict[str, Tensor]:
    """{name: tensor} of what training changes."""
    return {name: p.detach().contiguous().cpu() for name, p in model.named_parameters() if p.requires_grad}


def measure_size(run: Run, model: TextToText, loss: Callable[[TextToText], Tensor]) -> None:
    """Write what was trained to `trained.safetensors`, and report its size, its share of the network's numbers, and
    what a step of Adam holds in fp32, in megabytes and by formula; `loss` is that of a batch."""
    path = run.path("trained.safetensors")
    with appearing(path) as draft:
        save_file(trained_tensors(model), draft)
    with torch.autocast(run.device.type, enabled=False):
        found = step_memory(model, lambda: loss(model))
    parts = {"file": path.stat().st_size, "step": found.total, "activations": found.activations}
    parts |= {"state": found.gradients + found.optimiser}
    run.result(**{f"train/megabytes-{name}": size / 1e6 for name, size in parts.items()})
    run.result(**{"train/trained-share": count_parameters(model) / sum(p.numel() for p in model.parameters())})


def measure_merged(run: Run, model: TextToText, write: Callable[[TextToText], list[str]]) -> None:
    """Report the share of answers that change when the low-rank changes are merged into the matrices."""
    if any(isinstance(layer, LowRankLinear) for layer in model.modules()):
        with run.autocast():
            before, after = write(model), write(merge(copy.deepcopy(model)))
        changed = sum(a != b for a, b in zip(before, after, strict=True))
        run.result(**{"validation/changed-by-merging": changed / len(before)})
