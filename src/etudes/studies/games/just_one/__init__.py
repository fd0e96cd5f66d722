"""just-one: agents give clues for words and guess them, by the rules of the game Just One.

All but one player see a word, and each writes a clue of one word; equal and related clues vanish before the guesser
sees what is left. So a clue has to be good and has to be rare, which players who think alike cannot both have. Agents
take their associations from GloVe, MiniLM, WordNet or a chat model, and differ in how they choose among their clues:

    naive       the strongest
    softened    a drawn one: p(clue) in proportion to exp(strength / temperature), strengths in standard deviations
    shy         drawn so, but never the strongest
    seats       the i-th giver gives the i-th strongest

    etudes run just-one                  7 minutes on two cores, 27 variants, 5 seeds
    etudes run just-one --scale paper    ten times as many games, 5 seeds: 45 minutes on two cores

One variant, `llm-alone`, has the chat model in every seat: it gives all clues and guesses.

The game has no paper: its rules, as Board Game Arena tells them, take that place. A guesser chooses among 700 nouns,
where people have a whole language.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np

from etudes.core import Claim, Paper, Run, Scale, Study, Variant, above, at_least, higher, within
from etudes.core.files import sha256, write_text
from etudes.games.agents import Diarist, Guesser, RankedGiver, Thinker
from etudes.games.humans import read_humans
from etudes.games.journal import Journal, first_game
from etudes.games.just_one import CARDS, Giver, play
from etudes.games.tournament import COUNTS, bootstrap, game_counts, summary, threshold
from etudes.games.words import WordList, word_list
from etudes.reports.charts import bars, grid, pictures
from etudes.studies.games.just_one.findings import GIVER_COUNTS, PAIRS, SCORE, best_count_over, telepathy
from etudes.studies.games.just_one.players import choose_thinker, seat_givers
from etudes.train import Rows, fit


@dataclass(frozen=True)
class Config:
    language: Literal["english", "made-up"] = "english"  # the words that are played with
    giver: Literal["glove", "minilm", "wordnet", "mixed", "llm", "random"] = "glove"  # who gives clues
    guesser: Literal["glove", "minilm", "wordnet", "llm", "random"] = "minilm"  # who reads them
    style: Literal["naive", "softened", "shy", "seats"] = "softened"  # how a giver chooses among its clues
    givers: Annotated[int, within(1, 7)] = 4  # players who give clues
    temperature: Annotated[float, at_least(0.01)] = 1.0  # of a drawn clue, in deviations of the clues' strengths
    skips: bool = True  # whether the guesser may skip, below a certainty chosen on validation words
    pool: Annotated[int, at_least(0)] = 0  # test words that decks are drawn from; 0: all
    games: Annotated[int, at_least(1)] = 144  # with test words
    trials: Annotated[int, at_least(1)] = 72  # games with validation words, where the guesser always guesses
    model: str = "smollm2-135m"  # the chat model: this one, owner/name of the hub, or openai:MODEL
    humans: str = ""  # a CSV file of games that people played, to compare with; "": none


def deck(run: Run, kind: str, pool: tuple[str, ...], game: int) -> list[str]:
    """The words of a game's cards, drawn from the pool: the same for all variants."""
    return run.rng(kind, game).permutation(pool)[:CARDS].tolist()


def draws(run: Run, kind: str, game: int) -> Callable[[str, int], np.random.Generator]:
    """A generator for each agent at each card of a game."""
    return lambda agent, card: run.rng(f"{kind} {agent}", game, card)


def tournament(cfg: Config, run: Run) -> None:
    words = word_list(cfg.language)
    run.note(data=words.source())
    pool = tuple(run.rng("pool").permutation(words.test)[: cfg.pool or None].tolist())
    givers, thinker = seat_givers(cfg, run, words, pool), choose_thinker(cfg, words)
    least = -np.inf
    if "llm" not in (cfg.giver, cfg.guesser):  # a chat model is asked about the test words alone
        least = rehearse(cfg, run, words, givers, thinker)

    games = compete(cfg, run, words, pool, givers, Guesser(thinker, least))
    low, high = bootstrap(games["score"], run.rng("bootstrap"))
    run.result(**{f"test/{name}": value for name, value in summary(games).items()})
    run.result(**{"test/score-low": low, "test/score-high": high})
    if cfg.humans:
        people = [human.score for human in read_humans(Path(cfg.humans))]
        run.note(humans=f"{len(people)} games, sha256 {sha256(Path(cfg.humans))}")
        run.result(**{"test/score-above-humans": games["score"].mean() - np.mean(people)})


