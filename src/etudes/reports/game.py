"""The journal of a game of clues as a table of its cards."""

import json
from typing import Any

Table = tuple[list[str], list[list[str]]]  # the heading and the rows


def cards(journal: str) -> Table | None:
    """A row for each card of a journal: its word, what each agent gave, and the outcome; None of other texts.

    The journal has a JSON object on each line: an agent's `gave`, and after each card the table's `word`, `outcome` and
    the reasons for which clues were `cancelled`, "" of those that were not.
    """
    rows: list[dict[str, str]] = []
    given: dict[str, str] = {}
    for line in journal.splitlines():
        try:
            entry: Any = json.loads(line)
        except ValueError:
            return None
        if not isinstance(entry, dict) or "agent" not in entry:
            return None
        if "gave" in entry:
            given[str(entry["agent"])] = (
                "" if entry["gave"] is None else str(entry["gave"])
            )  # one that skips gives None
        elif "outcome" in entry:
            reasons = [*entry.get("cancelled", []), *[""] * len(given)]
            clues = {
                name: f"{gave} ({reason})" if reason else gave
                for (name, gave), reason in zip(given.items(), reasons, strict=False)
            }
            rows.append({"word": str(entry.get("word", "")), **clues, "outcome": str(entry["outcome"])})
            given = {}
    agents = dict.fromkeys(name for row in rows for name in row if name not in ("word", "outcome"))
    head = ["word", *sorted(agents, key=lambda name: name == "guesser"), "outcome"]
    return (head, [[row.get(name, "") for name in head] for row in rows]) if rows else None
