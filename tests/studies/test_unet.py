import json
from dataclasses import replace

import numpy
import pytest
import torch

from etudes.core.run import execute
from etudes.data.batches import Batches
from etudes.data.instances import components
from etudes.data.masks import masks
from etudes.studies.generative.unet import STUDY, network
from etudes.studies.generative.unet.examples import drawn_rows, on_dark_ground, prepare, prepare_classes, stretch
from etudes.studies.generative.unet.findings import baselines, nearest_colour, scores
from etudes.studies.generative.unet.idea import class_balance, training_weights, weight_map
from etudes.studies.generative.unet.windows import Windows, plainly, strongly


class Draws:
    """Of a run, what windows ask for."""

    def rng(self, stream, *index):
        return numpy.random.default_rng([len(stream), ord(stream[-1]), *index])


def two_cells():
    """A picture with two squares three pixels apart."""
    instances = torch.zeros(1, 15, 21, dtype=torch.int32)
    instances[0, 4:11, 2:9], instances[0, 4:11, 12:19] = 1, 2
    return instances


def test_the_weight_map_is_the_papers_by_a_loop():
    instances = two_cells()
    d = prepare("drawn-cells", "", False, 0, 0, 0)
    d = type(d)(**(vars(d) | {"y": (instances > 0).to(torch.uint8), "instances": instances}))
    found = training_weights(d, 10, 5)
    counts = [(instances == 0).sum().item(), (instances > 0).sum().item()]
    expected = torch.zeros(15, 21)
    for r in range(15):
        for c in range(21):
            inside = int(instances[0, r, c] > 0)
            expected[r, c] = sum(counts) / (2 * counts[inside])
            if not inside:
                far = []
                for number in (1, 2):
                    rows, columns = numpy.nonzero(instances[0].numpy() == number)
                    far.append(numpy.sqrt(((rows - r) ** 2 + (columns - c) ** 2).min()))
                expected[r, c] += 10 * numpy.exp(-(sum(far) ** 2) / 50)
    assert found.mean().item() == pytest.approx(1, abs=1e-5)
    assert torch.allclose(found[0], expected / expected.mean(), atol=1e-4)
    assert found[0, 7, 10] == found.max()  # between the two


def test_classes_weigh_the_same_together():
    y = torch.tensor([[[0, 0, 0, 1], [0, 0, 2, 2]]])
    balance = class_balance(y, 3)
    assert [balance[y == k].sum().item() for k in range(3)] == pytest.approx([8 / 3] * 3)
    assert torch.isinf(torch.tensor(torch.inf))
    assert weight_map(torch.tensor(torch.inf), torch.tensor(1.0), torch.tensor(0.7), 10, 5) == pytest.approx(0.7)


def test_touching_cells_are_parted_in_the_truth_and_classes_merged():
    d = prepare("drawn-cells", "", False, 0, 32, 48)
    whole = masks("drawn-cells")
    assert (d.x.shape[-1], d.test_x.shape[-1], d.classes) == (32, 48, ("background", "object"))
    assert set(d.y.unique().tolist()) == {0, 1}
    lost = (whole.y[:, 16:48, 16:48] > 0) & (d.y == 0)
    assert torch.equal(d.y > 0, d.instances > 0)
    assert 0 < lost.double().mean() < 0.1
    for truth, cells in zip(d.test_y.numpy(), d.test_instances.numpy(), strict=True):
        parts = components(truth)
        assert all(len(numpy.unique(cells[parts == k])) == 1 for k in range(1, parts.max() + 1))
    several = prepare_classes("drawn-cells", 32)
    assert several.instances is None
    assert several.classes == ("background", "healthy", "tumour")


