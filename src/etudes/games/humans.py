"""A record of games that people played, to be filled in by whoever has it: this package holds no such number.

A CSV file in UTF-8 whose first line is

    table,date,players,score,source

and then a line a game: the table's number or name where it was played, the day as 2024-05-31, the players (3 to 7; one
of them guesses in turn), the cards won (0 to 13), and where that can be looked up.
"""

import csv
import datetime
from dataclasses import dataclass
from pathlib import Path

from etudes.core.errors import Problem
from etudes.games.just_one import CARDS

COLUMNS = ("table", "date", "players", "score", "source")
PLAYERS = range(3, 8)


@dataclass(frozen=True)
class HumanGame:
    table: str
    date: datetime.date
    players: int
    score: int
    source: str


def read_humans(path: Path) -> list[HumanGame]:
    """The games of a record. Raises Problem where the file is absent or has no game, or names the line that is not as
    it should be."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError):
        raise Problem(
            f"no record of human games can be read at {path}; give a CSV file, or leave out --humans"
        ) from None
    if not rows or tuple(rows[0]) != COLUMNS:
        raise Problem(f"{path} must begin with the line {','.join(COLUMNS)}; write it there")
    games: list[HumanGame] = []
    for line, row in enumerate(rows[1:], start=2):
        game = _game(path, line, row)
        if any(game.table == other.table for other in games):
            raise Problem(f"line {line} of {path} repeats table '{game.table}'; keep one line a game")
        games.append(game)
    if not games:
        raise Problem(f"{path} has no game; add a line for each")
    return games


def _game(path: Path, line: int, row: list[str]) -> HumanGame:
    if len(row) != len(COLUMNS) or not all(cell.strip() for cell in row):
        raise Problem(f"line {line} of {path} must have {len(COLUMNS)} entries, none of them empty; complete it")
    table, day, players, score, source = (cell.strip() for cell in row)
    try:
        date = datetime.date.fromisoformat(day)
    except ValueError:
        raise Problem(f"line {line} of {path} has the date '{day}'; write it as 2024-05-31") from None
    if not players.isdigit() or int(players) not in PLAYERS:
        raise Problem(f"line {line} of {path} has '{players}' players; there are {PLAYERS[0]} to {PLAYERS[-1]}")
    if not score.isdigit() or int(score) > CARDS:
        raise Problem(f"line {line} of {path} has the score '{score}'; it is 0 to {CARDS}")
    return HumanGame(table, date, int(players), int(score), source)
