"""The look that the demos share with the pages, small drawings as HTML, and how a Problem is told."""

import functools
import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from etudes.core.errors import Problem

BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"  # of Okabe and Ito's palette for the colour-blind
SANS = ("Inter", "system-ui", "-apple-system", "Segoe UI", "Arial", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")
STATIC = Path(__file__).parents[1] / "static"
SHARED = re.compile(
    r"^(?:@font-face|:root|\[data-theme=\"\w+\"\]) \{[^}]*\}(?: \[data-theme=\"\w+\"\] \{[^}]*\})*", re.MULTILINE
)  # of the site's style sheet: what gives fonts and colours their names

CSS = """
:root { --mark: 0, 114, 178; --tick: light-dark(#0b5688, #3c82b4); --edge: light-dark(#8f8d86, #6b7078); }
.dark { --mark: 86, 180, 233; }
#masthead { min-height: 3.3rem; } #content:focus { outline: none; }
.skip { position: absolute; left: -99rem; }
.skip:focus { left: 1rem; top: .5rem; z-index: 9; padding: .4rem .8rem; background: var(--card); color: var(--link); }
.kicker { margin: 0 0 -1rem; color: var(--soft); font-size: .8rem; } .prose :is(.kicker, .credit) a { padding: 0; }
.gradio-container input[type=range] { --neutral-200: var(--rule); }
.gradio-container { max-width: 62rem !important; margin: 0 auto !important; color: var(--ink); }
.gradio-container h1 { margin: .2rem 0 .4rem; font: 600 1.9rem/1.2 var(--serif); letter-spacing: -.02em; }
.lead { margin: 0; font: 1.1rem/1.5 var(--serif); }
.loaded { margin: .5rem 0 0; padding: .5rem .8rem; border-left: 3px solid rgb(var(--mark)); background: var(--faint);
  color: var(--ink); font-size: .85rem; line-height: 1.5; }
.loaded p { margin: 0; } .soft { color: var(--soft); }
.told { padding: .8rem 1rem; border: 1px solid var(--rule); border-radius: 6px; background: var(--faint);
  color: var(--ink); white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.7;
  font: .92rem/1.8 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; min-height: 6rem; }
.told .given { color: var(--soft); }
.told [data-odds] { border-radius: 2px; background: rgba(var(--mark), var(--doubt)); cursor: help; }
.told .chosen { outline: 2px solid rgb(var(--mark)); } .told:focus-visible { outline: 3px solid rgb(var(--mark)); }
button[aria-label="Color"] svg { stroke: #767676; stroke-width: 1.6; overflow: visible; } /* white on white too */
.odds { position: sticky; bottom: 0; margin: .3rem 0; padding: .4rem .6rem; background: var(--faint); color: var(--ink);
  font-size: .86rem; line-height: 1.5; overflow-wrap: anywhere; min-height: 3.4rem; }
.scroll { overflow: auto; max-height: 22rem; contain: inline-size; } .scroll.whole { max-height: none; }
.whole td { overflow-wrap: anywhere; }
table.plain { border-collapse: collapse; min-width: 100%; font-size: .84rem; color: var(--ink); }
table.plain th, table.plain td { padding: .3rem .6rem; border-bottom: 1px solid var(--rule); text-align: left; }
table.plain .n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
table.heat { border-collapse: separate; border-spacing: 2px; font-size: .84rem; color: var(--ink); }
.gradio-container table.heat, .gradio-container table.heat * { border-width: 0 !important; }
.gradio-container table.heat :is(th, td) { padding: .25rem .1rem; line-height: 1.2; text-align: center !important; }
.gradio-container table.heat tbody th { padding-right: .4rem; text-align: right !important; }
table.heat th { font-weight: 500; white-space: pre; } .gradio-container table.heat thead th { vertical-align: bottom; }
table.heat .turned { writing-mode: vertical-rl; text-align: left; margin: 0 auto; }
table.heat td { min-width: 1.9rem; font-variant-numeric: tabular-nums; border-radius: 2px;
  background: rgba(var(--mark), var(--share)); }
@media (max-width: 40rem) { table.heat { border-spacing: 1px; font-size: .76rem; }
  table.heat td { min-width: 1.3rem; } }
.bars { display: grid; grid-template-columns: minmax(5rem, auto) 1fr 4rem; gap: .35rem .7rem; align-items: center;
  font-size: .9rem; color: var(--ink); }
.bars .bar { height: .95rem; background: var(--faint); border: 1px solid var(--rule); border-radius: 3px; }
.bars .bar i { display: block; height: 100%; background: rgb(var(--mark)); border-radius: 2px; }
.bars .n { text-align: right; font-variant-numeric: tabular-nums; }
.chart { color: var(--ink); container-type: inline-size; } .chart svg { display: block; width: 100%; height: auto; }
.chart .narrow { display: none; }
.legend { display: flex; flex-wrap: wrap; gap: .1rem 1.2rem; margin: .2rem 0; }
@container (max-width: 26rem) { .chart .narrow { display: block; } .chart .wide { display: none; } }
.legend i { display: inline-block; width: 1.6rem; border-width: 3px 0 0; vertical-align: .28em; }
.greys i { width: .8rem; height: .8rem; border: 1px solid #888; vertical-align: 0; }
.strip { display: flex; flex-wrap: wrap; gap: .7rem; } .strip figure { margin: 0; font-size: .8rem; }
.strip img { width: 7.5rem; image-rendering: pixelated; border: 1px solid var(--rule); display: block; }
.film img { width: min(100%, 26rem); } .strip.large figure { width: min(100%, 17rem); }
.strip.large img { width: 100%; }
.near { margin: .3rem 0 1rem; } .near .strip { display: grid; grid-template-columns: repeat(8, 1fr); }
.near .strip img { width: 100%; } table.counts td { white-space: nowrap; }
@media (max-width: 40rem) { .near .strip { grid-template-columns: repeat(4, 1fr); gap: .5rem; }
  table.plain.counts :is(th, td) { padding: .3rem .2rem; } }
.told.card { font-family: inherit; white-space: normal; } .told.card p { margin: .2rem 0 .6rem; }
.told.card ul { margin: .2rem 0 .8rem 1.2rem; list-style: disc; font-size: 1.1rem; }
.told.card li { margin: 0; line-height: 1.5; }
.strip figcaption { color: var(--soft); margin-top: .2rem; }
.gradio-container table.plain, .gradio-container table.plain * { border-width: 0 !important; }
.gradio-container table.plain :is(th, td) { border-bottom: 1px solid var(--rule) !important; }
.turn { margin: 0 0 1.4rem; padding: 0 0 1rem; border-bottom: 1px solid var(--rule); color: var(--ink); }
.turn p { margin: .3rem 0 .6rem; } .turn .asked { font-weight: 600; font-size: 1.05rem; }
.turn .kind { margin-bottom: 0; color: var(--soft); font-size: .8rem; }
.turn .answer { font: 1.05rem/1.55 var(--serif); overflow-wrap: anywhere; }
.turn blockquote { margin: .3rem 0 .8rem; padding: .5rem .8rem; border-left: 3px solid var(--rule); font-size: .88rem;
  white-space: pre-wrap; overflow-wrap: anywhere; max-height: 20rem; overflow-y: auto; }
.turn mark { background: rgba(var(--mark), .2); color: inherit; } .passage summary { overflow-wrap: anywhere; }
.cite { padding: 0 .15rem; border: 0; background: none; color: var(--link); cursor: pointer; font: inherit; }
.cite:hover { text-decoration: underline; }
.training { margin: .4rem 0 .2rem; font-variant-numeric: tabular-nums; }
progress { display: block; width: 100%; height: .55rem; appearance: none; border: 0; border-radius: 5px;
  overflow: hidden; background: var(--rule); accent-color: var(--link); }
progress::-webkit-progress-bar { background: var(--rule); }
progress::-webkit-progress-value { background: var(--link); } progress::-moz-progress-bar { background: var(--link); }
.gradio-container :is(a, button, input, summary, textarea, [tabindex]):focus-visible
  { outline: 3px solid rgb(var(--mark)) !important; outline-offset: 2px; }
details.plain summary { cursor: pointer; color: var(--link); font-size: .86rem; padding: .3rem 0; }
"""


# Which of the site's colours Gradio's parts have, each by the name that both style sheets give it.
COLOURS = {
    "page": "body_background_fill button_primary_text_color",
    "card": "block_background_fill input_background_fill background_fill_primary button_secondary_background_fill "
    "block_label_background_fill checkbox_background_color checkbox_background_color_hover "
    "checkbox_label_background_fill",
    "faint": "background_fill_secondary button_secondary_background_fill_hover checkbox_label_background_fill_hover "
    "checkbox_label_background_fill_selected",
    "ink": "body_text_color block_title_text_color button_secondary_text_color checkbox_label_text_color "
    "checkbox_label_text_color_selected accordion_text_color",
    "soft": "body_text_color_subdued block_label_text_color block_info_text_color input_placeholder_color "
    "checkbox_border_color",
    "rule": "block_border_color border_color_primary button_secondary_border_color",
    "link": "button_primary_background_fill button_primary_background_fill_hover button_primary_border_color "
    "slider_color color_accent border_color_accent link_text_color",
    "edge": "input_border_color",
    "tick": "checkbox_background_color_selected checkbox_border_color_selected",
}


def theme() -> gr.themes.Base:
    """The site's fonts and colours, of which each is its own for light and dark; nothing is fetched."""
    base = gr.themes.Base(neutral_hue="stone", font=list(SANS), font_mono=list(MONO))
    values = {name: f"var(--{colour})" for colour, names in COLOURS.items() for name in names.split()}
    values |= {f"{name}_dark": colour for name, colour in values.items() if hasattr(base, f"{name}_dark")}
    for part in ("button", "input"):
        values |= {f"{part}_border_width": "1px", f"{part}_border_width_dark": "1px"}
    for size in ("large", "medium", "small"):
        values |= {f"button_{size}_text_weight": "500", f"button_{size}_radius": "6px"}
    return base.set(**values)


def head() -> str:
    """What stands in the head of a demo's page: the site's fonts, its colours by name, its masthead, and the script
    that shows that and carries the choice of light or dark over."""
    from etudes.web.pages import Pages
    from etudes.web.shelf import Shelf

    style = "".join(SHARED.findall((STATIC / "site.css").read_text(encoding="utf-8")))
    style = style.replace('url("fonts/', 'url("/static/fonts/')
    page = Pages(Shelf(Path())).demos()
    masthead = page[page.index('<a class="skip"') : page.index("</header>")]
    return (
        f'<style>{style}</style><script src="/static/theme.js"></script><script id="site" type="text/html">'
        f'<link rel="stylesheet" href="/static/site.css">{masthead}</header></script>'
        '<script src="/static/demo.js"></script>'
    )


def explain(work: Callable[..., Any]) -> Callable[..., Any]:
    """`work`, whose Problems are shown as a message on the page: one sentence, as text. What is shown stays."""

    def message(problem: Problem) -> Any:
        gr.Warning(escape(str(problem)))  # an Error would mark all that is shown as broken
        return gr.skip()

    if inspect.isgeneratorfunction(work):

        @functools.wraps(work)
        def stream(*values: Any, **named: Any) -> Any:
            try:
                yield from work(*values, **named)
            except Problem as problem:
                yield message(problem)

        return stream

    @functools.wraps(work)
    def call(*values: Any, **named: Any) -> Any:
        try:
            return work(*values, **named)
        except Problem as problem:
            return message(problem)

    return call


def title(words: str, lead: str) -> gr.HTML:
    """The head of a page, with the style of all of it: so it has its look wherever it is mounted."""
    return gr.HTML(f'<style>{CSS}</style><h1>{escape(words)}</h1><p class="lead">{escape(lead)}</p>')


def loading_note(words: str) -> str:
    """The line that says which network is at work."""
    return f'<div class="loaded"><p>{escape(words)}</p></div>'


def limit(text: str, characters: int) -> str:
    """The text. Raises Problem where it is longer than `characters`, whatever the page allowed."""
    if len(text) > characters:
        raise Problem(f"the text has {len(text):,} characters; give at most {characters:,}")
    return text


def bars(shares: Mapping[str, float], caption: str) -> str:
    """Shares in [0, 1] as bars, each with its name and percentage."""
    rows = "".join(
        f'<span>{escape(name)}</span><span class="bar"><i style="width:{100 * share:.1f}%"></i></span>'
        f'<span class="n">{100 * share:.1f} %</span>'
        for name, share in shares.items()
    )
    return f'<p class="soft">{escape(caption)}</p><div class="bars">{rows}</div>'


DARKEST = 0.45  # of a mark under text, at a share of 1: the text stays readable


def heat_map(shares: Sequence[Sequence[float]], down: Sequence[str], across: Sequence[str], says: str) -> str:
    """Shares in [0, 1], a row for each name `down` and a column for each name `across`, as a table: each in hundredths,
    on a ground that is the stronger the larger it is. Names of columns that are longer than two letters are turned."""
    turned = any(len(name.strip()) > 2 for name in across)
    heads = "".join(
        f'<th scope="col">{f"<div class=turned>{escape(name)}</div>" if turned else escape(name)}</th>'
        for name in across
    )
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f'<td style="--share:{DARKEST * share:.3f}">{100 * share:.0f}</td>' for share in row)
        + "</tr>"
        for name, row in zip(down, shares, strict=True)
    )
    return (
        f'<p class="soft">{escape(says)}</p><div class="scroll whole" tabindex="0" role="region" '
        f'aria-label="{escape(says)}"><table class="heat"><thead><tr><td style="--share:0"></td>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def plain_table(summary: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of texts that is unfolded by its summary."""
    head = "".join(f'<th scope="col">{escape(word)}</th>' for word in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<details class="plain"><summary>{escape(summary)}</summary><div class="scroll whole" tabindex="0" '
        f'role="region" aria-label="{escape(summary)}"><table class="plain"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div></details>"
    )


def strip(pictures: Sequence[tuple[str, str]], large: bool = False) -> str:
    """(address of a picture, caption) in a row."""
    figures = (
        f'<figure><img src="{escape(url)}" alt="{escape(words)}"><figcaption>{escape(words)}</figcaption></figure>'
        for url, words in pictures
    )
    return f'<div class="strip{" large" * large}">{"".join(figures)}</div>'


Curve = tuple[str, str, Sequence[float], Sequence[float], bool]  # name, colour, x, y, whether broken
WIDE, NARROW = (640, 260), (340, 240)  # pixels of a chart, and of the one that stands for it where there is less room


def lines(
    curves: Sequence[Curve],
    *,
    says: str,
    x_axis: str,
    y_axis: str,
    log: bool = False,
    most: float = 0,
    until: float = 0,
) -> str:
    """The curves as SVG, with a legend above of those that have a name; drawn for a wide and for a narrow page.

    The x axis reaches to `until` at least, a linear y axis to `most`.
    """
    points = [(x, y) for *_, xs, ys, _ in curves for x, y in zip(xs, ys, strict=True) if not log or y > 0]
    if not points:
        return f'<p class="soft">{escape(says)}: nothing measured yet.</p>'
    heights = [math.log10(y) if log else y for _, y in points]
    low, high = min(heights), max(heights)
    low, high = (low, high) if log else (min(0.0, low), max(most, high))
    reach = max(until, *(x for x, _ in points)) or 1, low, high if high > low else low + 1
    legend = "".join(
        f'<span><i style="border-style:{"dashed" if broken else "solid"};border-color:{colour}"></i> '
        f"{escape(name)}</span>"
        for name, colour, _, _, broken in curves
        if name
    )
    drawn = "".join(
        f'<svg class="{kind}" viewBox="0 0 {size[0]} {size[1]}" role="img" aria-label="{escape(says)}">'
        f"{_drawing(curves, size, reach, (x_axis, y_axis), log)}</svg>"
        for kind, size in (("wide", WIDE), ("narrow", NARROW))
    )
    return f'<div class="chart"><p class="soft">{escape(says)}</p><p class="legend">{legend}</p>{drawn}</div>'


def _drawing(
    curves: Sequence[Curve], size: tuple[int, int], reach: tuple[float, float, float], axes: tuple[str, str], log: bool
) -> str:
    """Axes and curves; `reach` is the last x, and the lowest and highest y, or their decimal logarithms."""
    (width, height), (far, low, high) = size, reach
    left, bottom, top, right = 58, 36, 12, 12

    def across(x: float) -> float:
        return left + (width - left - right) * x / far

    def down(y: float) -> float:
        return top + (height - top - bottom) * (1 - ((math.log10(y) if log else y) - low) / (high - low))

    values = _logarithmic_ticks(10**low, 10**high) if log else _ticks(low, high)
    ticks = [(x, across(x)) for x in _ticks(0, far)], [(y, down(y)) for y in values]
    drawn = [_axes(*ticks, (width, height, left, right), *axes)]
    for _, colour, xs, ys, broken in curves:
        path = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in zip(xs, ys, strict=True) if not log or y > 0)
        dashes = ' stroke-dasharray="6 4"' * broken
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>')
    return "".join(drawn)


