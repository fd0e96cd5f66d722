import re
from typing import Any

import pytest

from etudes.reports import drawings, views
from etudes.reports.charts import bars, curves, grid
from etudes.reports.report import Report

Spec = dict[str, Any]


def layers(spec: Spec) -> list[Spec]:
    return [layer for panel in spec.get("concat", [spec]) for layer in panel["layer"]]


def test_a_thumbnail_is_the_first_panel_with_larger_letters_and_nothing_beside_it(report: Report) -> None:
    sections = {"No noise": ("plain-0", "mixed-0"), "Half": ("mixed-50", "plain-50")}
    spec = bars("test/error", "train/loss", by="alpha", sections=sections).draw(report).configure(axis={}).to_dict()
    small = views.thumbnail(spec)
    assert "title" not in small
    assert (small["width"], small["height"]) == views.SMALL
    assert [layer["mark"]["type"] for layer in small["layer"]] == ["point", "rule", "point"]  # without the numbers
    for layer in small["layer"]:
        assert layer["encoding"]["color"]["legend"] is None
    x = small["layer"][0]["encoding"]["x"]
    assert x["title"] == "test error"  # which stands below the last section alone
    assert "domain" not in x["scale"]
    text = drawings.thumbnail(report)
    assert re.search(r'width="3[12]\d" height="1[78]\d"', text)
    assert f'font-size="{views.LETTERS}px"' in text
    assert "waves on waves" not in text


def test_what_is_pointed_at_tells_its_variant_its_seed_and_its_numbers(report: Report) -> None:
    spec = views.live(report.chart("test-error-curves").to_dict())
    seeds, means = (layer for layer in spec["layer"] if layer["mark"].get("style") == "target")
    told = [
        [says["title" if "title" in says else "field"] for says in each["encoding"]["tooltip"]]
        for each in (seeds, means)
    ]
    assert told == [["variant", "seed", "step", "test error"], ["variant", "step", "mean test error"]]
    assert seeds["mark"]["opacity"] == 0  # for the pointer alone
    data = spec["datasets"][seeds["data"]["name"]]
    assert data["fields"] == ["variant", "seed", "step", "value"]
    assert len(data["rows"]) == 50 * 40
    assert len(spec["datasets"]) == 2  # a line and its points share theirs


def test_neither_a_reference_nor_a_papers_figure_is_told_as_a_mean(report: Report) -> None:
    facets = views.live(report.chart("train-loss-curves-by-variant").to_dict())
    told = [layer["encoding"].get("tooltip", []) for layer in facets["concat"][0]["layer"]]
    assert [bool(says) for says in told] == [False, True, False, True, False]  # seeds, means, and the bound without
    figures = views.live(bars("test/error", paper={"plain-0": 0.3}).draw(report).to_dict())["layer"][-1]
    assert [says["title"] for says in figures["encoding"]["tooltip"]] == ["variant", "whose", "test error"]


def test_the_legend_isolates_and_seeds_can_be_hidden(report: Report) -> None:
    spec = views.live(report.chart("test-error-train-loss-curves").to_dict())
    (param,) = [param for layer in layers(spec) for param in layer.get("params", [])]
    assert param["select"]["fields"] == ["variant"]
    assert param["bind"] == "legend"
    seed, _, mean, _ = layers(spec)[:4]
    assert seed["encoding"]["opacity"]["condition"] == [{"test": "!seeds", "value": 0}, {"param": "only", "value": 0.4}]
    assert mean["encoding"]["opacity"] == {"condition": [{"param": "only", "value": 1}], "value": views.FAINT}


@pytest.mark.parametrize("chart", [bars("test/error"), grid("test/error", "noise", "alpha")])
def test_a_chart_without_a_legend_of_names_isolates_nothing(report: Report, chart: Any) -> None:
    spec = views.live(chart.draw(report).to_dict())
    assert not [layer for layer in layers(spec) if "params" in layer]
    assert all(layer["encoding"].get("tooltip") for layer in layers(spec) if layer["mark"]["type"] in ("point", "rect"))


def test_a_chart_for_pages_is_small(report: Report) -> None:
    import json

    for chart in (curves("test/error"), curves("train/loss", facet=True)):
        assert len(json.dumps(views.live(chart.draw(report).to_dict()))) < 150_000
