"""Just One against bots, as guesser or as giver. The word of a guesser's card stays on the server till it is played."""

import contextlib
import dataclasses
import functools
import secrets
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, get_args

import gradio as gr
import numpy as np

from etudes.core.errors import Problem, unknown
from etudes.games.agents import Guesser, RankedGiver, Style, TableThinker
from etudes.games.associations import associations, thoughts
from etudes.games.just_one import CARDS, Game, Outcome, Turn, advance, cancellations
from etudes.games.spelling import normal_form
from etudes.games.words import WordList, english_words, made_up_words
from etudes.web.demos import look

GUESSER, GIVER = "I guess", "I give a clue"
LANGUAGES = ("english", "made-up")
SOURCES = {"glove": "GloVe: words seen together", "wordnet": "WordNet: a dictionary", "minilm": "MiniLM: a network"}
FIRST = ("glove", "wordnet")  # what those that give and the one that guesses know, unless changed
STYLES = {
    "naive": "each the strongest clue (they collide)",
    "softened": "each drawn by strength",
    "shy": "drawn, never the strongest",
    "seats": "the i-th gives the i-th strongest",
}
ENDS: dict[Outcome, str] = {
    "right": "Right: the card is won.",
    "wrong": "Wrong: this card is lost, and the next one with it.",
    "skipped": "Skipped: the card is lost.",
    "empty": "All clues vanished: the card is lost.",
}
HEAT = 2.0  # temperature of drawn clues: high, so that few collide
LONGEST = 40  # characters of a clue or a guess


@dataclass(frozen=True)
class Table:
    """One person's game, kept on the server: the cards, where the game stands, and the card on the table."""

    role: str
    language: str
    source: str
    guesses_by: str  # what the bot that guesses knows
    style: str
    bots: int
    seed: int
    deck: tuple[str, ...]
    game: Game
    turn: Turn | None = None  # of the card on the table; its outcome counts only once it is played
    played: bool = True
    history: tuple[Turn, ...] = ()


@functools.cache
def words_of(language: str) -> WordList:
    if language not in LANGUAGES:
        raise unknown("language", language, LANGUAGES)
    return english_words() if language == "english" else made_up_words()


def read_words() -> None:
    """Read the words and what the bots of a first game know of them, while a person reads the page."""
    with contextlib.suppress(Problem):  # is told to whoever begins a game
        words_of(LANGUAGES[0])
        for source in FIRST:
            associations(source, LANGUAGES[0])


def deal(role: str, language: str, source: str, guesses_by: str, style: str, bots: int, seed: int) -> Table:
    """A new game with its first card. Raises Problem on what there is not, and where the words cannot be had."""
    known = (("role", role, (GUESSER, GIVER)), ("source", source, SOURCES), ("source", guesses_by, SOURCES))
    for kind, name, names in (*known, ("way of giving", style, get_args(Style))):
        if name not in names:
            raise unknown(kind, str(name), names)
    if not 1 <= bots <= 6:
        raise Problem(f"1 to 6 bots play, not {bots}")
    words = words_of(language)
    picked = np.random.default_rng(seed).permutation(len(words.test))[:CARDS]
    deck = tuple(words.test[i] for i in picked)
    return next_card(Table(role, language, source, guesses_by, style, bots, seed, deck, Game(len(deck))))


def next_card(table: Table) -> Table:
    """The table with the next card, and, for a guesser, with the bots' clues on it."""
    if table.game.over:
        raise Problem(f"the game is over with {table.game.won} of {table.game.cards} cards; begin a new one")
    if not table.played:
        raise Problem("this card is not played yet")
    word = table.deck[table.game.gone]
    table = dataclasses.replace(table, turn=Turn(word, (), (), None, "empty"), played=False)
    if table.role == GIVER:
        return table
    turn = with_clues(table, bot_clues(table))
    table = dataclasses.replace(table, turn=turn)
    return table if turn.left else settle(table, turn)


def bot_clues(table: Table) -> tuple[str, ...]:
    word = table.deck[table.game.gone]
    giver = RankedGiver(thoughts(table.source, table.language), table.style, HEAT)  # type: ignore[arg-type]
    return tuple(giver.clue(word, seat, _draw(table, seat)) for seat in range(table.bots))


