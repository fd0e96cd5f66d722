import dataclasses
import inspect
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coins import Config, make_study
from etudes import api, flags
from etudes.core.claims import Interval, above, at_least, below, difference, positive, within
from etudes.core.configs import OPTIONS, configure
from etudes.core.errors import Problem
from etudes.core.spec import TUNING, Scale, Spec, Study, Variant


def refused(**changed: object) -> str:
    with pytest.raises(Problem) as caught:
        make_study(**changed)
    return str(caught.value)


def test_a_malformed_study_is_refused_at_definition(coins):
    assert "no config field of coins, 'shfit'; did you mean 'shift'?" in refused(
        variants=(Variant("a", {"shfit": 1.0}),)
    )
    assert "two variants named 'a'" in refused(variants=(Variant("a"), Variant("a")))
    assert "has no variants" in refused(variants=())
    assert "has no claims" in refused(claims={})
    assert "claims are {sentence: claim}" in refused(claims=tuple(coins.claims.values()))
    assert "no scale 'smoke'" in refused(scales={"laptop": coins.scales["laptop"]})
    assert "judges on 2 seeds" in refused(scales={"smoke": Scale({}, seeds=2, minutes=1)})
    assert "'steps' is changed by variants and by scale 'smoke'" in refused(variants=(Variant("a", {"steps": 9}),))
    assert "variant 'Big One'" in refused(variants=(Variant("Big One"),))
    assert "study name 'Coins'" in refused(name="Coins")
    assert "steps is 0; it must be at least 1" in refused(scales={"smoke": Scale({"steps": 0}, 1, 1, judges=False)})
    assert "no config field" in refused(scales={"smoke": Scale({}, 1, 1, judges=False, offline={"data": "x"})})


def test_a_plan_has_whole_trials_first(coins):
    plan = coins.plan("laptop")
    assert [(s.seed, s.variant) for s in plan[:3]] == [(0, "plain"), (0, "shifted"), (1, "plain")]
    assert len(plan) == 8
    assert len({s.key for s in plan}) == 8


def test_a_scale_may_run_some_variants_alone():
    study = make_study(scales=make_study().scales | {"long": Scale({}, 3, 9, variants=("shifted",))})
    assert [spec.variant for spec in study.plan("long")] == ["shifted"] * 3
    assert {spec.variant for spec in study.plan("long", variants=["plain"])} == {"plain"}
    with pytest.raises(Problem, match="no variant of coins 'shift'; did you mean 'shifted'"):
        make_study(scales=study.scales | {"long": Scale({}, 3, 9, variants=("shift",))})


def test_a_plan_names_what_it_does_not_know(coins):
    with pytest.raises(Problem, match="no scale of coins 'laptpo'; did you mean 'laptop'"):
        coins.plan("laptpo")
    with pytest.raises(Problem, match="no variant of coins 'shift'; did you mean 'shifted'"):
        coins.plan(variants=["shift"])
    with pytest.raises(Problem, match="seeds is 0"):
        coins.plan(seeds=0)


def test_a_compared_field_is_overridden_for_one_variant_alone(coins):
    with pytest.raises(Problem, match="'shift' is what the variants differ in"):
        coins.plan(shift=2.0)
    (spec, *_) = coins.plan(variants=["shifted"], shift=2.0)
    assert spec.config["shift"] == 2.0


def test_offline_changes_enter_the_key():
    study = make_study(scales={"smoke": Scale({}, 1, 1, judges=False, offline={"fair": False})})
    assert study.plan("smoke", offline=True)[0].config["fair"] is False
    assert study.plan("smoke", offline=True)[0].key != study.plan("smoke")[0].key


@dataclasses.dataclass(frozen=True)
class Every:
    share: Annotated[float, within(0, 1)] = 0.5
    count: Annotated[int, at_least(1)] = 1
    kind: Literal["a", "b"] = "a"
    flag: bool = False
    label: str = ""
    clip: Annotated[float | None, positive] = None
    betas: tuple[float, float] = (0.9, 0.999)
    datasets: tuple[str, ...] = ("a", "b")


@given(st.floats(allow_nan=True))
def test_a_value_is_taken_if_and_only_if_it_is_in_range(value):
    if 0 <= value <= 1:
        assert configure("s", Every, {"share": value}).share == value
    else:
        with pytest.raises(Problem, match="share is"):
            configure("s", Every, {"share": value})


