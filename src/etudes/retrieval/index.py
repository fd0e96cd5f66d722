"""A vector database of documents: kept on disk, each document in it whole or not at all.

Qdrant holds the vectors: in a folder, by the client's local mode, or on a server by URL. A folder is read as the user's
own files are: do not open one that others wrote, for the client keeps its points as pickles.
"""

import hashlib
import json
import re
import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from etudes.core.errors import Problem
from etudes.retrieval.chunks import Chunk, cut_chunks
from etudes.retrieval.documents import Document
from etudes.retrieval.embedders import Embedder

BATCH = 64  # chunks embedded and written at once
Watch = Callable[[int, int], None]  # (chunks done, chunks in all)


@dataclass(frozen=True)
class Entry:
    """A document of an index."""

    name: str
    title: str
    digest: str
    chunks: int
    characters: int


class Index:
    """The chunks of documents and their vectors, of one embedder, one size and one overlap.

    Every chunk's entry says how many its document has. A document of which some are missing, because adding or deleting
    it was interrupted, counts as absent and is swept away when the index is opened. One process may open a folder.
    """

    def __init__(self, place: Path | str, embedder: Embedder, size: int = 128, overlap: int = 32) -> None:
        """place: a folder, or the http(s) URL of a Qdrant server. Raises Problem where it cannot be opened."""
        self.embedder, self.size, self.overlap = embedder, size, overlap
        slug = re.sub(r"[^a-z0-9]+", "-", embedder.name.lower()).strip("-")
        self.collection = f"etudes-{slug}-{size}-{overlap}"
        self._client = _open(place)
        self._lock = threading.RLock()  # pages are served by several threads
        try:
            if not self._client.collection_exists(self.collection):
                from qdrant_client.models import Distance, VectorParams

                params = VectorParams(size=embedder.width, distance=Distance.DOT)
                self._client.create_collection(self.collection, vectors_config=params)
            _hasten(self._client)
            self._read()
        except Problem:
            raise
        except Exception as error:  # a server that is away, a folder that is damaged
            raise Problem(
                f"the index at {place} cannot be read ({_words(error)}); delete it to make it again"
            ) from None

    def _read(self) -> None:
        entries: dict[str, list[tuple[Any, dict[str, Any]]]] = defaultdict(list)
        place = None
        while True:
            points, place = self._client.scroll(self.collection, limit=1000, offset=place, with_payload=True)
            for point in points:
                entries[point.payload["copy"]].append((point.id, point.payload))
            if place is None:
                break
        newest: dict[str, str] = {}
        for copy, found in entries.items():
            first = found[0][1]
            if (
                len(found) == first["chunks"]
                and first["order"] >= entries[newest.get(first["name"], copy)][0][1]["order"]
            ):
                newest[first["name"]] = copy
        stale = [id_ for copy, found in entries.items() if copy not in newest.values() for id_, _ in found]
        if stale:
            self._client.delete(self.collection, points_selector=stale)
        self._entries = {name: sorted(entries[copy], key=lambda e: e[1]["start"]) for name, copy in newest.items()}
        self._order = 1 + max((found[0][1]["order"] for found in self._entries.values()), default=0)

    def documents(self) -> list[Entry]:
        """The whole documents, by name."""
        with self._lock:
            firsts = {name: found[0][1] for name, found in sorted(self._entries.items())}
        return [Entry(n, p["title"], p["digest"], p["chunks"], p["characters"]) for n, p in firsts.items()]

    def chunks(self) -> list[Chunk]:
        """All chunks of whole documents, by document and place."""
        with self._lock:
            return [_chunk(payload) for _, found in sorted(self._entries.items()) for _, payload in found]

    def text(self, name: str) -> str:
        """A document's text. Raises Problem where the index has none of that name."""
        from etudes.retrieval.chunks import join_chunks

        with self._lock:
            if name not in self._entries:
                raise Problem(f"the index has no document '{name}'; add it first")
            return join_chunks(_chunk(payload) for _, payload in self._entries[name])

    def add(self, document: Document, watch: Watch | None = None) -> bool:
        """Whether the document had to be embedded. One with the same name and text is kept."""
        from qdrant_client.models import PointStruct

        with self._lock:
            held = self._entries.get(document.name)
            if held and held[0][1]["digest"] == document.digest:
                return False
            order, self._order = self._order, self._order + 1
        pieces, copy = cut_chunks(document, self.embedder, self.size, self.overlap), uuid.uuid4().hex
        common = {"copy": copy, "order": order, "name": document.name, "title": document.title}
        common |= {"digest": document.digest, "chunks": len(pieces), "characters": len(document.text)}
        added: list[tuple[Any, dict[str, Any]]] = []
        try:
            for i in range(0, len(pieces), BATCH):
                some = pieces[i : i + BATCH]
                vectors = self.embedder.encode([piece.text for piece in some])
                payloads = [common | {"start": p.start, "end": p.end, "text": p.text, "page": p.page} for p in some]
                ids = [str(uuid.UUID(hashlib.md5(f"{copy}/{p.start}".encode()).hexdigest())) for p in some]
                points = [
                    PointStruct(id=a, vector=v.tolist(), payload=p)
                    for a, v, p in zip(ids, vectors, payloads, strict=True)
                ]
                with self._lock:
                    self._client.upsert(self.collection, points=points)
                added += zip(ids, payloads, strict=True)
                if watch:
                    watch(min(i + BATCH, len(pieces)), len(pieces))
        except BaseException:
            self._forget([id_ for id_, _ in added])
            raise
        with self._lock:
            old, self._entries[document.name] = self._entries.get(document.name, []), added
        self._forget([id_ for id_, _ in old])
        return True

    def remove(self, name: str) -> None:
        """Take a document out. Raises Problem where the index has none of that name."""
        with self._lock:
            if name not in self._entries:
                raise Problem(f"the index has no document '{name}'; it has {', '.join(self._entries) or 'none'}")
            old = self._entries.pop(name)
        self._forget([id_ for id_, _ in old])

    def _forget(self, ids: Sequence[Any]) -> None:
        if ids:
            with self._lock:
                self._client.delete(self.collection, points_selector=list(ids))

    def nearest(self, vector: np.ndarray, k: int) -> list[tuple[Chunk, float]]:
        """The k chunks of whole documents with the largest products with a vector, best first, with the products."""
        with self._lock:
            whole = {found[0][1]["copy"]: len(found) for found in self._entries.values()}
            unfinished = self._client.count(self.collection).count - sum(whole.values())
            query = np.asarray(vector, np.float32).tolist()
            points = self._client.query_points(self.collection, query=query, limit=k + unfinished).points
        found = [(_chunk(point.payload), float(point.score)) for point in points if point.payload["copy"] in whole]
        return found[:k]

    def close(self) -> None:
        self._client.close()


