"""What an agent takes a word to have to do with another: from GloVe, from MiniLM, from WordNet, from a chat model."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from etudes.core.errors import Problem, unknown
from etudes.games.just_one import Language, collide, fault
from etudes.games.lexicon import Lexicon
from etudes.games.words import WordList, word_list
from etudes.generate.chat import Chat

KEPT = 12  # clues that a giver thinks of

Ranked = Sequence[tuple[str, float]]  # clues with their strengths, best first
Suggest = Callable[[str], Ranked]


@dataclass(frozen=True)
class Associations:
    """How strongly each noun is meant by each word: float32 [nouns, words], on a scale of the source's own."""

    name: str
    nouns: tuple[str, ...]
    words: tuple[str, ...]
    table: np.ndarray = field(repr=False)

    @functools.cached_property
    def columns(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words)}

    def strengths(self, clues: Sequence[str]) -> np.ndarray:
        """How strongly each noun is meant by the clues together: the mean over those that are known, float32 [nouns];
        zeros where none is."""
        known = [self.columns[clue.lower()] for clue in clues if clue.lower() in self.columns]
        return self.table[:, known].mean(1) if known else np.zeros(len(self.nouns), np.float32)

    def suggestions(self, noun: str, language: Language) -> Ranked:
        """The strongest clues for the noun that are valid and not related to a stronger one: 12 at most."""
        row = self.table[self.nouns.index(noun)]
        found: list[tuple[str, float]] = []
        for i in np.argsort(-row, kind="stable"):
            word = self.words[i]
            if not fault(noun, word, language) and not any(collide(word, other, language) for other, _ in found):
                found.append((word, float(row[i])))
            if len(found) == KEPT:
                break
        return found


def standardise(similar: np.ndarray) -> np.ndarray:
    """Similarities [nouns, words] with mean 0 and deviation 1 over the nouns; a word like all of them gets zeros.

    So a word that is near to everything means nothing in particular, for whoever gives it and whoever reads it.
    """
    centred = similar - similar.mean(0)
    deviation = centred.std(0)
    return (centred / np.where(deviation > 1e-6, deviation, np.inf)).astype(np.float32)


def vector_associations(name: str, words: WordList, nouns: np.ndarray, clues: np.ndarray) -> Associations:
    """By the cosine between vectors [n, d] of the nouns and [m, d] of the vocabulary, standardised."""

    def unit(x: np.ndarray) -> np.ndarray:
        return x / np.linalg.norm(x, axis=1, keepdims=True).clip(1e-9)

    return Associations(name, words.nouns, words.vocabulary, standardise(unit(nouns) @ unit(clues).T))


@functools.cache
def associations(name: str, language: str) -> Associations:
    """Those of "glove", "minilm" or "wordnet" for the words of "english"; in the language "made-up" all three are the
    meanings, each with errors of its own. Raises Problem where a source cannot be had."""
    known = ("glove", "minilm", "wordnet")
    if name not in known:
        raise unknown("source of associations", name, known)
    words = word_list(language)
    if language == "made-up":
        rng = np.random.default_rng(1 + known.index(name))
        seen = {word: vector + rng.normal(0, 0.5, vector.shape) for word, vector in words.vectors.items()}
        return vector_associations(
            name, words, *(np.array([seen[w] for w in part]) for part in (words.nouns, words.vocabulary))
        )
    if name == "wordnet":
        return dictionary_associations(words, words.language)
    if name == "glove":
        vectors = words.vectors
        return vector_associations(
            name, words, *(np.array([vectors[w] for w in part]) for part in (words.nouns, words.vocabulary))
        )
    from etudes.retrieval.embedders import embedder

    encode = embedder("minilm").encode
    return vector_associations(name, words, encode(words.nouns), encode(words.vocabulary))


@functools.cache
def thoughts(name: str, language: str) -> Suggest:
    """What a giver with such associations thinks of: their `suggestions`, found once a noun in a process."""
    known, words = associations(name, language), word_list(language)
    return functools.cache(lambda noun: known.suggestions(noun, words.language))


def dictionary_associations(words: WordList, lexicon: Lexicon) -> Associations:
    """By what WordNet says of both words: the cosine between their bags of related words, themselves included, rare
    ones weighing more."""
    from scipy.sparse import csr_matrix, diags

    every = list(dict.fromkeys([*words.nouns, *words.vocabulary]))
    bags = {word: {word: 1.0, **lexicon.associates(word)} for word in every}
    columns = {word: i for i, word in enumerate(sorted({other for bag in bags.values() for other in bag}))}
    rows, places, weights = [], [], []
    for i, word in enumerate(every):
        for other, weight in bags[word].items():
            rows.append(i)
            places.append(columns[other])
            weights.append(weight)
    bag = csr_matrix((weights, (rows, places)), shape=(len(every), len(columns)), dtype=np.float32)
    rarity = np.log(len(every) / np.bincount(places, minlength=len(columns)).clip(1))
    bag = bag @ diags(rarity.astype(np.float32))
    norms = np.sqrt(np.asarray(bag.multiply(bag).sum(1)))[:, 0].clip(1e-9)
    bag = diags(1 / norms) @ bag
    at = {word: i for i, word in enumerate(every)}
    left, right = (bag[[at[word] for word in part]] for part in (words.nouns, words.vocabulary))
    return Associations("wordnet", words.nouns, words.vocabulary, (left @ right.T).toarray())


RULES = (
    "You play Just One, a game of words. A friend has to guess a secret word from your clue, which is one other word. "
    "Think of what comes to mind first."
)
ASK = "The secret word is: {word}. What is your clue?"
NOTHING = "The secret word is not known. What is your clue?"


def chat_clues(model: Chat, noun: str, candidates: Sequence[str], language: Language, seed: int) -> Ranked:
    """The clues that a chat model suggests for the noun, best first, valid and none related to a stronger one.

    One that has `scores` is asked how much likelier each candidate is as the answer for the noun than for an unknown
    word, in nats; from any other a list is asked for, whose i-th clue has the strength -i. Raises Problem where it
    names no valid clue.
    """
    if hasattr(model, "scores"):
        ask, nothing = (_talk(text) for text in (ASK.format(word=noun), NOTHING))
        strengths = model.scores(ask, candidates) - model.scores(nothing, candidates)
        order = np.argsort(-strengths, kind="stable")
        listed = [(candidates[i], float(strengths[i])) for i in order]
    else:
        question = f"{ASK.format(word=noun)} Give your {KEPT} best clues, each a single word, separated by commas."
        words = model.answer(_talk(question), tokens=8 * KEPT, seed=seed).replace("\n", ",").split(",")
        listed = [(word.strip(" .\"'*-0123456789"), -float(i)) for i, word in enumerate(words)]
    found: list[tuple[str, float]] = []
    for word, strength in listed:
        if not fault(noun, word, language) and not any(collide(word, other, language) for other, _ in found):
            found.append((word, strength))
    if not found:
        raise Problem(f"{model.name} gave no valid clue for '{noun}'; take another chat model")
    return found[:KEPT]


def _talk(question: str) -> list[Mapping[str, str]]:
    return [{"role": "system", "content": RULES}, {"role": "user", "content": question}]
