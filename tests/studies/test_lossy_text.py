import itertools
import math
import types
from collections import Counter

import numpy as np
import pytest
import torch
from torch.nn import functional

from etudes.core.catalogue import find
from etudes.core.errors import Problem
from etudes.core.run import execute
from etudes.data.pairs import TATOEBA
from etudes.data.sources import SOURCES
from etudes.data.text import split_of
from etudes.data.tokens import bpe
from etudes.retrieval.embedders import HashingEmbedder
from etudes.studies.language.lossy_text import Config, arithmetic, lines, training
from etudes.studies.language.lossy_text.codes import (
    HEADER,
    dequantise,
    float_codec,
    normal_levels,
    pack,
    product_codec,
    quantise,
    scalar_codec,
    unpack,
)
from etudes.studies.language.lossy_text.compressor import compress, correct, decompress
from etudes.studies.language.lossy_text.measures import is_negated, number_words, overlap, style_distances, text_metrics
from etudes.studies.language.lossy_text.network import Writer, loss_of, pad, write_lines
from etudes.studies.language.lossy_text.trial import cosines, keep_words, nearest_of, zstd

STUDY = find("lossy-text")


@pytest.fixture
def vectors():
    return np.random.default_rng(0).normal(size=(300, 24)).astype(np.float32) * np.linspace(
        0.1, 2, 24, dtype=np.float32
    )


# Codes and the file


def test_levels_are_those_of_max_s_table():
    assert normal_levels(1) == pytest.approx([-0.7980, 0.7980], abs=2e-4)  # Max 1960, table 1
    assert normal_levels(2) == pytest.approx([-1.510, -0.4528, 0.4528, 1.510], abs=1e-3)
    eight = [0.1284, 0.3881, 0.6568, 0.9424, 1.256, 1.618, 2.069, 2.733]
    assert normal_levels(4)[8:] == pytest.approx(eight, abs=2e-3)


def test_levels_leave_less_error_than_equal_steps():
    x = np.random.default_rng(1).normal(size=100_000)

    def error(levels):
        return np.mean(np.min((x[:, None] - levels) ** 2, axis=1))

    assert error(normal_levels(2)) == pytest.approx(0.1175, abs=2e-3)  # Max's own figure
    assert error(normal_levels(3)) < min(error(np.linspace(-a, a, 8)) for a in (1.0, 1.5, 2.0, 2.5, 3.0))


def test_scalar_codes_are_the_nearest_levels(vectors):
    codec = scalar_codec(vectors, 3, 10)
    levels, mean, deviation = normal_levels(3), codec.mean.astype(float), codec.table.astype(float)
    for row, codes in zip(vectors[:20], quantise(codec, vectors[:20]), strict=True):
        assert codes.tolist() == [np.abs((row[j] - mean[j]) / deviation[j] - levels).argmin() for j in range(10)]
    assert dequantise(codec, quantise(codec, vectors))[:, 10:] == pytest.approx(np.tile(mean[10:], (300, 1)))


def test_product_codes_are_the_nearest_centroids(vectors):
    codec = product_codec(vectors, 6, 3, np.random.default_rng(0))
    assert codec.table.shape == (6, 8, 4)
    centred = vectors - codec.mean.astype(np.float32)
    for row, codes in zip(centred[:20], quantise(codec, vectors[:20]), strict=True):
        for piece, (code, own) in enumerate(zip(codes, codec.table.astype(np.float32), strict=True)):
            assert code == min(range(8), key=lambda k: ((row[4 * piece : 4 * piece + 4] - own[k]) ** 2).sum())


def test_centroids_are_nearer_than_those_they_were_drawn_as(vectors):
    def error(codec):
        return ((dequantise(codec, quantise(codec, vectors)) - vectors) ** 2).mean()

    learnt = product_codec(vectors, 6, 3, np.random.default_rng(0))
    drawn = (vectors - vectors.mean(0))[np.random.default_rng(0).permutation(300)[:8]].reshape(8, 6, 4)
    first = type(learnt)("product", 3, learnt.mean, drawn.transpose(1, 0, 2).astype(np.float16))
    assert error(learnt) < 0.9 * error(first)


def codecs(vectors):
    return {
        "float": float_codec(24),
        "scalar-1": scalar_codec(vectors, 1, 24),
        "scalar-3": scalar_codec(vectors, 3, 7, centred=False),
        "scalar-8": scalar_codec(vectors, 8, 24),
        "product": product_codec(vectors, 6, 4, np.random.default_rng(0)),
    }


