"""What is measured of a finished network on held-out sentences."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from etudes.core import Run
from etudes.measure.translation import chrf
from etudes.studies.language.translation.corpus import Corpus, Example, combinations, join
from etudes.studies.language.translation.decoding import attention_many, attention_of, translate
from etudes.studies.language.translation.drawing import save_attention
from etudes.studies.language.translation.networks import Translator
from etudes.studies.language.translation.scores import attention_numbers, bleu

if TYPE_CHECKING:
    from etudes.studies.language.translation import Config


class Tested(NamedTuple):
    """Joined sentences of a held-out part."""

    rows: np.ndarray  # int64 [n, parts]: of which sentences each is joined
    examples: list[Example]
    references: list[str]


def held_out(cfg: "Config", run: Run, d: Corpus, split: str, parts: int) -> Tested:
    """`tested` examples of a split, each joined of `parts` sentences: the same for all variants of a seed."""
    rows = combinations(len(d.tokens[split]), cfg.tested, parts, run.rng(f"{split} joins", parts))
    references = [" ".join(d.texts[split][i][1] for i in row) for row in rows]
    return Tested(rows, join(d.tokens[split], rows), references)


def translations_of(d: Corpus, model: Translator, test: Tested, beam: int = 1) -> list[str]:
    """The network's translations of the examples, as texts."""
    tokens = translate(model, [source for source, _ in test.examples], d.tokenizer.start, beam)
    return [d.tokenizer.decode(sentence).strip() for sentence in tokens]


def flat(lists: Iterable[list[str]]) -> list[str]:
    return [text for some in lists for text in some]


def measure(cfg: "Config", run: Run, d: Corpus, model: Translator, trained: Sequence[Tested]) -> None:
    """Measure the network on sentences joined as in training, `trained`, and on those with one sentence more."""
    tests = [*trained, held_out(cfg, run, d, "test", cfg.joined + 1)]
    translations = [translations_of(d, model, test) for test in tests]
    for parts, (test, texts) in enumerate(zip(tests, translations, strict=True), 1):
        score = bleu(texts, test.references)
        run.log(parts, **{"test/bleu-by-length": score})
        run.result(**{f"test/bleu-{parts}": score})
    texts, references = flat(translations[:-1]), flat(test.references for test in trained)
    run.result(**{"test/bleu": bleu(texts, references), "test/chrf": chrf(texts, references)})
    beams = flat(translations_of(d, model, test, cfg.beam) for test in trained)
    run.result(**{"test/bleu-beam": bleu(beams, references)})
    if cfg.network == "gru" and cfg.attention == "none":
        return
    rows, examples, _ = trained[1]
    sources, targets = map(list, zip(*examples, strict=True))
    sizes = [[(len(d.tokens["test"][i][0]), len(d.tokens["test"][i][1])) for i in row] for row in rows]
    looks = attention_many(model, sources, targets, d.tokenizer.start)
    run.result(**attention_numbers(looks, sizes, run.rng("shuffled")))
    if run.leader:
        weights, target = attention_of(model, sources[0], d.tokenizer.start)
        tokens = [[d.tokenizer.decode([token]) for token in side] for side in (sources[0], target)]
        save_attention(run.path("attention.png"), weights, tokens[0], [*tokens[1], "(end)"])
