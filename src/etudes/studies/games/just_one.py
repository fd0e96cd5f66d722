"""just-one: agents give clues for words and guess them, by the rules of the game Just One.

All but one player see a word and write a clue of one word; equal and related clues vanish before the guesser sees them.
So a clue has to be good and has to be rare, which players who think alike cannot both have. Agents take their
associations from GloVe, MiniLM, WordNet or a chat model, and differ in how they choose a clue.

    etudes run just-one    26 variants, 5 seeds; `--scale paper`: with ten times as many games

The game has no paper: its rules, as Board Game Arena tells them, take that place. A guesser chooses among 700 nouns,
where people have a whole language.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from etudes.core.claims import Claim, Trial, above, below, difference, within
from etudes.core.files import read_json, sha256, write_json, write_text
from etudes.core.run import Run
from etudes.core.spec import Paper, Scale, Study, Variant
from etudes.games.agents import ChatThinker, Diarist, Guesser, RandomGiver, RandomThinker, RankedGiver, TableThinker
from etudes.games.associations import KEPT, Suggest, associations, chat_clues, thoughts
from etudes.games.humans import read_humans
from etudes.games.journal import Journal, first_game
from etudes.games.just_one import CARDS, play
from etudes.games.tournament import Tally, bootstrap, game_counts, summary, threshold
from etudes.games.words import WordList, word_list
from etudes.generate.chat import chat
from etudes.reports.charts import Chart, bars, pictures
from etudes.reports.look import data
from etudes.train.loop import fit

if TYPE_CHECKING:
    import altair

SOURCES = ("glove", "minilm", "wordnet")
SCORE = "test/score"


@dataclass(frozen=True)
class Config:
    language: Literal["english", "made-up"] = "english"  # the words that are played with
    giver: Literal["glove", "minilm", "wordnet", "mixed", "llm", "random"] = "glove"  # who gives clues
    guesser: Literal["glove", "minilm", "wordnet", "llm", "random"] = "minilm"  # who reads them
    style: Literal["naive", "softened", "shy", "seats"] = "softened"  # how a giver chooses among its clues
    givers: Annotated[int, within(1, 7)] = 4  # players who give clues
    temperature: Annotated[float, above(0.01)] = 1.0  # of a drawn clue, in deviations of the clues' strengths
    skips: bool = True  # whether the guesser may skip, below a certainty chosen on validation words
    pool: Annotated[int, above(0)] = 0  # test words that decks are drawn from; 0: all
    games: Annotated[int, above(1)] = 48  # with test words
    trials: Annotated[int, above(1)] = 24  # games with validation words, where the guesser always guesses
    model: str = "smollm2-135m"  # the chat model: this one, owner/name of the hub, or openai:MODEL
    humans: str = ""  # a CSV file of games that people played, to compare with; "": none


def suggestions(cfg: Config, run: Run, words: WordList, pool: tuple[str, ...]) -> list[Suggest]:
    """What each of the givers in turn thinks of."""
    if cfg.giver == "llm":
        listed = read_json(asked(cfg, run, words, pool) / "clues.json", "delete its folder and run the study again")
        return [lambda word: [(clue, strength) for clue, strength in listed[word]]]
    names = SOURCES if cfg.giver == "mixed" else (cfg.giver,)
    return [thoughts(name, cfg.language) for name in names]


def asked(cfg: Config, run: Run, words: WordList, pool: tuple[str, ...]) -> Path:
    """The folder with the chat model's clues for the pool, which all variants of a seed share: a word is a step."""

    def make(own: Run) -> None:
        model, near = chat(cfg.model), thoughts("glove", cfg.language)
        own.note(chat=model.name)
        found = Tally()  # the rows of a word: [clue, strength]

        def step(i: int) -> dict[str, float]:
            from_glove = [clue for clue, _ in near(pool[i])]
            linked = getattr(words.language, "associates", lambda word: {})(pool[i])
            usual = sorted(linked.keys() & set(words.vocabulary), key=lambda w: (-linked[w], w))[:KEPT]
            candidates = list(dict.fromkeys([*usual, *from_glove]))
            ranked = chat_clues(model, pool[i], candidates, words.language, own.seed("answer", i))
            found.rows.append([[clue, strength] for clue, strength in ranked])
            return {"validation/clues": float(len(ranked))}

        fit(own, {"found": found}, step, len(pool))
        write_json(own.path("clues.json"), dict(zip(pool, found.rows, strict=True)))
        own.result(**{"validation/words": len(pool)})

    return run.once("clues", {"model": cfg.model, "language": cfg.language, "pool": len(pool)}, make)


