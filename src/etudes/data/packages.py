"""Packages that depend on each other, with descriptions and debtags; their words as features, their tags as classes.

The packages are Debian's, of the same lists as the sets debian-debtags and debian-depends of `etudes.data.extreme`.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import sparse
from torch import Tensor

from etudes.core.errors import Problem, unknown
from etudes.data.graphs import both_ways
from etudes.data.sources import SOURCES, Source, mirror_folder, read_mirror, unreachable

TASK = "packages"
UNDECIDED = "TODO"  # the value of a tag that its taggers put off


@dataclass(frozen=True, eq=False)
class Packages:
    """Packages in order of their names."""

    names: tuple[str, ...]
    sources: tuple[str, ...]  # of each, the source package that it is built from: its siblings have the same
    texts: tuple[str, ...]  # descriptions; the first line is a synopsis
    tags: tuple[tuple[str, ...], ...]  # debtags, facet::value
    edges: Tensor  # int64 [2, m], in both directions: one depends on the other
    source: dict[str, str]  # dataset, kind, says, fingerprint (sha256 of all of it)


@cache
def packages(name: str) -> Packages:
    """The packages of a declared name. Problem for another name, and where they cannot be had or are damaged."""
    source = SOURCES.get(name)
    if source is None or source.task != TASK:
        raise unknown("set of packages", name, [s.name for s in SOURCES.values() if s.task == TASK])
    if source.embedded:
        return drawn_packages(source)
    if not mirror_folder(source):
        raise unreachable(source, {})
    return read_packages(source)


def read_packages(source: Source) -> Packages:
    """The packages with debtags of the mirror, joined by what the other table says that they depend on."""
    tagged, needy = (_rows(SOURCES[f"debian-{kind}"]) for kind in ("debtags", "depends"))
    needs = {name: labels for name, (_, _, labels) in needy.items()}
    return assemble(source, "mirror", {name: (*row, needs.get(name, ())) for name, row in tagged.items()})


def _rows(source: Source) -> dict[str, tuple[str, str, tuple[str, ...]]]:
    found = {}
    for split in read_mirror(source).values():
        if not {"uid", "source", "content", "labels"} <= {*split.column_names}:
            raise Problem(f"{mirror_folder(source)} needs the columns uid, source, content and labels; copy it again")
        columns = (split[name][:] for name in ("uid", "source", "content", "labels"))
        found |= {uid: (of, text, tuple(labels)) for uid, of, text, labels in zip(*columns, strict=True)}
    return found


def assemble(
    source: Source, kind: str, rows: Mapping[str, tuple[str, str, tuple[str, ...], tuple[str, ...]]]
) -> Packages:
    """Packages of name -> (source package, text, tags, names that it depends on); names that are no package's are left
    out."""
    names = sorted(rows)
    place = {name: i for i, name in enumerate(names)}
    pairs = [(place[name], place[other]) for name in names for other in rows[name][3] if other in place]
    edges = both_ways(np.array(pairs, np.int64).reshape(-1, 2).T)
    sources, texts, tags, _ = zip(*(rows[name] for name in names), strict=True)
    digest = hashlib.sha256(edges.numpy().tobytes())
    for one in zip(names, sources, texts, tags, strict=True):
        digest.update("\0".join([*one[:3], *one[3], ""]).encode())
    says = f"{source.says}; {len(names):,} packages of {len({*sources}):,} sources, {edges.shape[1] // 2:,} edges"
    about = {"dataset": source.name, "kind": kind, "says": says, "fingerprint": digest.hexdigest()}
    return Packages(tuple(names), sources, texts, tags, edges, about)


# Classes and features


def facet_values(tags: Sequence[Sequence[str]], facet: str, aside: Sequence[str] = ()) -> list[str]:
    """Of each package its value of a facet, "" where it has none or several; values `aside` do not count."""
    found = []
    for own in tags:
        values = {tag.removeprefix(f"{facet}::") for tag in own if tag.startswith(f"{facet}::")}
        values -= {UNDECIDED, *aside}
        found.append(values.pop() if len(values) == 1 else "")
    return found


def classes_of(values: Sequence[str], least: int) -> tuple[str, ...]:
    """The values that stand `least` times or more, the most frequent first."""
    counts = Counter(value for value in values if value)
    return tuple(sorted((value for value, n in counts.items() if n >= least), key=lambda v: (-counts[v], v)))


def stems(tags: Sequence[Sequence[str]], facets: Sequence[str]) -> frozenset[str]:
    """The words of the facets' values, without "ing" and "s" at their ends: what gives a class away in a text.

    >>> sorted(stems([("role::shared-lib", "use::checking", "implemented-in::c++")], ("role", "use", "implemented-in")))
    ['c', 'check', 'lib', 'shared']
    """
    chosen = {tag.partition("::")[2] for own in tags for tag in own if tag.partition("::")[0] in facets}
    return frozenset(re.sub(r"(ing|s)$", "", word) for value in chosen for word in re.findall(r"[a-z]+", value.lower()))


def word_bags(texts: Sequence[str], columns: int, masked: frozenset[str]) -> sparse.csr_matrix:
    """Which words a text has, float32 [n, columns] of ones: words of English letters, hashed to columns.

    Left out are English's commonest words, and every word that is one of the masked stems or, where the stem has two
    letters or more, has it anywhere: "lib" takes "library" away, and "calibrate".
    """
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    parts = re.compile("|".join(re.escape(stem) for stem in sorted(masked) if len(stem) > 1) or "(?!)")

    @cache
    def column(word: str) -> int:
        if word in ENGLISH_STOP_WORDS or word in masked or parts.search(word):
            return -1
        return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little") % columns

    rows = [sorted({column(word) for word in re.findall(r"[a-z]+", text.lower())} - {-1}) for text in texts]
    ends = np.cumsum([0, *map(len, rows)])
    flat = np.array([one for row in rows for one in row], np.int64)
    return sparse.csr_matrix((np.ones(len(flat), np.float32), flat, ends), shape=(len(rows), columns))


# Samples


def largest_component(edges: Tensor, nodes: np.ndarray, count: int) -> np.ndarray:
    """Those of the nodes, in order, that are in the largest connected part of the graph of `count` nodes between
    them."""
    from scipy.sparse.csgraph import connected_components

    kept = np.zeros(count, bool)
    kept[nodes] = True
    begin, end = (side[kept[edges[0].numpy()] & kept[edges[1].numpy()]] for side in edges.numpy())
    _, part = connected_components(sparse.coo_matrix((np.ones(len(begin)), (begin, end)), (count, count)))
    return np.flatnonzero(kept & (part == np.bincount(part[nodes]).argmax()))


def connected_sample(edges: Tensor, nodes: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """At most `size` of the nodes, in order, which hang together: from one of them, drawn, those next to any that is in
    are let in one by one, each as likely as the others. Of nodes that do not hang together it takes one part."""
    allowed = {*nodes.tolist()}
    near: dict[int, list[int]] = {node: [] for node in allowed}
    for u, v in edges.T.tolist():
        if u in allowed and v in allowed:
            near[u].append(v)
    first = int(rng.choice(nodes))
    inside, met, border = [], {first}, [first]
    while border and len(inside) < size:
        place = int(rng.integers(len(border)))
        border[place], border[-1] = border[-1], border[place]
        node = border.pop()
        inside.append(node)
        fresh = [other for other in near[node] if other not in met]
        met.update(fresh)
        border += fresh
    return np.sort(np.array(inside))


# Drawn

FACETS = {
    "role": ("shared-lib", "program", "devel-lib", "plugin"),
    "implemented-in": ("c", "perl", "c++", "python"),
    "interface": ("commandline", "x11", "daemon"),
    "use": ("editing", "checking", "viewing"),
    "uitoolkit": ("gtk", "qt", "ncurses"),
}


def drawn_packages(source: Source, count: int = 600) -> Packages:
    """Made-up packages, the same at each call: two a source, which share their tags. A package has nine in ten of the
    tags' facets, for each tag two of its four words, one of them in the synopsis, eight words of a common hundred, and
    needs three others, of which two share a tag with it."""
    rng = np.random.default_rng(20231010)
    tags: list[tuple[str, ...]] = []
    for _ in range(count // 2):
        own = [f"{facet}::{rng.choice(values)}" for facet, values in FACETS.items() if rng.random() < 0.9]
        tags += [tuple(own or ["role::program"])] * 2
    have = {tag: [i for i, own in enumerate(tags) if tag in own] for tag in {tag for own in tags for tag in own}}
    code = {tag: f"w{''.join(chr(97 + int(d)) for d in str(i))}" for i, tag in enumerate(sorted(have))}
    rows = {}
    for i, own in enumerate(tags):
        words = [[f"{code[tag]}{rng.choice([*'vwxy'])}" for tag in own] for _ in range(2)]
        common = [f"zz{''.join(chr(97 + int(d)) for d in str(rng.integers(100)))}" for _ in range(8)]
        text = f"{' '.join(words[0])}\n{' '.join(words[1] + common)}"
        needed = [int(rng.choice(have[own[int(rng.integers(len(own)))]])) for _ in range(2)]
        needed.append(int(rng.integers(count)))
        rows[f"package-{i:03}"] = (f"source-{i // 2}", text, own, tuple(f"package-{j:03}" for j in needed if j != i))
    return assemble(source, "embedded", rows)
