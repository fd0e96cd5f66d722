"""The two worlds of the study: packages with papers as control, and molecules. Each is made in two steps: what all
seeds share, and what a seed draws of it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from scipy import sparse
from torch import Tensor

from etudes.core import Run
from etudes.data.graphs import Graph, graph
from etudes.data.packages import (
    classes_of,
    connected_sample,
    facet_values,
    largest_component,
    packages,
    stems,
    word_bags,
)
from etudes.studies.adapt.graph_task_vectors.aims import Aims, aims_of
from etudes.studies.adapt.graph_task_vectors.materials import (
    PARTS,
    Examples,
    bags,
    graph_tensors,
    read_examples,
    reorder,
    task_tensors,
)
from etudes.studies.adapt.graph_task_vectors.training import Lesson

FACETS = {"role": "role", "language": "implemented-in", "interface": "interface", "use": "use",
          "toolkit": "uitoolkit"}  # task: the facet of debtags whose values are its classes  # fmt: skip
IMPLIED = {"interface": ("graphical",)}  # values that stand beside another, x11, nearly always
HUB = 10  # neighbours of a package that is let in without a class of its own
NOISED = ("role", "interface")  # tasks that are learnt in noise too; its effect is carried over to the others
FORGOTTEN = "toolkit"  # the task of negation
TAGS = 64  # words that are kept for the tags of a set of molecules
LARGE = {"small": False, "large": True}  # molecules by whether they have more nodes than half of their set


# Packages


def package_list(name: str, columns: int, least: int) -> dict[str, Tensor]:
    """What all seeds share: the packages that may be drawn, their words, classes and sources.

    A package may be drawn if it has a class in a task beside its role, or ten neighbours, and hangs together with the
    most of such; a class is a value that `least` of these have."""
    d = packages(name)
    values = {task: facet_values(d.tags, facet, IMPLIED.get(facet, ())) for task, facet in FACETS.items()}
    tagged = np.array([[bool(one) for one in values[task]] for task in FACETS if task != "role"]).any(0)
    hub = np.bincount(d.edges[0].numpy(), minlength=len(d.names)) >= HUB
    nodes = largest_component(d.edges, np.flatnonzero(tagged | hub), len(d.names))
    masked = stems(d.tags, [*FACETS.values()])
    x = word_bags([d.texts[i] for i in nodes], columns, masked)
    found = {"columns": torch.from_numpy(x.indices), "ends": torch.from_numpy(x.indptr)}
    _, source = np.unique([d.sources[i] for i in nodes], return_inverse=True)
    _, edges = reorder(sparse.csr_matrix((len(d.names), 1)), d.edges, nodes)
    for task in FACETS:
        own = [values[task][i] for i in nodes]
        names = classes_of(own, least)
        place = {value: k for k, value in enumerate(names)}
        found[f"{task}/y"] = torch.tensor([place.get(value, -1) for value in own])
        found[f"{task}/classes"] = torch.tensor(len(names))
    return found | {"edges": edges, "source": torch.from_numpy(source)}


def draw_packages(
    shared: dict[str, Tensor], size: int, columns: int, shares: Sequence[float], noise: int, rng: np.random.Generator
) -> dict[str, Tensor]:
    """What a seed draws: packages that hang together, and source packages to learn from, to choose by, to test on; and
    the same graph with noise in the words."""
    n = len(shared["source"])
    nodes = connected_sample(shared["edges"], np.arange(n), size, rng)
    part = part_of_groups(shared["source"].numpy()[nodes], shares, rng)
    order = nodes[np.argsort(part, kind="stable")]
    counts = np.cumsum(np.bincount(part, minlength=3))
    indices, indptr = (shared[key].numpy() for key in ("columns", "ends"))
    x = sparse.csr_matrix((np.ones(len(indices), np.float32), indices, indptr), shape=(n, columns))
    x, edges = reorder(x, shared["edges"], order)
    clean = bags(x, columns)
    pool = clean[0][: int(clean[1][counts[0]])]  # the words of packages to learn from
    ends = tuple(counts.tolist())
    found = graph_tensors("packages", clean, edges, ends)
    found |= graph_tensors("noisy", in_noise(*clean, pool, noise, rng), edges, ends)
    begins = [0, *counts[:2]]
    parts = {name: torch.arange(begin, end) for name, begin, end in zip(PARTS, begins, counts, strict=True)}
    for task in FACETS:
        found |= task_tensors(task, shared[f"{task}/y"][torch.from_numpy(order)], int(shared[f"{task}/classes"]), parts)
    return found


def in_noise(words: Tensor, ends: Tensor, pool: Tensor, times: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Bags of words, and where they end [n + 1], with so many words of the pool added to a bag for each that it has."""
    counts = np.diff(ends.numpy())
    added = pool[torch.from_numpy(rng.integers(len(pool), size=times * len(words)))]
    owner = np.concatenate([np.repeat(np.arange(len(counts)), k * counts) for k in (1, times)])
    order = torch.from_numpy(np.argsort(owner, kind="stable"))
    return torch.cat([words, added])[order], (1 + times) * ends


