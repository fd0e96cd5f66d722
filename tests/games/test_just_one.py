import itertools

import numpy as np
import pytest

from etudes.data.sources import cache_folder
from etudes.data.sources.carriers import cache_path
from etudes.data.synonyms import CARRIER
from etudes.games.just_one import CARDS, Game, Turn, advance, cancellations, collide, fault, play, score
from etudes.games.lexicon import SOUNDS, Lexicon, english, stem
from etudes.games.spelling import is_stretched, normal_form, one_edit, skeleton, variants
from wordnet_files import write_wordnet

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

    def names(self, word):
        return word in ("pacific", "philosophy")

    def joins(self, whole, part):
        return part in ("flower", "sea") and whole in ("sunflower", "undersea")

    def homophones(self, one, other):
        return {one, other} == {"flower", "flour"}


SMALL = Small()


@pytest.mark.parametrize(
    ("word", "clue", "why"),
    [
        ("ocean", "sea", ""),
        ("ocean", "Ocean", "the word itself"),
        ("ocean", "o-céan", "the word itself"),
        ("ocean", "oceans", "of the word's family"),
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
        ("ocean", "Glorfix", "in no dictionary"),  # a capital alone makes no name
        ("ocean", "GLORFIX", "in no dictionary"),  # nor an acronym
        ("ocean", "Océan", "the word itself"),
        ("ocean", "$", ""),
        ("ocean", "$$$$", "not one word"),
        ("ocean", "100%", ""),
        ("ocean", "24/7", ""),
        ("ocean", "MP3", ""),
        ("ocean", "blue2", ""),
        ("ocean", "glorfix2", "in no dictionary"),
        ("ocean", "riiing", ""),
        ("ocean", "brrrr", ""),
        ("ocean", "riing", "in no dictionary"),  # only a letter drawn out makes a sound
        ("house", "houuuse", "the word itself"),
        ("ear", "bear", "in no dictionary"),  # not "contains the word"; this language has no bear
        ("sea", "season", "in no dictionary"),
        ("elephant", "Elefant", "of the word's family"),  # another language's spelling
        ("ocean", "1492", ""),
        ("house", "mouse", ""),  # a letter apart, but both are words
    ],
)
def test_which_clues_are_valid(word, clue, why):
    assert fault(word, clue, SMALL) == why


def test_equal_and_related_clues_vanish_together():
    given = ["water", "waters", "sea", "blue", "Blue", "sail", "Pacific"]
    found = cancellations("ocean", given, SMALL)
    assert [clue for clue, why in zip(given, found, strict=True) if not why] == ["sea", "sail", "Pacific"]
    assert found[0] == "of the family of waters"
    assert found[3] == "given twice"


def test_an_invalid_clue_takes_no_other_with_it():
    assert cancellations("actor", ["act", "sea", "oceans", "elefant"], SMALL)[1:] == ("", "", "in no dictionary")


@pytest.mark.parametrize(
    "pair", [("elefant", "elephant"), ("Elefant", "elephant"), ("oceann", "ocean"), ("bluue", "blue")]
)
def test_a_misspelling_falls_with_the_clue_that_it_stands_for(pair):
    assert all(cancellations("mouse", pair, SMALL))
    assert all(cancellations("mouse", pair[::-1], SMALL))
    assert cancellations("mouse", [*pair, "sail"], SMALL)[2] == ""


def test_signs_and_numbers_are_only_ever_themselves():
    assert cancellations("mouse", ["$", "€", "100000", "100001"], SMALL) == ("", "", "", "")
    assert cancellations("mouse", ["$", "$"], SMALL) == ("given twice", "given twice")


def test_cancelling_is_even_handed():
    words = ["water", "watery", "sea", "seas", "blue", "sail"]
    for clues in itertools.permutations(words, 4):
        left = {clue for clue, why in zip(clues, cancellations("mouse", clues, SMALL), strict=True) if not why}
        wanted = {c for c in clues if not any(collide(c, d, SMALL) for d in clues if d != c)}
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
                assert one_edit(word, other) == (other in near), (word, other)


def test_the_normal_form_forgets_case_accents_and_hyphens():
    assert normal_form("Ice-Créam.") == "icecream"
    assert normal_form("$") == "$"


@pytest.mark.parametrize(
    "spellings",
    [
        ("Philosophy", "Filosofie", "philosophie"),
        ("music", "musik", "musique"),
        ("color", "colour"),
        ("theater", "theatre", "teater"),
        ("center", "centre"),
        ("yoghurt", "yogurt"),
        ("cheque", "check"),
        ("organise", "organize"),
        ("gypsy", "gipsy"),
        ("encyclopaedia", "encyclopedia"),
        ("telephone", "telefon"),
        ("riiing", "ring", "riiiiing"),
    ],
)
def test_spellings_of_one_word_have_one_skeleton(spellings):
    assert len({skeleton(word) for word in spellings}) == 1


def test_other_words_have_other_skeletons():
    words = ["victor", "victoria", "house", "mouse", "ear", "bear", "chocolate", "high", "bath", "bat"]
    assert len({skeleton(word) for word in words}) == len(words)
    assert not variants("police", "palace")
    assert variants("chocolate", "schocolate")
    assert not variants("1492", "1493")