@pytest.mark.parametrize(
    ("name", "shared", "row"),
    [
        ("float", 0, 24 * 4),
        ("scalar-1", 2 * (24 + 24), 3),
        ("scalar-3", 2 * (24 + 7), 3),  # 21 bits
        ("scalar-8", 2 * (24 + 24), 24),
        ("product", 2 * (24 + 6 * 16 * 4), 3),
    ],
)
def test_a_file_is_as_long_as_its_parts_and_tells_what_the_codec_tells(vectors, name, shared, row):
    codec = codecs(vectors)[name]
    data = pack(codec, vectors[:11])
    assert len(data) == HEADER.size + shared + 11 * row
    assert codec.code_bytes == row
    expected = vectors[:11] if name == "float" else dequantise(codec, quantise(codec, vectors[:11]))
    assert np.array_equal(unpack(data), expected.astype(np.float32))


def test_more_bits_leave_less_error(vectors):
    errors = [((unpack(pack(scalar_codec(vectors, bits, 24), vectors)) - vectors) ** 2).mean() for bits in (1, 2, 4, 8)]
    assert all(later < earlier / 2 for earlier, later in itertools.pairwise(errors))


def test_what_is_no_file_is_refused(vectors):
    data = pack(scalar_codec(vectors, 2, 24), vectors[:3])
    for wrong in (b"", data[:-1], data + b"x", b"LTX2" + data[4:], data[:4] + b"\x07" + data[5:]):
        with pytest.raises(Problem, match="file of embeddings"):
            unpack(wrong)


def test_impossible_codecs_are_refused(vectors):
    for make in (
        lambda: scalar_codec(vectors, 9, 24),
        lambda: scalar_codec(vectors, 2, 25),
        lambda: product_codec(vectors, 5, 4, np.random.default_rng(0)),
        lambda: product_codec(vectors[:7], 6, 3, np.random.default_rng(0)),
    ):
        with pytest.raises(Problem):
            make()


# Arithmetic coding


def test_symbols_come_back_and_take_their_entropy():
    rng = np.random.default_rng(0)
    p = np.array([0.7, 0.2, 0.05, 0.04, 0.01])
    bounds = arithmetic.bounds_of(torch.tensor(p).log()[None])[0]
    symbols = rng.choice(5, size=5000, p=p).tolist()
    encoder = arithmetic.Encoder()
    for symbol in symbols:
        encoder.put(int(bounds[symbol]), int(bounds[symbol + 1]))
    data = encoder.finish()
    decoder = arithmetic.Decoder(data)
    assert [decoder.get(bounds) for _ in symbols] == symbols
    counts = Counter(symbols)
    entropy = -sum(n * math.log2(p[symbol]) for symbol, n in counts.items()) / 8
    assert entropy <= len(data) <= entropy * 1.002 + 2


def test_unlikely_symbols_and_changing_distributions_come_back():
    rng = np.random.default_rng(1)
    tables = arithmetic.bounds_of(torch.tensor(rng.normal(size=(400, 300)) * 12))
    assert (np.diff(tables) >= 1).all()
    assert (tables[:, -1] == arithmetic.TOTAL).all()
    symbols = rng.integers(300, size=400).tolist()
    encoder = arithmetic.Encoder()
    for symbol, bounds in zip(symbols, tables, strict=True):
        encoder.put(int(bounds[symbol]), int(bounds[symbol + 1]))
    decoder = arithmetic.Decoder(encoder.finish())
    assert [decoder.get(bounds) for bounds in tables] == symbols


@pytest.fixture
def model():
    torch.manual_seed(0)
    made = Writer(vocabulary=30, width=8, vector=24, conditions=1, prefix=2, context=12).eval()
    torch.nn.init.normal_(made.bias, std=2.0)
    return made


def test_lines_come_back_and_take_what_the_model_finds_them_surprising(model):
    rng = np.random.default_rng(2)
    texts = [rng.integers(1, 30, size=n).tolist() for n in (3, 0, 7, 1, 9, 5) * 8]
    data = arithmetic.encode(model, texts, 0)
    assert arithmetic.decode(model, data, len(texts), 0) == texts
    nats = loss_of(model, texts, 0, model.start(len(texts))).item() * sum(len(text) + 1 for text in texts)
    assert len(data) == pytest.approx(nats / math.log(2) / 8, rel=0.01, abs=2)


# The network


