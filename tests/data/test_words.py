import itertools
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etudes.core.errors import Problem
from etudes.data import words as module
from etudes.data.words import (
    UNKNOWN,
    Spelling,
    WordTokenizer,
    bare,
    glove,
    pieces,
    read_carried,
    read_glove,
    table,
    word2vec,
    word_tokenizer,
)

POEM = "The sea is wide, the sea is deep;\nDon't ask the sea -- it does not sleep.\nThe sea!\n"


def test_a_text_falls_into_words_and_single_characters_with_their_space():
    assert pieces("don't go -- now") == ["don't", " go", " -", "-", " now"]
    assert pieces("A  b_c 12\n\tÉté’s") == ["A", " ", " b", "_", "c", " 1", "2", "\n", "\t", "Été’s"]


@given(st.text())
def test_the_pieces_joined_are_the_text(text):
    assert "".join(pieces(text)) == text


def test_the_bare_word_is_what_tables_have():
    assert [bare(piece) for piece in (" The", "Sea", " -", "\n", " ")] == ["the", "sea", "-", "\n", " "]


@given(st.text(alphabet="The sea,\n-éZ'🙂x", max_size=60))
def test_tokens_and_the_spelling_of_the_unknown_give_the_text_back(text):
    tokenizer = word_tokenizer([POEM])
    spelt = iter(tokenizer.strange(text))
    ids = tokenizer.encode(text)
    assert "".join(next(spelt) if i == tokenizer.unknown else tokenizer.decode([i]) for i in ids) == text
    assert next(spelt, None) is None
    assert tokenizer.lost_bytes(text) >= 0
    assert (tokenizer.lost_bytes(text) > 0) == (tokenizer.unknown in ids)


def test_words_seen_once_are_unknown_and_the_frequent_come_first():
    tokenizer = word_tokenizer([POEM])
    assert tokenizer.known == (" sea", "\n", " is", " the", "The")
    assert tokenizer.size == 7
    assert tokenizer.encode("The sea") == [6, 2]
    assert tokenizer.encode("The land") == [6, tokenizer.unknown]
    assert tokenizer.decode([tokenizer.start, 6, tokenizer.unknown, 2]) == f"The{UNKNOWN} sea"
    assert " wide" in tokenizer.rare
    assert word_tokenizer([POEM], often=1).rare == ()
    with pytest.raises(Problem, match="no text"):
        word_tokenizer(["", ""])


def test_the_spelling_is_a_code():
    """Kraft: over all pieces of up to some length the probabilities sum to nearly 1, and never to more."""
    spelling = Spelling(["ab", "aba", "b"])
    for price in map(spelling.bits, ("", "a", "abab", "zz")):
        assert price > 0
    sums = [
        sum(
            2 ** -spelling.bits("".join(letters))
            for n in range(most + 1)
            for letters in itertools.product("ab", repeat=n)
        )
        for most in (3, 6, 9)
    ]
    assert sums == sorted(sums)
    assert 0.6 < sums[-1] < 1  # the rest is for longer ones and for other letters
    every = [spelling._probability(s, ("a",)) for s in ("a", "b", spelling.END, spelling.OTHER)]
    assert sum(every) == pytest.approx(1)


def test_a_price_by_hand():
    spelling = Spelling(["a"])  # letters: a, the end, any other
    first = lambda n, total, below: (n + 4 * below) / (total + 4)  # noqa: E731
    a = end = first(1, 2, 1 / 3)
    end_after_a = first(1, 1, end)
    assert spelling.bits("a") == pytest.approx(-math.log2(a) - math.log2(end_after_a))
    assert spelling.bits("é") > 21


def test_what_the_training_text_has_is_cheap_to_spell():
    tokenizer = word_tokenizer([POEM])
    assert tokenizer.lost_bytes(" sleep") < tokenizer.lost_bytes(" zqxjk")
    assert 8 * tokenizer.lost_bytes("x🙂") > 21


def test_saved_and_loaded_it_is_the_same(tmp_path):
    tokenizer = word_tokenizer([POEM])
    tokenizer.save(tmp_path / "tokenizer.json")
    again = WordTokenizer.load(tmp_path / "tokenizer.json")
    assert again.known == tokenizer.known
    assert again.lost_bytes("The land, Zoë") == tokenizer.lost_bytes("The land, Zoë")
    (tmp_path / "tokenizer.json").write_text('{"known": [')
    for name in ("tokenizer.json", "absent.json"):
        with pytest.raises(Problem, match="run the study again"):
            WordTokenizer.load(tmp_path / name)


