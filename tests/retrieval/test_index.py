import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from etudes.core.errors import Problem
from etudes.retrieval.chunks import cut_chunks
from etudes.retrieval.documents import Document
from etudes.retrieval.embedders import HashingEmbedder
from etudes.retrieval.index import BATCH, Index

pytest.importorskip("qdrant_client")

CATS = Document("cats.txt", "Cats", "Cats sleep all day. They hunt mice at night. " * 20)
DOGS = Document("dogs.txt", "Dogs", "Dogs bark at strangers. They guard the house. " * 20)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "index"


def opened(folder, size=16, overlap=4):
    return Index(folder, HashingEmbedder(), size, overlap)


def test_documents_are_added_listed_kept_replaced_and_removed_across_restarts(folder):
    index, seen = opened(folder), []
    assert index.add(CATS, lambda done, chunks: seen.append((done, chunks)))
    assert seen[-1][0] == seen[-1][1] == len(cut_chunks(CATS, HashingEmbedder(), 16, 4))
    assert index.add(DOGS)
    assert not index.add(CATS)
    index.close()
    index = opened(folder)
    assert [(d.name, d.title, d.characters) for d in index.documents()] == [
        ("cats.txt", "Cats", len(CATS.text)),
        ("dogs.txt", "Dogs", len(DOGS.text)),
    ]
    assert index.text("cats.txt") == CATS.text
    assert index.chunks() == [*cut_chunks(CATS, HashingEmbedder(), 16, 4), *cut_chunks(DOGS, HashingEmbedder(), 16, 4)]
    changed = Document("cats.txt", "Cats", "Nothing about them any more, whatever you ask.")
    assert index.add(changed)
    index.remove("dogs.txt")
    index.close()
    index = opened(folder)
    assert index.text("cats.txt") == changed.text
    assert {chunk.document for chunk, _ in index.nearest(HashingEmbedder().encode(["dogs"])[0], 50)} == {"cats.txt"}
    with pytest.raises(Problem, match=r"dogs\.txt"):
        index.remove("dogs.txt")
    index.close()


def test_the_nearest_are_those_of_brute_force_among_5000(folder):
    words = np.random.default_rng(0).integers(0, 900, (5000, 6))

    class Numbers(HashingEmbedder):
        name = "numbers"

    texts = [" ".join(f"w{word}" for word in row) + ".\n\n" for row in words]
    document = Document("d.txt", "d", "".join(texts))
    index = Index(folder, Numbers(), 8, 0)
    index.add(document)
    chunks = index.chunks()
    assert len(chunks) == 5000
    vectors = Numbers().encode([chunk.text for chunk in chunks])
    for query in Numbers().encode(["w1 w2 w3", "w10 w500", "w7"]):
        found = index.nearest(query, 10)
        products = vectors @ query
        np.testing.assert_allclose([score for _, score in found], np.sort(products)[::-1][:10], atol=1e-5)
        place = {chunk: i for i, chunk in enumerate(chunks)}
        np.testing.assert_allclose([products[place[chunk]] for chunk, _ in found], [s for _, s in found], atol=1e-5)
    index.close()


def test_a_killed_process_leaves_a_document_whole_or_not_at_all(folder):
    program = Path(__file__).with_name("slow_indexing.py")
    process = subprocess.Popen([sys.executable, str(program), str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    assert int(process.stdout.readline()) == BATCH
    assert int(process.stdout.readline()) == 2 * BATCH
    process.send_signal(signal.SIGKILL)
    process.wait()
    index = opened(folder, 16, 0)
    assert [d.name for d in index.documents()] == ["short.txt"]
    assert {chunk.document for chunk, _ in index.nearest(HashingEmbedder().encode(["dogs"])[0], 200)} == {"short.txt"}
    assert index._client.count(index.collection).count == 1  # and nothing of it is left behind
    assert index.add(Document("long.txt", "long", "some words about dogs and more. " * 600))
    index.close()


def test_a_failure_half_way_leaves_nothing(folder):
    index = opened(folder, 16, 0)

    def stop(done, chunks):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.add(CATS, stop)
    assert index.documents() == []
    assert index.nearest(HashingEmbedder().encode(["cats"])[0], 3) == []
    assert index.add(CATS)
    index.close()


def test_a_document_that_is_being_added_is_not_found_yet(folder):
    index = opened(folder, 16, 0)
    index.add(DOGS)
    seen = []
    index.add(
        CATS, lambda *_: seen.append({c.document for c, _ in index.nearest(HashingEmbedder().encode(["cats"])[0], 5)})
    )
    assert seen == [{"dogs.txt"}]
    assert index.nearest(HashingEmbedder().encode(["cats"])[0], 1)[0][0].document == "cats.txt"
    index.close()


def test_a_folder_does_not_wait_for_the_disk_at_every_chunk(folder):
    index = opened(folder)
    connection = index._client._client.collections[index.collection].storage.storage
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (1,)
    index.close()


def test_two_processes_cannot_open_one_folder_and_a_server_may_be_away(folder):
    index = opened(folder)
    with pytest.raises(Problem, match="in use by another process"):
        opened(folder)
    index.close()
    with pytest.raises(Problem, match="cannot be read"):
        Index("http://127.0.0.1:9", HashingEmbedder())
