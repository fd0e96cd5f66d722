import json

import pytest

from etudes.reports.game import cards

GAME = [
    {"agent": "table", "game": 0, "seed": 1},
    {"agent": "giver-0", "saw": {"word": "bike"}, "gave": "ski"},
    {"agent": "giver-1", "saw": {"word": "bike"}, "gave": "riding"},
    {"agent": "guesser", "saw": {"clues": ["riding"]}, "gave": "horse"},
    {"agent": "table", "word": "bike", "cancelled": ["given twice", ""], "outcome": "wrong"},
    {"agent": "giver-0", "saw": {"word": "ship"}, "gave": "boat"},
    {"agent": "guesser", "saw": {"clues": []}, "gave": None},
    {"agent": "table", "word": "ship", "cancelled": ["given twice"], "outcome": "empty"},
]


def test_a_game_is_a_table_of_its_cards() -> None:
    assert cards("\n".join(map(json.dumps, GAME))) == (
        ["word", "giver-0", "giver-1", "guesser", "outcome"],
        [["bike", "ski (given twice)", "riding", "horse", "wrong"], ["ship", "boat (given twice)", "", "", "empty"]],
    )


@pytest.mark.parametrize("text", ["", "To be, or not", "[1, 2]", '{"word": "bike"}', '{"agent": "table"}'])
def test_another_text_is_no_game(text: str) -> None:
    assert cards(text) is None
