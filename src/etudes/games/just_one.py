"""The rules of Just One (Roudy and Sautter 2018), as the help of Board Game Arena tells them.

All but one see a word, and each of them writes a clue of one word. Clues that are invalid, equal or of one family
vanish before the guesser sees what is left. A right guess wins the card. After a wrong one the next card is lost too;
at the last card, one of the won cards instead. A guesser may skip, and has to where no clue is left. There are 13
cards.

What is pure here needs no players: `judged` and `after` decide everything; `play` lets agents play a deck.
"""

import dataclasses
import functools
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

CARDS = 13
Outcome = Literal["right", "wrong", "skipped", "empty"]
WORD = re.compile(r"[^\W_]+(?:['’.-][^\W_]+)*\.?")
LONG = 5  # letters from which a wrong letter is a misspelling and not another word


class Language(Protocol):
    """What the rules ask of words, all in lower case."""

    def knows(self, word: str) -> bool:
        """Whether the word is in the dictionary, inflected or not."""
        ...

    def family(self, word: str) -> frozenset[str]:
        """What the word has in common with others of its family: base forms, relatives, stems."""
        ...

    def alike(self, one: str, other: str) -> bool:
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


def after(game: Game, outcome: Outcome) -> Game:
    """The game after a card. The rule for a wrong guess at the last card is that of the printed game's booklet."""
    if outcome == "wrong" and game.gone + 1 == game.cards:
        return dataclasses.replace(game, gone=game.cards, won=max(0, game.won - 1))
    gone = min(game.cards, game.gone + (2 if outcome == "wrong" else 1))
    return dataclasses.replace(game, gone=gone, won=game.won + (outcome == "right"))


@functools.lru_cache(maxsize=100_000)
def plain(word: str) -> str:
    """The word's letters and digits in lower case, without accents, hyphens and dots: how it may not be told apart."""
    letters = unicodedata.normalize("NFKD", word.casefold())
    return "".join(letter for letter in letters if letter.isalnum())


def judged(word: str, clues: Sequence[str], language: Language) -> tuple[str, ...]:
    """Why each clue vanishes, "" for those that stay: invalid for the word, or related to another giver's clue.

    An invalid clue is out before clues are compared, so that it takes no other with it.
    """
    invalid = [fault(word, clue, language) for clue in clues]
    return tuple(
        why or next((_shared(clue, clues[j], language) for j in _others(i, invalid, clues, language)), "")
        for i, (clue, why) in enumerate(zip(clues, invalid, strict=True))
    )


def _others(i: int, invalid: Sequence[str], clues: Sequence[str], language: Language) -> Iterator[int]:
    for j, clue in enumerate(clues):
        if j != i and not invalid[j] and related(clues[i], clue, language):
            yield j


def _shared(clue: str, other: str, language: Language) -> str:
    return "given twice" if plain(clue) == plain(other) else f"of the family of {other}"


def fault(word: str, clue: str, language: Language) -> str:
    """Why a clue is invalid for the word; "" for one that is valid.

    Invalid are what is not one word, the word in another spelling, one that contains it or is a part of it, its
    family, what sounds like it, and what no dictionary has; numbers, acronyms (capitals) and names (a capital) need
    none. Not found out: the word in another language.
    """
    text = clue.strip()
    bare, target = plain(text), plain(word)
    if not WORD.fullmatch(text):
        return "not one word"
    if bare == target:
        return "the word itself"
    if target in bare:
        return "contains the word"
    if _is_part(bare, target, language):
        return "a part of the word"
    if related(text, word, language):
        return "of the word's family"
    if language.alike(text.lower(), word.lower()):
        return "sounds like the word"
    if not (text[:1].isupper() or any(letter.isdigit() for letter in text) or language.knows(text.lower())):
        return "in no dictionary"
    return ""


def _is_part(bare: str, target: str, language: Language) -> bool:
    """Whether the target is the clue and another word joined, as sunflower is of sun and of flower."""
    if len(bare) < 3:
        return False
    rests = [target.removeprefix(bare)] if target.startswith(bare) else []
    rests += [target.removesuffix(bare)] if target.endswith(bare) else []
    return any(len(rest) >= 3 and language.knows(rest) for rest in rests)


def related(one: str, other: str, language: Language) -> bool:
    """Whether two clues are equal, of one family, or one a misspelling of the other: a letter too many, too few, wrong
    or two exchanged, in words of five letters or more of which the dictionary lacks one."""
    a, b = plain(one), plain(other)
    if a == b or language.family(one.lower()) & language.family(other.lower()):
        return True
    unknown = not (language.knows(one.lower()) and language.knows(other.lower()))
    return unknown and min(len(a), len(b)) >= LONG and _one_edit(a, b)


def _one_edit(a: str, b: str) -> bool:
    """Whether one insertion, deletion, replacement or exchange of neighbours makes b of a."""
    if len(a) > len(b):
        a, b = b, a
    at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(a))
    if len(a) < len(b):
        return a[at:] == b[at + 1 :] and len(b) - len(a) == 1
    return a[at + 1 :] == b[at + 1 :] or (a[at : at + 2] == b[at : at + 2][::-1] and a[at + 2 :] == b[at + 2 :])


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
        turn = Turn(word, clues, judged(word, clues, language), None, "empty")
        if turn.left:
            guess = guesser.guess(turn.left, draw("guesser", game.gone))
            right = guess is not None and plain(guess) == plain(word)
            outcome: Outcome = "skipped" if guess is None else "right" if right else "wrong"
            turn = dataclasses.replace(turn, guess=guess, outcome=outcome)
        yield turn
        game = after(game, turn.outcome)


def score(turns: Sequence[Turn], cards: int = CARDS) -> int:
    """The cards won in a game of these turns."""
    game = Game(cards)
    for turn in turns:
        game = after(game, turn.outcome)
    return game.won
