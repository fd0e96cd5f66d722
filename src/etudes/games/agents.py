"""Players of Just One: givers by how they choose among the clues that they think of, guessers by what they know."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from etudes.games.associations import Associations, Suggest
from etudes.games.journal import Journal
from etudes.games.just_one import Language
from etudes.generate.chat import Chat

EXAMPLES = (  # for a chat model, of words that are no nouns of the game
    (("pool", "stroke", "dive"), "swimming"),
    (("day", "before", "past"), "yesterday"),
    (("fast", "rapid", "speedy"), "quick"),
)

Style = Literal["naive", "softened", "shy", "seats"]


@dataclass(frozen=True)
class RankedGiver:
    """One that thinks of clues with strengths.

    "naive": gives the strongest, as all others like it do. "softened": draws one with p = softmax(strength / (s t)), s
    the standard deviation of the strengths thought of and t the temperature. "shy": draws so, but never the strongest.
    "seats": the i-th giver gives the i-th strongest, a convention that needs no talk.
    """

    suggest: Suggest
    style: Style
    temperature: float

    def clue(self, word: str, seat: int, rng: np.random.Generator) -> str:
        ranked = self.suggest(word)
        if self.style == "naive":
            return ranked[0][0]
        if self.style == "seats":
            return ranked[seat % len(ranked)][0]
        chances = softmax([strength for _, strength in ranked], self.temperature)
        if self.style == "shy" and len(ranked) > 1:
            chances[0] = 0
        return ranked[int(rng.choice(len(ranked), p=chances / chances.sum()))][0]


def softmax(strengths: Sequence[float], temperature: float) -> np.ndarray:
    """The chance [n] of each clue: the softmax of its strength, in standard deviations of all, over the temperature."""
    values = np.array(strengths, float)
    scaled = (values - values.max()) / (max(float(values.std()), 1e-9) * temperature)
    return np.exp(scaled) / np.exp(scaled).sum()


@dataclass(frozen=True)
class RandomGiver:
    """One that gives any of its words, whatever the word to guess."""

    words: Sequence[str]

    def clue(self, word: str, seat: int, rng: np.random.Generator) -> str:
        return self.words[int(rng.integers(len(self.words)))]


class Thinker(Protocol):
    """What a guesser has to know: the noun that the clues mean, and how sure that is (more is surer)."""

    def best(self, clues: Sequence[str], rng: np.random.Generator) -> tuple[str, float]: ...


@dataclass(frozen=True)
class Guesser:
    """One that says what its thinker thinks best, and skips where that is less sure than the threshold."""

    thinker: Thinker
    threshold: float = -np.inf

    def guess(self, clues: Sequence[str], rng: np.random.Generator) -> str | None:
        word, sure = self.thinker.best(clues, rng)
        return word if sure >= self.threshold else None


@dataclass(frozen=True)
class RandomThinker:
    nouns: Sequence[str]

    def best(self, clues: Sequence[str], rng: np.random.Generator) -> tuple[str, float]:
        return self.nouns[int(rng.integers(len(self.nouns)))], 0.0


class TableThinker:
    """The noun that the clues mean most, of those that they may be clues for; how sure: its lead over the second."""

    def __init__(self, known: Associations, language: Language) -> None:
        self.known, self.language = known, language
        self._members: dict[str, list[int]] = {}  # what a noun has in common with its family -> such nouns
        for i, noun in enumerate(known.nouns):
            for sign in language.family(noun):
                self._members.setdefault(sign, []).append(i)

    def best(self, clues: Sequence[str], rng: np.random.Generator) -> tuple[str, float]:
        meant = self.known.strengths(clues)
        order = rng.permutation(len(meant))  # of equals any
        signs = {sign for clue in clues for sign in self.language.family(clue.lower())}
        meant[[i for sign in signs for i in self._members.get(sign, ())]] = -np.inf
        second, first = np.partition(meant, -2)[-2:]
        return self.known.nouns[order[meant[order].argmax()]], float(first - second) if second > -np.inf else 0.0


class ChatThinker:
    """What a chat model answers to the clues, which it may be any word; it is never unsure. The same clues are asked
    about once."""

    def __init__(self, model: Chat) -> None:
        self.model = model
        self._found: dict[tuple[str, ...], str] = {}

    def best(self, clues: Sequence[str], rng: np.random.Generator) -> tuple[str, float]:
        key = tuple(clues)
        if key not in self._found:
            talk = [self._question(words, word) for words, word in EXAMPLES]
            messages = [message for pair in talk for message in pair] + self._question(clues)
            told = self.model.answer(messages, tokens=8)
            self._found[key] = next(iter(re.findall(r"[^\W_]+", told.lower())), "")
        return self._found[key], 0.0

    def _question(self, clues: Sequence[str], word: str = "") -> list[dict[str, str]]:
        question = f"Which one word do these clues hint at: {', '.join(clues)}? Answer with that word alone."
        return [{"role": "user", "content": question}, *([{"role": "assistant", "content": word}] if word else [])]


@dataclass(frozen=True)
class Diarist:
    """An agent whose every move is written into a journal: all that it was given, and what it gave."""

    agent: Any
    journal: Journal
    name: str

    def clue(self, word: str, seat: int, rng: np.random.Generator) -> str:
        found = self.agent.clue(word, seat, rng)
        self.journal.write(agent=f"{self.name}-{seat}", saw={"word": word, "seat": seat}, gave=found)
        return found

    def guess(self, clues: Sequence[str], rng: np.random.Generator) -> str | None:
        found = self.agent.guess(clues, rng)
        self.journal.write(agent=self.name, saw={"clues": list(clues)}, gave=found)
        return found


def expected_score(cards: int, hit: float) -> float:
    """The mean score of a game whose guesses, one a card, are each right with probability `hit`, by the rules of
    `just_one.advance`: what chance gives, counted card by card."""
    mean = {0: np.zeros(cards + 1)}  # cards left -> mean final score by cards won
    for left in range(1, cards + 1):
        won = np.arange(cards + 1)
        right = np.append(mean[left - 1][1:] if left > 1 else won[1:], cards)
        lost = np.maximum(won - 1, 0) if left == 1 else mean[left - 2] if left > 2 else won
        mean[left] = hit * right + (1 - hit) * lost
    return float(mean[cards][0])