def seated(cfg: Config, run: Run, words: WordList, pool: tuple[str, ...]) -> tuple[list[Any], Any]:
    """The givers, and what the guesser knows."""
    if cfg.giver == "random":
        givers: list[Any] = [RandomGiver(words.vocabulary)] * cfg.givers
    else:
        sources = suggestions(cfg, run, words, pool)
        givers = [RankedGiver(sources[i % len(sources)], cfg.style, cfg.temperature) for i in range(cfg.givers)]
    if cfg.guesser == "random":
        return givers, RandomThinker(words.nouns)
    if cfg.guesser == "llm":
        return givers, ChatThinker(chat(cfg.model))
    return givers, TableThinker(associations(cfg.guesser, cfg.language), words.language)


def tournament(cfg: Config, run: Run) -> None:
    words = word_list(cfg.language)
    pool = tuple(run.rng("pool").permutation(words.test)[: cfg.pool or None].tolist())
    givers, thinker = seated(cfg, run, words, pool)
    run.note(data=words.source())
    tried, guesses, played, journal = Tally(), Tally(), Tally(), Journal(run.path("games.jsonl"))

    def deck(kind: str, among: tuple[str, ...], game: int) -> list[str]:
        return run.rng(kind, game).permutation(among)[:CARDS].tolist()

    def draws(kind: str, game: int) -> Callable[[str, int], np.random.Generator]:
        return lambda agent, card: run.rng(f"{kind} {agent}", game, card)

    def trial(i: int) -> dict[str, float]:
        draw = draws("trial", i)
        turns = list(play(deck("trial", words.validation, i), givers, Guesser(thinker), words.language, draw))
        for turn in turns:
            if turn.left:  # a guesser that is asked again says the same
                sure = thinker.best(turn.left, draw("guesser", 0))[1]
                guesses.rows.append([sure, float(turn.outcome == "right")])
        tried.rows.append(game_counts(turns))
        return {"validation/score": tried.rows[-1][0]}

    least = -np.inf
    if cfg.giver != "llm" and cfg.guesser != "llm":  # a chat model is asked about the test words alone
        fit(run, {"tried": tried, "guesses": guesses}, trial, cfg.trials)
        run.result(**{"validation/score": summary(tried.rows)["score"]})
        least = threshold(guesses.rows) if cfg.skips else least
    watched = [Diarist(giver, journal, "giver") for giver in givers]
    guesser = Diarist(Guesser(thinker, least), journal, "guesser")

    def game(i: int) -> dict[str, float]:
        cards, draw = deck("deck", pool, i), draws("game", i)
        journal.write(agent="table", game=i, seed=run.seed("deck", i), threshold=least if least > -np.inf else None)
        turns = []
        for turn in play(cards, watched, guesser, words.language, draw):
            turns.append(turn)
            journal.write(agent="table", word=turn.word, cancelled=list(turn.cancelled), outcome=turn.outcome)
        played.rows.append(game_counts(turns))
        return {SCORE: played.rows[-1][0]}

    fit(run, {"played": played, "journal": journal}, game, cfg.games)
    journal.flush()
    write_text(run.path("first-game.txt"), first_game(journal.path))
    scores = [row[0] for row in played.rows]
    low, high = bootstrap(scores, run.rng("bootstrap"))
    run.result(**{f"test/{name}": value for name, value in summary(played.rows).items()})
    run.result(**{"test/score-low": low, "test/score-high": high})
    if cfg.humans:
        people = [human.score for human in read_humans(Path(cfg.humans))]
        run.note(humans=f"{len(people)} games, sha256 {sha256(Path(cfg.humans))}")
        run.result(**{"test/score-above-humans": float(np.mean(scores) - np.mean(people))})


PAIRS = {(a, b): "seats" if (a, b) == ("glove", "minilm") else f"{a}-{b}" for a in SOURCES for b in SOURCES}
COUNTS = range(1, 8)


def telepathy(trial: Trial) -> float:
    """The mean score where both roles have the same associations, minus that where they have different ones."""
    same = [trial[name][SCORE] for (a, b), name in PAIRS.items() if a == b]
    cross = [trial[name][SCORE] for (a, b), name in PAIRS.items() if a != b]
    return float(np.mean(same) - np.mean(cross))


def over(count: int) -> Callable[[Trial], float]:
    """A measure: the score with as many givers as are best on validation words, minus that with `count`."""

    def measure(trial: Trial) -> float:
        best = max(COUNTS, key=lambda n: trial[f"givers-{n}"]["validation/score"])
        return trial[f"givers-{best}"][SCORE] - trial[f"givers-{count}"][SCORE]

    return measure


