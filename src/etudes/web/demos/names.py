"""Where a name comes from: what a network would say after each of its letters."""

import functools
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from torch import Tensor

from etudes.core import catalogue
from etudes.core.errors import Problem
from etudes.core.record import Record
from etudes.studies.language.names.reader import NameReader, letter_by_letter, network_of
from etudes.web.demos import look, networks
from etudes.web.demos.networks import Offer

STUDY = "names"
OFFERS = (Offer(STUDY, "laptop", ("gru",)), Offer(STUDY, "laptop", ("rnn",)))
FIRST = "Romanowski"
MOST = 40  # characters of a name
SHOWN = 6  # languages; the others are one row together
ERROR = "test/error"
NONE = "No network is trained yet: train one below; it takes some seconds."


@functools.lru_cache(maxsize=4)
def _network(folder: Path, values: tuple[tuple[str, Any], ...]) -> NameReader:
    return network_of(catalogue.find(STUDY).config(**dict(values)), folder)


def network(record: Record) -> NameReader:
    """The reader of a run."""
    return _network(record.folder, tuple(record.spec.config.items()))


def readers(root: Path) -> dict[str, Record]:
    """{its name: a run} of the networks that read names; those that write some have no list of languages."""
    found = networks.find_records(catalogue.find(STUDY), root)
    return {name: record for name, record in found.items() if (record.folder / "languages.txt").exists()}


def letters_read(model: NameReader, name: str) -> str:
    """The letters of a name as the network reads them. Raises Problem on an empty or a long name, or one of which it
    knows no letter."""
    spelt = model.spell(look.limit(name, MOST))
    if not spelt:
        raise Problem("there is no name yet; type one")
    known = "".join(letter for letter in model.letters if letter.isalpha())
    if not set(spelt) & set(known):
        raise Problem(f"the network knows no letter of this name; type one in these: {known}")
    return spelt


def turns(best: Sequence[str]) -> list[int]:
    """The numbers of the letters after which another language is the most probable one than before."""
    return [i for i in range(1, len(best)) if best[i] != best[i - 1]]


def read(record: Record, name: str) -> str:
    """As HTML: the answer in a sentence, how sure one may be, and the odds of the languages after each letter."""
    model = network(record)
    spelt = letters_read(model, name)
    odds = letter_by_letter(model, name)
    return _answer(model, spelt, odds, record.metrics[ERROR]) + _table(model.languages, spelt, odds)


def _answer(model: NameReader, spelt: str, odds: Tensor, error: float) -> str:
    """The answer with its odds, where it changed on the way, and how often such answers are wrong."""
    best = [model.languages[i] for i in odds.argmax(1).tolist()]
    first, second = odds[-1].topk(2)[1].tolist()
    words = f"It says {best[-1]}, with odds of {odds[-1, first]:.0%}; next comes "
    words += f"{model.languages[second]} with {odds[-1, second]:.0%}."
    changes = turns(best)
    since = f"“{spelt[: changes[-1] + 1]}”" if changes else "the first letter"
    words += f" It has said so since {since}, and changed its mind {_times(len(changes))} on the way."
    if unknown := "".join(sorted(set(spelt) - set(model.letters))):
        words += f" It has never met {' '.join(unknown)} and takes all such signs for one."
    wrong = f"Of ten names that it has never seen it gives about {10 * error:.1f} a language that they do not have."
    return f'<p role="status">{escape(words)}</p><p class="soft">{escape(wrong)}</p>'


def _times(count: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")


def _table(languages: Sequence[str], spelt: str, odds: Tensor) -> str:
    """The odds of the languages that were likeliest anywhere, by their last ones, and of all others together."""
    chosen = odds.amax(0).topk(min(SHOWN, len(languages)))[1]
    chosen = chosen[odds[-1, chosen].argsort(descending=True)]
    rows = [*odds[:, chosen].T.tolist(), (1 - odds[:, chosen].sum(1)).clamp_min(0).tolist()]
    names = [*(languages[i] for i in chosen.tolist()), "all others"]
    across = [letter.replace(" ", "␣") for letter in spelt]
    best = odds.topk(min(3, len(languages)))
    lines = [
        [spelt[: i + 1], *(f"{languages[k]} {share:.1%}" for share, k in zip(shares, ks, strict=True))]
        for i, (shares, ks) in enumerate(zip(best[0].tolist(), best[1].tolist(), strict=True))
    ]
    heads = ("read so far", "most probable", "second", "third")[: 1 + best[0].shape[1]]
    says = "Odds in hundredths of each language after each letter, were the name to end there"
    return look.heat_map(rows, names, across, says) + look.plain_table("After each letter, in words", heads, lines)


def build(root: Path) -> gr.Blocks:
    def list_records() -> dict[str, Record]:
        return readers(root)

    def about(name: str | None) -> str:
        record = list_records().get(name or "")
        if not record:
            return look.loading_note(NONE)
        words = networks.describe(record, ERROR, "Share of new names whose language it misses")
        return look.loading_note(f"{words} It knows {len(network(record).languages)} languages.")

    @look.explain
    def show(chosen: str | None, name: str | None) -> str:
        """What is read of a name, or why nothing is: in its place, as somebody is typing."""
        if not chosen:
            return ""  # nothing is trained yet, as the line above says
        record = networks.choose(list_records(), chosen)
        try:
            return read(record, name or "")
        except Problem as problem:
            return f'<p role="status">{escape(str(problem))}.</p>'

    with gr.Blocks(title="A name's languages, letter by letter") as page:
        look.title(
            "A name's languages, letter by letter",
            "A network reads a surname from its first letter to its last. After each letter it can be asked which "
            "language the name is of, were it to end there: type one, and see when it changes its mind.",
        )
        model, line = networks.chooser(list_records, about, OFFERS)
        name = gr.Textbox(
            FIRST, label="Surname", info="It is read as you type. Try Romano, Romanov and Romanowski.", max_length=MOST
        )
        shown = gr.HTML(min_height=300)
        how = {"show_progress": "hidden", "trigger_mode": "always_last", "concurrency_limit": 2}
        gr.on([name.change, name.submit, model.change, page.load], show, [model, name], shown, **how)
        networks.renew(page, list_records, about, model, line, OFFERS, root)
    return page
