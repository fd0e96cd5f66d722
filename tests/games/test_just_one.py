import itertools

import numpy as np
import pytest

from etudes.data.sources import cache_folder
from etudes.data.sources.carriers import kept
from etudes.data.synonyms import CARRIER
from etudes.games.just_one import CARDS, Game, Turn, _one_edit, after, fault, judged, plain, play, related, score
from etudes.games.lexicon import SOUNDS, english

FAMILIES = (
    {"ocean", "oceanic"},
    {"water", "watery"},
    {"actor", "actress", "act"},
    {"sailor", "sail"},
    {"sun", "sunny"},
    {"flower"},
    {"flour"},
    {"sea"},
    {"blue"},
    {"house"},
    {"mouse"},
    {"elephant"},
)


class Small:
    """A language of a few families, whose words may have an s."""

    def knows(self, word):
        return any(word in family or word.removesuffix("s") in family for family in FAMILIES)

    def family(self, word):
        base = word if self.knows(word) and not self.knows(word.removesuffix("s")) else word.removesuffix("s")
        return frozenset(next((sorted(family) for family in FAMILIES if base in family), [base]))

    def alike(self, one, other):
        return {one, other} == {"flower", "flour"}


SMALL = Small()


@pytest.mark.parametrize(
    ("word", "clue", "why"),
    [
        ("ocean", "sea", ""),
        ("ocean", "Ocean", "the word itself"),
        ("ocean", "o-céan", "the word itself"),
        ("ocean", "oceans", "contains the word"),
        ("sea", "undersea", "contains the word"),
        ("sunflower", "flower", "a part of the word"),
        ("actor", "actress", "of the word's family"),
        ("ocean", "ocaen", "of the word's family"),  # a misspelling of it
        ("flower", "flour", "sounds like the word"),
        ("ocean", "deep blue", "not one word"),
        ("ocean", "", "not one word"),
        ("ocean", "blorf", "in no dictionary"),
        ("ocean", "NASA", ""),
        ("ocean", "Pacific", ""),
        ("ocean", "1492", ""),
        ("house", "mouse", ""),  # a letter apart, but both are words
    ],
)
def test_which_clues_are_valid(word, clue, why):
    assert fault(word, clue, SMALL) == why


def test_equal_and_related_clues_vanish_together():
    given = ["water", "waters", "sea", "blue", "Blue", "sail", "Pacific"]
    found = judged("ocean", given, SMALL)
    assert [clue for clue, why in zip(given, found, strict=True) if not why] == ["sea", "sail", "Pacific"]
    assert found[0] == "of the family of waters"
    assert found[3] == "given twice"


def test_an_invalid_clue_takes_no_other_with_it():
    assert judged("actor", ["act", "sea", "oceans", "elefant"], SMALL)[1:] == ("", "", "in no dictionary")
    assert judged("ocean", ["elefant", "elephant"], SMALL) == ("in no dictionary", "")


def test_cancelling_is_even_handed():
    words = ["water", "watery", "sea", "seas", "blue", "sail"]
    for clues in itertools.permutations(words, 4):
        left = {clue for clue, why in zip(clues, judged("mouse", clues, SMALL), strict=True) if not why}
        wanted = {c for c in clues if not any(related(c, d, SMALL) for d in clues if d != c)}
        assert left == wanted


def test_one_edit_is_that_of_all_the_edits_there_are():
    letters = "abc"
    for word in map("".join, itertools.product(letters, repeat=4)):
        near = {word[:i] + word[i + 1 :] for i in range(4)}
        near |= {word[:i] + letter + word[i:] for i in range(5) for letter in letters}
        near |= {word[:i] + letter + word[i + 1 :] for i in range(4) for letter in letters}
        near |= {word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(3)}
        for size in (3, 4, 5):
            for other in map("".join, itertools.product(letters, repeat=size)):
                assert _one_edit(word, other) == (other in near), (word, other)


def test_plain_forgets_case_accents_and_hyphens():
    assert plain("Ice-Créam.") == "icecream"


def test_what_a_turn_does_to_the_game():
    game = Game()
    assert after(game, "right") == Game(gone=1, won=1)
    assert after(game, "skipped") == after(game, "empty") == Game(gone=1)
    assert after(game, "wrong") == Game(gone=2)
    last = Game(gone=CARDS - 1, won=4)
    assert after(last, "wrong") == Game(gone=CARDS, won=3)
    assert after(Game(gone=CARDS - 1), "wrong").won == 0
    assert after(last, "right") == Game(gone=CARDS, won=5)
    assert after(Game(gone=CARDS - 2, won=4), "wrong") == Game(gone=CARDS, won=4)


class Same:
    def __init__(self, *clues):
        self.clues = clues

    def clue(self, word, seat, rng):
        return self.clues[seat]


class Told:
    """A guesser that says what it was told, in order."""

    def __init__(self, *guesses):
        self.guesses, self.seen = iter(guesses), []

    def guess(self, clues, rng):
        self.seen.append(tuple(clues))
        return next(self.guesses)


def dice(agent, card):
    return np.random.default_rng(card)


def test_a_game_by_hand():
    deck = ["ocean", "mouse", "house", "sun", "elephant", "sailor"]
    givers = [Same("blue", "water", "sail")] * 3
    guesser = Told("Ocean", "sea", None, "mouse", "elephant")
    turns = list(play(deck, givers, guesser, SMALL, dice))
    assert [turn.word for turn in turns] == ["ocean", "mouse", "sun", "elephant"]  # house was burnt; sailor too
    assert [turn.outcome for turn in turns] == ["right", "wrong", "skipped", "wrong"]
    assert score(turns, len(deck)) == 1


def test_without_clues_nobody_is_asked_and_the_turn_is_over():
    guesser = Told()
    (turn, _) = play(["ocean", "mouse"], [Same("blue", "Blue")] * 2, guesser, SMALL, dice)
    assert turn == Turn("ocean", ("blue", "Blue"), ("given twice", "given twice"), None, "empty")
    assert guesser.seen == []


have = kept(CARRIER, cache_folder()).exists() and kept(SOUNDS, cache_folder()).exists()


@pytest.mark.skipif(not have, reason="the dictionary was not fetched yet")
@pytest.mark.parametrize(
    ("one", "other", "family", "alike"),
    [
        ("swim", "swimming", True, False),
        ("die", "death", True, False),
        ("mouse", "mice", True, False),
        ("actor", "actress", True, False),
        ("hero", "heroine", True, False),
        ("music", "musician", True, False),
        ("king", "queen", False, False),
        ("house", "mouse", False, False),
        ("knight", "night", False, True),
        ("beer", "bear", False, False),
        ("sea", "see", False, True),
    ],
)
def test_english_families_and_sounds(one, other, family, alike):
    language = english()
    assert related(one, other, language) == family
    assert language.alike(one, other) == alike
