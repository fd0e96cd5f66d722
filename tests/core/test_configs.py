from __future__ import annotations

import dataclasses
import json
import math
from typing import Annotated, Any, Literal, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coins import make_study
from etudes.core.claims import at_least, positive, within
from etudes.core.configs import OPTIONS, as_tuples, configure
from etudes.core.errors import Problem
from etudes.core.spec import Scale, Variant


@dataclasses.dataclass(frozen=True)
class Every:
    share: Annotated[float, within(0, 1)] = 0.5
    count: Annotated[int, at_least(1)] = 1
    rate: Annotated[float, positive] = 0.1
    kind: Literal["a", "b"] = "a"
    flag: bool = False
    name: str = ""
    cap: float | None = None
    limit: Annotated[Optional[int], at_least(0)] = None  # noqa: UP045, the older way to write it
    datasets: tuple[str, ...] = ("a", "b")
    pair: tuple[int, float] = (1, 2.0)
    kinds: tuple[Literal["a", "b"], ...] = ()


@given(st.floats(allow_nan=True))
def test_a_value_is_taken_if_and_only_if_it_is_in_range(value):
    if 0 <= value <= 1:
        assert configure("s", Every, {"share": value}).share == value
    else:
        with pytest.raises(Problem, match="share is"):
            configure("s", Every, {"share": value})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"count": 1.5}, "count is 1.5; it must be of type int"),
        ({"count": True}, "count is True; it must be of type int"),
        ({"count": 0}, "count is 0; it must be at least 1"),
        ({"rate": 0.0}, "rate is 0; it must be above 0"),
        ({"rate": math.inf}, "rate is inf; it must be finite"),
        ({"flag": 1}, "flag is 1; it must be of type bool"),
        ({"name": None}, "name is None; it must be of type str"),
        ({"kind": "c"}, "no kind of s, 'c'; there are: a, b"),
        ({"cap": "x"}, "cap is 'x'; it must be of type float"),
        ({"cap": math.nan}, "cap is nan; it must be finite"),
        ({"limit": -1}, "limit is -1; it must be at least 0"),
        ({"datasets": "digits"}, "datasets is 'digits'; it must be a tuple"),
        ({"datasets": ("digits", 1)}, "datasets is 1; it must be of type str"),
        ({"pair": (1,)}, "pair has 1 values; it must have 2"),
        ({"pair": (1.5, 1.5)}, "pair is 1.5; it must be of type int"),
        ({"kinds": ("a", "c")}, "no kinds of s, 'c'; there are: a, b"),
        ({"nmae": ""}, "no config field of s, 'nmae'; did you mean 'name'"),
    ],
)
def test_a_value_that_cannot_be_is_refused_in_a_sentence(changes, says):
    with pytest.raises(Problem) as refused:
        configure("s", Every, changes)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "held"),
    [
        ({"cap": 3}, 3.0),
        ({"cap": None}, None),
        ({"limit": 0}, 0),
        ({"limit": None}, None),
        ({"datasets": ["x", "y", "z"]}, ("x", "y", "z")),
        ({"datasets": ()}, ()),
        ({"pair": (3, 4)}, (3, 4.0)),
        ({"kinds": ("b", "a")}, ("b", "a")),
    ],
)
def test_what_may_be_absent_or_several_is_taken_as_it_is_held(changes, held):
    (name,) = changes
    value = getattr(configure("s", Every, changes), name)
    assert value == held
    assert repr(value) == repr(held)


def test_what_json_gives_back_is_what_was_held():
    config = configure("s", Every, {"datasets": ("x",), "cap": 1.5})
    again = as_tuples(json.loads(json.dumps(dataclasses.asdict(config))))
    assert Every(**again) == config


def studied(hint: Any, default: Any, name: str = "field") -> None:
    """Define a study whose Config has one field beside `steps`."""
    fields = [("steps", int, 1), (name, hint, dataclasses.field(default=default))]
    config = dataclasses.make_dataclass("Config", fields, frozen=True)
    make_study(config=config, variants=(Variant("plain"),), scales={"smoke": Scale({}, 1, 1, judges=False)})


@pytest.mark.parametrize(
    ("hint", "default"),
    [
        (float | None, None),
        (Optional[int], 3),  # noqa: UP045
        (tuple[str, ...], ("a",)),
        (tuple[int, float], (1, 2.0)),
        (tuple[float | None, ...], ()),
        (tuple[int, ...] | None, None),
        (Literal["a", 1], 1),
        (Annotated[float, within(0, 1)] | None, None),
    ],
)
def test_these_types_can_be_fields(hint, default):
    studied(hint, default)


@pytest.mark.parametrize(
    ("hint", "default", "called"),
    [
        (list[int], None, "list[int]"),
        (dict, None, "dict"),
        (Any, None, "Any"),
        (int | str, 1, "int | str"),
        (int | str | None, 1, "int | str | None"),
        (tuple[tuple[int, ...], ...], (), "tuple[tuple[int, ...], ...]"),
        (bytes, b"", "bytes"),
    ],
)
def test_other_types_are_refused_when_the_study_is_defined(hint, default, called):
    with pytest.raises(Problem) as refused:
        studied(hint, default)
    assert str(refused.value) == (
        f"study 'coins': the field 'field' is of type {called}; use int, float, bool, str, Literal, a tuple of these, "
        "or one of them | None"
    )


@pytest.mark.parametrize("name", ["root", "seeds", "scale", "precision", "threads", "tune", "dry", "variants"])
def test_a_field_named_like_an_option_is_refused_when_the_study_is_defined(name):
    assert name in OPTIONS
    with pytest.raises(Problem, match=f"the field '{name}' has the name of an option; choose another name"):
        studied(int, 1, name)


def test_a_config_that_is_no_dataclass_or_a_field_without_default_is_refused():
    class Plain:
        steps: int = 1

    scales = {"smoke": Scale({}, 1, 1, judges=False)}
    with pytest.raises(Problem, match="its Config is no dataclass; write @dataclass"):
        make_study(config=Plain, variants=(Variant("plain"),), scales=scales)
    needed = dataclasses.make_dataclass("Config", [("steps", int)], frozen=True)
    with pytest.raises(Problem, match="the field 'steps' has no default; give it one"):
        make_study(config=needed, variants=(Variant("plain"),), scales=scales)