def with_clues(table: Table, clues: tuple[str, ...]) -> Turn:
    word = table.deck[table.game.gone]
    return Turn(word, clues, cancellations(word, clues, words_of(table.language).language), None, "empty")


def guess_word(table: Table, guess: str | None) -> Table:
    """The table after the guesser's word, or None to skip."""
    turn = _open(table, GUESSER)
    if guess is not None and not any(map(str.isalnum, look.limit(guess, LONGEST))):
        raise Problem("write a word to guess, or skip")
    right = guess is not None and normal_form(guess) == normal_form(turn.word)
    outcome: Outcome = "skipped" if guess is None else "right" if right else "wrong"
    return settle(table, dataclasses.replace(turn, guess=guess, outcome=outcome))


def give_clue(table: Table, clue: str) -> Table:
    """The table after the person's clue, the bots' clues and the bot's guess."""
    _open(table, GIVER)
    if not look.limit(clue, LONGEST).strip():
        raise Problem("write a clue of one word")
    turn = with_clues(table, (clue.strip(), *bot_clues(table)))
    if turn.left:
        thinker = TableThinker(associations(table.guesses_by, table.language), words_of(table.language).language)
        guess = Guesser(thinker).guess(turn.left, _draw(table, -1))
        right = guess is not None and normal_form(guess) == normal_form(turn.word)
        outcome: Outcome = "skipped" if guess is None else "right" if right else "wrong"
        turn = dataclasses.replace(turn, guess=guess, outcome=outcome)
    return settle(table, turn)


def settle(table: Table, turn: Turn) -> Table:
    return dataclasses.replace(
        table, turn=turn, played=True, game=advance(table.game, turn.outcome), history=(*table.history, turn)
    )


def _open(table: Table | None, role: str) -> Turn:
    if table is None or table.turn is None:
        raise Problem("no game is on; begin one")
    if table.role != role:
        raise Problem("in this game the other part is yours; begin a new one to change")
    if table.played:
        raise Problem("this card is played; take the next one")
    return table.turn


def _draw(table: Table, seat: int) -> np.random.Generator:
    return np.random.default_rng((table.seed, table.game.gone, seat + 1))


def show_table(table: Table | None) -> str:
    """What the person may see, as HTML: never the word of a card that is still to be guessed."""
    if table is None or table.turn is None:
        return look.loading_note("Nothing is trained or loaded here: the bots know words by tables. Begin a game.")
    game, turn = table.game, table.turn
    head = f"<p><b>Card {min(game.cards, len(table.history) + (not table.played))}</b> · {game.won} won, "
    head += f"{game.cards - game.gone} of {game.cards} left</p>"
    if not table.played and table.role == GUESSER:
        gone = len(turn.clues) - len(turn.left)
        clues = "".join(
            f"<li>{_seat(table, seat)}: <b>{escape(clue)}</b></li>"
            for seat, (clue, why) in enumerate(zip(turn.clues, turn.cancelled, strict=True))
            if not why
        )
        vanished = f'<p class="soft">{gone} more clue{"s" * (gone != 1)} vanished.</p>' if gone else ""
        return f'<div class="told card">{head}<p>The clues:</p><ul>{clues}</ul>{vanished}</div>'
    if not table.played:
        return f'<div class="told card">{head}<p>The word is <b>{escape(turn.word)}</b>. Your clue?</p></div>'
    said: dict[tuple[str, str], list[int]] = {}  # (clue, why it vanished) -> the seats of those who gave it
    for seat, clue in enumerate(turn.clues):
        said.setdefault((clue.lower(), turn.cancelled[seat]), []).append(seat)
    rows = "".join(
        f"<li>{' and '.join(_seat(table, seat) for seat in seats)}: {'<s>' * bool(why)}{escape(turn.clues[seats[0]])}"
        f"{'</s>' * bool(why)} {escape(f'({why})' if why else '')}</li>"
        for (_, why), seats in said.items()
    )
    answer = f"<p>The guess: <b>{escape(turn.guess)}</b></p>" if turn.guess else ""
    end = f"<p><b>The game is over: {game.won} of {game.cards} cards.</b></p>" if game.over else ""
    return (
        f'<div class="told card">{head}<p>The word was <b>{escape(turn.word)}</b>.</p><ul>{rows}</ul>{answer}'
        f"<p>{ENDS[turn.outcome]}</p>{end}</div>"
    )