def rehearse(cfg: Config, run: Run, words: WordList, givers: list[Giver], thinker: Thinker) -> float:
    """How sure the guesser has to be, not to skip: what would have been best in games with validation words, where it
    always guesses. -inf without skips."""
    games = Rows(cfg.trials, *COUNTS)
    guesses = Rows(cfg.trials * CARDS, "clues", "sure", "right")  # a row a card

    def trial(i: int) -> dict[str, float]:
        cards, draw = deck(run, "trial", words.validation, i), draws(run, "trial", i)
        turns = list(play(cards, givers, Guesser(thinker), words.language, draw))
        for card, turn in enumerate(turns):
            if turn.left:  # a guesser that is asked again says the same
                sure = thinker.best(turn.left, draw("guesser", 0))[1]
                guesses.put(i * CARDS + card, clues=len(turn.left), sure=sure, right=turn.outcome == "right")
        counts = game_counts(turns)
        games.put(i, **counts)
        return {"validation/score": counts["score"]}

    fit(run, {"games": games, "guesses": guesses}, trial, cfg.trials)
    run.result(**{"validation/score": summary(games)["score"]})
    made = guesses["clues"] > 0  # without a clue there was no guess
    return threshold(guesses["sure"][made], guesses["right"][made]) if cfg.skips else -np.inf


def compete(
    cfg: Config, run: Run, words: WordList, pool: tuple[str, ...], givers: list[Giver], guesser: Guesser
) -> Rows:
    """What was counted of the games with test words. What every agent saw and did is in the run's games.jsonl."""
    games, journal = Rows(cfg.games, *COUNTS), Journal(run.path("games.jsonl"))
    diarists = [Diarist(giver, journal, "giver") for giver in givers]
    reader = Diarist(guesser, journal, "guesser")
    least = guesser.threshold if guesser.threshold > -np.inf else None

    def game(i: int) -> dict[str, float]:
        cards, draw = deck(run, "deck", pool, i), draws(run, "game", i)
        journal.write(agent="table", game=i, seed=run.seed("deck", i), threshold=least)
        turns = []
        for turn in play(cards, diarists, reader, words.language, draw):
            turns.append(turn)
            journal.write(agent="table", word=turn.word, cancelled=list(turn.cancelled), outcome=turn.outcome)
        counts = game_counts(turns)
        games.put(i, **counts)
        return {SCORE: counts["score"]}

    fit(run, {"games": games, "journal": journal}, game, cfg.games)
    if run.leader:
        journal.flush()
        write_text(run.path("first-game.txt"), first_game(journal.path))
    return games


FEW = 0.1  # cards a game: too few to matter
STYLES = ("naive", "softened", "shy", "seats")
CHAT = {"guesser": "minilm", "pool": 26, "skips": False}

VARIANTS = (
    *(Variant(f"givers-{n}", {"givers": n}, "draw their clues from GloVe, MiniLM guesses") for n in GIVER_COUNTS),
    Variant("naive", {"style": "naive"}, "all give the strongest clue"),
    Variant("shy", {"style": "shy"}, "draw a clue, but never the strongest"),
    Variant("seats", {"style": "seats"}, "the i-th giver gives the i-th strongest clue"),
    Variant("mixed", {"giver": "mixed", "style": "naive", "givers": 3}, "three givers who think differently"),
    Variant("always", {"skips": False}, "givers-4, and the guesser never skips"),
    *(Variant(name, {"giver": a, "guesser": b, "style": "seats"}) for (a, b), name in PAIRS.items() if name != "seats"),
    *(Variant(f"llm-{style}", CHAT | {"giver": "llm", "style": style}) for style in STYLES),
    Variant("llm-guesses", CHAT | {"guesser": "llm", "style": "seats"}, "GloVe gives, the chat model guesses"),
    Variant("llm-alone", CHAT | {"giver": "llm", "guesser": "llm", "style": "seats"}, "the chat model in every seat"),
    Variant("random", {"giver": "random", "guesser": "random", "skips": False}, "any words at all"),
)

