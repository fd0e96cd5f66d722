import pytest

from etudes.core.run import Run
from etudes.core.spec import Spec
from etudes.tools.translator import back_translation, length_groups

LINES = ["I see the sea.", "", "The sea sees me.", "I see the sea."]


def a_run(folder, variant="a", seed=0):
    spec = Spec("sketch", "smoke", variant, seed, {}, "fp32")
    (folder / spec.key).mkdir(parents=True, exist_ok=True)
    return Run(spec, folder / spec.key)


@pytest.fixture
def few_pairs(tmp_path, monkeypatch):
    """A file of pairs, in the layout of the archive that people fetch."""
    english, french = ("I", "You", "We"), ("Je", "Tu", "Nous")
    lines = [
        f"{e} count {i} ships on the sea\t{f} compte {i} bateaux sur la mer"
        for i in range(60)
        for e, f in zip(english, french, strict=True)
    ]
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "fra.txt").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setenv("ETUDES_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ETUDES_MIRROR", raising=False)


@pytest.mark.usefixtures("few_pairs")
def test_lines_go_to_french_and_back_once_for_all_seeds(tmp_path):
    made, found = back_translation(a_run(tmp_path), LINES, 8, 4)
    assert len(made) == len(LINES)
    assert made[1] == ""
    assert made[0] == made[3]
    assert set(found) == {"test/chrf-french", "test/chrf-english", "train/chrf-round-trip"}
    assert all(0 <= share <= 1 for share in found.values())

    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("once/**/*.safetensors")}
    assert len(files) == 1
    assert back_translation(a_run(tmp_path, "b", seed=3), LINES, 8, 4) == (made, found)
    back_translation(a_run(tmp_path), LINES[:1], 8, 4)  # other lines, the same translator
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("once/**/*.safetensors")} == files
    back_translation(a_run(tmp_path), LINES[:1], 8, 5)
    assert len([*tmp_path.rglob("once/**/*.safetensors")]) == 2


def test_groups_have_every_row_once_and_little_to_fill_up(tmp_path):
    run = a_run(tmp_path)
    lengths = run.rng("lengths").integers(1, 30, size=(2, 1000))
    sides = [[[0] * n for n in row] for row in lengths.tolist()]
    groups = length_groups(sides, 64, run)
    assert [len(group) for group in groups] == [64] * 15
    rows = [row for group in groups for row in group]
    assert len(set(rows)) == len(rows)
    assert all(max(lengths[0][group]) - min(lengths[0][group]) <= 3 for group in groups)
    assert groups == length_groups(sides, 64, run)
    assert sorted(row for group in length_groups(sides, 1, run) for row in group) == list(range(1000))
    assert [len(group) for group in length_groups([side[:10] for side in sides], 64, run)] == [
        10
    ]  # fewer than one batch