def _seat(table: Table, seat: int) -> str:
    """Who gave the clue of that seat, from 0; a giver's own comes first."""
    return f"bot {seat + (table.role == GUESSER)}" if seat or table.role == GUESSER else "you"


def build(root: Path) -> gr.Blocks:
    """The page; `root` is not needed, as nothing here is trained."""

    @look.explain
    def begin(role: str, language: str, source: str, by: str, style: str, bots: float) -> tuple[Any, ...]:
        return _view(deal(role, language, source, by, style, int(bots), secrets.randbelow(2**31)))

    @look.explain
    def answer(table: Table | None, text: str) -> tuple[Any, ...]:
        if table is None:
            raise Problem("no game is on; begin one")
        return _view(give_clue(table, text or "") if table.role == GIVER else guess_word(table, text or ""))

    @look.explain
    def skip(table: Table | None) -> tuple[Any, ...]:
        if table is None:
            raise Problem("no game is on; begin one")
        return _view(guess_word(table, None))

    @look.explain
    def following(table: Table | None) -> tuple[Any, ...]:
        if table is None:
            raise Problem("no game is on; begin one")
        return _view(next_card(table))

    with gr.Blocks(title="Just One against bots") as page:
        look.title(
            "Just One against bots",
            "All but one see a word and write one clue each; clues that are alike vanish. From what is left the "
            "guesser says the word.",
        )
        table = gr.State(None, time_to_live=7200)
        settings, start = _settings()
        card = gr.HTML(show_table(None))
        with gr.Row():
            text = gr.Textbox(label="Your word", max_length=LONGEST, interactive=False, scale=3)
            with gr.Column(scale=2, min_width=260), gr.Row():
                say = gr.Button("Say it", variant="primary", interactive=False)
                pass_on = gr.Button("Skip", interactive=False)
                more = gr.Button("Next card", interactive=False)
        outputs = [table, card, text, say, pass_on, more]
        page.load(read_words, queue=False)
        start.click(begin, settings, outputs, concurrency_limit=2)
        say.click(answer, [table, text], outputs, concurrency_limit=2)
        text.submit(answer, [table, text], outputs, concurrency_limit=2)
        pass_on.click(skip, table, outputs)
        more.click(following, table, outputs)
    return page


def _settings() -> tuple[list[Any], gr.Button]:
    role = gr.Radio([GUESSER, GIVER], value=GUESSER, label="Your part")
    start = gr.Button("New game", variant="primary")
    with gr.Accordion("The bots and their words", open=False):
        bots = gr.Slider(1, 6, 4, step=1, label="Bots that give clues")
        with gr.Row():
            style = gr.Dropdown(
                [(says, name) for name, says in STYLES.items()],
                value="softened",
                label="How they choose",
                min_width=250,
            )
            language = gr.Dropdown(list(LANGUAGES), value="english", label="Words", min_width=250)
        with gr.Row():
            source = gr.Dropdown(
                [(says, name) for name, says in SOURCES.items()], value=FIRST[0], label="What they know", min_width=250
            )
            by = gr.Dropdown(
                [(says, name) for name, says in SOURCES.items()],
                value=FIRST[1],
                label="What a bot guesses by",
                min_width=250,
            )
    return [role, language, source, by, style, bots], start


def _view(table: Table) -> tuple[Any, ...]:
    """The table, what is shown of it, and which controls are open."""
    word = "Your guess" if table.role == GUESSER else "Your clue"
    text = gr.update(value="", label=word, interactive=not table.played)
    skips = gr.update(interactive=not table.played and table.role == GUESSER)
    more = gr.update(interactive=table.played and not table.game.over)
    return table, show_table(table), text, gr.update(interactive=not table.played), skips, more
