"""Gaps in sentences: filled by a network, whole words at a time, and what kinds of errors it makes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from etudes.core import Problem
from etudes.data.tokens import Tokenizer
from etudes.data.treebank import Sentence, Word
from etudes.measure.error import evaluation_mode
from etudes.nn.roberta import Roberta
from etudes.studies.language.roberta_fr.reading import FIRST, MASK, PAD

GAP = "<mask>"  # what a user writes where a token is to be told
ROWS = 64  # sentences read at once
KINDS = ("agreement", "function", "name", "rest")  # of errors
FUNCTION = ("ADP", "AUX", "CCONJ", "DET", "PART", "PRON", "SCONJ")  # universal parts of speech of function words
FORMS = tuple(  # of one word each, which agree with what stands beside them
    frozenset(forms.split())
    for forms in (
        "le la les l",
        "un une des",
        "du des",
        "au aux",
        "ce cet cette ces c",
        "mon ma mes",
        "ton ta tes",
        "son sa ses",
        "notre nos",
        "votre vos",
        "leur leurs",
        "il elle ils elles",
        "lui eux",
        "quel quelle quels quelles",
        "tout toute tous toutes",
        "celui celle ceux celles",
        "aucun aucune",
        "certain certaine certains certaines",
        "suis es est sommes êtes sont étais était étions étiez étaient fut furent sera seront serait seraient soit été",
        "ai as a avons avez ont avais avait avions aviez avaient eut eurent aura auront aurait auraient ait aient eu",
        "fais fait font faisait faisaient fit firent fera feront",
        "vais va vont allait allaient ira iront",
        "peut peuvent pouvait pouvaient put purent pourra pourront",
        "doit doivent devait devaient dut devra devront",
    )
)
USUAL = (
    "e s es x er é ée és ées ez ons ent ai ais ait ions iez aient a as ât èrent era erai erait eront "
    "ant ante ants antes i ie is ies it ir irent issait issaient issent u ue us ues t al ale aux ales "
    "eux euse euses if ive ifs ives el elle"
)
ENDINGS = frozenset(USUAL.split()) | {""}


def same_word(one: str, other: str) -> bool:
    """Whether two words are forms of one, by their letters: of a list of forms, or a stem of three letters and more
    with two usual endings. It errs where two words share a stem, such as porte and porter."""
    one, other = one.lower(), other.lower()
    if any({one, other} <= forms for forms in FORMS):
        return True
    shared = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return any(one[i:] in ENDINGS and other[i:] in ENDINGS for i in range(3, shared + 1))


def error_kind(truth: str, guess: str, tag: str) -> str:
    """The kind of a wrong guess: another form of the word ("agreement"), else by what was hidden: a function word, a
    name, or any other word ("rest")."""
    if same_word(truth, guess):
        return "agreement"
    return "function" if tag in FUNCTION else "name" if tag == "PROPN" else "rest"


@dataclass(frozen=True)
class Gap:
    """A word hidden whole in a row of tokens: row[begin:end]."""

    row: Tensor  # int64 [t], nothing hidden
    begin: int
    end: int
    word: Word
    sentence: Sentence

    @property
    def truth(self) -> str:
        return self.sentence.text[self.word.begin : self.word.end]


def gaps(found: Sequence[Sentence], tokenizer: Tokenizer, context: int, rng: np.random.Generator) -> list[Gap]:
    """One word of each sentence, drawn from those that stand within the first `context` tokens; none where there is no
    such word. The space before a word is hidden with it, as it is part of its first token."""
    made = []
    for sentence in found:
        for i in rng.permutation(len(sentence.words)):
            gap = _gap(sentence, sentence.words[i], tokenizer, context)
            if gap is not None:
                made.append(gap)
                break
    if not made:
        raise Problem("none of the sentences has a whole word of letters within the context; give longer ones")
    return made


def _gap(sentence: Sentence, word: Word, tokenizer: Tokenizer, context: int) -> Gap | None:
    text, begin = sentence.text, word.begin - (word.begin > 0 and sentence.text[word.begin - 1] == " ")
    before, inside, after = map(tokenizer.encode, (text[:begin], text[begin : word.end], text[word.end :]))
    start, end = 1 + len(before), 1 + len(before) + len(inside)
    if end > context:
        return None
    return Gap(torch.tensor([tokenizer.start, *before, *inside, *after][:context]), start, end, word, sentence)


def read_rows(model: Roberta, rows: Sequence[Tensor], wanted: Sequence[slice]) -> list[Tensor]:
    """Logits [places, vocabulary] of the wanted places of each row, whatever the rows' lengths."""
    order = sorted(
        range(len(rows)), key=lambda i: len(rows[i])
    )  # rows of like length beside each other: little padding
    found: list[Tensor] = [torch.empty(0)] * len(rows)
    device = model.bias.device
    with evaluation_mode(model):
        for start in range(0, len(order), ROWS):
            some = order[start : start + ROWS]
            block = torch.nn.utils.rnn.pad_sequence([rows[i] for i in some], True, PAD)
            vectors = model(block.to(device))
            for vector, i in zip(vectors, some, strict=True):
                found[i] = model.logits(vector[wanted[i]]).float().cpu()
    return found