def table(report: Any) -> "altair.LayerChart":
    """Cards won by each pair of giver and guesser."""
    import altair

    found = {row["variant"]: row["metrics"][SCORE]["mean"] for row in report.table}
    cells = [
        {"giver": a, "guesser": b, "value": found[name], "label": f"{found[name]:.1f}"}
        for (a, b), name in PAIRS.items()
        if name in found
    ]
    x = altair.X("guesser:N", sort=SOURCES, axis=altair.Axis(labelAngle=0))
    y = altair.Y("giver:N", sort=SOURCES)
    shade = altair.Color("value:Q", title="cards won", scale=altair.Scale(scheme="blues"))
    ink = altair.condition(altair.datum.value > 6, altair.value("white"), altair.value("black"))
    plain = data(cells)
    layers = (
        plain.mark_rect().encode(x, y, shade),
        plain.mark_text(fontSize=14).encode(x, y, text="label:N", color=ink),
    )
    return altair.layer(*layers).properties(width=330, height=210)


POOL = {"guesser": "minilm", "pool": 26, "skips": False}
CHATS = ("llm-naive", "llm-softened", "llm-shy", "llm-seats", "llm-guesses")
VARIANTS = (
    *(Variant(f"givers-{n}", {"givers": n}, "draw their clues from GloVe, MiniLM guesses") for n in COUNTS),
    Variant("naive", {"style": "naive"}, "all give the strongest clue"),
    Variant("shy", {"style": "shy"}, "draw a clue, but never the strongest"),
    Variant("seats", {"style": "seats"}, "the i-th giver gives the i-th strongest clue"),
    Variant("mixed", {"giver": "mixed", "style": "naive", "givers": 3}, "three givers who think differently"),
    Variant("always", {"skips": False}, "givers-4, and the guesser never skips"),
    *(Variant(name, {"giver": a, "guesser": b, "style": "seats"}) for (a, b), name in PAIRS.items() if name != "seats"),
    *(
        Variant(f"llm-{style}", {"giver": "llm", "style": style, **POOL})
        for style in ("naive", "softened", "shy", "seats")
    ),
    Variant("llm-guesses", {**POOL, "guesser": "llm", "style": "seats"}, "GloVe gives, the chat model guesses"),
    Variant("random", {"giver": "random", "guesser": "random", "skips": False}, "any words at all"),
)

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
    threads=1,
    variants=VARIANTS,
    scales={
        "smoke": Scale(
            {"language": "made-up", "games": 4, "trials": 3},
            seeds=2,
            minutes=0.5,
            judges=False,
            variants=tuple(variant.name for variant in VARIANTS if variant.name not in CHATS),
        ),
        "laptop": Scale({}, seeds=5, minutes=3),
        "paper": Scale({"games": 480, "trials": 240}, seeds=5, minutes=60),
    },
    claims=(
        Claim("givers help", "the best number of givers wins more than one giver", "turn, clues", over(1), above(0)),
        Claim(
            "until clues collide",
            "seven givers who draw from the same clues win less than the best number of them",
            "turn, identical clues",
            over(7),
            above(0),
        ),
        Claim(
            "drawing beats the first thought",
            "a chat model's givers who draw their clues win more than those who all give the likeliest",
            "turn, identical clues",
            difference("llm-softened", "llm-naive", SCORE),
            above(0),
        ),
        Claim(
            "seats beat draws",
            "givers who agree on who takes which clue win more than those who draw",
            "turn, identical clues",
            difference("seats", "givers-4", SCORE),
            above(0),
        ),
        Claim(
            "the modal clue is worth avoiding",
            "a chat model's givers who never give the likeliest clue win more than those who may",
            "turn, identical clues",
            difference("llm-shy", "llm-softened", SCORE),
            above(0),
        ),
        Claim(
            "skipping pays",
            "a guesser who skips when unsure wins more than one who always guesses",
            "turn, wrong guess",
            difference("givers-4", "always", SCORE),
            above(0),
        ),
        Claim("telepathy", "one embedding in both roles wins more than two", "both roles", telepathy, above(0)),
        Claim(
            "random fails",
            "random agents win less than a tenth of a card",
            "both roles",
            lambda trial: trial["random"][SCORE],
            below(0.1),
        ),
    ),
    charts=(
        bars(SCORE, "test/cancelled"),
        Chart(
            "pairs", "Cards won by giver and guesser", table, "Means over seeds, of 13 cards; four givers, by seats."
        ),
        bars("test/right", "test/wrong", "test/skipped"),
        pictures("first-game.txt", variants=("givers-4", "llm-seats"), says="What each agent saw and gave."),
    ),
    origin="B",
)
