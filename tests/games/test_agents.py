import json
from collections import Counter

import numpy as np
import pytest

from etudes.core.errors import Problem
from etudes.games.agents import (
    ChatThinker,
    Diarist,
    Guesser,
    RandomGiver,
    RandomThinker,
    RankedGiver,
    TableThinker,
    expected_score,
    softmax,
)
from etudes.games.associations import associations, chat_clues, standardise, thoughts
from etudes.games.humans import read_humans
from etudes.games.journal import Journal, entries, first_game
from etudes.games.just_one import CARDS, collide, fault, play, score
from etudes.games.tournament import COUNTS, bootstrap, game_counts, summary, threshold
from etudes.games.words import MadeUp, made_up_words

WORDS = made_up_words()
RANKED = [("a", 3.0), ("b", 2.0), ("c", 1.0)]


def rng(*seed):
    return np.random.default_rng(seed)


def mentions(value, word, seen):
    """Whether the word is anywhere in what a value holds, however deep."""
    if id(value) in seen:
        return False
    seen.add(id(value))
    if isinstance(value, str):
        return word in value.lower()
    parts = (
        list(value.items()) if isinstance(value, dict) else list(value) if isinstance(value, list | tuple | set) else []
    )
    parts += list(getattr(value, "__dict__", {}).items())
    return word in repr(value).lower() or any(mentions(part, word, seen) for part in parts)


def test_the_guesser_never_receives_the_word():
    class Scanned:
        """A guesser that keeps what it is given, and knows the word in no other way."""

        def __init__(self, inner):
            self.inner, self.given = inner, []

        def guess(self, *args, **kwargs):
            self.given.append((args, kwargs))
            return self.inner.guess(*args, **kwargs)

    inner = Guesser(TableThinker(associations("minilm", "made-up"), WORDS.language))
    givers = [RankedGiver(thoughts("glove", "made-up"), "seats", 1.0)] * 3
    scanned = Scanned(inner)
    rounds = []
    for i in range(20):
        deck = rng(i).permutation(WORDS.test)[:CARDS].tolist()
        turns = list(play(deck, givers, scanned, WORDS.language, lambda agent, card, i=i: rng(i, card)))
        rounds += [turn for turn in turns if turn.left]
    assert len(scanned.given) == len(rounds) > 100
    for turn, given in zip(rounds, scanned.given, strict=True):
        assert not mentions(given, turn.word, set())
    assert mentions(((["x", {"y": ("oceans",)}],), {}), "ocean", set())  # the scan finds what it looks for


def test_a_leak_would_be_found():
    class Leak:
        def __init__(self):
            self.word = "ocean"

    assert mentions(([Leak()],), "ocean", set())


