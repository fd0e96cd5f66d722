import json

import numpy
import pytest
import torch

from etudes.core.errors import Problem
from etudes.core.run import execute
from etudes.studies.generative.ddpm_sdedit import STUDY
from etudes.studies.generative.ddpm_sdedit.findings import draw_pictures


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """The folder of a short run on digits, and its result."""
    root = tmp_path_factory.mktemp("root")
    (spec,) = STUDY.plan("smoke", variants=["ddpm"], seeds=1)
    assert execute(STUDY, spec, root) == "done"
    return root / spec.key, json.loads((root / spec.key / "result.json").read_text())


class Seeds:
    """Of a run, what `draw_pictures` asks for."""

    def seed(self, stream, *index):
        return 100 * len(stream) + index[0]

    def autocast(self):
        return torch.autocast("cpu", enabled=False)


def test_pictures_are_drawn_in_parts_each_with_its_own_noise():
    x = torch.linspace(-1.5, 1.5, 600).reshape(600, 1, 1, 1)
    sizes, first = [], []

    def draw(x, generator):
        sizes.append(len(x))
        first.append(torch.rand(1, generator=generator).item())
        return x

    found = draw_pictures(Seeds(), "abc", x, draw)
    assert sizes == [250, 250, 100]
    assert first == [torch.rand(1, generator=torch.Generator().manual_seed(300 + i)).item() for i in range(3)]
    assert torch.allclose(found, ((x + 1) / 2).clamp(0, 1))


def test_an_edit_keeps_what_it_should_and_says_how_far_it_went(result):
    folder, found = result
    assert found["test/mask-change"] == 0
    far = [found[f"test/sdedit-l2-{percent}"] for percent in (20, 40, 60, 80)]
    assert found["test/sdedit-least-rise"] == pytest.approx(min(numpy.diff(far)))
    logged = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [(line["step"], line["test/sdedit-l2"]) for line in logged[-4:]] == list(
        zip((20, 40, 60, 80), far, strict=True)
    )


def test_the_sheets_show_pictures_and_keep_what_surrounds_a_hole(result):
    from PIL import Image

    folder, _ = result
    cell, gap = 48, 12  # pixels of a picture and between two, at 6 a pixel

    def cells(file, columns):
        pixels = numpy.asarray(Image.open(folder / file))
        rows = (pixels.shape[0] + gap) // (cell + gap)
        assert pixels.shape == (rows * (cell + gap) - gap, columns * (cell + gap) - gap)
        return [
            [pixels[r * 60 : r * 60 + cell : 6, c * 60 : c * 60 + cell : 6] for c in range(columns)]
            for r in range(rows)
        ]

    assert len(cells("samples.png", 8)) == 5  # 40 samples
    assert all(len(numpy.unique(guide)) <= 3 for _, guide, *_ in cells("edits.png", 6))
    outside = numpy.ones((8, 8), bool)
    outside[2:6, 2:6] = False
    for picture, *others in cells("redraws.png", 8):
        assert all((other[outside] == picture[outside]).all() for other in others)
        assert (others[0][~outside] == 128).all()


def test_numbers_of_the_data_and_of_noise_stand_beside_those_of_the_samples(result):
    _, found = result
    assert {"test/frechet-floor", "test/frechet-noise", "test/nearest-of-test", "test/confidence-of-test"} <= {*found}
    assert found["test/frechet-floor"] < found["test/frechet"]
    assert found["train/chain-error"] < 0.05


def test_a_class_that_is_not_there_is_told(tmp_path):
    (spec,) = STUDY.plan("smoke", variants=["ddpm"], seeds=1, only=10)
    with pytest.raises(Problem, match="only is 10; the classes of digits are 0 to 9"):
        execute(STUDY, spec, tmp_path)


def test_variants_differ_in_one_thing_each():
    configs = {spec.variant: spec.config for spec in STUDY.plan("laptop", seeds=1)}
    changed = {
        name: {field for field, value in config.items() if value != configs["ddpm"][field]}
        for name, config in configs.items()
    }
    one, other = {"process"}, {"predicts"}
    assert changed == {"ddpm": set(), "cosine": one, "data": other, "velocity": other, "blend": one}


def test_enough_pictures_for_the_features_of_the_laptop_scale():
    config = STUDY.config(**STUDY.plan("laptop")[0].config)
    assert config.samples >= 10 * 4 * config.classifier_width
    assert config.guides > 4 * config.classifier_width


def test_the_paper_scale_is_the_papers():
    config = STUDY.config(**STUDY.plan("paper", variants=["ddpm"])[0].config)
    assert (config.dataset, config.side, config.only, config.flips) == ("cifar10", 32, -1, True)
    assert (config.levels, config.process, config.predicts) == (1000, "linear", "noise")
    assert (config.width, config.stages, config.blocks, config.attend, config.dropout) == (128, 4, 2, 16, 0.1)
    assert (config.batch, config.lr, config.average, config.steps) == (128, 2e-4, 0.9999, 800_000)