Ticks = Sequence[tuple[float, float]]  # value, place in pixels


def _axes(across: Ticks, down: Ticks, frame: tuple[int, ...], x_axis: str, y_axis: str) -> str:
    width, height, left, right = frame
    text = 'fill="currentColor" font-size="11" font-family="system-ui, sans-serif"'
    drawn = [
        f'<line x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}" stroke="currentColor" '
        f'stroke-opacity=".13"/><text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end" {text}>{_short(value)}</text>'
        for value, y in down
    ]
    for value, x in across:
        anchor = "end" if x > width - right - 12 else "middle"
        drawn.append(f'<text x="{x:.1f}" y="{height - 18}" text-anchor="{anchor}" {text}>{_short(value)}</text>')
    middle = (left + width - right) / 2
    drawn.append(f'<text x="{middle}" y="{height - 3}" text-anchor="middle" {text}>{escape(x_axis)}</text>')
    drawn.append(
        f'<text transform="translate(12 {height / 2}) rotate(-90)" text-anchor="middle" {text}>{escape(y_axis)}</text>'
    )
    return "".join(drawn)


def _ticks(low: float, high: float) -> list[float]:
    """The round numbers between the two, some three to six."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * times for times in (1, 2, 5, 10) if power * times >= 0.999 * rough)
    return [step * i for i in range(math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6) + 1)]


def _logarithmic_ticks(low: float, high: float) -> list[float]:
    """Powers of ten between the two positive numbers, with their doubles and fives where those are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [
        [value for power in powers for times in some if low <= (value := float(f"{times}e{power}")) <= high]
        for some in ((1,), (1, 2, 5))
    ]
    return next((ticks for ticks in found if len(ticks) > 2), _ticks(low, high))


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
