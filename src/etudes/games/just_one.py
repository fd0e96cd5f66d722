"""The rules of Just One (Roudy and Sautter 2018), as the help of Board Game Arena tells them.

All but one see a word, and each of them writes a clue of one word. Clues that are invalid, equal or of one family
vanish before the guesser sees what is left. A right guess wins the card. After a wrong one the next card is lost too;
at the last card, one of the won cards instead. A guesser may skip, and has to where no clue is left. There are 13
cards.

What is pure here needs no players: `cancellations` and `advance` decide everything; `play` lets agents play a deck.
"""

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from etudes.games.spelling import is_stretched, normal_form, skeleton, variants

CARDS = 13
Outcome = Literal["right", "wrong", "skipped", "empty"]
WORD = re.compile(r"[^\W_]+(?:['’.-][^\W_]+)*\.?")
SIGN = re.compile(r"[^\w\s]{1,3}|[^\w\s]?\d+(?:[.,:/]\d+)*[^\w\s]?")  # "$", "100%", "24/7"
INVENTED = "in no dictionary"


class Language(Protocol):
    """What the rules ask of words, all in lower case."""

    def knows(self, word: str) -> bool:
        """Whether the word is in the dictionary, inflected or not, or is the sound of something."""
        ...

    def names(self, word: str) -> bool:
        """Whether the word is a name that people know."""
        ...

    def joins(self, whole: str, part: str) -> bool:
        """Whether the whole is the part and another word, as sunflower is sun and flower; the part by chance is not
        enough: bear is not of ear."""
        ...

    def family(self, word: str) -> frozenset[str]:
        """What the word has in common with others of its family: base forms, relatives, stems."""
        ...

    def homophones(self, one: str, other: str) -> bool:
        """Whether the two sound alike."""
        ...


class Giver(Protocol):
    def clue(self, word: str, seat: int, rng: np.random.Generator) -> str:
        """A clue for the word. `seat` counts the givers from 0."""
        ...


class Guesser(Protocol):
    def guess(self, clues: Sequence[str], rng: np.random.Generator) -> str | None:
        """The word that the clues mean; None: skip."""
        ...


@dataclass(frozen=True)
class Game:
    """Where a game stands: cards of the deck that are gone, and those of them that are won."""

    cards: int = CARDS
    gone: int = 0
    won: int = 0

    @property
    def over(self) -> bool:
        return self.gone >= self.cards


@dataclass(frozen=True)
class Turn:
    """What happened on one card. `cancelled` has the reason why each clue vanished, "" for those that stayed."""

    word: str
    clues: tuple[str, ...]
    cancelled: tuple[str, ...]
    guess: str | None
    outcome: Outcome

    @property
    def left(self) -> tuple[str, ...]:
        return tuple(clue for clue, why in zip(self.clues, self.cancelled, strict=True) if not why)


def advance(game: Game, outcome: Outcome) -> Game:
    """The game after a card. The rule for a wrong guess at the last card is that of the printed game's booklet."""
    if outcome == "wrong" and game.gone + 1 == game.cards:
        return dataclasses.replace(game, gone=game.cards, won=max(0, game.won - 1))
    gone = min(game.cards, game.gone + (2 if outcome == "wrong" else 1))
    return dataclasses.replace(game, gone=gone, won=game.won + (outcome == "right"))


def cancellations(word: str, clues: Sequence[str], language: Language) -> tuple[str, ...]:
    """Why each clue vanishes, "" for those that stay: invalid for the word, or colliding with another giver's clue.

    What may not be said of the word is out before clues are compared, so that it takes no other with it. What no
    dictionary has may be a misspelling, or how another language writes it: it falls with the clue that it stands for.
    """
    faults = [fault(word, clue, language) for clue in clues]
    compared = [i for i, why in enumerate(faults) if why in ("", INVENTED)]
    found = list(faults)
    for i in compared:
        for j in compared:
            if i != j and collide(clues[i], clues[j], language):
                same = normal_form(clues[i]) == normal_form(clues[j])
                found[i] = "given twice" if same else f"of the family of {clues[j]}"
                break
    return tuple(found)


def fault(word: str, clue: str, language: Language) -> str:
    """Why a clue is invalid for the word; "" for one that is valid.

    Invalid are what is not one word or sign, the word in another spelling, one that it is joined with or made of, its
    family, what sounds like it, and what is in no dictionary. Not found out: the word in another language, where that
    is a name too.
    """
    text = clue.strip()
    bare, target = normal_form(text), normal_form(word)
    if not (WORD.fullmatch(text) or SIGN.fullmatch(text)):
        return "not one word"
    if bare == target or (is_stretched(text) and skeleton(text) == skeleton(word)):
        return "the word itself"
    if collide(text, word, language):
        return "of the word's family"
    if language.joins(bare, target):
        return "contains the word"
    if language.joins(target, bare):
        return "a part of the word"
    if language.homophones(text.lower(), word.lower()):
        return "sounds like the word"
    return "" if exists(text, language) else INVENTED


def exists(clue: str, language: Language) -> bool:
    """Whether a word or sign may be a clue for anything: it is in the dictionary, a name that is known, an acronym of
    up to five letters, a sign, a number with up to three letters ("MP3"), or a sound with a letter drawn out."""
    letters = re.sub(r"[\d\W_]", "", clue)
    if len(letters) < len(normal_form(clue)) or not letters:  # digits, or a sign
        return len(letters) <= 3 or language.knows(letters.lower())
    if language.knows(clue.lower()) or is_stretched(clue):
        return True
    acronym = letters.isupper() and 2 <= len(letters) <= 5
    return acronym or (clue[:1].isupper() and language.names(normal_form(clue)))


def collide(one: str, other: str, language: Language) -> bool:
    """Whether two clues are equal or of one family, or spellings of one word. Those of two words that the dictionary
    has are told apart by their meaning, so only where it lacks one does their likeness decide."""
    if normal_form(one) == normal_form(other) or language.family(one.lower()) & language.family(other.lower()):
        return True
    return not (language.knows(one.lower()) and language.knows(other.lower())) and variants(one, other)


Draw = Callable[[str, int], np.random.Generator]  # (whose draws: "giver-0", "guesser", ..; card) -> generator


def play(
    deck: Sequence[str], givers: Sequence[Giver], guesser: Guesser, language: Language, draw: Draw
) -> Iterator[Turn]:
    """The turns of a game with the deck, until its cards are gone. The guesser is given the clues that are left, and
    nothing else."""
    game = Game(cards=len(deck))
    while not game.over:
        word = deck[game.gone]
        clues = tuple(
            giver.clue(word, seat, draw(f"giver-{seat}", game.gone)).strip() for seat, giver in enumerate(givers)
        )
        turn = Turn(word, clues, cancellations(word, clues, language), None, "empty")
        if turn.left:
            guess = guesser.guess(turn.left, draw("guesser", game.gone))
            right = guess is not None and normal_form(guess) == normal_form(word)
            outcome: Outcome = "skipped" if guess is None else "right" if right else "wrong"
            turn = dataclasses.replace(turn, guess=guess, outcome=outcome)
        yield turn
        game = advance(game, turn.outcome)


def score(turns: Sequence[Turn], cards: int = CARDS) -> int:
    """The cards won in a game of these turns."""
    game = Game(cards)
    for turn in turns:
        game = advance(game, turn.outcome)
    return game.won
