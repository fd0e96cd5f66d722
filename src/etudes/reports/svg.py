"""A chart as one small SVG element."""

import itertools
import re
from typing import Any
from xml.etree import ElementTree

# How much wider the widest of the usual fonts, DejaVu Sans and Verdana, set a line than the one that Vega measures.
WIDEST = 1.17
SVG = "http://www.w3.org/2000/svg"
# What Vega writes and nobody sees: frames without colour, and labels of single marks, where the page labels the whole.
UNSEEN = (
    r'<path class="foreground"[^>]* display="none"/>',
    r'<path class="background" aria-hidden="true" d="[^"]*"( pointer-events="none")?/>',
    r' pointer-events="none"',
    r' aria-label="Title text [^"]*"',
    r' aria-hidden="true"',
    r' (role="graphics-(object|symbol)"|aria-roledescription="[^"]*")',
    r' xmlns:xlink="[^"]*"',
)
# The two arcs by which Vega draws a circle.
CIRCLE = re.compile(
    r'<path transform="translate\(([-\d.e]+),([-\d.e]+)\)"'
    r' d="M([\d.]+),0A\3,\3,0,1,1,-\3,0A\3,\3,0,1,1,\3,0"'
)
ROLES = {"role-axis-grid", "role-title-subtitle"}  # the classes to which pages give colours of their own
USUAL = {"opacity": "1"}  # what holds where nothing is said; of a line also that it ends where it began
USUAL_OF_LINE = USUAL | {"x2": "0", "y2": "0"}
# What an element takes over from the one around it. The fill of words stays with them: pages look for it there.
INHERITED = ("stroke", "stroke-width", "stroke-dasharray", "font-family", "font-size", "font-weight", "text-anchor")


def svg(spec: dict[str, Any], name: str) -> str:
    """A chart's Vega-Lite as one SVG element, its coordinates to a tenth of a pixel, its ids its own, each thing said
    once.

    No letter is cut, whatever font without serifs a machine has: the room is that of letters `WIDEST` times as large.
    """
    import vl_convert

    text = vl_convert.vegalite_to_svg(_enlarge(spec))
    text = re.sub(r'font-size="([\d.]+)px"', lambda m: f'font-size="{round(float(m[1]) / WIDEST, 1):g}px"', text)
    text = re.sub("|".join(UNSEEN), "", text)
    text = re.sub(r'( (?:d|transform|[xy][12]?)=")([^"]*)"', lambda m: f'{m[1]}{round_coordinates(m[2])}"', text)
    text = CIRCLE.sub(r'<circle cx="\1" cy="\2" r="\3"', text)
    for i, own in enumerate(dict.fromkeys(re.findall(r'\bid="([^"]+)"', text))):  # Vega counts on from the last chart
        text = text.replace(f'id="{own}"', f'id="{name}-{i}"').replace(f"url(#{own})", f"url(#{name}-{i})")
    ElementTree.register_namespace("", SVG)
    root = ElementTree.fromstring(text)
    _simplify(root)
    return ElementTree.tostring(root, encoding="unicode").replace(" />", "/>")


def _enlarge(spec: Any) -> Any:
    """The specification with all sizes of letters `WIDEST` times as large."""
    if isinstance(spec, list):
        return [_enlarge(part) for part in spec]
    if not isinstance(spec, dict):
        return spec
    return {name: WIDEST * part if name.lower().endswith("fontsize") else _enlarge(part) for name, part in spec.items()}


def round_coordinates(attribute: str) -> str:
    """The coordinates to a tenth of a pixel; a path of straight lines as the shorter steps between its points."""
    if not re.fullmatch(r"M[-\d.e,]+(L[-\d.e,]+)+", attribute):
        return re.sub(r"(\d+\.\d)\d+", r"\1", attribute).replace(".0,", ",").replace(".0)", ")")
    points = [tuple(round(10 * float(c)) for c in point.split(",")) for point in re.split("[ML]", attribute)[1:]]
    steps = [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(points)]
    text = f"M{_tenths(points[0][0])},{_tenths(points[0][1])}l"
    return text + " ".join(f"{_tenths(x)},{_tenths(y)}" for x, y in steps)


def _tenths(count: int) -> str:
    return f"{count / 10:g}"


def _simplify(element: ElementTree.Element) -> None:
    """Leave out below the element what is usual, groups that hold or say nothing, and say once what all parts share."""
    parts: list[ElementTree.Element] = []
    for part in element:
        _simplify(part)
        for name, value in (USUAL_OF_LINE if part.tag == f"{{{SVG}}}line" else USUAL).items():
            if part.get(name) == value:
                del part.attrib[name]
        if part.tag == f"{{{SVG}}}g":
            roles = ROLES & set(part.attrib.pop("class", "").split())
            part.attrib |= {"class": " ".join(sorted(roles))} if roles else {}
            parts += [part] if part.attrib and len(part) else list(part)
        else:
            parts.append(part)
    element[:] = parts
    if element.tag == f"{{{SVG}}}g":
        for name in INHERITED:
            values = {part.get(name) for part in parts}
            if len(values) == 1 and None not in values and name not in element.attrib:
                element.set(name, values.pop() or "")
                for part in parts:
                    del part.attrib[name]