@pytest.mark.parametrize(
    "changes",
    [
        {"count": 1.5}, {"count": True}, {"flag": 1}, {"label": None}, {"kind": "c"}, {"clip": "x"}, {"clip": -1.0},
        {"betas": (0.9,)}, {"betas": 0.9}, {"betas": (0.9, "x")}, {"datasets": "a"}, {"datasets": ("a", 1)},
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_type_is_refused(changes):
    with pytest.raises(Problem, match=next(iter(changes))):
        configure("s", Every, changes)


def test_optional_values_and_tuples_are_taken():
    found = configure("s", Every, {"clip": 1, "betas": [0, 1], "datasets": ["c"]})
    assert (found.clip, found.betas, found.datasets) == (1.0, (0.0, 1.0), ("c",))
    assert configure("s", Every, {"clip": None}).clip is None


def config_of(annotation, **default):
    return dataclasses.make_dataclass(
        "Config", [("odd", annotation, dataclasses.field(**default)), *COINS], frozen=True
    )


COINS = [(f.name, f.type, f.default) for f in dataclasses.fields(Config)]


@pytest.mark.parametrize(
    "annotation", [list[int], dict, set[str], int | str, bytes, object, tuple[tuple[int, int], int], float | int | None]
)
def test_a_field_that_cannot_be_a_flag_is_refused_at_definition(annotation):
    said = refused(config=config_of(annotation, default=None))
    assert "study 'coins': the field 'odd' is of type" in said
    assert "use int, float, bool, str, Literal, a tuple of these, or one of them | None" in said


def test_a_field_without_default_is_refused_at_definition():
    bare = dataclasses.make_dataclass("Config", [("odd", int), *COINS], frozen=True)
    assert "the field 'odd' has no default; give it one" in refused(config=bare)
    made = config_of(tuple[int, ...], default_factory=tuple)
    assert "the field 'odd' has no default; give it one" in refused(config=made)


def test_a_field_that_is_named_like_an_option_is_refused_at_definition():
    """Whatever the command line or Python calls its own: what of these is new belongs in OPTIONS."""
    options = {field.name for field in dataclasses.fields(flags.RunOptions)}
    for own in (Study.plan, api.run, api.report):
        options |= {name for name in inspect.signature(own).parameters if name not in ("self", "fields", "overrides")}
    assert options <= OPTIONS
    for name in sorted(OPTIONS):
        shadow = dataclasses.make_dataclass("Config", [(name, int, 1), *COINS], frozen=True)
        assert f"the field '{name}' has the name of an option" in refused(config=shadow)


def test_tuning_seeds_are_apart_and_threads_enter_the_key(coins):
    assert [spec.seed for spec in coins.plan("smoke", tune=True, variants=["plain"])] == [TUNING]
    assert [s.seed for s in coins.plan("smoke", tune=True, seeds=3, variants=["plain"])] == [1000, 1001, 1002]
    assert {spec.threads for spec in coins.plan("smoke")} == {1}
    one, two = (coins.plan("smoke", threads=count)[0] for count in (1, 2))
    assert one.key != two.key
    for wrong in (0, -1, 1001):
        with pytest.raises(Problem, match=f"threads is {wrong}"):
            coins.plan("smoke", threads=wrong)
        with pytest.raises(Problem, match=f"seeds is {wrong}"):
            coins.plan("smoke", seeds=wrong)


def test_a_whole_number_serves_as_float_with_the_same_key(coins):
    assert (
        coins.plan("smoke", variants=["plain"], shift=1)[0].key
        == coins.plan("smoke", variants=["plain"], shift=1.0)[0].key
    )


spec_values = {
    "study": st.just("s"),
    "scale": st.sampled_from(["smoke", "laptop"]),
    "variant": st.sampled_from(["a", "b"]),
    "seed": st.integers(0, 5),
    "config": st.dictionaries(st.sampled_from(["x", "y"]), st.floats(allow_nan=False) | st.integers()),
    "precision": st.sampled_from(["bf16", "fp32"]),
    "threads": st.integers(1, 3),
    "revision": st.integers(1, 3),
    "code": st.sampled_from(["0123abcd", "4567cdef"]),
}


@given(st.fixed_dictionaries(spec_values), st.fixed_dictionaries(spec_values))
def test_keys_are_equal_if_and_only_if_specs_are(one, other):
    a, b = Spec(**one), Spec(**other)
    same = repr(sorted(vars(a).items(), key=str)) == repr(sorted(vars(b).items(), key=str))
    if same:
        assert a.key == b.key
    elif a != b:
        assert a.key != b.key


def test_a_key_does_not_depend_on_the_order_of_fields():
    fields = dataclasses.asdict(Config())
    assert (
        Spec("s", "x", "v", 0, fields, "fp32").key == Spec("s", "x", "v", 0, dict(reversed(fields.items())), "fp32").key
    )


def test_a_difference_is_of_one_metric_under_one_seed():
    trial = {"a": {"test/error": 0.5, "train/error": 0.1}, "b": {"test/error": 0.25, "train/error": 0.4}}
    assert difference("a", "b")(trial) == 0.25
    assert difference("b", "a", "train/error")(trial) == pytest.approx(0.3)


def test_an_interval_tells_itself():
    assert [str(i) for i in (above(0), below(2), at_least(0), Interval(high=2.5), within(0, 1))] == [
        "above 0",
        "below 2",
        "at least 0",
        "at most 2.5",
        "between 0 and 1",
    ]
