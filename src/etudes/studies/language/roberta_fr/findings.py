"""What a trained network is asked: hidden tokens of unseen novels, gaps in newspaper sentences, and labels."""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from etudes.core import Problem, Run
from etudes.data.tokens import Tokenizer
from etudes.data.treebank import Sentence, Word, sentences
from etudes.measure.error import evaluation_mode
from etudes.nn.roberta import Roberta
from etudes.studies.language.roberta_fr.cloze import cloze, gaps, write_completions
from etudes.studies.language.roberta_fr.tuning import accuracy, tune
from etudes.train import Adam

ROWS = 64  # windows read at once
SHOWN = 40  # completions that a run writes down
AMOUNTS = ("few", "some", "many")  # of labels
NEWSPAPER = "news_est_republicain"  # the part of Sequoia


def hidden_tokens(model: Roberta, inputs: Tensor, chosen: Tensor, tokens: Tensor) -> dict[str, float]:
    """Bits for a hidden token, and the shares of them that are the network's first, or among its first five, choices.

    inputs, tokens: int64 [n, t]; chosen: bool [n, t], which to tell.
    """
    device, bits, first, five = model.bias.device, 0.0, 0, 0
    with evaluation_mode(model):
        for rows, where, truth in zip(inputs.split(ROWS), chosen.split(ROWS), tokens.split(ROWS), strict=True):
            logits = model.logits(model(rows.to(device), where.to(device))).float().cpu()
            right = truth[where][:, None] == logits.topk(5).indices
            bits += functional.cross_entropy(logits, truth[where], reduction="sum").item() / math.log(2)
            first, five = first + int(right[:, 0].sum()), five + int(right.sum())
    count = int(chosen.sum())
    return {"bits": bits / count, "accuracy": first / count, "top-5": five / count}


def read_articles(path: Path, known: Sequence[Sentence]) -> list[Sentence]:
    """The sentences of a text file, split where a sign ends them, their words tagged by what the known sentences call
    them most often; of others, those with a capital inside a sentence are names."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Problem(f"{path} cannot be read as text in UTF-8 ({error}); save it as such") from None
    tags: dict[str, Counter[str]] = {}
    for sentence in known:
        for word in sentence.words:
            tags.setdefault(sentence.text[word.begin : word.end].lower(), Counter())[word.tag] += 1

    def tag(word: str, at: int) -> str:
        seen = tags.get(word.lower())
        return seen.most_common(1)[0][0] if seen else "PROPN" if at and word[0].isupper() else "X"

    found = []
    for line in re.split(r"(?<=[.!?…])\s+|\n+", text):
        if words := tuple(Word(m.start(), m.end(), tag(m[0], m.start())) for m in re.finditer(r"[^\W\d_]+", line)):
            found.append(Sentence(line, words))
    if not found:
        raise Problem(f"{path} holds no sentence; give a file with some text")
    return found


def fill_gaps(
    unseen: str, articles: str, model: Roberta, tokenizer: Tokenizer, run: Run
) -> tuple[dict[str, float], str]:
    """(numbers over gaps in unseen sentences, and in the user's own where there are some; completions to read)."""
    known, source = sentences(unseen, NEWSPAPER if unseen == "sequoia" else "")
    run.note(unseen=source)
    asked = gaps(known, tokenizer, model.context, run.rng("gaps"))
    guesses, numbers = cloze(model, tokenizer, asked)
    writing = write_completions(asked, guesses, SHOWN)
    if articles:
        path = Path(articles)
        own = gaps(read_articles(path, known), tokenizer, model.context, run.rng("articles"))
        guesses, others = cloze(model, tokenizer, own)
        run.note(articles=hashlib.sha256(path.read_bytes()).hexdigest())
        numbers |= {name.replace("test/", "articles/"): value for name, value in others.items()}
        writing = write_completions(own, guesses, SHOWN) + "\n---\n\n" + writing
    return numbers, writing


def label_curve(
    run: Run,
    encoder: Roberta,
    labelled: Mapping[str, tuple[Tensor, Tensor]],
    counts: Sequence[int],
    draws: int,
    recipe: Adam,
) -> dict[str, float]:
    """Accuracies on validation and test texts after fine-tuning on few, some and many labels, of which `counts`
    says how many; means over the draws."""
    if len(counts) != len(AMOUNTS):
        raise Problem(f"--labels takes three numbers, of few, some and many labels, not {len(counts)}")
    numbers = {}
    for amount, count in zip(AMOUNTS, counts, strict=True):
        found = torch.zeros(2, draws, dtype=torch.float64)
        for draw in range(draws):
            model = tune(run, encoder, *labelled["train"], count, draw, recipe)
            for row, split in enumerate(("validation", "test")):
                found[row, draw] = accuracy(model, *labelled[split], run.device)
        for row, split in enumerate(("validation", "test")):
            numbers[f"{split}/accuracy-{amount}-labels"] = found[row].mean().item()
    return numbers
