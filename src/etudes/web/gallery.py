"""The cards of the studies on the first page, and the search through all that is written of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from etudes.reports import cards
from etudes.web import search
from etudes.web.shelf import Shelf

VERDICTS = ("supported", "refuted", "negligible", "undecided", "not judged")


def index(library: Shelf) -> search.Index:
    """The words of the cards, in their order: of what the gallery shows, and of variants, data and method card."""
    return library.once("index", lambda: search.index([_text(card) for card in library.cards()]))


def _text(card: Mapping[str, Any]) -> tuple[str, str]:
    paper = card["paper"]
    main = [card["name"], card["question"], card["family"], paper["title"], paper["authors"], str(paper["year"])]
    more = [word for variant in card["variants"] for word in (variant["name"], variant["says"])]
    manual = cards.folder() / f"{card['name']}.md"
    if manual.is_file():
        more.append(manual.read_text(encoding="utf-8"))
    return " ".join(main + [claim["says"] for claim in card["claims"]]), " ".join(more + card["datasets"])


def choose(library: Shelf, q: str, family: str, origin: str, verdict: str) -> list[dict[str, Any]]:
    """All cards as the gallery shows them, what was searched for first; those left out at the end, with `hidden`."""
    shown = [_shown(card, place) for place, card in enumerate(library.cards())]
    found = search.find(index(library), q, len(shown))
    for card in shown:
        card["hidden"] = not (
            card["place"] in found
            and family in ("", card["family"])
            and origin in ("", card["origin"][:1])
            and (not verdict or verdict in card["tally"])
        )
    rank = {place: i for i, place in enumerate(found)}
    return sorted(shown, key=lambda card: (card["hidden"], rank.get(card["place"], 0)))


def _shown(card: Mapping[str, Any], place: int) -> dict[str, Any]:
    paper, counts = card["paper"], tally(card["claims"])
    first = paper["authors"].split(",")[0].strip()
    several = "," in paper["authors"] and "et al" not in first
    cited = f"{first}{' et al.' if several else ''}, {paper['year']}"
    return {**card, "place": place, "tally": counts, "outcome": outcome(counts), "cited": cited}


def tally(claims: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """{verdict: how many claims have it}, of those that any has."""
    verdicts = [claim["verdict"] or "not judged" for claim in claims]
    return {name: verdicts.count(name) for name in VERDICTS if name in verdicts}


def outcome(counts: Mapping[str, int]) -> str:
    """What came out, in words: "3 of 7 claims supported, 1 refuted, 3 undecided"."""
    total = sum(counts.values())
    if set(counts) == {"not judged"}:
        return f"{total} {'claim' if total == 1 else 'claims'}, not judged yet"
    rest = [f"{count} {name}" for name, count in counts.items() if name != "supported"]
    said = f"{counts.get('supported', 0) or 'none'} of {total} {'claim' if total == 1 else 'claims'} supported"
    return ", ".join([said, *rest])
