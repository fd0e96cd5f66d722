"""Who plays: givers by what they think of and how they choose, and what the guesser knows."""

from typing import TYPE_CHECKING

from etudes.core import Run
from etudes.games.agents import ChatThinker, RandomGiver, RandomThinker, RankedGiver, TableThinker, Thinker
from etudes.games.associations import KEPT, Suggest, associations, chat_clues, thoughts
from etudes.games.journal import Journal, entries
from etudes.games.just_one import Giver
from etudes.games.words import WordList
from etudes.generate.chat import chat
from etudes.train import fit

if TYPE_CHECKING:
    from etudes.studies.games.just_one import Config

SOURCES = ("glove", "minilm", "wordnet")


def seat_givers(cfg: "Config", run: Run, words: WordList, pool: tuple[str, ...]) -> list[Giver]:
    """The players who see a word of the pool: `cfg.givers` of them, whose sources take turns."""
    if cfg.giver == "random":
        return [RandomGiver(words.vocabulary)] * cfg.givers
    if cfg.giver == "llm":
        sources = [chat_suggestions(cfg, run, words, pool)]
    else:
        sources = [thoughts(name, cfg.language) for name in (SOURCES if cfg.giver == "mixed" else [cfg.giver])]
    return [RankedGiver(sources[i % len(sources)], cfg.style, cfg.temperature) for i in range(cfg.givers)]


def choose_thinker(cfg: "Config", words: WordList) -> Thinker:
    """What the guesser knows of words."""
    if cfg.guesser == "random":
        return RandomThinker(words.nouns)
    if cfg.guesser == "llm":
        return ChatThinker(chat(cfg.model))
    return TableThinker(associations(cfg.guesser, cfg.language), words.language)


def chat_suggestions(cfg: "Config", run: Run, words: WordList, pool: tuple[str, ...]) -> Suggest:
    """What the chat model thinks of for a word of the pool. It is asked once, for all variants of a seed."""

    def make(own: Run) -> None:
        model = chat(cfg.model)
        own.note(chat=model.name)
        journal = Journal(own.path("clues.jsonl"))

        def ask(i: int) -> dict[str, float]:
            candidates = clue_candidates(pool[i], cfg.language, words)
            clues = chat_clues(model, pool[i], candidates, words.language, own.seed("answer", i))
            journal.write(word=pool[i], clues=clues)
            return {"validation/clues": float(len(clues))}

        fit(own, {"journal": journal}, ask, len(pool))
        if own.leader:
            journal.flush()
        own.result(**{"validation/words": len(pool)})

    record = run.once("clues", {"model": cfg.model, "language": cfg.language, "pool": len(pool)}, make)
    clues = {line["word"]: line["clues"] for line in entries(record.folder / "clues.jsonl")}
    return lambda word: [(clue, strength) for clue, strength in clues[word]]


def clue_candidates(word: str, language: str, words: WordList) -> list[str]:
    """The clues that a chat model chooses among: those that WordNet links most strongly, then GloVe's."""
    links = getattr(words.language, "associates", lambda word: {})(word)  # a made-up language has no dictionary
    linked = sorted(links.keys() & set(words.vocabulary), key=lambda other: (-links[other], other))[:KEPT]
    return list(dict.fromkeys([*linked, *(clue for clue, _ in thoughts("glove", language)(word))]))
