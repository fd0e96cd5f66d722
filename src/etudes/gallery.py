"""What the command line shows of the catalogue: all studies, and one of them."""

import json
from typing import Any

import tyro

from etudes.core import catalogue
from etudes.core.errors import unknown


def list_(family: str = "", json: bool = False, markdown: bool = False) -> int:
    """All studies, with their question and the verdicts of their committed laptop reports.

    Args:
        family: only this family
        json: as JSON
        markdown: as a Markdown table
    """
    cards = [card for card in catalogue.cards() if family in ("", card["family"])]
    if not cards:
        raise unknown("family", family, sorted(set(catalogue.names().values())))
    if json:
        _print_json(cards)
    elif markdown:
        _print_gallery(cards)
    else:
        from rich.console import Console
        from rich.table import Table

        table = Table("study", "family", "question", "claims", box=None)
        for card in cards:
            table.add_row(card["name"], card["family"], card["question"], _tally(card))
        Console().print(table)
    return 0


def show(name: tyro.conf.Positional[str], json: bool = False) -> int:
    """One study: its question, paper, variants, scales, claims and committed reports.

    Args:
        name: the study
        json: as JSON
    """
    card = catalogue.card(catalogue.find(name))
    reported = catalogue.reported_scales(card["name"])
    if json:
        _print_json(card | {"reported": reported})
        return 0
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table

    console = Console(highlight=False)
    paper = card["paper"]
    console.print(f"[bold]{card['name']}[/bold]  {card['question']}")
    console.print(f"{paper['title']}. {paper['authors']}, {paper['year']}. {paper['url']}\n")
    variants = Table("variant", "changes", "", box=None)
    for v in card["variants"]:
        variants.add_row(v["name"], ", ".join(f"{k} = {x}" for k, x in v["changes"].items()), v["says"])
    scales = Table("scale", "seeds", "minutes", "judges", "committed report", box=None)
    for scale, s in card["scales"].items():
        shown = f"etudes report {name} --scale {scale}" if scale in reported else "–"
        scales.add_row(
            scale, ", ".join(map(str, s["looks"])), f"{s['minutes']:g}", "yes" if s["judges"] else "no", shown
        )
    for table in (variants, scales):
        console.print(table, "")
    for c in card["claims"]:
        console.print(c["says"], markup=False)
        number = f"{c['number']}: " if c["number"] else ""
        margin = f", too small to matter below {c['matters']:g}" if c["matters"] else ""
        said = f"{number}{c['expect']}{margin} ({c['where']})"
        console.print(Padding(said, (0, 0, 0, 4)), style="dim", markup=False)
    console.print()
    console.print(f"etudes run {name} [--scale {'|'.join(card['scales'])}] [--FIELD VALUE ...]", markup=False)
    return 0


def _tally(card: dict[str, Any]) -> str:
    """3 supported, 1 refuted: the verdicts of a card's claims, counted."""
    verdicts = [claim["verdict"] or "not run" for claim in card["claims"]]
    return ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in dict.fromkeys(sorted(verdicts)))


def _print_gallery(cards: list[dict[str, Any]]) -> None:
    """The page docs/studies/README.md: a table for each family."""
    print(
        "# The studies\n\nWritten by `etudes list --markdown`. A study's page tells what was asked, what is measured,"
    )
    print("and what to beware of; its report, what came out.")
    for family in dict.fromkeys(card["family"] for card in cards):
        print(
            f"\n## {family}\n\n| study | question | paper | asked by | claims at laptop scale |\n|---|---|---|---|---|"
        )
        for card in cards:
            if card["family"] == family:
                name, paper = card["name"], card["paper"]
                link = f"[{paper['authors'].split(',')[0]} {paper['year']}]({paper['url']})"
                tally = f"[{_tally(card)}](../../results/{name}/laptop/report.md)"
                print(f"| [{name}]({name}.md) | {card['question']} | {link} | {card['origin']} | {tally} |")


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False))
