import numpy as np
import pytest

from etudes.core.errors import Problem
from etudes.games.just_one import cancellations, score
from etudes.web.demos import just_one as demo

HOW = {"language": "made-up", "source": "glove", "guesses_by": "wordnet", "style": "seats", "bots": 3}


def guessing(seed: int = 0) -> demo.Table:
    return demo.deal(demo.GUESSER, **HOW, seed=seed)


def test_the_guesser_s_page_never_has_the_word():
    for seed in range(20):
        table = guessing(seed)
        while not table.game.over:
            if table.played:
                table = demo.next_card(table)
                continue
            html = demo.show_table(table)
            assert table.turn.word not in html
            assert all(clue in html for clue in table.turn.left)
            assert not any(why in html for why in table.turn.cancelled if why)
            table = demo.guess_word(table, None)
            assert table.turn.word in demo.show_table(table)


def test_vanished_clues_are_counted_and_not_shown():
    table = demo.deal(demo.GUESSER, **{**HOW, "style": "naive", "bots": 1}, seed=0)
    clue = table.turn.clues[0]
    turn = demo.with_clues(table, (clue, clue, "zzz", clue))
    assert turn.cancelled == cancellations(turn.word, turn.clues, demo.words_of("made-up").language)
    table = demo.dataclasses.replace(
        table, turn=demo.dataclasses.replace(turn, cancelled=("twice", "twice", "", "twice"))
    )
    assert "3 more clues vanished" in demo.show_table(table)
    assert clue not in demo.show_table(table)


def test_a_game_is_scored_by_the_rules():
    table, rng = guessing(3), np.random.default_rng(0)
    while not table.game.over:
        if table.played:
            table = demo.next_card(table)
            continue
        table = demo.guess_word(table, [table.turn.word.upper(), "wrong", None][rng.integers(3)])
    assert table.game.won == score(table.history)
    assert "The game is over" in demo.show_table(table)
    with pytest.raises(Problem, match="the game is over"):
        demo.next_card(table)


def test_a_giver_sees_the_word_and_the_bots_judge_the_clue():
    table = demo.deal(demo.GIVER, **HOW, seed=1)
    assert table.turn.word in demo.show_table(table)
    after = demo.give_clue(table, "<b>x</b>")
    assert "<b>x</b>" not in demo.show_table(after)
    assert after.turn.clues[0] == "<b>x</b>"
    assert after.turn.cancelled[0] == "not one word"
    assert len(after.turn.clues) == 4
    assert after.played


def test_the_same_seed_gives_the_same_game():
    assert guessing(5) == guessing(5)
    assert guessing(5).deck != guessing(6).deck


def test_what_cannot_be_done_is_told():
    table = guessing()
    with pytest.raises(Problem, match="not played yet"):
        demo.next_card(table)
    with pytest.raises(Problem, match="the other part is yours"):
        demo.give_clue(table, "clue")
    with pytest.raises(Problem, match="at most 40"):
        demo.guess_word(table, "x" * 41)
    with pytest.raises(Problem, match="write a word"):
        demo.guess_word(table, " ! ")
    with pytest.raises(Problem, match="this card is played"):
        demo.guess_word(demo.guess_word(table, None), "x")
    for changed, words in (
        ({"bots": 99}, "1 to 6 bots"),
        ({"source": "oracle"}, "no source"),
        ({"style": "x"}, "no way"),
    ):
        with pytest.raises(Problem, match=words):
            demo.deal(demo.GUESSER, **{**HOW, **changed}, seed=0)
    with pytest.raises(Problem, match="no language 'klingon'"):
        demo.deal(demo.GUESSER, **{**HOW, "language": "klingon"}, seed=0)


def test_a_clue_has_its_seat_and_one_given_twice_is_listed_once():
    table = demo.deal(demo.GIVER, **HOW, seed=1)
    turn = demo.Turn("bird", ("Neck", "song", "neck", "wing"), ("given twice", "", "given twice", ""), None, "empty")
    html = demo.show_table(demo.settle(table, turn))
    assert html.lower().count("neck") == 1
    assert "you and bot 2: <s>Neck</s> (given twice)" in html
    assert "bot 1: song" in html
    shown = demo.show_table(demo.dataclasses.replace(guessing(), turn=turn))
    assert "bot 2: <b>song</b>" in shown
    assert "neck" not in shown.lower()
