"""What a finished run's network writes, through the command line and from Python."""

import os
from pathlib import Path

import pytest

from etudes import api
from etudes.cli import main
from etudes.core import catalogue
from etudes.core.errors import Problem
from etudes.core.record import latest
from etudes.core.run import execute

WRITER = Path(__file__).with_name("writer.py")
COINS = Path(__file__).with_name("coins.py")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    study = catalogue.find(str(WRITER))
    for spec in study.plan("smoke"):
        execute(study, spec, folder)
    return folder


def written(capsys, *arguments):
    status = main(["generate", *map(str, arguments)])
    shown = capsys.readouterr()
    return status, shown.out, shown.err.strip()


@pytest.mark.parametrize("how", [["--temperature", 0], ["--temperature", 1], ["--top-k", 1], ["--beam", 2]])
def test_a_text_is_gone_on_with(root, capsys, how):
    status, out, err = written(capsys, WRITER, "cd", "--root", root, "--length", 6, *how)
    assert (status, out) == (0, "cdœabé\n")  # six tokens: œ and é are two each
    assert "writer/smoke" in err


def test_nothing_is_a_beginning_too_and_half_a_character_is_not_shown(root, capsys):
    assert written(capsys, WRITER, "--root", root, "--length", 3)[1] == "ab\n"
    pieces = list(api.write(str(WRITER), "ab", 5, root=root))
    assert pieces == ["é", "c", "d"]


def test_the_latest_run_is_taken_unless_one_is_named(root):
    study = catalogue.find(str(WRITER))
    found = {v: latest(study, root, variant=v) for v in ("plain", "other")}
    assert {v: r.spec.variant for v, r in found.items()} == {"plain": "plain", "other": "other"}
    for last in ("plain", "other", "plain"):
        for variant, record in found.items():
            os.utime(record.folder / "result.json", (0, 1e9 + (variant == last)))
        assert latest(study, root).spec.variant == last


def test_bad_input_gets_one_sentence(root, capsys, tmp_path):
    def sentence(*arguments):
        status, out, err = written(capsys, *arguments)
        assert (status, out) == (2, "")
        assert err.count("\n") == 0
        return err

    assert "no study 'llama-fe'; did you mean 'llama-fr'?" in sentence("llama-fe", "Il")
    assert "trains no network that writes" in sentence(COINS, "Il", "--root", root)
    assert f"no finished run of writer in {tmp_path}" in sentence(WRITER, "a", "--root", tmp_path)
    assert "no finished run of writer at scale laptop" in sentence(WRITER, "a", "--root", root, "--scale", "laptop")
    assert "no variant of" in sentence(WRITER, "a", "--root", root, "--variant", "plan")
    assert "temperature" in sentence(WRITER, "a", "--root", root, "--temperature", -1)
    assert "1.5" in sentence(WRITER, "a", "--root", root, "--top-p", 1.5)
    assert "-3" in sentence(WRITER, "a", "--root", root, "--length", -3)
    assert "-2" in sentence(WRITER, "a", "--root", root, "--beam", -2)


def test_a_run_whose_weights_are_gone_is_told(root, tmp_path):
    study = catalogue.find(str(WRITER))
    (spec, _) = study.plan("smoke")
    execute(study, spec, tmp_path)
    (tmp_path / spec.key / "model.safetensors").unlink()
    with pytest.raises(Problem, match="does not hold this network's weights"):
        next(api.write(study, "a", 1, root=tmp_path))