def test_tokens_one_by_one_give_the_logits_of_all_at_once(model):
    e, texts = torch.randn(3, 24), torch.tensor([[4, 5, 6], [7, 8, 0], [1, 0, 0]])
    state = model.read(model.conditions_of(e), texts, torch.tensor([3, 2, 1]))
    tokens = torch.randint(30, (3, 5))
    whole = model(tokens, state)
    for i in range(5):
        one, state = model.next(tokens[:, i : i + 1], state)
        assert torch.allclose(one[:, 0], whole[:, i], atol=1e-5)


def test_what_fills_up_a_hypothesis_is_not_seen(model):
    e = model.conditions_of(torch.randn(1, 24))
    short = model.read(e, torch.tensor([[4, 5]]), torch.tensor([2]))
    long = model.read(e, torch.tensor([[4, 5, 9, 9]]), torch.tensor([2]))
    tokens = torch.tensor([[0, 3, 2]])
    assert torch.allclose(model(tokens, short), model(tokens, long), atol=1e-6)


def test_attention_and_loss_are_those_of_a_plain_loop(model):
    e, line = torch.randn(1, 24), [3, 9, 4]
    keys, values, _, hidden = state = model.read(model.conditions_of(e))
    total, table = 0.0, model.embedding.weight
    cell = torch.nn.GRUCell(16, 8)
    cell.load_state_dict({name.removesuffix("_l0"): own for name, own in model.gru.state_dict().items()})
    for token, wanted in zip([0, *line], [*line, 0], strict=True):
        hidden = cell(torch.cat([table[[token]] * 8**0.5, values[:, 0]], 1), hidden)
        weights = torch.stack([hidden[0] @ key for key in keys[0]]).softmax(0)
        average = sum(weight * value for weight, value in zip(weights, values[0, 1:], strict=True))
        out = torch.tanh(model.merge(torch.cat([average, hidden[0]])))
        total -= functional.log_softmax(table @ out + model.bias, 0)[wanted]
    assert loss_of(model, [line], 0, state).item() == pytest.approx(total.item() / 4, rel=1e-5)


def test_conditions_are_the_embedding_the_hypothesis_own_and_their_difference(model):
    train, e, h = torch.randn(50, 24) * 3 + 1, torch.randn(2, 24), torch.randn(2, 24)
    model.fit_scale(train)
    whole = model.conditions_of(train)[:, 0]
    assert whole.mean(0).abs().max() < 1e-5
    assert whole.square().mean().item() == pytest.approx(1, rel=1e-4)
    given = model.conditions_of(e, h)
    assert torch.allclose(given[:, 2], given[:, 0] - given[:, 1])
    assert torch.allclose(given[:, 1], model.conditions_of(h)[:, 0])


def test_a_corrector_begins_as_the_inverter_whose_weights_it_takes(model):
    other = Writer(30, 8, 24, 3, 2, 12).eval()
    other.load_state_dict(model.state_dict(), strict=False)
    e, tokens = torch.randn(2, 24), torch.randint(30, (2, 4))
    ours = model(tokens, model.read(model.conditions_of(e)))
    assert torch.allclose(other(tokens, other.read(other.conditions_of(e, torch.randn(2, 24)))), ours, atol=1e-6)


def test_a_line_ends_where_the_network_says_so_or_at_its_context(model):
    state = model.read(model.conditions_of(torch.randn(4, 24)))
    whole = write_lines(model, state, 0, lambda logits: torch.full((len(logits),), 5))
    assert whole == [[5] * 12] * 4
    plan = iter([[1, 2, 0, 3], [4, 0, 9, 3], [0, 7, 7, 0]])
    found = write_lines(model, state, 0, lambda logits: torch.tensor(next(plan)))
    assert found == [[1, 4], [2], [], [3, 3]]


def test_impossible_networks_are_refused():
    with pytest.raises(Problem, match="a writer needs"):
        Writer(30, 0, 24, 1, 2, 12)


def test_lines_are_padded_on_the_right():
    rows, lengths = pad([[1, 2, 3], [], [4]], 9)
    assert rows.tolist() == [[1, 2, 3], [9, 9, 9], [4, 9, 9]]
    assert lengths.tolist() == [3, 0, 1]


# The compressor


def test_a_file_of_lines_gives_as_many_lines_back_and_depends_on_their_embeddings_alone():
    texts = lines.lines("templates").train[:40]
    embedder, tokenizer = HashingEmbedder(), bpe(texts, 280)
    codec = scalar_codec(embedder.encode(texts), 1, 256)
    network = Writer(tokenizer.size, 8, 256, 1, 2, 10).eval()
    data = compress(texts[:5], embedder, codec)
    assert len(data) == HEADER.size + 2 * 512 + 5 * 32
    assert data == compress([text.upper() for text in texts[:5]], embedder, codec)  # hashed words know no capitals
    back = decompress(data, network, tokenizer)
    assert len(back) == 5
    assert back == decompress(data, network, tokenizer)
    corrected = correct(Writer(tokenizer.size, 8, 256, 3, 2, 10).eval(), tokenizer, unpack(data), back, unpack(data))
    assert len(corrected) == 5