SMOKE = {"language": "made-up", "games": 4, "trials": 3}
WITHOUT_CHAT = tuple(variant.name for variant in VARIANTS if not variant.name.startswith("llm-"))

QUESTIONS = {  # the variants that answer each
    "How many givers, who draw from the same clues?": tuple(f"givers-{n}" for n in GIVER_COUNTS),
    "How do four givers keep from giving the same?": ("naive", "givers-4", "shy", "seats", "mixed"),
    "Should the guesser skip when unsure?": ("always", "givers-4"),
    "Do giver and guesser think alike?": tuple(PAIRS.values()),
    "And a chat model?": tuple(f"llm-{way}" for way in (*STYLES, "guesses", "alone")),
    "And words at random?": ("random",),
}

STUDY = Study(
    name="just-one",
    question="How many clue givers help, and what do players gain who avoid each other's clues?",
    paper=Paper(
        "Just One, as its rules are told at Board Game Arena",
        "Roudy, Sautter",
        2018,
        "https://en.boardgamearena.com/doc/Gamehelpjustone",
    ),
    config=Config,
    program=tournament,
    variants=VARIANTS,
    scales={
        "smoke": Scale(SMOKE, seeds=2, minutes=0.5, judges=False, variants=WITHOUT_CHAT),
        "laptop": Scale({}, seeds=(5, 8, 12, 20), minutes=7),
        "paper": Scale({"games": 1440, "trials": 720}, seeds=5, minutes=45),
    },
    words={
        SCORE: "cards won of 13",
        "test/right": "share of turns guessed rightly",
        "test/wrong": "share of turns guessed wrongly",
        "test/skipped": "share of turns skipped",
        "test/cancelled": "share of clues cancelled",
        "validation/score": "cards won with validation words",
    },
    idea=RankedGiver,
    claims={
        "the number of givers that is best on validation words wins more cards than one giver": Claim(
            best_count_over(1),
            above(0),
            "turn, clues",
            matters=FEW,
            number=f"{SCORE}: the best number of givers minus givers-1",
        ),
        "seven givers who draw from the same clues win fewer cards than the number of givers that is best on "
        "validation words": Claim(
            best_count_over(7),
            above(0),
            "turn, identical clues",
            matters=FEW,
            number=f"{SCORE}: the best number of givers minus givers-7",
        ),
        "four givers who agree on who takes which clue win more cards than four who draw theirs": higher(
            "seats", "givers-4", "turn, identical clues", of=SCORE, matters=FEW
        ),
        "givers of a chat model who agree on who takes which clue win more cards than those who draw theirs": higher(
            "llm-seats", "llm-softened", "turn, identical clues", of=SCORE
        ),
        "givers of a chat model who draw but never give the likeliest clue win more cards than those who may": higher(
            "llm-shy", "llm-softened", "turn, identical clues", of=SCORE
        ),
        "a guesser who skips when unsure wins more cards than one who always guesses": higher(
            "givers-4", "always", "turn, wrong guess", of=SCORE, matters=FEW
        ),
        "giver and guesser with the same associations win more cards than those with different ones": Claim(
            telepathy, above(0), "both roles", number=f"{SCORE}: mean of equal pairs minus mean of unequal pairs"
        ),
    },
    charts=(
        bars(
            SCORE,
            "test/cancelled",
            title="Cards won of 13, and the share of clues that cancel each other",
            by="giver",
            key="givers",
            sections=QUESTIONS,
        ),
        grid(
            SCORE,
            "guesser",
            "giver",
            title="Cards won by giver and guesser",
            label="cards won",
            says="Of 13 cards; four givers, by seats.",
            variants=tuple(PAIRS.values()),
        ),
        bars(
            "test/right",
            "test/wrong",
            "test/skipped",
            title="Guesses that are right, wrong or skipped",
            by="giver",
            key="givers",
            sections=QUESTIONS,
        ),
        pictures(
            "first-game.txt",
            title="A game as it was played",
            variants=("givers-4", "llm-alone"),
            says="What each agent saw and gave.",
        ),
    ),
    origin="B14",
    revisions=(
        "three times as many games under a seed, and a chat model that gives and guesses; a chat model's givers who "
        "avoid each other are set against those who draw, no longer against those who all say the same and so win "
        "nothing by rule; the bound on players at random is withdrawn, as it is trivial; margins are named",
    ),
)