def test_glove_is_read_from_its_own_format(tmp_path):
    path = tmp_path / "glove.txt"
    path.write_text("the 0.5 -1.25\nsea 1 2e-1\n, 3 4\n", encoding="utf-8")
    found = read_glove(path, ["sea", ",", "land"])
    assert {word: vector.tolist() for word, vector in found.items()} == {"sea": [1, pytest.approx(0.2)], ",": [3, 4]}
    for text, says in (
        ("the 1 2\nsea 1\n", "line 2 .* 1 numbers and not 2"),
        ("the 1 x\n", "no number"),
        ("the\n", "0 num"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(Problem, match=says):
            read_glove(path, ["the"])


def carried(folder: Path, index: list[str], vectors: list[list[float]]) -> Path:
    import pyarrow
    import pyarrow.parquet

    folder.mkdir(parents=True)
    np.save(folder / "glove_6B_50d_emb.npy", np.array(vectors, np.float32))
    pyarrow.parquet.write_table(pyarrow.table({"index": index}), folder / "glove_6B_index.parquet")
    return folder


def test_glove_is_read_from_its_package(tmp_path):
    folder = carried(tmp_path / "data", ["the", "sea"], [[1, 2], [3, 4]])
    assert {word: vector.tolist() for word, vector in read_carried(folder, ["sea", "no"]).items()} == {"sea": [3, 4]}
    with pytest.raises(Problem, match="3 words and 2 vectors"):
        read_carried(carried(tmp_path / "short", ["a", "b", "c"], [[1, 2], [3, 4]]), ["a"])


def test_glove_comes_from_the_cache_first_and_tells_where_to_put_it(alone, monkeypatch):
    def absent(*arguments):
        raise Problem("no network")

    monkeypatch.setattr(module, "fetch", absent)
    with pytest.raises(Problem, match=r"no network.*glove\.6B\.50d\.txt.*--variants"):
        glove(["sea"])
    (alone / "cache").mkdir()
    (alone / "cache" / "glove.6B.50d.txt").write_text("sea 1 2\n")
    assert glove(["sea"])["sea"].tolist() == [1, 2]


@pytest.mark.network
def test_the_package_holds_gloves_numbers():
    found = glove(["the"])["the"]
    assert found.shape == (50,)
    assert found[:3].tolist() == pytest.approx([0.418, 0.24968, -0.41242])


def test_word2vec_is_the_same_in_any_process():
    pytest.importorskip("gensim")
    code = (
        "from etudes.data.words import word2vec;"
        f"print({{w: v.tolist() for w, v in word2vec([{POEM!r}] * 3, 4, 2**40 + 5).items()}})"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1
    found = word2vec([POEM] * 3, 4, 2**40 + 5)
    assert repr(found["sea"].tolist()) in told.pop()
    assert set(found) == {bare(piece) for piece in pieces(POEM)}


def test_word2vec_puts_together_what_stands_alike():
    pytest.importorskip("gensim")
    rng = np.random.default_rng(0)
    lines = [
        f"the {rng.choice(['cat', 'dog'])} runs\n" if i % 2 else f"{rng.choice(['red', 'blue'])} paint dries\n"
        for i in range(400)
    ]
    found = word2vec(["".join(lines)], 8, 1)
    cosine = lambda a, b: found[a] @ found[b] / np.linalg.norm(found[a]) / np.linalg.norm(found[b])  # noqa: E731
    assert cosine("cat", "dog") > cosine("cat", "blue")


def test_word2vec_needs_gensim(monkeypatch):
    monkeypatch.setitem(sys.modules, "gensim.models", None)
    with pytest.raises(Problem, match=r"install etudes\[text\]"):
        word2vec([POEM], 4, 0)


def test_a_table_has_the_vectors_and_draws_the_others_alike():
    text = " ".join(f"word{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(600))
    tokenizer = word_tokenizer([text], often=1)
    rng = np.random.default_rng(3)
    found = {bare(p): rng.normal([5, 0], [1, 0.1]).astype(np.float32) for p in tokenizer.known[: tokenizer.size // 2]}
    made, share = table(tokenizer, found, seed=1)
    assert share == pytest.approx(0.5, abs=0.01)
    assert made.std().item() == pytest.approx(1, abs=1e-3)
    scale = made[2] / np.array(found[bare(tokenizer.known[0])])
    assert scale[0].item() == pytest.approx(scale[1].item(), rel=1e-4)  # all divided by one number
    own = np.array([made[i].tolist() for i, p in enumerate(tokenizer.known, 2) if bare(p) in found])
    others = np.array([made[i].tolist() for i, p in enumerate(tokenizer.known, 2) if bare(p) not in found])
    assert np.allclose(own.mean(0), others.mean(0), atol=0.1)
    assert np.allclose(own.std(0), others.std(0), rtol=0.2)
    assert (made == table(tokenizer, found, seed=1)[0]).all()
    assert (made != table(tokenizer, found, seed=2)[0]).any()
    with pytest.raises(Problem, match="0 of"):
        table(tokenizer, {}, seed=1)