def test_of_several_hypotheses_the_nearest_is_kept(monkeypatch):
    table = {"a": [1.0, 0.0], "b": [0.6, 0.8], "c": [0.0, 1.0]}
    fake = types.SimpleNamespace(encode=lambda texts: np.array([table[text] for text in texts]))
    monkeypatch.setattr("etudes.studies.language.lossy_text.trial.embedder", lambda name: fake)
    rounds = [["a", "c"], ["b", "b"], ["c", "a"]]
    seen = []

    def write(i, best, vectors):
        seen.append(best)
        return rounds[i]

    assert nearest_of(Config(rounds=2), np.array([[0.0, 1.0], [0.5, 0.9]]), write) == ["c", "b"]
    assert seen == [[], ["a", "c"], ["b", "b"]]


def test_nearest_others_are_those_of_a_plain_loop(monkeypatch):
    monkeypatch.setattr(training, "BLOCK", 7)
    x = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
    x[3] = x[11]  # the same line twice
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    expected = [max((j for j in range(20) if j != i), key=lambda j: x[i] @ x[j]) for i in range(20)]
    assert training.nearest_others(x).tolist() == expected


def test_embeddings_are_kept_and_a_damaged_copy_is_made_again(monkeypatch, tmp_path):
    calls = []
    fake = types.SimpleNamespace(encode=lambda texts: calls.append(texts) or np.full((len(texts), 3), 2, np.float32))
    monkeypatch.setattr(training, "embedder", lambda name: fake)
    monkeypatch.setattr(training, "cache_folder", lambda: tmp_path)
    for _ in range(2):
        assert np.array_equal(training.embed("minilm", ["a", "b"]), np.full((2, 3), 2))
    assert len(calls) == 1
    (file,) = tmp_path.glob("**/*.safetensors")
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert np.array_equal(training.embed("minilm", ["a", "b"]), np.full((2, 3), 2))
    assert len(calls) == 2


def test_cosines_are_those_of_rows():
    a, b = np.random.default_rng(0).normal(size=(2, 5, 3))
    assert cosines(a, b) == pytest.approx([x @ y / math.sqrt((x @ x) * (y @ y)) for x, y in zip(a, b, strict=True)])


def test_the_rarest_words_stay_in_their_order():
    counts = {"the": 50, "of": 40, "library": 5, "reads": 2}
    assert keep_words("The library reads headers of the disk", counts, 0.5) == "library reads headers disk"
    assert keep_words("of the", counts, 0.1) == "of"
    assert keep_words("of  the", counts, 1.0) == "of  the"


def test_zstd_gives_the_lines_back_and_gains_by_the_training_lines():
    zstandard = pytest.importorskip("zstandard")
    d = lines.lines("templates")
    data = zstd(d.test, d.train)
    text = "\n".join(d.test).encode()
    dictionary = zstandard.ZstdCompressionDict("\n".join(d.train).encode())
    assert zstandard.ZstdDecompressor(dict_data=dictionary).decompress(data) == text
    assert len(data) < len(zstandard.ZstdCompressor(level=19).compress(text))


# What is kept


def test_overlap_is_twice_the_shared_words_over_all():
    assert overlap("the cat sat", "The cat sat down!") == pytest.approx(2 * 3 / (3 + 5))
    assert overlap("a a b", "a b b") == pytest.approx(2 * 2 / 6)
    assert overlap("", "x") == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I don’t know", True),
        ("Nobody came", True),
        ("a tool without frills", True),
        ("It cannot be", True),
        ("another knot", False),
        ("Note this", False),
    ],
)
def test_negations_are_words_of_a_list(text, expected):
    assert is_negated(text) is expected


def test_numbers_are_digits_and_the_commonest_words():
    assert number_words("Version 2.5 has three of 10 parts") == Counter(["2.5", "three", "10"])


def test_style_is_compared_by_shares():
    function, grams = style_distances(["the cat"], ["a cat"])
    assert function == pytest.approx((0.5 + 0.5) / 2)
    ours, theirs = Counter(["the", "he ", "e c", " ca", "cat"]), Counter(["a c", " ca", "cat"])
    keys = ours | theirs
    assert grams == pytest.approx(sum(abs(ours[k] / 5 - theirs[k] / 3) for k in keys) / 2)
    assert style_distances(["same"], ["same"]) == (0, 0)
    assert style_distances([""], ["some text"]) == (1, 1)


