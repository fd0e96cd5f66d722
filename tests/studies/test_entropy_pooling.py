"""Scenes against naive pasting, places and overlaps against loops, the networks against published sizes."""

import numpy
import pytest
import torch

from etudes.core.errors import Problem
from etudes.core.run import Run
from etudes.measure.size import count_parameters
from etudes.nn.entropy_pooling import EntropyPooling
from etudes.nn.pooling import PooledClassifier
from etudes.studies.convnets.entropy_pooling import STUDY, warm_up
from etudes.studies.convnets.entropy_pooling.findings import (
    best_threshold,
    enlarge,
    look,
    measure,
    overlap,
    pointing,
    save_maps,
    weight_inside,
)
from etudes.studies.convnets.entropy_pooling.materials import materials
from etudes.studies.convnets.entropy_pooling.networks import Network, network, small_body
from etudes.studies.convnets.entropy_pooling.scenes import (
    Scenes,
    as_channels,
    background,
    box_masks,
    compose,
    crops,
    paste,
)


def rng(seed=0):
    return numpy.random.default_rng(seed)


def pictures(n=6, side=20, channels=1, low=1):
    return torch.from_numpy(rng(1).integers(low, 256, size=(n, channels, side, side))).to(torch.uint8)


def test_a_scene_has_its_object_where_the_mask_says_and_clutter_elsewhere():
    objects, y = pictures(5, 8, low=200), torch.arange(5)
    objects[:, :, 0] = 0  # transparent
    clutter = torch.full((4, 1, 20, 20), 7, dtype=torch.uint8)
    scenes = compose(objects, y, clutter, side=24, fragments=0, rng=rng())
    assert scenes.x.shape == (5, 1, 24, 24)
    for i in range(5):
        assert torch.equal(scenes.x[i, 0][scenes.masks[i]], objects[i, 0, 1:].flatten())
        assert (scenes.x[i, 0][~scenes.masks[i]] == 7).all()
    assert len({tuple(mask.nonzero()[0].tolist()) for mask in scenes.masks}) > 1  # in other places


def test_fragments_are_pieces_of_objects_and_lie_below_the_object():
    objects = torch.full((3, 1, 10, 10), 200, dtype=torch.uint8)
    clutter = torch.full((4, 1, 20, 20), 7, dtype=torch.uint8)
    scenes = compose(objects, torch.zeros(3), clutter, side=30, fragments=3, rng=rng())
    outside = (scenes.x[:, 0] == 200) & ~scenes.masks
    assert outside.any((1, 2)).all()
    assert (scenes.masks.sum((1, 2)) == 100).all()


def test_pasting_is_the_naive_loop():
    canvas, pieces = pictures(4, 12, 3), pictures(4, 5, 3)
    opaque = torch.from_numpy(rng(2).random((4, 5, 5)) < 0.5)
    top, left = torch.tensor([0, 7, 3, 2]), torch.tensor([7, 0, 4, 5])
    expected = canvas.clone()
    for i in range(4):
        for r in range(5):
            for c in range(5):
                if opaque[i, r, c]:
                    expected[i, :, top[i] + r, left[i] + c] = pieces[i, :, r, c]
    paste(canvas, pieces, top, left, opaque)
    assert torch.equal(canvas, expected)


def test_pieces_are_cut_from_the_pictures():
    own = torch.arange(400, dtype=torch.int64).view(1, 1, 20, 20).to(torch.uint8)
    for piece in crops(own, 10, 6, rng()):
        corner = int(piece[0, 0, 0])
        found = [
            (r, c)
            for r in range(15)
            for c in range(15)
            if int(own[0, 0, r, c]) == corner and torch.equal(own[0, :, r : r + 6, c : c + 6], piece)
        ]
        assert found
    assert background(pictures(3, 18), 5, 37, rng()).shape == (5, 1, 37, 37)
    colours = pictures(2, 4, 3)
    assert torch.equal(as_channels(colours, 1).long(), colours.float().mean(1, keepdim=True).round().long())


def test_what_does_not_fit_is_refused():
    with pytest.raises(Problem, match="does not fit in a scene of 24"):
        compose(pictures(2, 30), torch.zeros(2), pictures(2), 24, 0, rng())
    with pytest.raises(Problem, match="take smaller pieces"):
        crops(pictures(2, 5), 1, 6, rng())