def cloze(model: Roberta, tokenizer: Tokenizer, asked: Sequence[Gap]) -> tuple[list[str], dict[str, float]]:
    """(the network's word for each gap, numbers over all of them).

    A gap has as many masks as its word has tokens, and each is told by itself; the network is thus shown how many there
    are. Of words of several tokens one is also hidden alone, the others staying: bits inside-word and whole-word are
    those of the same tokens in the two situations. Special tokens are never told.
    """
    hidden = [_masked(gap.row, range(gap.begin, gap.end)) for gap in asked]
    logits = read_rows(model, hidden, [slice(gap.begin, gap.end) for gap in asked])
    for table in logits:
        table[:, :FIRST] = -math.inf
    guesses = [tokenizer.decode(table.argmax(1).tolist()).strip() for table in logits]
    single = [(gap.row[gap.begin], table[0]) for gap, table in zip(asked, logits, strict=True) if len(table) == 1]
    five = sum(bool((token == table.topk(5).indices).any()) for token, table in single)
    parted = [i for i, table in enumerate(logits) if len(table) > 1]
    numbers = _shares(asked, guesses) | {"test/top-5-unseen": five / max(len(single), 1)}
    if parted:
        places = [asked[i].end - 1 for i in parted]  # the word's last token
        alone = [_masked(asked[i].row, [place]) for i, place in zip(parted, places, strict=True)]
        inside = read_rows(model, alone, [slice(place, place + 1) for place in places])
        truth = torch.stack([asked[i].row[place] for i, place in zip(parted, places, strict=True)])
        for name, tables in (("inside", torch.cat(inside)), ("whole", torch.stack([logits[i][-1] for i in parted]))):
            numbers[f"test/bits-{name}-word"] = functional.cross_entropy(tables, truth).item() / math.log(2)
    return guesses, numbers


def _masked(row: Tensor, places: Sequence[int] | range) -> Tensor:
    hidden = row.clone()
    hidden[list(places)] = MASK
    return hidden


def _shares(asked: Sequence[Gap], guesses: Sequence[str]) -> dict[str, float]:
    """The share of words told right, of all and by what was hidden, and the shares of words told wrong by kind."""
    right = [gap.truth == guess for gap, guess in zip(asked, guesses, strict=True)]
    kinds = [
        "" if good else error_kind(gap.truth, guess, gap.word.tag)
        for gap, guess, good in zip(asked, guesses, right, strict=True)
    ]
    numbers = {"test/words-unseen": sum(right) / len(right)}
    numbers |= {f"test/error-{kind}": kinds.count(kind) / len(kinds) for kind in KINDS}
    groups = {
        "function": [gap.word.tag in FUNCTION for gap in asked],
        "name": [gap.word.tag == "PROPN" for gap in asked],
    }
    groups["rest"] = [not a and not b for a, b in zip(*groups.values(), strict=True)]
    for name, inside in groups.items():
        if any(inside):
            numbers[f"test/words-{name}"] = sum(r for r, i in zip(right, inside, strict=True) if i) / sum(inside)
    return numbers


def complete(model: Roberta, tokenizer: Tokenizer, text: str, k: int = 5) -> list[list[tuple[str, float]]]:
    """The k likeliest tokens and their odds, likeliest first, for each <mask> of the text.

    A space before <mask> is part of what is hidden. Raises Problem on a text without <mask>, one longer than the
    network's context, and a k beyond the vocabulary.
    """
    parts = text.split(GAP)
    if len(parts) == 1:
        raise Problem(f"nothing is hidden in '{text}'; write {GAP} where a word is to be told")
    if not 1 <= k <= tokenizer.size - FIRST:
        raise Problem(f"{k} tokens cannot be told; take from 1 to {tokenizer.size - FIRST}")
    tokens, places = [tokenizer.start], []
    for i, part in enumerate(parts):
        before_gap = i + 1 < len(parts)
        tokens += tokenizer.encode(part.removesuffix(" ") if before_gap else part)
        if before_gap:
            places.append(len(tokens))
            tokens.append(MASK)
    if len(tokens) > model.context:
        raise Problem(f"the text has {len(tokens)} tokens, and the network reads {model.context}; shorten it")
    with evaluation_mode(model):
        logits = model.logits(model(torch.tensor([tokens], device=model.bias.device))[0, places]).float().cpu()
    logits[:, :FIRST] = -math.inf
    odds, best = logits.softmax(1).topk(k)
    return [
        [(tokenizer.decode([token]), odd) for token, odd in zip(row.tolist(), chances.tolist(), strict=True)]
        for row, chances in zip(best, odds, strict=True)
    ]


def write_completions(asked: Sequence[Gap], guesses: Sequence[str], count: int) -> str:
    """Sentences with the hidden word in brackets, and what was told for it: "=" where that is right, else its kind."""
    lines = []
    for gap, guess in list(zip(asked, guesses, strict=True))[:count]:
        text, word = gap.sentence.text, gap.word
        kind = "=" if guess == gap.truth else error_kind(gap.truth, guess, word.tag)
        lines.append(f"{text[: word.begin]}[{gap.truth}]{text[word.end :]}\n    {guess}  ({kind})")
    return "\n\n".join(lines) + "\n"