def test_lost_negations_and_changed_numbers_are_shares_of_the_lines_that_have_them():
    theirs = ["I do not know", "it is not 5", "we have 3 cats", "all is well"]
    ours = ["I do know", "it is not 5", "we have 4 cats", "nothing is well"]
    found = text_metrics(ours, theirs)
    assert found["negation-lost"] == 0.5
    assert found["negation-added"] == 0.5
    assert found["numbers-changed"] == 0.5
    assert found["exact"] == 0.25


# Lines


def test_no_line_is_in_two_splits_and_all_are_short():
    d = lines.lines("templates")
    parts = [{line.lower() for line in part} for part in (d.train, d.validation, d.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == len(d.train) + len(d.validation) + len(d.test)
    assert all(lines.is_short(line) for line in d.train)


def test_lines_are_cut_by_length_and_repetitions_left_to_the_earlier_split():
    found = {
        "train": ["One two three", "too short", "one two three four five six seven eight nine", "a  b\tc"],
        "validation": ["one TWO three", "über alle Wipfel", "x y z"],
        "test": ["X y z", "x y w", "x y " + "w" * 60],
    }
    d = lines.assemble("packages", "mirror", "here", found)
    assert (d.train, d.validation, d.test) == (("One two three", "a b c"), ("x y z",), ("x y w",))
    with pytest.raises(Problem, match="no line of 3 to 8 words"):
        lines.assemble("packages", "mirror", "here", found | {"test": []})
    with pytest.raises(Problem, match="set of lines"):
        lines.lines("novels")


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A mirror in the true layout: both tables of Debian's packages, and pairs of sentences."""
    import datasets

    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path))
    lines.lines.cache_clear()
    configs = ""
    for config, more in (("debtags", "from tags"), ("depends", "from needs")):
        folder = tmp_path / SOURCES["debian-debtags"].hub / config
        folder.mkdir(parents=True)
        rows = [(f"p{i}", f"source-{i // 2}", f"tool number {i} {more}\nA longer text.", ["x"]) for i in range(80)]
        table = dict(zip(("uid", "source", "content", "labels"), map(list, zip(*rows, strict=True)), strict=True))
        datasets.Dataset.from_dict(table).to_parquet(folder / "train-00000-of-00001.parquet")
        configs += f"- config_name: {config}\n  data_files:\n  - split: train\n    path: {config}/train-*.parquet\n"
    (tmp_path / SOURCES["debian-debtags"].hub / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    folder = tmp_path / TATOEBA.hub
    folder.mkdir(parents=True)
    both = {"en": [f"I have {i} cats." for i in range(90)], "fr": [f"J'ai {i} chats." for i in range(90)]}
    datasets.Dataset.from_dict(both).to_parquet(folder / "train-00000-of-00001.parquet")
    yield tmp_path
    lines.lines.cache_clear()


def test_first_lines_of_packages_are_split_by_source(mirror):
    d = lines.lines("debian-depends")
    assert {line.split()[2] for line in d.train} == {
        str(i) for i in range(80) if split_of(f"source-{i // 2}") == "train"
    }
    assert {line.split()[-1] for line in d.train} == {"needs"}
    assert d.source["dataset"] == "debian-depends"
    assert d.source["kind"] == "mirror"


def test_sentences_are_the_english_side_of_pairs(mirror):
    d = lines.lines("tatoeba-eng-fra")
    assert len(d.train) + len(d.validation) + len(d.test) == 90
    assert all(split_of(line) == "test" for line in d.test)


def test_packages_without_a_mirror_are_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path))
    lines.lines.cache_clear()
    with pytest.raises(Problem):
        lines.lines("debian-debtags")
    lines.lines.cache_clear()


# The program


def test_seeds_share_the_lines_and_tuning_seeds_are_asked_of_validation(tmp_path):
    d = lines.lines("templates")
    plans = [STUDY.plan("smoke", seeds=1, variants=["nearest"], tune=tune) for tune in (False, True)]
    for (spec,), part in zip(plans, (d.test, d.validation), strict=True):
        execute(STUDY, spec, tmp_path)
        shown = (tmp_path / spec.key / "samples.txt").read_text().splitlines()
        assert {*shown[::2]} <= {*part}
        assert {line.strip() for line in shown[1::2]} <= {*d.train}
    assert len(list((tmp_path / "lossy-text" / "smoke").glob("**/once/**/lines.json"))) == 1