def test_random_givers_collide_as_often_as_is_counted_by_hand():
    words, n, rounds = WORDS.vocabulary[:8], 3, 4000
    giver = RandomGiver(words)
    assert all(not fault("zzz", w, WORDS.language) for w in words)
    assert not any(collide(a, b, WORDS.language) for i, a in enumerate(words) for b in words[:i])
    cancelled = empty = 0
    for i in range(rounds // CARDS):
        turns = play(["zzz"] * CARDS, [giver] * n, Told(), WORDS.language, lambda a, c, i=i: rng(i, c, ord(a[-1])))
        for turn in turns:
            cancelled += n - len(turn.left)
            empty += not turn.left
    turns = rounds // CARDS * CARDS
    share = 1 - (1 - 1 / 8) ** 2  # a clue stays where neither of the two others is the same
    assert cancelled / (n * turns) == pytest.approx(share, abs=0.025)
    assert empty / turns == pytest.approx(1 / 64, abs=0.01)  # two alone would leave the third: all three are the same


class Told:
    def guess(self, clues, rng):
        return None


def test_a_random_guesser_scores_what_is_counted_card_by_card():
    nouns = WORDS.nouns[:4]
    scores = []
    for i in range(1500):
        deck = [nouns[k] for k in rng(i).integers(4, size=CARDS)]
        givers = [RandomGiver(WORDS.vocabulary)]
        turns = play(
            deck, givers, Guesser(RandomThinker(nouns)), WORDS.language, lambda a, c, i=i: rng(7, i, c, len(a))
        )
        scores.append(score(list(turns)))
    assert np.mean(scores) == pytest.approx(expected_score(CARDS, 1 / 4), abs=4 * np.std(scores) / np.sqrt(len(scores)))


def test_the_count_by_hand_of_short_games():
    p = 0.3
    assert expected_score(1, p) == pytest.approx(p)
    # two cards: right (then right, or wrong, which costs the card won), or wrong, which burns the second
    assert expected_score(2, p) == pytest.approx(p * (p * 2 + (1 - p) * 0))
    # three cards: right and then as with two, or wrong and one card is left
    three = p * (p * (p * 3 + (1 - p) * 1) + (1 - p) * 1) + (1 - p) * p
    assert expected_score(3, p) == pytest.approx(three)
    assert expected_score(13, 1.0) == 13
    assert expected_score(13, 0.0) == 0


def test_how_givers_choose():
    def draws(style, seats=1):
        giver = RankedGiver(lambda word: RANKED, style, 1.0)
        return Counter(giver.clue("x", seat, rng(i, seat)) for i in range(3000) for seat in range(seats))

    assert set(draws("naive", 3)) == {"a"}
    giver = RankedGiver(lambda word: RANKED, "seats", 1.0)
    assert [giver.clue("x", seat, rng(0)) for seat in range(4)] == ["a", "b", "c", "a"]
    chances = softmax([3, 2, 1], 1.0)
    assert chances == pytest.approx(
        np.exp(np.array([3, 2, 1]) / np.std([3, 2, 1])) / sum(np.exp(np.array([3, 2, 1]) / np.std([3, 2, 1])))
    )
    drawn = draws("softened")
    assert [drawn[c] / 3000 for c in "abc"] == pytest.approx(list(chances), abs=0.03)
    shy = draws("shy")
    assert shy["a"] == 0
    assert shy["b"] / 3000 == pytest.approx(chances[1] / chances[1:].sum(), abs=0.03)


def test_tables_are_standardised_over_the_nouns():
    table = standardise(np.array([[1.0, 2.0], [3.0, 2.0], [5.0, 2.0]]))
    assert table[:, 0] == pytest.approx(np.array([-1, 0, 1]) * np.sqrt(1.5))
    assert not table[:, 1].any()


def test_suggestions_are_valid_and_unrelated():
    for noun in WORDS.test:
        clues = [clue for clue, _ in thoughts("glove", "made-up")(noun)]
        assert not any(fault(noun, clue, WORDS.language) for clue in clues)
        assert len(clues) == len(set(clues)) == 12


def test_a_table_guesses_the_noun_that_is_meant_most_and_skips_when_unsure():
    known = associations("glove", "made-up")
    noun = WORDS.test[0]
    clues = [clue for clue, _ in thoughts("glove", "made-up")(noun)][:3]
    word, sure = TableThinker(known, WORDS.language).best(clues, rng(0))
    meant = np.mean([known.table[:, known.words.index(clue)] for clue in clues], 0)
    assert word == known.nouns[int(np.argmax(meant))]
    assert sure == pytest.approx(np.sort(meant)[-1] - np.sort(meant)[-2], abs=1e-6)
    assert Guesser(TableThinker(known, WORDS.language), sure + 0.01).guess(clues, rng(0)) is None
    assert Guesser(TableThinker(known, WORDS.language), sure).guess(clues, rng(0)) == word


class Speaker:
    """A chat model that always says the same, and counts how often it is asked."""

    name, context = "speaker", 100

    def __init__(self, says):
        self.says, self.asked = says, []

    def answer(self, messages, *, tokens, temperature=0.0, top_p=1.0, seed=0):
        self.asked.append(messages)
        return self.says


def test_a_chat_model_guesses_its_first_word_and_is_asked_once():
    model = Speaker("Ocean! Because")
    thinker = ChatThinker(model)
    assert thinker.best(["sea", "blue"], rng(0)) == thinker.best(["sea", "blue"], rng(1)) == ("ocean", 0.0)
    assert len(model.asked) == 1
    assert "sea, blue" in model.asked[0][-1]["content"]


def test_the_clues_of_a_chat_model_are_listed_or_scored():
    language = MadeUp(["sea", "blue", "salt", "ocean"])
    listed = chat_clues(Speaker("1. sea, Oceans, seas,\nblue, two words"), "ocean", [], language, 0)
    assert [clue for clue, _ in listed] == ["sea", "blue"]

    class Scorer(Speaker):
        def scores(self, messages, continuations):
            known = "ocean" in messages[-1]["content"]
            return np.array([{"sea": 1.0, "blue": 5.0, "salt": 3.0}[c] for c in continuations]) * (2 if known else 1)

    scored = chat_clues(Scorer(""), "ocean", ["sea", "blue", "salt"], language, 0)
    assert scored == [("blue", 5.0), ("salt", 3.0), ("sea", 1.0)]
    with pytest.raises(Problem, match="gave no valid clue for 'ocean'"):
        chat_clues(Speaker("ocean"), "ocean", [], language, 0)


def test_the_threshold_wins_most_cards_a_card_spent():
    drawn = rng(5)
    sure = drawn.random(200).round(2)
    right = (drawn.random(200) < sure**2).astype(float)

    def rate(level):
        told = sure >= level
        return right[told].sum() / (len(sure) + (1 - right[told]).sum())

    best = threshold(sure, right)
    assert rate(best) == max(rate(level) for level in [-np.inf, *sure])
    assert best > 0.3
    assert threshold(np.array([0.1, 0.2]), np.ones(2)) == threshold(np.empty(0), np.empty(0)) == -np.inf


def test_a_bootstrap_interval_is_that_of_the_mean():
    scores = rng(1).normal(3, 2, size=400)
    low, high = bootstrap(scores, rng(2))
    half = 1.96 * scores.std() / 20
    assert (low, high) == pytest.approx((scores.mean() - half, scores.mean() + half), abs=0.03)


def test_shares_are_of_turns_and_clues():
    counts = [[2, 4], [2, 4], [1, 0], [0, 2], [1, 0], [8, 12], [3, 1]]
    found = summary(dict(zip(COUNTS, np.array(counts), strict=True)))
    assert found["score"] == 3
    assert found["right"] == pytest.approx(6 / 10)
    assert found["cancelled"] == pytest.approx(4 / 20)
    assert sum(found[name] for name in ("right", "wrong", "skipped", "empty")) == pytest.approx(1)


def test_a_journal_is_cut_back_to_where_it_was(tmp_path):
    path = tmp_path / "games.jsonl"
    journal = Journal(path)
    journal.write(agent="table", game=0)
    journal.write(agent="giver-0", saw={"word": "été"})
    state = journal.state_dict()
    before = path.read_bytes()
    journal.write(agent="table", game=1)
    journal.flush()
    assert first_game(path) == before.decode()
    again = Journal(path)
    again.load_state_dict(state)
    assert path.read_bytes() == before
    again.write(agent="table", game=2)
    again.flush()
    assert [json.loads(line).get("game") for line in path.read_text().splitlines()] == [0, None, 2]
    fresh = Journal(path)  # a run that begins anew
    fresh.write(agent="table", game=9)
    fresh.flush()
    assert len(path.read_text().splitlines()) == 1
    with pytest.raises(Problem, match="is not whole"):
        Journal(path).load_state_dict(state)
    with open(path, "ab") as file:
        file.write(b'{"agent": "ta')
    with pytest.raises(Problem, match="is not whole"):
        entries(path)


def test_the_journal_has_what_agents_saw_and_gave(tmp_path):
    journal = Journal(tmp_path / "games.jsonl")
    giver = Diarist(RandomGiver(["sea"]), journal, "giver")
    guesser = Diarist(Told(), journal, "guesser")
    assert giver.clue("ocean", 2, rng(0)) == "sea"
    assert guesser.guess(("sea",), rng(0)) is None
    journal.flush()
    lines = [json.loads(line) for line in journal.path.read_text().splitlines()]
    assert lines == entries(journal.path)
    assert lines == [
        {"agent": "giver-2", "saw": {"word": "ocean", "seat": 2}, "gave": "sea"},
        {"agent": "guesser", "saw": {"clues": ["sea"]}, "gave": None},
    ]


HEAD = "table,date,players,score,source\n"


def test_a_record_of_human_games_is_read(tmp_path):
    path = tmp_path / "humans.csv"
    path.write_text(HEAD + "t1,2024-05-31,5,9,a page\nt2,2024-06-01,3,13,another\n")
    assert [(game.table, game.players, game.score) for game in read_humans(path)] == [("t1", 5, 9), ("t2", 3, 13)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "must begin with the line table,date"),
        (HEAD, "has no game"),
        (HEAD + "t1,2024-05-31,5,9\n", "line 2 .* 5 entries"),
        (HEAD + "t1,2024-05-31,5,9,\n", "none of them empty"),
        (HEAD + "t1,31/05/2024,5,9,a\n", "the date '31/05/2024'"),
        (HEAD + "t1,2024-05-31,8,9,a\n", "'8' players"),
        (HEAD + "t1,2024-05-31,5,14,a\n", "the score '14'"),
        (HEAD + "t1,2024-05-31,5,9.5,a\n", "the score '9.5'"),
        (HEAD + "t1,2024-05-31,5,9,a\nt1,2024-05-31,5,9,a\n", "line 3 .* repeats table 't1'"),
    ],
)
def test_a_record_that_is_not_as_it_should_be_is_refused(tmp_path, text, says):
    path = tmp_path / "humans.csv"
    path.write_text(text)
    with pytest.raises(Problem, match=says):
        read_humans(path)
    with pytest.raises(Problem, match="no record of human games"):
        read_humans(tmp_path / "absent.csv")


def test_games_are_counted_as_they_end():
    deck = list(WORDS.test[:CARDS])
    giver = RankedGiver(thoughts("glove", "made-up"), "naive", 1.0)
    turns = list(play(deck, [giver, giver], Told(), WORDS.language, lambda agent, card: rng(card)))
    nothing = {"score": 0, "right": 0, "wrong": 0, "skipped": 0}
    assert game_counts(turns) == nothing | {"empty": CARDS, "clues": 2 * CARDS, "cancelled": 2 * CARDS}