def test_boxes_are_the_smallest_around_the_masks():
    masks = torch.from_numpy(rng(3).random((6, 9, 11)) < 0.05)
    masks[:, 4, 5] = True
    for mask, box in zip(masks, box_masks(masks), strict=True):
        rows, columns = mask.nonzero().T
        expected = torch.zeros_like(mask)
        expected[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
        assert torch.equal(box, expected)


def test_weight_inside_and_pointing_count_places_by_the_pixels_they_stand_for():
    boxes = torch.zeros(2, 8, 8, dtype=torch.bool)
    boxes[0, :4, :4], boxes[1, 4:, 2:8] = True, True  # places are 4x4 pixels
    weights = torch.tensor([[[0.7, 0.1], [0.1, 0.1]], [[0.4, 0.0], [0.2, 0.4]]])
    assert weight_inside(weights, boxes) == pytest.approx((0.7 + (0.2 * 0.5 + 0.4)) / 2)
    assert pointing(weights, boxes) == 0.5
    assert pointing(torch.tensor([[[0.7, 0.1], [0.1, 0.1]], [[0.0, 0.0], [0.9, 0.1]]]), boxes) == 1.0


def test_overlap_is_that_of_a_loop_over_pixels():
    maps = torch.from_numpy(rng(4).normal(size=(3, 8, 8))).float()
    masks = torch.from_numpy(rng(5).random((3, 8, 8)) < 0.3)
    expected = []
    for m, truth in zip(maps.tolist(), masks.tolist(), strict=True):
        low, high = min(map(min, m)), max(map(max, m))
        both = either = 0
        for r in range(8):
            for c in range(8):
                hit = (m[r][c] - low) / (high - low) >= 0.4
                both, either = both + (hit and truth[r][c]), either + (hit or truth[r][c])
        expected.append(both / either)
    assert overlap(maps, masks, 0.4) == pytest.approx(sum(expected) / 3)
    assert overlap(masks.float(), masks, best_threshold(masks.float(), masks)) == 1.0


def test_a_place_of_the_small_network_lies_amid_its_pixels():
    body = small_body(1, 4).eval()
    x = torch.rand(1, 1, 64, 64, requires_grad=True)
    body(x)[0, :, 8, 5].sum().backward()
    rows, columns = (x.grad[0, 0].abs() > 0).nonzero().T
    assert rows.float().mean().item() == pytest.approx(8 * 4 + 1.5, abs=1.0)
    assert columns.float().mean().item() == pytest.approx(5 * 4 + 1.5, abs=1.0)
    assert rows.max() - rows.min() <= 26


class Given(torch.nn.Module):
    """The first channels of a picture are its features."""

    def forward(self, x):
        return 20 * x


def test_a_network_that_is_sure_of_the_object_alone_is_found_to_look_there():
    head = EntropyPooling(3, 3, sharpness=50.0)
    torch.nn.init.eye_(head.classifier.weight)
    torch.nn.init.zeros_(head.classifier.bias)
    x = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    x[0, 1, 2, 3], x[1, 2, 0, 0] = 255, 255
    found = look(Network(Given(), head), x)
    assert found.predicted.tolist() == [1, 2]
    assert found.weights[0].argmax() == 2 * 4 + 3
    assert found.activation[1].argmax() == 0
    assert pointing(found.certain, x.amax(1) > 0) == 1.0
    warm_up(Network(Given(), head), False)
    assert torch.allclose(head.location_weights(torch.rand(1, 3, 4, 4)), torch.full((1, 4, 4), 1 / 16))


def test_maps_are_enlarged_to_their_range_and_kept_as_a_sheet(tmp_path):
    large = enlarge(torch.tensor([[[1.0, 3.0]], [[2.0, 2.0]]]), (4, 8))
    assert large.shape == (2, 4, 8)
    assert (large[0].min(), large[0].max(), large[1].max()) == (0, 1, 0)
    x = pictures(9, 6, 3)
    save_maps(tmp_path / "maps.png", Network(Given(), PooledClassifier(3, 4)), Scenes(x, torch.zeros(9)))
    from PIL import Image

    assert Image.open(tmp_path / "maps.png").size == (2 * (8 * 6 + 7 * 2), 2 * (3 * 6 + 2 * 2))


def test_average_pooling_has_no_map_of_weights_and_natural_pictures_have_no_places():
    model = Network(Given(), PooledClassifier(3, 4))
    x, y = pictures(12, 8, 3), torch.arange(12) % 4
    masks = torch.zeros(12, 8, 8, dtype=torch.bool)
    masks[:, 2:5, 1:3] = True
    found = measure(model, Scenes(x, y, masks), Scenes(x, y, masks))
    assert found["test/weight-inside"] == pytest.approx(6 / 64)
    assert found["test/overlap-everything"] == pytest.approx(6 / 64)
    assert {"test/overlap-cam", "test/pointing-cam"} <= found.keys()
    assert not {"test/overlap-weights", "test/pointing-weights"} & found.keys()
    assert measure(model, Scenes(x, y), Scenes(x, y)).keys() == {"validation/error-natural", "test/error-natural"}


def test_all_poolings_of_a_seed_have_the_same_scenes_and_its_parts_share_no_object(tmp_path):
    made = {}
    for name in ("average", "entropy"):
        spec = STUDY.plan("smoke", variants=[name], seeds=1)[0]
        (tmp_path / name).mkdir()
        made[name] = materials(STUDY.config(**spec.config), Run(spec, tmp_path / name))
    for part in ("train", "validation", "test"):
        one, other = (getattr(made[name], part) for name in made)
        assert torch.equal(one.x, other.x)
        assert torch.equal(one.masks, other.masks)
    m = made["average"]
    shown = [
        {scene[mask].numpy().tobytes() for scene, mask in zip(p.x[:, 0], p.masks, strict=True)}
        for p in (m.train, m.validation)
    ]
    assert not shown[0] & shown[1]
    assert len(m.train.x) == 60


def test_more_held_out_than_there_is_is_refused(tmp_path):
    spec = STUDY.plan("smoke", variants=["average"], seeds=1)[0]
    with pytest.raises(Problem, match="keep fewer back"):
        materials(STUDY.config(**spec.config | {"held_out": 10_000}), Run(spec, tmp_path))


def test_the_paper_scale_is_resnet_50_with_no_parameter_more():
    plan = {spec.variant: spec.config for spec in STUDY.plan("paper", seeds=1)}
    heads = {}
    for name, fields in plan.items():
        x = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
        with torch.device("meta"):  # no weight is drawn
            model = network(STUDY.config(**fields), x, 1000)
        heads[name] = type(model.head)
        assert count_parameters(model) == 25_557_032
    assert {PooledClassifier, EntropyPooling} <= {*heads.values()}