def test_every_picture_has_its_own_range_of_light():
    x = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    both = stretch(torch.cat([x // 8, x]))
    assert both.flatten(1).amin(1).tolist() == [0, 0]
    assert both.flatten(1).amax(1).tolist() == [255, 255]
    assert (both[0].int() - both[1].int()).abs().max() <= 10
    assert (stretch(torch.full((1, 1, 4, 4), 9, dtype=torch.uint8)) == 0).all()


def test_pictures_on_a_light_ground_are_left_out_with_all_that_belongs_to_them():
    d = prepare("drawn-cells", "", False, 0, 0, 0)
    x = d.x.clone()
    x[3:7] = 255 - x[3:7]
    light = torch.tensor([(picture.double().median() >= 128).item() for picture in x])
    kept = on_dark_ground(replace(d, x=x))
    assert light[3:7].all()
    assert torch.equal(kept.x, x[~light])
    assert torch.equal(kept.y, d.y[~light])
    assert torch.equal(kept.instances, d.instances[~light])
    assert kept.groups == tuple(name for name, no in zip(d.groups, light.tolist(), strict=True) if not no)
    assert len(kept.test_x) == len(kept.test_y) == len(kept.test_instances) == len(kept.test_groups)


def test_more_examples_hold_those_of_fewer_and_none_is_held_out_for_validation():
    found = [drawn_rows(50, 10, n, numpy.random.default_rng(0)) for n in (8, 30, 0)]
    held = set(found[0][0].tolist())
    assert len(held) == 10
    sets = [set(rows.tolist()) for _, rows in found]
    assert sets[0] < sets[1] < sets[2] == set(range(50)) - held


def windows(margin=0, side=6, n=3, size=20):
    x = torch.arange(n * size * size).reshape(n, 1, size, size) % 251
    y = (x[:, 0] % 2).to(torch.uint8)
    return x.to(torch.uint8), y, Windows.of(x.to(torch.uint8), y, x[:, 0].float(), Batches(n, n, 0), side, margin)


@pytest.mark.parametrize("margin", [0, 4])
def test_a_window_is_a_piece_of_a_picture_with_its_own_truth(margin):
    pictures, _, shown = windows(margin)
    x, y, weights = shown.at(Draws(), 2, plainly(False, 0))
    assert (x.shape, y.shape) == ((3, 1, 6 + margin, 6 + margin), (3, 6, 6))
    inner = (x * 255).round().long()[:, 0, margin // 2 : margin // 2 + 6, margin // 2 : margin // 2 + 6]
    assert torch.equal(inner % 2, y.long())
    assert torch.equal(inner, weights.long())
    rows = shown.batches.at(2)
    tops, lefts = (Draws().rng(way, 2).integers(0, 15, 3) for way in ("top", "left"))
    for i, row in enumerate(rows.tolist()):
        assert torch.equal(inner[i], pictures[row, 0, tops[i] : tops[i] + 6, lefts[i] : lefts[i] + 6].long())


@pytest.mark.parametrize("change", [plainly(True, 0), plainly(True, 2.0), strongly])
def test_changes_move_picture_truth_and_weights_together(change):
    x = torch.zeros(8, 3, 24, 24)
    x[:, :, 4:14, 6:20] = 0.6
    x = x.contiguous(memory_format=torch.channels_last)
    y = (x[:, 0] > 0.5).to(torch.uint8)
    changed, truth, weights = change(x.clone(), y.clone(), 1 + y.float(), Draws(), 0)
    assert changed.shape == x.shape
    assert torch.equal(weights, 1 + truth.float())
    assert not torch.equal(truth, y)
    light = changed.mean(1)
    assert (light[truth == 1].mean() - light[truth == 0].mean()) > 0.3
    wrong = (light > 0.3) != (truth == 1)
    assert wrong.double().mean() < 0.1
    again = change(x.clone(), y.clone(), 1 + y.float(), Draws(), 0)
    assert torch.equal(again[0], changed)


def test_the_truth_itself_has_no_error():
    d = prepare("drawn-cells", "", False, 0, 0, 0)
    found = scores(d.test_y, d)
    assert [found[f"test/{name}"] for name in ("iou", "dice", "dice-whole", "accuracy")] == [1, 1, 1, 1]
    assert [found[f"test/{name}"] for name in ("border-error", "merged", "missed")] == [0, 0, 0]
    assert found["test/split"] < 0.01  # a ridge may cut a sliver of a cell in two
    nothing = scores(torch.zeros_like(d.test_y), d)
    assert (nothing["test/iou"], nothing["test/missed"]) == (0, 1)
    assert nothing["test/accuracy"] == pytest.approx(baselines(d)["test/accuracy-background"])
    assert 0.3 < baselines(d)["test/iou-no-network"] < 1


def test_the_nearest_colour_is_that_of_the_class():
    d = prepare_classes("drawn-cells", 0)
    grey = [d.x.double()[:, 0][d.y == k].mean().item() for k in range(3)]
    found = nearest_colour(d, d.test_x[:2])
    distances = torch.stack([(d.test_x[:2, 0].double() - g).abs() for g in grey])
    assert torch.equal(found.long(), distances.argmin(0))


def test_a_run_leaves_its_overlays_and_its_numbers(tmp_path):
    (spec,) = STUDY.plan("smoke", variants=["classes"], held_out=5)
    assert execute(STUDY, spec, tmp_path) == "done"
    found = json.loads((tmp_path / spec.key / "result.json").read_text())
    names = {f"test/class-{name}" for name in ("iou", "iou-1", "iou-2", "iou-no-network", "border-error")}
    assert names | {"test/shift-iou", "validation/iou"} <= {*found}
    assert "test/iou" not in found
    assert (tmp_path / spec.key / "overlay.png").stat().st_size > 0


def test_variants_differ_in_one_thing_each():
    configs = {spec.variant: spec.config for spec in STUDY.plan("laptop", seeds=1)}

    def changed(name, base):
        return {field for field, value in configs[name].items() if value != configs[base][field]}

    assert changed("no-skips", "unet") == {"skips"}
    assert changed("no-weights", "unet") == {"weighting"}
    assert changed("classes", "no-weights") == {"several"}
    assert changed("classes-no-elastic", "classes") == {"elastic"}
    assert changed("classes-5", "classes") == {"examples"}
    assert changed("classes-no-elastic-5", "classes-5") == {"elastic"}
    assert changed("classes-flips-5", "classes-no-elastic-5") == {"flips"}
    assert all(changed(f"classes-{loss}", "classes") == {"loss"} for loss in ("dice", "dice-batch", "both"))
    assert changed("classes-nnunet", "classes") == {"recipe"}


def test_the_paper_scale_is_the_papers():
    config = STUDY.config(**STUDY.plan("paper", variants=["unet"])[0].config)
    assert (config.dataset, config.side, config.window, config.batch) == ("membrane", 512, 388, 1)
    assert (config.padding, config.skips, config.norm, config.dropout) == ("valid", True, "none", 0.5)
    assert (config.elastic, config.pixels, config.weighting, config.w0, config.sigma) == (True, 10, "map", 10, 5)
    assert (config.optimiser, config.loss, config.recipe) == ("momentum", "cross-entropy", "plain")
    with torch.device("cpu"):
        small = STUDY.config(**(vars(config) | {"width": 2}))
        model = network(small, prepare("drawn-cells", "", False, 0, 0, 0))
    assert (model.margin, model.fits(388)) == (184, 388)
