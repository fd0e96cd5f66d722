import math
from dataclasses import replace

import pytest
import torch

from etudes.core.run import Run, execute
from etudes.core.spec import Spec
from etudes.data.synonyms import WordNet
from etudes.data.tokens import characters
from etudes.data.words import word_tokenizer
from etudes.generate.sampling import choice, generate
from etudes.studies.language import word_lstm
from etudes.studies.language.word_lstm import (
    STUDY,
    Config,
    arithmetic,
    augmentation,
    equal_cost_steps,
    load_network,
    network,
)
from etudes.studies.language.word_lstm.findings import unigram
from wordnet_files import write_wordnet

POEM = "The sea is wide, the sea is deep;\nDon't ask the sea -- it does not sleep.\n\nThe sea!\n"
SMALL = Config(hidden=6, vector=4, layers=2)


def a_run(folder):
    spec = Spec("sketch", "smoke", "a", 0, {}, "fp32")
    (folder / spec.key).mkdir(parents=True, exist_ok=True)
    return Run(spec, folder / spec.key)


def test_arithmetic_is_that_of_the_layers():
    # of 4 * 6 gates on 6 inputs and 6 hidden units, twice; of the vector to the first layer, and of the output
    assert arithmetic(network(SMALL, 11)) == 2 * 4 * 6 * (6 + 6) + 4 * 6 + 6 * 11


@pytest.mark.parametrize(("effort", "share"), [(1.0, 1.0), (4.0, 1.0), (1.0, 0.25)])
def test_characters_take_as_much_arithmetic_as_words(effort, share):
    cfg = replace(SMALL, steps=100_000, effort=effort, share=share)
    assert equal_cost_steps(cfg, 900, 900) == 100_000 * effort * share
    letters = replace(cfg, entries="characters")
    spent = equal_cost_steps(letters, 40, 900) * word_lstm.LETTERS * arithmetic(network(letters, 40))
    assert spent == pytest.approx(effort * share * 100_000 * arithmetic(network(cfg, 900)), rel=1e-4)


def test_without_augmentation_there_is_no_copy(tmp_path):
    assert augmentation(Config(), a_run(tmp_path), word_tokenizer([POEM]), (POEM,)) == ()


def test_a_copy_has_synonyms_and_the_lines_of_its_works(tmp_path, monkeypatch):
    found = WordNet(write_wordnet(tmp_path / "wordnet"))
    monkeypatch.setattr(word_lstm, "wordnet", lambda: found)
    run, known = a_run(tmp_path), word_tokenizer(["The sea, the sea: an ocean, an ocean. A world, a world!"])
    works = ("The sea is wide,\n\nthe Sea is deep;\n", "A world!", "")
    made = augmentation(Config(augment="synonyms"), run, known, works)
    # "universe" and "cosmos" are no words of the text, and "is" is a stop word
    assert made == ("The ocean is wide,\n\nthe Ocean is deep;\n", "A world!", "")
    assert run.metrics["train/changed"] == 2 / 6  # lines, the empty ones too


def test_the_trivial_baseline_is_the_naive_sum():
    for tokenizer in (word_tokenizer([POEM]), characters([POEM], often=1)):
        text = "The land is wide"
        counts = [1] * tokenizer.size
        for i in (tokenizer.start, *tokenizer.encode(POEM)):
            counts[i] += 1
        bits = -sum(math.log2(counts[i] / sum(counts)) for i in tokenizer.encode(text)) + 8 * tokenizer.lost_bytes(text)
        assert unigram(tokenizer, [POEM], [text]) == pytest.approx(bits / len(text))


@pytest.mark.parametrize("variant", ["words", "characters"])
def test_a_finished_run_gives_its_network_back(variant, tmp_path):
    (spec,) = STUDY.plan("smoke", seeds=1, variants=(variant,))
    execute(STUDY, spec, tmp_path)
    cfg = Config(**spec.config)
    model, tokenizer = load_network(cfg, tmp_path / spec.key)
    assert not model.training
    start = torch.full((4, 1), tokenizer.start)
    written = generate(model, start, 100, choice(2.0, generator=torch.Generator().manual_seed(0)))
    if variant == "words":
        assert not (written == tokenizer.unknown).any()
    text = tokenizer.decode(written[0].tolist())
    assert len(text) > 50
    samples = (tmp_path / spec.key / "samples.txt").read_text(encoding="utf-8")
    assert samples.startswith("[from nothing | greedy]")


def test_vectors_are_where_the_network_reads_them(tmp_path, monkeypatch):
    """Of the words, those of GloVe: the first step's loss differs from that of drawn ones by them alone."""
    cache = tmp_path / "cache"
    cache.mkdir()
    monkeypatch.setenv("ETUDES_CACHE", str(cache))
    known = ["def", "return", "self", "the", "#", "(", ")", "="]
    lines = [f"{word} " + " ".join(f"{math.sin(7 * i + j):.3f}" for j in range(50)) for i, word in enumerate(known)]
    (cache / "glove.6B.50d.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    runs = {}
    for spec in STUDY.plan("smoke", seeds=1, variants=("words", "glove")):
        execute(STUDY, spec, tmp_path)
        runs[spec.variant] = load_network(Config(**spec.config), tmp_path / spec.key)
    metrics = (tmp_path / STUDY.plan("smoke", seeds=1, variants=("glove",))[0].key / "result.json").read_text()
    assert '"train/with-vectors"' in metrics
    model, tokenizer = runs["glove"]
    vectors = model.embedding[0].weight
    given = torch.tensor([float(x) for x in lines[0].split()[1:]])
    (row,) = (vectors[i] for i in tokenizer.encode("def"))
    near = lambda v: torch.nn.functional.cosine_similarity(v, given, dim=0).item()  # noqa: E731
    assert near(row) > 0.9  # eight small steps from where it began
    assert abs(near(runs["words"][0].embedding[0].weight[tokenizer.encode("def")[0]])) < 0.6