def _chunk(payload: dict[str, Any]) -> Chunk:
    return Chunk(payload["name"], payload["start"], payload["end"], payload["text"], payload["page"])


def _open(place: Path | str) -> Any:
    try:
        from qdrant_client import QdrantClient
    except ImportError:
        raise Problem("the vector database needs qdrant-client; install etudes[retrieval]") from None
    try:
        if str(place).startswith(("http://", "https://")):
            return QdrantClient(url=str(place), timeout=30, check_compatibility=False)
        Path(place).mkdir(parents=True, exist_ok=True)
        return QdrantClient(path=str(place))
    except RuntimeError:  # its folder's lock is held
        raise Problem(f"the index {place} is in use by another process; wait for it, or name another folder") from None
    except (ValueError, json.JSONDecodeError, OSError) as error:
        raise Problem(f"the index {place} cannot be opened ({_words(error)}); delete it to make it again") from None


def _hasten(client: Any) -> None:
    """Let a folder's database write without waiting for the disk at every chunk.

    A process may be killed at any time as before. Where the power fails, the last documents may be missing, or only
    parts of them be there, which counts as absent; what is there stays readable.
    """
    collections = getattr(getattr(client, "_client", None), "collections", {})  # the client has no such setting
    for collection in collections.values():
        if connection := getattr(getattr(collection, "storage", None), "storage", None):
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")


def _words(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