def part_of_groups(groups: np.ndarray, shares: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """The part 0, 1 or 2 of each row [n], by chance and one for a whole group, so that about shares[0] of the rows are
    to learn from and shares[1] to choose by."""
    names, place, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = rng.permutation(len(names))
    reached = np.empty(len(names))
    reached[order] = sizes[order].cumsum() / len(groups)
    return np.select([reached <= shares[0], reached <= shares[0] + shares[1]], [0, 1], 2)[place]


def paper_tensors(g: Graph, columns: int) -> dict[str, Tensor]:
    """A graph of papers, all of which is seen whatever part is learnt from (transductive, with its authors' split)."""
    n = g.x.shape[0]
    found = graph_tensors(g.name, bags(g.x, columns), g.edges, (n, n, n))
    return found | task_tensors(g.name, g.y, g.classes, g.parts)


# Molecules


def draw_molecules(name: str, columns: int, first: int, rng: np.random.Generator) -> dict[str, Tensor]:
    """A set of molecules: one of its ten folds, drawn, is tested on, the next chooses. A node's words are its tag,
    which is the set's own (from word 16 + `first` on), and its number of neighbours, which means the same in all."""
    g = graph(name)
    count = len(g.y)
    fold = np.empty(count, np.int64)
    tested = int(rng.integers(10))
    for k in range(10):
        fold[g.parts[f"fold-{k + 1}"].numpy()] = (k - tested) % 10
    order = np.argsort(np.select([fold == 0, fold == 1], [2, 1], 0), kind="stable")
    place = np.empty(count, np.int64)
    place[order] = np.arange(count)
    members = place[g.groups.numpy()]
    nodes = np.argsort(members, kind="stable")
    x, edges = reorder(g.x, g.edges, nodes)
    member = torch.from_numpy(members[nodes])
    ends = np.cumsum([int((fold > 1).sum()), int((fold == 1).sum()), int((fold == 0).sum())])
    counts = tuple(int((member < end).sum()) for end in ends)
    found = graph_tensors(name, _atoms(x, edges, columns, first), edges, counts, member)
    sizes = member.bincount(minlength=count)
    rows = {p: torch.arange(a, b) for p, a, b in zip(PARTS, [0, *ends[:2]], ends, strict=True)}
    large = sizes > sizes[: ends[0]].float().median()
    for group, wanted in LARGE.items():
        rows |= {f"{p}-{group}": rows[p][large[rows[p]] == wanted] for p in PARTS}
    return found | task_tensors(name, g.y[torch.from_numpy(order)], g.classes, rows)


def _atoms(x: sparse.csr_matrix, edges: Tensor, columns: int, first: int) -> tuple[Tensor, Tensor]:
    """Two words a node: its number of neighbours, up to fifteen, and its tag, counted from word 16 + `first`."""
    degree = edges[1].bincount(minlength=x.shape[0]).clamp_max(15).numpy()
    tag = x.indices.astype(np.int64) + 16 + first
    words = np.stack([degree, tag % columns], 1).reshape(-1)
    return torch.from_numpy(words), torch.from_numpy(np.arange(0, 2 * x.shape[0] + 1, 2))


# Opened


def open_world(cfg: Any, run: Run) -> tuple[Examples, Aims]:
    """The examples that this seed draws, and what is done with them; what they come from is noted in the run."""
    if cfg.world == "packages":
        tasks = dict.fromkeys(FACETS, "packages") | {name: name for name in cfg.papers}
    else:
        tasks = {name: name for name in cfg.molecules}

    def make(own: Run) -> None:
        found, sources = (draw_debian if cfg.world == "packages" else draw_sets)(cfg, own)
        own.note(data=sources)
        save_file(found, own.path("examples.safetensors"))
        own.result(**{"train/rows": sum(len(found[f"{task}/train"]) for task in tasks)})

    drawn = run.once("examples", cfg.drawing(), make)
    run.note(data=drawn.env["data"])
    examples = read_examples(drawn.folder, tasks)
    if cfg.world == "packages":
        others = tuple(task for task in FACETS if task not in NOISED)
        corners = {
            "A": Lesson(NOISED, "packages"),
            "B": Lesson(NOISED, "noisy"),
            "C": Lesson(others, "packages"),
            "D": Lesson(others, "noisy"),
        }
        return examples, aims_of((*FACETS,), cfg.papers, FORGOTTEN, examples.classes[FORGOTTEN], corners)
    first, second = cfg.molecules[:2]
    letters = zip("ABCD", [(first, "small"), (first, "large"), (second, "small"), (second, "large")], strict=True)
    corners = {letter: Lesson((name,), group=group) for letter, (name, group) in letters}
    return examples, aims_of(cfg.molecules, (), first, examples.classes[first], corners)


def draw_debian(cfg: Any, own: Run) -> tuple[dict[str, Tensor], list[dict[str, str]]]:
    """The tensors of packages and papers, and what the sets say of themselves."""

    def make(shared: Run) -> None:
        shared.note(data=packages(cfg.packages).source)
        found = package_list(cfg.packages, cfg.columns, cfg.least)
        save_file({name: x.contiguous() for name, x in found.items()}, shared.path("list.safetensors"))
        shared.result(**{"train/packages": len(found["source"])})

    settings = {name: getattr(cfg, name) for name in ("packages", "columns", "least")}
    listed = own.once("list", settings, make, seed=0)
    shared = load_file(listed.folder / "list.safetensors")
    found = draw_packages(shared, cfg.size, cfg.columns, cfg.shares, cfg.noise, own.rng("packages"))
    papers = [graph(name) for name in cfg.papers]
    for one in papers:
        found |= paper_tensors(one, cfg.columns)
    return found, [listed.env["data"], *(one.source for one in papers)]


def draw_sets(cfg: Any, own: Run) -> tuple[dict[str, Tensor], list[dict[str, str]]]:
    """The tensors of the sets of molecules, and what the sets say of themselves."""
    found: dict[str, Tensor] = {}
    for i, name in enumerate(cfg.molecules):
        found |= draw_molecules(name, cfg.columns, TAGS * i, own.rng("folds", i))
    return found, [graph(name).source for name in cfg.molecules]
