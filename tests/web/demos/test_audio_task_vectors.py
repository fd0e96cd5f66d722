"""The sliders: coefficients of zero are the base, vectors act on their own tasks, and the page follows the sliders."""

import time

import pytest
import torch
from PIL import Image
from safetensors import safe_open

from etudes.web.demos import audio_task_vectors as demo
from etudes.web.demos import networks, ship
from watching import watch


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    found = demo.find(tmp_path_factory.mktemp("no runs"))
    assert found is not None, f"{demo.STUDY} was revised: python -m etudes.web.demos.ship {demo.STUDY}"
    return found


@pytest.fixture(scope="module")
def bench(record):
    return demo.bench(record.folder, record.spec.config["width"])


def test_coefficients_of_zero_give_the_base(record, bench):
    assert all(torch.equal(tensor, bench.base[name]) for name, tensor in bench.weights((0, 0, 0)).items())
    for task, score in bench.scores((0, 0, 0)).items():  # of an excerpt, its pictures and weights rounded
        assert score == pytest.approx(record.metrics[f"test/{task}"], abs=0.06), task
    assert 0.3 < record.metrics["test/digits"] < 0.7, "a base that can lose and gain"


def test_a_coefficient_of_one_gives_the_tuned_network(record, bench):
    for i, name in enumerate(demo.SLIDERS):
        made = bench.weights([float(i == k) for k in range(3)])
        with safe_open(record.folder / f"tuned-{name}.safetensors", "pt") as file:
            assert str(record.spec.seed) in file.metadata()["settings"]
            for key, tensor in made.items():
                assert torch.allclose(tensor, file.get_tensor(key).float(), atol=1e-6)


def test_negation_takes_away_the_digits_five_to_nine_and_little_else(bench):
    base, negated = bench.scores((0, 0, 0)), bench.scores((-1, 0, 0))
    assert negated.pop("high") < base.pop("high") - 0.2
    assert all(negated[task] > base[task] - 0.05 for task in base)


@pytest.mark.parametrize(("coefficients", "task"), [((1, 0, 0), "high"), ((0, 1, 0), "sounds"), ((0, 0, 1), "pitch")])
def test_a_vector_adds_to_its_own_task(bench, coefficients, task):
    assert bench.scores(coefficients)[task] > bench.scores((0, 0, 0))[task] + 0.05


def test_scoring_is_quick_and_leaves_the_network_as_it_was(bench):
    before = bench.scores((0, 0, 0))
    begun = time.perf_counter()
    bench.scores((-1.5, 1.5, 1.5))
    assert time.perf_counter() - begun < 1
    assert bench.scores((0, 0, 0)) == before


def test_what_is_heard_comes_back_as_it_was_written(record, bench):
    d = bench.examples
    assert {kind: len(x) for kind, x in d.x.items()} == ship.HEARD
    assert d.y["digits"].bincount().min() > 5, "of all digits some"
    x = torch.cat(list(d.x.values()))
    with Image.open(record.folder / "heard.png") as file:
        assert max(file.getdata()) == ship.LEVELS
    assert (x.min().item(), x.max().item()) == pytest.approx((-13.8, 5.7), abs=0.1), "logarithms of energies"
    assert ((x.mean() - bench.net.mean) / bench.net.std).abs() < 0.5, "as the pictures that the networks learnt from"
    assert ship._spread(torch.arange(10), 4).tolist() == [0, 3, 6, 9]


def test_the_line_says_what_was_done_and_what_changed():
    line = demo.formula((-1, 0, 0.5))
    assert line == (
        "Weights: those of the base, minus 1.00 times the vector of digits 5 to 9, plus 0.50 times the vector of pitch "
        "of notes."
    )
    assert demo.formula((0, 0, 0)) == "Weights: those of the base."
    base = dict.fromkeys(demo.TASKS, 0.5)
    assert demo.tell(base, base) == "All as the base has it."
    told = demo.tell(base | {"high": 0.1, "pitch": 0.7}, base)
    assert told == "Beside the base most gained: Pitch of notes, 20 points; most lost: Digits 5 to 9, 40 points."
    drawn = demo.draw(base | {"high": 0.1}, base)
    assert drawn.count('class="bar"') == 2 * len(demo.TASKS)
    assert "10 %" in drawn


def test_a_page_without_networks_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(networks, "TRAINED", tmp_path / "none")
    assert demo.find(tmp_path) is None
    assert demo.about(None) == demo.NONE
    demo.build(tmp_path)


def test_sliders_are_moved_by_keys_and_buttons(browser, server):
    for watched in watch(browser, server, 390):
        page = watched.open("audio-task-vectors")
        page.get_by_text("Weights: those of the base.").wait_for()
        high = page.get_by_label("range slider for Times the vector of digits 5 to 9")
        high.press("ArrowLeft")
        page.get_by_text("minus 0.05 times the vector of digits 5 to 9").wait_for()
        page.get_by_role("button", name="Forget the digits 5 to 9").click()
        page.get_by_text("minus 1.00 times the vector of digits 5 to 9").wait_for()
        page.get_by_text("most lost: Digits 5 to 9").wait_for()
        sounds = page.get_by_label("number input for Times the vector of sounds")
        sounds.fill("1")
        page.keyboard.press("Tab")
        page.get_by_text("plus 1.00 times the vector of sounds").wait_for()
        page.get_by_role("button", name="The base", exact=True).click()
        page.get_by_text("All as the base has it.").wait_for()
        assert page.locator(".bars .bar").count() == 2 * len(demo.TASKS)
