import dataclasses

import pytest
import torch

from etudes.core.errors import Problem
from etudes.core.record import load
from etudes.core.run import execute
from etudes.losses import noisy
from etudes.measure.size import count_parameters
from etudes.nn.plain import plain_cnn
from etudes.studies.labels.symmetric_ce import STUDY, loss


def config(variant, scale="smoke", **changed):
    return dataclasses.replace(STUDY.config(**STUDY.plan(scale, variants=[variant])[0].config), **changed)


def performed(variant, root):
    """The record of a smoke run."""
    spec = STUDY.plan("smoke", variants=[variant])[0]
    execute(STUDY, spec, root)
    return load([spec], root)[0]


def test_each_variant_has_the_loss_of_its_name():
    z = torch.randn(20, 10, generator=torch.Generator().manual_seed(0))
    y = torch.arange(20) % 10
    expected = {
        "ce": torch.nn.functional.cross_entropy(z, y),
        "sce": 0.1 * torch.nn.functional.cross_entropy(z, y) + noisy.reverse_cross_entropy(z, y, -4),
        "gce": noisy.generalised_cross_entropy(z, y, 0.7),
        "rce": noisy.reverse_cross_entropy(z, y, -4),
    }
    for name, value in expected.items():
        for variant in (name, f"{name}-40"):
            assert loss(config(variant), z, y).item() == pytest.approx(value.item(), rel=1e-6)
    assert loss(config("ce"), z, y).equal(expected["ce"])  # beta = 0 is cross entropy to the bit
    assert loss(config("sce-40-clamped"), z, y).item() > 2 * expected["sce"].item()


def test_variants_have_the_wrong_labels_of_their_names():
    for variant in STUDY.variants:
        share = next((int(part) for part in variant.name.split("-") if part.isdigit()), 0)
        cfg = config(variant.name)
        assert round(100 * cfg.noise) == share
        assert (cfg.kind == "asymmetric") == ("alike" in variant.name)


def test_the_paper_scale_is_the_papers_network():
    cfg = config("sce-40", "paper")
    body = plain_cnn(3, 32, 10, cfg.blocks, cfg.convolutions, cfg.dense)
    assert count_parameters(body) == 1_639_794
    assert sum(isinstance(m, torch.nn.Conv2d | torch.nn.Linear) for m in body.modules()) == 8
    assert body(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert (cfg.alpha, cfg.beta, cfg.log_zero) == (0.1, 1.0, -4)
    assert cfg.steps == pytest.approx(120 * 49_000 / 128, rel=0.01)


def test_the_pulls_are_the_formula(tmp_path):
    record = performed("pull", tmp_path)
    p = torch.tensor(0.01, dtype=torch.float64)
    for name, weights in {"ce": (1, 0), "rce": (0, 1), "sce": (0.1, 1)}.items():
        assert record.metrics[f"train/pull-{name}"] == pytest.approx(noisy.pull(p, *weights).item(), rel=1e-4)
    assert record.metrics["train/pull-gce"] == pytest.approx(0.99 * 0.01**0.7, rel=1e-4)


def test_the_best_look_is_chosen_by_validation(tmp_path):
    record = performed("ce-40", tmp_path)
    looks = [line for line in record.log if "validation/error" in line]
    best = min(looks, key=lambda line: line["validation/error"])
    assert record.metrics["test/error-best"] == best["test/error"]
    assert record.metrics["test/error"] == looks[-1]["test/error"]
    assert record.metrics["test/error-easy"] == pytest.approx(sum(looks[-1][f"class-{rank}"] for rank in (1, 2, 3)) / 3)
    assert record.metrics["test/error-hard"] == pytest.approx(
        sum(looks[-1][f"class-{rank}"] for rank in (8, 9, 10)) / 3
    )
    assert record.metrics["train/wrong-labels"] == pytest.approx(0.4)


def test_what_does_not_fit_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(Problem, match="none of"):
        execute(STUDY, STUDY.plan("smoke", variants=["ce"], validation=5000)[0], tmp_path)
    with pytest.raises(Problem, match="clamped"):
        STUDY.plan("smoke", variants=["ce"], loss="squared")
