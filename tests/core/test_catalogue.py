import dataclasses
import json
import re
import resource
import subprocess
import sys
import time

import pytest

from etudes.core import catalogue
from etudes.core.errors import Problem


def test_an_unknown_study_is_told_with_the_nearest():
    with pytest.raises(Problem, match=r"^no study 'mixpu'; did you mean 'mixup'\?$"):
        catalogue.find("mixpu")


def test_a_study_of_ones_own_is_found_by_its_path(tmp_path):
    with pytest.raises(Problem, match="no file"):
        catalogue.find(str(tmp_path / "absent.py"))
    path = tmp_path / "mine.py"
    path.write_text("STUDY = 1")
    with pytest.raises(Problem, match="defines no STUDY"):
        catalogue.find(str(path))
    path.write_text("from coins import make_study\nSTUDY = make_study()")
    assert catalogue.find(str(path)).name == "coins"


def test_a_file_has_its_own_name_as_a_module_unless_another_module_has_it(tmp_path):
    for stem in ("a_name_of_its_own", "json"):
        path = tmp_path / f"{stem}.py"
        path.write_text("from coins import make_study\ndef toss(cfg, run): pass\nSTUDY = make_study(program=toss)")
    assert catalogue.find(str(tmp_path / "a_name_of_its_own.py")).program.__module__ == "a_name_of_its_own"
    assert catalogue.find(str(tmp_path / "a_name_of_its_own.py")).program.__module__ == "a_name_of_its_own"
    assert catalogue.find(str(tmp_path / "json.py")).program.__module__ == "study_json"
    assert json.dumps(1) == "1"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import math\nx = (1,\n", "mine.py, line 2: SyntaxError: '(' was never closed; mend the file"),
        ("\nimport nosuchlibrary\n", "mine.py, line 2: ModuleNotFoundError: No module named 'nosuchlibrary'"),
        ("import json\n\njson.loads('{')\n", "mine.py, line 3: JSONDecodeError: Expecting property name"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_with_its_line(tmp_path, text, says):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(Problem, match=re.escape(says)) as caught:
        catalogue.find(str(path))
    assert "\n" not in str(caught.value)


def test_a_field_is_explained_by_the_comments_on_its_lines(tmp_path):
    path = tmp_path / "wrapped.py"
    path.write_text(
        "from dataclasses import dataclass\nfrom typing import Literal\nimport coins\n"
        "@dataclass(frozen=True)\nclass Config(coins.Config):\n"
        "    shape: Literal['round', 'square'] = (\n        'round'  # of the coin\n    )\n"
        "    colour: str = '# no comment'\n"
        "    weight: float = 1.0  # grams\n"
        "STUDY = coins.make_study(config=Config)\n"
    )
    said = catalogue.comments(catalogue.find(str(path)).config)
    assert said == {
        "steps": "lines of the log",
        "shift": "added to the score",
        "fair": "nothing",
        "shape": "of the coin",
        "colour": "",
        "weight": "grams",
    }


@pytest.mark.parametrize("name", catalogue.names())
def test_every_field_of_every_study_is_explained(name):
    config = catalogue.find(name).config
    said = catalogue.comments(config)
    assert [field.name for field in dataclasses.fields(config) if not said.get(field.name)] == []


def test_a_card_is_json(coins):
    card = catalogue.card(coins)
    assert json.loads(json.dumps(card)) == card
    assert card["claims"][0]["expect"] == "below 0"
    assert card["claims"][0]["paper"] is None


def test_listing_imports_nothing_heavy():
    code = (
        "import sys; from etudes.core import catalogue; cards = catalogue.cards(); assert cards;"
        "heavy = {'torch', 'scipy', 'datasets', 'altair', 'numpy'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_reports_of_every_scale_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "committed_folder", lambda name, scale="laptop": tmp_path / name / scale)
    assert catalogue.reported_scales("coins") == []
    for scale in ("laptop", "full", "half-written"):
        (tmp_path / "coins" / scale).mkdir(parents=True)
        (tmp_path / "coins" / scale / ("report.md" if "half" in scale else "report.json")).write_text("{}")
    assert catalogue.reported_scales("coins") == ["full", "laptop"]


def _cpu_seconds(*arguments):
    """The processor's seconds of a process, the least of three: whatever else the machine does."""
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(seconds)


def test_the_list_answers_in_a_blink():
    assert _cpu_seconds("-m", "etudes", "list") - _cpu_seconds("-c", "pass") < 0.3
    begun = time.process_time()
    for _ in range(5):  # as many cards as five times the studies
        catalogue.cards()
    assert time.process_time() - begun < 0.1
