import dataclasses
import math
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest

from etudes.core.errors import Problem
from etudes.reports.charts import Chart, against, bars, curves, grid, plane
from etudes.reports.look import COLOURS, scale
from etudes.reports.report import Report


def panels(chart: Any) -> list[dict[str, Any]]:
    spec = chart if isinstance(chart, dict) else chart.to_dict()
    return spec.get("concat", [spec])


def rows(spec: dict[str, Any], layer: dict[str, Any]) -> list[dict[str, Any]]:
    data = layer.get("data") or spec["data"]
    return data["values"] if "values" in data else spec["datasets"][data["name"]]


def layers(spec: dict[str, Any], mark: str) -> list[dict[str, Any]]:
    return [layer for panel in panels(spec) for layer in panel["layer"] if layer["mark"]["type"] == mark]


def test_naming_a_chart_imports_nothing() -> None:
    code = (
        "import sys, etudes.reports.charts as c; c.bars('test/error'); c.curves('a', 'b'); c.against('x', 'y');"
        "c.pictures('samples.png'); c.grid('a', 'x', 'y'); c.plane(('a', 'b'));"
        "print([m for m in ('altair', 'torch', 'scipy', 'numpy', 'vl_convert', 'jinja2', 'nbformat', 'PIL')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_names_are_slugs_and_differ() -> None:
    made = [
        bars("test/error"), bars("test/error", "train/loss"), curves("test/error"), curves("test/error", facet=True),
        curves("test/error", variants=["a"]), against("noise", "test/error"), against("weight_decay", "test/error"),
        grid("test/error", "noise", "weight_decay"), plane(("test/cost", "test/error")),
    ]  # fmt: skip
    assert [chart.name for chart in made] == [
        "test-error", "test-error-train-loss", "test-error-curves", "test-error-curves-by-variant",
        "test-error-curves-a", "test-error-against-noise", "test-error-against-weight-decay",
        "test-error-over-noise-weight-decay", "test-error-against-test-cost",
    ]  # fmt: skip
    assert made[1].title == "Test error and train loss by variant"
    assert bars("test/error", title="Mine").title == "Mine"


def test_every_chart_is_valid_and_titled(report: Report) -> None:
    for chart in report.definition.charts:
        spec = report.chart(chart.name).to_dict()  # altair validates it against the schema
        assert spec["title"]["text"] == chart.title
        assert spec["title"]["subtitle"] == "waves on waves, laptop scale"


def test_bars_show_every_seed_the_mean_and_one_deviation(report: Report) -> None:
    spec = report.chart("test-error").to_dict()
    seeds, means = layers(spec, "point")
    assert len(rows(spec, seeds)) == 50
    assert sorted(row["value"] for row in rows(spec, seeds)) == sorted(
        t["metrics"]["test/error"] for t in report.trials
    )
    for shown, row in zip(rows(spec, means), report.table, strict=True):
        found = row["metrics"]["test/error"]
        assert shown["variant"] == row["variant"]
        assert shown["value"] == found["mean"]
        assert (shown["low"] + shown["high"]) / 2 == pytest.approx(found["mean"])
        assert (shown["high"] - shown["low"]) / 2 == pytest.approx(found["deviation"])
    assert seeds["encoding"]["y"]["scale"]["domain"] == [row["variant"] for row in report.table]
    mean = report.table_rows()[1][0][2].partition(" ")[0]
    assert float(rows(spec, layers(spec, "text")[0])[0]["label"]) == pytest.approx(float(mean), rel=0.01)


def test_the_papers_figures_are_diamonds_apart_from_our_numbers(report: Report) -> None:
    plain, chart = (bars("test/error", "train/loss", paper=p) for p in ({}, {"mixed-50": 0.27, "plain-0": 0.1}))
    spec, bare = chart.draw(report).to_dict(), plain.draw(report).to_dict()
    (diamonds,) = [layer for layer in layers(spec, "point") if layer["mark"].get("shape") == "diamond"]
    assert diamonds in panels(spec)[0]["layer"]
    assert not diamonds["mark"].get("filled")
    said = {"whose": "the paper's figure, not measured here"}
    assert rows(spec, diamonds) == [
        {"variant": "mixed-50", "value": 0.27} | said,
        {"variant": "plain-0", "value": 0.1} | said,
    ]
    assert diamonds["encoding"]["stroke"]["scale"]["domain"] == [said["whose"]]  # its legend, in the chart itself
    assert [rows(spec, layer) for p in panels(spec) for layer in p["layer"] if layer != diamonds] == [
        rows(bare, layer) for p in panels(bare) for layer in p["layer"]
    ]
    assert chart.says == plain.says + " Diamonds are the paper's figures, not measured here."
    assert chart.name == plain.name


def test_the_papers_figure_of_a_variant_without_runs_is_left_out(report: Report) -> None:
    few = dataclasses.replace(report, table=report.table[:1], trials=report.trials[:1])
    spec = bars("test/error", paper={"mixed-50": 0.27, "plain-0": 0.1}).draw(few).to_dict()
    assert [row["variant"] for row in rows(spec, spec["layer"][-1])] == ["plain-0"]
    none = bars("test/error", paper={"mixed-50": 0.27}).draw(few).to_dict()
    assert none == bars("test/error").draw(few).to_dict()


def test_several_metrics_are_several_panels(report: Report) -> None:
    spec = report.chart("test-error-train-loss-train-error-wrong").to_dict()
    assert len(spec["concat"]) == 3
    assert len(rows(spec, layers(spec, "point")[4])) == 40  # the last is measured in eight of ten variants


def test_a_variant_has_one_colour_in_all_charts(report: Report) -> None:
    def colours(name: str) -> dict[str, str]:
        found = {}
        for panel in panels(report.chart(name)):
            used = panel["layer"][0]["encoding"]["color"]["scale"]
            found |= dict(zip(used["domain"], used["range"], strict=True))
        return found

    everywhere = colours("test-error-curves")
    assert everywhere == colours("test-error")
    assert everywhere["plain-50"] == COLOURS[4]
    few = curves("test/error", variants=("plain-50", "mixed-100")).draw(report).to_dict()
    few_scale = few["layer"][0]["encoding"]["color"]["scale"]
    assert few_scale == {
        "domain": ["plain-50", "mixed-100"],
        "range": [everywhere["plain-50"], everywhere["mixed-100"]],
    }


def test_a_group_has_one_colour_in_all_kinds_of_charts(report: Report) -> None:
    def colours(chart: Chart, layer: int = 0) -> dict[str, str]:
        scale = panels(chart.draw(report))[0]["layer"][layer]["encoding"]["color"]["scale"]
        return dict(zip(scale["domain"], scale["range"], strict=True))

    groups = {"0": COLOURS[0], "1": COLOURS[1]}
    assert colours(bars("test/error", by="alpha")) == groups
    assert colours(against("noise", "test/error", by="alpha")) == groups
    lines = colours(curves("test/error", by="alpha"), 1)
    assert {name: lines[name] for name in ("plain-0", "mixed-0", "plain-100")} == {
        "plain-0": COLOURS[0],
        "mixed-0": COLOURS[1],
        "plain-100": COLOURS[0],
    }
    few = dataclasses.replace(report, table=report.table[1:], trials=report.trials)  # without the first variant's runs
    assert colours(bars("test/error", by="alpha")) == groups
    assert panels(bars("test/error", by="alpha").draw(few))[0]["layer"][0]["encoding"]["color"]["scale"]["range"][
        0
    ] in (
        COLOURS[0],
        COLOURS[1],
    )


def test_rows_stand_below_the_headings_of_their_sections_on_one_axis(report: Report) -> None:
    sections = {"No noise": ("plain-0", "mixed-0"), "Half": ("mixed-50", "plain-50"), "None ran": ()}
    spec = bars("test/error", "train/loss", sections=sections).draw(report).to_dict()
    assert [panel["title"]["text"] for panel in spec["concat"]] == ["No noise", " ", "Half", " "]
    first, _, second, _ = (panel["layer"][0]["encoding"] for panel in spec["concat"])
    assert (first["y"]["scale"]["domain"], second["y"]["scale"]["domain"]) == (
        ["plain-0", "mixed-0"],
        ["mixed-50", "plain-50"],
    )
    assert first["x"]["scale"] == second["x"]["scale"]
    assert (first["x"].get("title"), second["x"]["title"]) == (None, "test error")
    far = [
        {**t, "metrics": t["metrics"] | {"test/error": 9.0}} if t["variant"] == "plain-100" else t
        for t in report.trials
    ]
    again = bars("test/error", "train/loss", sections=sections).draw(dataclasses.replace(report, trials=far)).to_dict()
    assert again["concat"][0]["layer"][0]["encoding"]["x"]["scale"] == first["x"]["scale"], "it has no row"
    with pytest.raises(Problem, match="no variant of waves 'plain'"):
        bars("test/error", sections={"No noise": ("plain",)}).draw(report)


def test_a_deviation_reaches_no_impossible_number(report: Report) -> None:
    def reach(values: list[float]) -> tuple[float, float]:
        trials = [{"variant": "plain-0", "seed": i, "metrics": {"test/error": v}} for i, v in enumerate(values)]
        summary = {"mean": sum(values) / len(values), "deviation": 0.3, "seeds": len(values)}
        table = [{**report.table[0], "metrics": {"test/error": summary}}]
        spec = bars("test/error").draw(dataclasses.replace(report, table=table, trials=trials)).to_dict()
        (mean,) = rows(spec, layers(spec, "rule")[0])
        return mean["low"], mean["high"]

    assert reach([0.1, 0.1]) == (0, pytest.approx(0.4))
    assert reach([0.9, 0.9]) == (pytest.approx(0.6), 1)
    assert reach([0.9, 1.1]) == (pytest.approx(0.7), pytest.approx(1.3))
    assert reach([-0.1, 0.1]) == (pytest.approx(-0.3), pytest.approx(0.3))


def test_axes_and_legends_say_what_their_study_calls_a_number(report: Report) -> None:
    named = dataclasses.replace(
        report.definition, words={"test/error": "wrong of 100 waves", "train/bound": "the bound"}
    )
    worded = dataclasses.replace(report, definition=named)
    for chart in (bars("test/error"), curves("test/error"), against("noise", "test/error", by="alpha")):
        assert "wrong of 100 waves" in str(chart.draw(worded).to_dict())
    facets = curves("train/loss", facet=True, reference="train/bound").draw(worded).to_dict()
    assert facets["concat"][0]["layer"][0]["encoding"]["color"]["scale"]["domain"] == ["train loss", "the bound"]
    chart = against("noise", "test/error", by="alpha", x="share of noise", key="strength")
    spec = chart.draw(report).to_dict()
    assert spec["layer"][0]["encoding"]["x"]["title"] == "share of noise"
    assert spec["layer"][0]["encoding"]["color"]["legend"]["title"] == "strength"


def test_past_the_palette_lines_are_broken(report: Report) -> None:
    encoding = layers(report.chart("test-error-curves").to_dict(), "line")[1]["encoding"]
    styles = list(
        zip(encoding["color"]["scale"]["range"], map(str, encoding["strokeDash"]["scale"]["range"]), strict=True)
    )
    assert len(styles) == len(set(styles)) == 10


def test_curves_are_means_over_seeds(report: Report) -> None:
    spec = report.chart("test-error-curves").to_dict()
    thin, thick = layers(spec, "line")
    by_hand: dict[tuple[str, float], list[float]] = {}
    for row in rows(spec, thin):
        by_hand.setdefault((row["variant"], row["step"]), []).append(row["value"])
    assert {len(values) for values in by_hand.values()} == {5}
    for row in rows(spec, thick):
        assert row["value"] == pytest.approx(sum(by_hand[row["variant"], row["step"]]) / 5, rel=1e-4)
    assert max(row["step"] for row in rows(spec, thick)) == 300


def test_facets_and_their_reference(report: Report) -> None:
    name = "train-loss-curves-by-variant"
    spec = report.chart(name).to_dict()
    assert [panel["title"]["text"] for panel in spec["concat"]] == ["plain-0", "mixed-0", "plain-50", "mixed-50"]
    sides = [panel["layer"][0]["encoding"]["y"].get("title") for panel in spec["concat"]]
    assert sides == ["train loss", None, "train loss", None]
    broken = spec["concat"][0]["layer"][2]
    assert broken["mark"]["strokeDash"]
    shown = rows(spec, broken)
    assert {row["metric"] for row in shown} == {"train bound"}
    assert shown[0]["value"] == pytest.approx(2 / (1 + 1 / 40), rel=1e-4)
    assert "train bound" in next(chart for chart in report.definition.charts if chart.name == name).says


def test_against_joins_the_variants_of_a_group(report: Report) -> None:
    spec = report.chart("test-error-against-noise").to_dict()
    lines = [rows(spec, layer) for layer in layers(spec, "line")]
    assert [[row["x"] for row in line] for line in lines] == [[0, 0.25, 0.5, 0.75, 1]] * 2
    assert [{row["group"] for row in line} for line in lines] == [{"0"}, {"1"}]
    assert lines[1][2]["value"] == report.table[5]["metrics"]["test/error"]["mean"]


def test_against_may_group_by_several_fields(report: Report) -> None:
    spec = against("noise", "test/error", by="dataset, alpha").draw(report).to_dict()
    assert [{row["group"] for row in rows(spec, layer)} for layer in layers(spec, "line")] == [
        {"waves, 0"},
        {"waves, 1"},
    ]


def test_metrics_together_have_a_line_each_on_one_axis(report: Report) -> None:
    kept = dataclasses.replace(
        report,
        table=[row for row in report.table if row["config"]["alpha"] == 0],
        trials=[trial for trial in report.trials if not trial["variant"].startswith("mixed")],
    )
    spec = against("noise", "test/error", "train/loss", together="share or loss").draw(kept).to_dict()
    assert spec["layer"][0]["encoding"]["y"]["title"] == "share or loss"
    lines = [rows(spec, layer) for layer in layers(spec, "line")]
    assert [{row["group"] for row in line} for line in lines] == [{"test error"}, {"train loss"}]
    for line, metric in zip(lines, ("test/error", "train/loss"), strict=True):
        assert [row["value"] for row in line] == [row["metrics"][metric]["mean"] for row in kept.table]
    with pytest.raises(Problem, match="leave out by or together"):
        against("noise", "test/error", by="alpha", together="share").draw(kept)


def of_rates(report: Report, rates: list[Any]) -> dict[str, Any]:
    kept = zip(report.table, rates, strict=False)
    table = [{**row, "config": {**row["config"], "rate": rate}} for row, rate in kept]
    names = {row["variant"] for row in table}
    trials = [trial for trial in report.trials if trial["variant"] in names]
    return against("rate", "test/error").draw(dataclasses.replace(report, table=table, trials=trials)).to_dict()


@pytest.mark.parametrize(
    ("rates", "kind"), [([0.0, 0.2, 0.25, 0.8], "linear"), ([0.1, 0.5, 1.0], "linear"), ([16, 64, 256], "log")]
)
def test_numbers_lie_where_they_are_with_a_tick_each(report: Report, rates: list[float], kind: str) -> None:
    x = layers(of_rates(report, rates), "line")[0]["encoding"]["x"]
    assert (x["type"], x["scale"]["type"], x["axis"]["values"]) == ("quantitative", kind, rates)


def test_words_stand_side_by_side(report: Report) -> None:
    x = layers(of_rates(report, ["fast", "slow"]), "line")[0]["encoding"]["x"]
    assert (x["type"], x["sort"]) == ("ordinal", ["fast", "slow"])


def test_groups_stand_apart_by_less_than_the_closest_values(report: Report) -> None:
    def shifts(values: list[float]) -> list[float]:
        table = [
            {**row, "config": {**row["config"], "noise": values[i // 2]}} for i, row in enumerate(report.table[:6])
        ]
        trials = [t for t in report.trials if t["variant"] in {row["variant"] for row in table}]
        chart = against("noise", "test/error", by="alpha")
        spec = chart.draw(dataclasses.replace(report, table=table, trials=trials)).to_dict()
        return [layer["mark"]["xOffset"] for layer in layers(spec, "line")]

    assert shifts([0.0, 0.5, 1.0]) == [-3.5, 3.5]
    left, right = shifts([0.0, 0.01, 1.0])
    assert 0 < right - left < 0.01 * 520  # of the axis's pixels


def test_a_variant_with_one_step_is_a_dot_and_one_without_any_is_not_named(report: Report) -> None:
    few = [c for c in report.curves if c["metric"] == "test/error" and c["variant"] != "plain-25"]
    short = [c | {"steps": [90], "values": [0.5]} if c["variant"] == "mixed-0" else c for c in few]
    spec = curves("test/error").draw(dataclasses.replace(report, curves=short)).to_dict()
    (dots,) = layers(spec, "point")
    assert rows(spec, dots) == [{"variant": "mixed-0", "step": 90, "value": 0.5}]
    assert rows(spec, layers(spec, "text")[0]) == rows(spec, dots)  # with its name beside it
    named = layers(spec, "line")[0]["encoding"]["color"]["scale"]["domain"]
    assert named == [row["variant"] for row in report.table if row["variant"] != "plain-25"]
    assert not layers(report.chart("test-error-curves").to_dict(), "point")


def test_bars_have_no_row_of_a_variant_without_the_number(report: Report) -> None:
    order = bars("train/error-wrong").draw(report).to_dict()["layer"][0]["encoding"]["y"]["scale"]["domain"]
    assert order == [row["variant"] for row in report.table if not row["variant"].endswith("-0")]


def test_curves_name_their_step_and_add_to_their_caption(report: Report) -> None:
    chart = curves("test/error", step="100 t0", says="Apples and pears.")
    assert chart.draw(report).to_dict()["layer"][0]["encoding"]["x"]["title"] == "100 t0"
    assert chart.says == curves("test/error").says + " Apples and pears."


def test_curves_lay_their_steps_on_a_logarithmic_axis(report: Report) -> None:
    plain, log = (curves("test/error", log_step=on).draw(report).to_dict() for on in (False, True))
    assert "scale" not in plain["layer"][0]["encoding"]["x"]
    scale = log["layer"][0]["encoding"]["x"]["scale"]
    steps = [row["step"] for row in rows(log, layers(log, "line")[0])]
    assert scale["type"] == "log"
    assert scale["domain"] == pytest.approx([0.9 * min(steps), 1.1 * max(steps)])


@pytest.mark.parametrize(
    ("chart", "sentence"),
    [
        (bars("test/eror"), "no number in the runs of waves, 'test/eror'; did you mean 'test/error'?"),
        (bars("test/error", by="alfa"), "no config field 'alfa'; did you mean 'alpha'?"),
        (bars("test/error", paper={"plain": 0.3}), "no variant of waves 'plain'; did you mean 'plain-0'?"),
        (bars("test/error", paper={"plain-0": math.nan}), "the paper's figure for plain-0 is nan; give a number"),
        (curves("test/error", reference="bound"), "no number in the runs of waves, 'bound'"),
        (curves("test/error", variants=("plain",)), "no variant of waves 'plain'"),
        (against("noise", "test/error"), "variants plain-0 and mixed-0 have the same noise; name as `by`"),
        (against("noise", "test/error", by="dataset"), "have the same noise; choose another `by`"),
        (against("nois", "test/error"), "no config field 'nois'"),
        (grid("test/eror", "noise", "alpha"), "no number in the runs of waves, 'test/eror'"),
        (grid("test/error", "noise", "alfa"), "no config field 'alfa'; did you mean 'alpha'?"),
        (grid("test/error", "noise", "rate"), "variants plain-0 and mixed-0 have the same noise and rate; keep one"),
        (grid("test/error", "noise", "alpha", variants=("plain",)), "no variant of waves 'plain'"),
        (grid("train/error-wrong", "noise", "alpha", variants=("plain-0",)), "no run of plain-0 measured train/error"),
        (plane(("test/eror", "train/loss")), "no number in the runs of waves, 'test/eror'"),
        (plane(("test/error", "train/loss"), variants=("plain",)), "no variant of waves 'plain'"),
        (plane(("train/error-wrong", "train/loss"), variants=("plain-0",)), "no run has both train/error-wrong and"),
    ],
)
def test_what_cannot_be_drawn_is_a_problem(report: Report, chart: Chart, sentence: str) -> None:
    with pytest.raises(Problem) as problem:
        chart.draw(report)
    assert sentence in str(problem.value)


def test_variants_that_logged_nothing_of_a_metric_have_no_panel(report: Report) -> None:
    bare = [c for c in report.curves if c["variant"] != "plain-0" or c["metric"] == "train/loss"]
    lacking = dataclasses.replace(report, curves=bare)
    spec = curves("test/error", facet=True, log=True, variants=("plain-0", "mixed-0")).draw(lacking).to_dict()
    assert [panel["title"]["text"] for panel in panels(spec)] == ["mixed-0"]
    with pytest.raises(Problem, match="plain-0 logged no test/error; choose other variants"):
        curves("test/error", variants=("plain-0",)).draw(lacking)


def test_an_unknown_chart(report: Report) -> None:
    with pytest.raises(Problem, match="no chart of waves 'test-eror'; did you mean 'test-error'"):
        report.chart("test-eror")


def test_logarithmic_axes_have_few_round_lines() -> None:
    assert scale([0.001, 0.5, 200], True)["axis"].values == [0.001, 0.01, 0.1, 1, 10, 100]
    assert scale([0.03, 0.5], True)["axis"].values == [0.05, 0.1, 0.2, 0.5]
    assert len(scale([0.2, 0.35], True)["axis"].values) >= 2
    assert len(scale([1e-3, 1e9], True)["axis"].values) <= 7
    assert scale([0.31, 0.32], True)["axis"].values  # between two round numbers: its ends
    with pytest.raises(Problem, match="a logarithmic axis cannot show 0"):
        scale([0.0, 1.0], True)


def test_a_grid_has_a_cell_for_each_pair_of_values(report: Report) -> None:
    spec = grid("test/error", "noise", "alpha", label="share wrong").draw(report).to_dict()
    cells = rows(spec, layers(spec, "rect")[0])
    by_hand = {}
    for variant, row in zip(report.definition.variants, report.table, strict=True):
        by_hand[f"{variant.changes['noise']:g}", f"{variant.changes['alpha']:g}"] = row["metrics"]["test/error"]["mean"]
    assert {(cell["x"], cell["y"]): cell["value"] for cell in cells} == by_hand
    assert len(cells) == 10
    place = layers(spec, "text")[0]["encoding"]
    assert (place["x"]["sort"], place["y"]["sort"]) == (["0", "0.25", "0.5", "0.75", "1"], ["0", "1"])
    assert layers(spec, "rect")[0]["encoding"]["color"]["legend"]["title"] == "share wrong"
    middle = (min(by_hand.values()) + max(by_hand.values())) / 2
    assert {cell["label"] for cell in cells if cell["dark"]} == {f"{v:.3g}" for v in by_hand.values() if v > middle}


def test_a_grid_of_words_keeps_the_order_of_the_variants_named(report: Report) -> None:
    names = ("mixed-50", "plain-50", "mixed-0", "plain-0")
    words = {0.0: "none", 0.5: "half", 1.0: "all"}
    table = [
        {**row, "config": {**row["config"], "dataset": words.get(row["config"]["noise"], "")}} for row in report.table
    ]
    chart = grid("test/error", "dataset", "alpha", variants=names)
    spec = chart.draw(dataclasses.replace(report, table=table)).to_dict()
    place = layers(spec, "rect")[0]["encoding"]
    assert (place["x"]["sort"], place["y"]["sort"]) == (["half", "none"], ["0", "1"])
    assert len(rows(spec, layers(spec, "rect")[0])) == 4
    without = dataclasses.replace(report, table=[row for row in table if row["variant"] != "plain-0"])
    assert len(rows(chart.draw(without).to_dict(), layers(chart.draw(without).to_dict(), "rect")[0])) == 3


def test_a_plane_has_a_mark_for_each_variant_and_seed_that_has_both_numbers(report: Report) -> None:
    spec = plane(("train/error-wrong", "test/error"), log_x=True).draw(report).to_dict()
    single, means = layers(spec, "point")
    assert len(rows(spec, single)) == 40  # the first is measured in eight of ten variants
    table = {row["variant"]: row["metrics"] for row in report.table}
    for mark in rows(spec, means):
        own = table[mark["group"]]
        assert mark["x"] == pytest.approx(own["train/error-wrong"]["mean"], rel=1e-5)
        assert mark["y"] == pytest.approx(own["test/error"]["mean"], rel=1e-5)
    assert len(rows(spec, means)) == 8
    x, y = means["encoding"]["x"], means["encoding"]["y"]
    assert (x["title"], x["scale"]["type"], y["title"]) == ("train error wrong", "log", "test error")
    assert not layers(spec, "line")
    looks = zip(*(means["encoding"][kind]["scale"]["range"] for kind in ("color", "shape")), strict=True)
    assert len(set(looks)) == 8  # colours repeat, and then the shapes differ
    assert means["encoding"]["shape"]["scale"]["domain"] == means["encoding"]["color"]["scale"]["domain"]


def test_the_count_of_parameters_can_be_an_axis(report: Report) -> None:
    spec = plane(("parameters", "test/error"), variants=("plain-0",)).draw(report).to_dict()
    assert [mark["x"] for mark in rows(spec, layers(spec, "point")[1])] == [11_173_962]


def test_several_pairs_of_a_plane_are_joined_from_left_to_right(report: Report) -> None:
    chart = plane(("test/error", "train/loss"), ("train/error-wrong", "train/loss"), x="cost", y="nDCG@5", says="Both.")
    assert chart.title == "nDCG@5 against cost"
    assert chart.says.endswith("Lines join the marks of one variant from left to right. Both.")
    spec = chart.draw(report).to_dict()
    (line,) = layers(spec, "line")
    assert line["encoding"]["order"]["field"] == "x"
    joined = Counter(row["variant"] for row in rows(spec, line))
    assert joined == {row["variant"]: 2 for row in report.table if not row["variant"].endswith("-0")}
    assert len(rows(spec, layers(spec, "point")[1])) == 18
    assert line["encoding"]["color"]["scale"]["domain"] == [row["variant"] for row in report.table]


def test_a_plane_needs_pairs() -> None:
    for points in ((), ("test/cost", "test/error"), (("a", "b", "c"),)):
        with pytest.raises(Problem, match="plane takes pairs of metrics"):
            plane(*points)
