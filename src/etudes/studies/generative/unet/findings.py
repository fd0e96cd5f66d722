"""What a trained network gets right: overlap by class, borders, objects, another stain; and what no network would."""

import math

import torch
from torch import Tensor

from etudes.core import Run
from etudes.data.masks import Masks
from etudes.exhibits.overlay import save_comparisons
from etudes.measure import masks as measure

BAND = 2  # pixels to each side of a border that count as near


def overlap(predicted: Tensor, truth: Tensor, classes: tuple[str, ...], prefix: str = "test/") -> dict[str, float]:
    """IoU over all pixels and Dice by picture, means over the classes but the background; of more than two
    classes also the IoU of each, by its number."""
    each = measure.confusions(predicted, truth, len(classes))
    whole = each.sum(0)
    by_picture = measure.dice(each)[:, 1:].nanmean(0)
    found = {
        f"{prefix}iou": measure.mean(measure.iou(whole)[1:]),
        f"{prefix}dice": measure.mean(by_picture),
        f"{prefix}dice-whole": measure.mean(measure.dice(whole)[1:]),
        f"{prefix}accuracy": measure.accuracy(whole),
    }
    if len(classes) > 2:
        found |= {f"{prefix}iou-{k}": score for k, score in enumerate(measure.iou(whole).tolist()) if k}
    return found


def scores(predicted: Tensor, d: Masks) -> dict[str, float]:
    """All numbers of the predicted classes [n, h, w] of the test pictures."""
    found = overlap(predicted, d.test_y, d.classes)
    found["test/border-error"] = measure.border_error(predicted, d.test_y, BAND)
    if d.test_instances is not None:
        objects = d.test_instances.cpu().numpy()
        errors = measure.object_errors(list(predicted.cpu().numpy()), list(objects))
        found |= {f"test/{name}": share for name, share in errors.items()}
        rand = [
            measure.rand_error(*pair) for pair in zip(predicted.cpu().numpy(), objects, strict=True) if pair[1].any()
        ]
        found["test/rand-error"] = sum(rand) / max(1, len(rand))
    return found


def baselines(d: Masks) -> dict[str, float]:
    """The accuracy of whoever says background everywhere; the IoU of whoever looks at a pixel's own value alone.

    Of grey pictures of two classes that is Otsu's threshold of each picture; else the class whose mean colour over the
    training pictures is nearest.
    """
    x, y = d.test_x, d.test_y
    if d.x.shape[1] == 1 and len(d.classes) == 2:
        limits = torch.tensor([measure.otsu(picture.cpu().numpy()) for picture in x], device=x.device)
        guess = (x[:, 0] > limits[:, None, None]).to(torch.uint8)
    else:
        guess = nearest_colour(d, x)
    return {
        "test/accuracy-background": (y == 0).double().mean().item(),
        "test/iou-no-network": overlap(guess, y, d.classes)["test/iou"],
    }


def nearest_colour(d: Masks, x: Tensor) -> Tensor:
    """The class uint8 [n, h, w] whose mean colour over the training pictures is nearest to each pixel's of x."""
    pixels = d.x.movedim(1, -1)
    means = [pixels[d.y == k].double().mean(0) if (d.y == k).any() else None for k in range(len(d.classes))]
    far = [
        x.new_full((len(x), *x.shape[-2:]), math.inf, dtype=torch.float64) if mean is None
        else (x.double() - mean[:, None, None]).square().sum(1)
        for mean in means
    ]  # fmt: skip
    return torch.stack(far, 1).argmin(1).to(torch.uint8)


def of_classes(numbers: dict[str, float]) -> dict[str, float]:
    """The numbers of a set of several classes under names of their own: they are means over its classes."""
    return {name.replace("test/", "test/class-").replace("class-shift", "shift"): x for name, x in numbers.items()}


def show(run: Run, predicted: Tensor, d: Masks, count: int = 4) -> None:
    """Save the first test pictures with the truth and the prediction over them, and as masks below."""
    x = d.test_x[:count].permute(0, 2, 3, 1)
    parts = [list(part[:count].cpu().numpy()) for part in (x, d.test_y, predicted)]
    save_comparisons(run.path("overlay.png"), *parts, scale=max(1, 128 // x.shape[1]))
