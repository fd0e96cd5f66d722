"""Two more forms of a chart's Vega-Lite: small, for a gallery, and with hover, for a page with scripts."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Spec = dict[str, Any]

SMALL = 320, 180  # pixels
LETTERS = 12  # pixels, of a small chart
FAINT = 0.06  # the opacity of what the legend has put aside
TARGET = 90  # square pixels around a line's point that can be pointed at


def thumbnail(spec: Spec) -> Spec:
    """The chart's first panel in 320 by 180 pixels with larger letters, without its title, legend, ground and the
    means written beside it."""
    panels = spec.get("concat", [spec])
    kept = {name: spec[name] for name in ("$schema", "config", "datasets") if name in spec}
    below = panels[-spec.get("columns", 1)]["layer"][0]["encoding"]["x"]  # where the first column's axis is written out
    written = {name: below.get(name) for name in ("axis", "title")}
    layers = [
        {**layer, "encoding": _plain(layer["encoding"]) | {"x": _own(layer["encoding"]["x"]) | written}}
        for layer in panels[0]["layer"]
        if layer["mark"].get("style") != "number"
    ]
    sizes = {"labelFontSize": LETTERS, "titleFontSize": LETTERS}
    width, height = SMALL
    axes = {"axis": {**spec["config"]["axis"], **sizes}, "axisY": {"titleLimit": height - 30}}  # longer ends in dots
    config = {**spec["config"], **axes}
    size = {"width": width, "height": height, "autosize": {"type": "fit", "contains": "padding"}}
    return {**kept, "config": config, "layer": layers, "padding": 2, "background": "transparent", **size}


def _own(x: Spec) -> Spec:
    """The channel without the ends that a panel of one axis shares with others."""
    scale = x.get("scale", {})
    kept = scale if "type" in scale else {name: scale[name] for name in scale if name not in ("domain", "nice")}
    return {**x, "scale": kept}


def _plain(encoding: Spec) -> Spec:
    """The encoding without legends."""
    return {
        name: {**channel, "legend": None} if isinstance(channel, dict) and "legend" in channel else channel
        for name, channel in encoding.items()
    }


def live(spec: Spec) -> Spec:
    """The chart in which what is pointed at tells its numbers, an entry of the legend leaves only what it names, and
    the signal `seeds` shows single seeds or hides them.

    It is Vega-Lite but for its data: of each of the `datasets` {name: {"fields": [...], "rows": [[...]]}} a row is to
    become an object before it is drawn.
    """
    spec = {**spec, "params": [{"name": "seeds", "value": True}], "background": "transparent"}
    packed: dict[str, Any] = {}
    panels = [_touchable(panel, spec.get("datasets", {}), packed) for panel in spec.get("concat", [spec])]
    if field := next(_legends(panels), ""):
        select = {"type": "point", "fields": [field]}
        layer = panels[0]["layer"][0]
        layer["params"] = [{"name": "only", "select": select, "bind": "legend"}]
    for panel in panels:
        for layer in panel["layer"]:
            _fade(layer, field)
    return {**(spec | {"concat": panels} if "concat" in spec else panels[0]), "datasets": packed}


def _touchable(panel: Spec, datasets: Mapping[str, Any], packed: dict[str, Any]) -> Spec:
    """The panel with what each mark says of itself, and its data among the `packed`. Of a line its points say it, which
    nobody sees."""
    layers = []
    for layer in panel["layer"]:
        data = layer.get("data") or panel["data"]
        rows = data["values"] if "values" in data else datasets[data["name"]]
        layer = {**layer, "mark": dict(layer["mark"]), "encoding": dict(layer["encoding"]), "data": _pack(rows, packed)}
        layers.append(layer)
        kind = layer["mark"]["type"]
        if not rows or kind in ("text", "rule") or layer["mark"].get("style") == "reference":
            continue  # a reference is not what its axis is called
        says = list(_says(layer["encoding"], rows[0]))
        if kind == "line":
            place = {name: layer["encoding"][name] for name in ("x", "y", "color")}
            mark = {"type": "point", "filled": True, "size": TARGET, "opacity": 0, "style": "target"}
            mark |= {name: layer["mark"][name] for name in ("xOffset",) if name in layer["mark"]}
            layers.append({"data": layer["data"], "mark": mark, "encoding": {**place, "tooltip": says}})
        else:
            layer["encoding"]["tooltip"] = says
    return {name: value for name, value in panel.items() if name != "data"} | {"layer": layers}


def _pack(rows: Sequence[Mapping[str, Any]], packed: dict[str, Any]) -> Spec:
    """What stands for the rows as a layer's data: their name among the `packed`, where each field is named once."""
    table = {"fields": list(rows[0]) if rows else [], "rows": [list(row.values()) for row in rows]}
    name = next((name for name, found in packed.items() if found == table), f"data-{len(packed)}")
    packed[name] = table
    return {"name": name}


def _says(encoding: Spec, row: Mapping[str, Any]) -> Iterator[Spec]:
    """What a mark tells: its variant, its seed, and its numbers by the names of their axes, means as such."""
    for name in ("variant", "group", "metric", "whose"):
        if row.get(name):
            title = (encoding.get("color", {}).get("legend") or {}).get("title") if name == "group" else None
            yield {"field": name, "type": "nominal", "title": title or name}
    if "seed" in row:
        yield {"field": "seed", "type": "nominal"}
    for channel in ("x", "y", "color"):
        found = encoding.get(channel, {})
        if found.get("type") not in ("quantitative", "ordinal") or found["field"] not in row:
            continue
        title = found.get("title") or (found.get("legend") or {}).get("title") or found["field"]
        if found["type"] == "ordinal":
            yield {"field": found["field"], "type": "nominal", "title": title}
        else:
            single = "seed" in row or "whose" in row or found["field"] in ("x", "step")
            kind = "" if single else "mean "
            yield {"field": found["field"], "type": "quantitative", "title": f"{kind}{title}", "format": ".4~g"}


def _legends(panels: Sequence[Spec]) -> Iterator[str]:
    """The fields of which a chart has a legend of colours."""
    for panel in panels:
        for layer in panel["layer"]:
            colour = layer["encoding"].get("color", {})
            if colour.get("type") == "nominal" and colour.get("legend"):
                yield colour["field"]


def _fade(layer: Spec, field: str) -> None:
    """Let a mark fade where the legend has chosen others, and vanish with the seeds where it is one of them."""
    mark, colour = layer["mark"], layer["encoding"].get("color", {})
    if mark.get("style") in ("number", "target"):
        return
    shown = mark.get("opacity", 1)
    tests: list[Spec] = [{"test": "!seeds", "value": 0}] if mark.get("style") == "seed" else []
    if field and colour.get("field") == field:
        layer["encoding"]["opacity"] = {"condition": [*tests, {"param": "only", "value": shown}], "value": FAINT}
    elif tests:
        layer["encoding"]["opacity"] = {"condition": tests, "value": shown}