def test_what_is_stretched_has_a_letter_three_times_in_a_row():
    assert [word for word in ("riiing", "ring", "boom", "BOOOM", "1000", "brrr") if is_stretched(word)] == [
        "riiing",
        "BOOOM",
        "brrr",
    ]


def test_what_a_turn_does_to_the_game():
    game = Game()
    assert advance(game, "right") == Game(gone=1, won=1)
    assert advance(game, "skipped") == advance(game, "empty") == Game(gone=1)
    assert advance(game, "wrong") == Game(gone=2)
    last = Game(gone=CARDS - 1, won=4)
    assert advance(last, "wrong") == Game(gone=CARDS, won=3)
    assert advance(Game(gone=CARDS - 1), "wrong").won == 0
    assert advance(last, "right") == Game(gone=CARDS, won=5)
    assert advance(Game(gone=CARDS - 2, won=4), "wrong") == Game(gone=CARDS, won=4)


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


def test_a_small_dictionary_knows_its_words_sounds_and_names(tmp_path):
    lexicon = Lexicon(write_wordnet(tmp_path / "wordnet"), common=["zelda"])
    assert all(map(lexicon.knows, ["world", "seas", "men", "vroom", "tick-tock"]))
    assert not any(map(lexicon.knows, ["zelda", "glorfix", "tick-glorfix"]))
    assert lexicon.names("zelda")
    assert lexicon.joins("worldocean", "ocean")
    assert not lexicon.joins("seaman", "sea")  # it does not explain the word
    assert not lexicon.joins("season", "sea")
    assert "big" in lexicon.family("big")


@pytest.mark.parametrize(
    ("one", "other"), [("police", "policy"), ("county", "count"), ("victor", "victoria"), ("university", "universe")]
)
def test_the_stemmer_keeps_apart_what_five_letters_did_not(one, other):
    assert stem(one) != stem(other)


have = cache_path(CARRIER, cache_folder()).exists() and cache_path(SOUNDS, cache_folder()).exists()
real = pytest.mark.skipif(not have, reason="the dictionary was not fetched yet")


@real
@pytest.mark.parametrize(
    ("family", "pairs"),
    [
        (True, "swim-swimming die-death mouse-mice music-musician success-successful home-homeless threat-threaten"),
        (True, "actor-actress hero-heroine waiter-waitress prince-princess lion-lioness"),  # women
        (True, "philosophy-philosopher champion-championship japan-japanese friend-friendship"),
        (True, "theater-theatre color-colour gray-grey"),  # spellings that the dictionary has
        (True, "Philosophy-Filosofie music-musik chocolate-chocolat elephant-Elefant telephone-telefon"),
        (True, "beutiful-beautiful ring-riiing"),
        (False, "police-policy county-count victor-victoria university-universe hospital-hospitality"),
        (False, "important-import several-severe general-generous author-authority organ-organize list-listen"),
        (False, "king-queen house-mouse beer-bear matter-mattress adder-address rout-routine ear-bear check-chick"),
        (False, "knight-night sea-see"),
    ],
)
def test_english_families(family, pairs):
    language = english()
    wrong = [pair for pair in pairs.split() if collide(*pair.split("-"), language) != family]
    assert wrong == []


@real
def test_english_sounds():
    language = english()
    assert language.homophones("knight", "night")
    assert language.homophones("sea", "see")
    assert not language.homophones("beer", "bear")


@real
@pytest.mark.parametrize(
    ("word", "clue", "why"),
    [
        ("shrub", "Buisson", "in no dictionary"),
        ("shrub", "Glorfix", "in no dictionary"),
        ("shrub", "glorfix", "in no dictionary"),
        ("shrub", "Bush", ""),
        ("paris", "Napoleon", ""),
        ("game", "Zelda", ""),
        ("game", "zelda", "in no dictionary"),  # a name has a capital
        ("money", "$", ""),
        ("gold", "100%", ""),
        ("bell", "riiing", ""),
        ("bell", "Ding-dong", ""),
        ("engine", "vroom", ""),
        ("cold", "brrr", ""),
        ("ring", "riiing", "the word itself"),
        ("ear", "bear", ""),
        ("ear", "heart", ""),
        ("ear", "earring", "contains the word"),
        ("car", "carpet", ""),
        ("ice", "police", ""),
        ("cow", "Moscow", ""),
        ("sea", "season", ""),
        ("air", "airport", "contains the word"),
        ("football", "foot", "a part of the word"),
        ("sunflower", "sun", "a part of the word"),
        ("flower", "sunflower", "contains the word"),
        ("philosophy", "Filosofie", "of the word's family"),
        ("night", "knight", "sounds like the word"),
    ],
)
def test_english_clues(word, clue, why):
    assert fault(word, clue, english()) == why


@real
def test_philosophy_and_filosofie_fall_together():
    assert cancellations("wisdom", ["Philosophy", "Filosofie", "Greece"], english()) == (
        "of the family of Filosofie",
        "of the family of Philosophy",
        "",
    )
