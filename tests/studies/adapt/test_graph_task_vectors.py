import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from etudes.core import catalogue
from etudes.core.errors import Problem
from etudes.data.graphs import graph
from etudes.data.packages import packages
from etudes.studies.adapt.graph_task_vectors import STUDY, idea
from etudes.studies.adapt.graph_task_vectors.aims import aims_of, first_forgotten
from etudes.studies.adapt.graph_task_vectors.findings import corner, macro_f1, majority, scores, shares
from etudes.studies.adapt.graph_task_vectors.idea import convolution, edit, part_of
from etudes.studies.adapt.graph_task_vectors.materials import PARTS, Examples, View, bags, reorder
from etudes.studies.adapt.graph_task_vectors.networks import WORDS, Body, Reader
from etudes.studies.adapt.graph_task_vectors.operations import OPERATIONS, summary
from etudes.studies.adapt.graph_task_vectors.training import Lesson, lesson_rows
from etudes.studies.adapt.graph_task_vectors.worlds import (
    FACETS,
    draw_molecules,
    draw_packages,
    in_noise,
    package_list,
    paper_tensors,
    part_of_groups,
)
from etudes.train.arithmetic import minus, state

COLUMNS = 128


def weights(seed: int, n: int = 7) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return {"words.a": torch.randn(n, 3, generator=rng), "b": torch.randn(n, generator=rng)}


def test_arithmetic_is_that_of_a_loop() -> None:
    base, one, two = weights(0), weights(1), weights(2)
    found = edit(base, [one, two], [0.4, -0.7])
    for name in base:
        for i, x in enumerate(base[name].flatten().tolist()):
            wanted = x + 0.4 * one[name].flatten()[i].item() - 0.7 * two[name].flatten()[i].item()
            assert found[name].flatten()[i].item() == pytest.approx(wanted, abs=1e-5)
    assert edit(base, [], [])["b"].equal(base["b"])
    with pytest.raises(Problem, match=r"only one of the two has words\.a"):
        edit(base, [{"b": one["b"]}], [1.0])


def test_an_analogy_of_like_changes_gives_the_fourth() -> None:
    a, c, same = weights(1), weights(2), weights(3)
    b, wanted = edit(a, [same], [1.0]), edit(c, [same], [1.0])
    found = edit(c, [minus(b, a)], [1.0])
    assert all(torch.allclose(found[name], wanted[name], atol=1e-6) for name in c)


def test_the_two_parts_of_a_vector_are_the_whole() -> None:
    v = weights(1)
    words, layers = part_of(v, WORDS), part_of(v, WORDS, inside=False)
    assert words["words.a"].equal(v["words.a"])
    assert not words["b"].any()
    assert all((words[name] + layers[name]).equal(v[name]) for name in v)


# Layers and networks

EDGES = torch.tensor([[0, 1, 1, 2, 3, 0, 4], [1, 0, 2, 1, 0, 3, 1]])  # from, to; node 5 has none


def heard(edges: torch.Tensor, node: int) -> list[int]:
    return [u for u, v in edges.T.tolist() if v == node]


@pytest.mark.parametrize("kind", ["sage", "gin", "gcn"])
def test_a_layer_is_that_of_a_loop(kind: str) -> None:
    torch.manual_seed(0)
    layer = convolution(kind, 4, 3)
    h = torch.randn(6, 4)
    found = layer(h, EDGES)
    wanted = torch.zeros(6, 3)
    for i in range(6):
        near = heard(EDGES, i)
        if kind == "sage":
            mean = sum((h[j] for j in near), start=torch.zeros(4)) / max(1, len(near))
            wanted[i] = layer.lin_l.weight @ mean + layer.lin_l.bias + layer.lin_r.weight @ h[i]
        elif kind == "gin":
            first, _, last = layer.nn
            whole = h[i] + sum((h[j] for j in near), start=torch.zeros(4))
            wanted[i] = last.weight @ torch.relu(first.weight @ whole + first.bias) + last.bias
        else:
            degree = [1 + len(heard(EDGES, j)) for j in range(6)]
            total = sum(h[j] / (degree[i] * degree[j]) ** 0.5 for j in [*near, i])
            wanted[i] = layer.lin.weight @ total + layer.bias
    assert torch.allclose(found, wanted, atol=1e-5)


def test_without_torch_geometric_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_geometric.nn", None)
    with pytest.raises(Problem, match=r"torch-geometric; install it: pip install 'etudes\[graphs\]'"):
        idea.graph_layers()


def test_the_catalogue_does_not_import_torch_geometric() -> None:
    code = "import sys; from etudes.core import catalogue; catalogue.find('graph-task-vectors'); "
    subprocess.run([sys.executable, "-c", code + "assert 'torch_geometric' not in sys.modules"], check=True)


def test_a_body_is_words_layers_and_a_mean_over_each_graph() -> None:
    torch.manual_seed(0)
    body = Body(20, 8, 6, "sage")
    words, begins = torch.tensor([1, 2, 3, 3, 9, 0, 7, 5]), torch.tensor([0, 2, 3, 5, 6, 7])
    member = torch.tensor([0, 0, 0, 1, 2, 2])
    table = body.words.weight
    rows = [words[a:b] for a, b in zip(begins.tolist(), [*begins[1:].tolist(), 8], strict=True)]
    h = torch.stack([table[row].mean(0) for row in rows])
    h = body.second(torch.relu(body.first(h, EDGES)), EDGES)
    assert torch.allclose(body(View(words, begins, EDGES, None)), h, atol=1e-6)
    pooled = torch.stack([h[:3].mean(0), h[3], h[4:].mean(0)])
    assert torch.allclose(body(View(words, begins, EDGES, member)), pooled, atol=1e-6)


def test_tasks_have_directions_of_their_own_which_no_vector_holds() -> None:
    torch.manual_seed(0)
    classes = {"one": 3, "two": 4}
    net = Reader(Body(20, 8, 16, "sage"), 16, classes)
    assert torch.allclose(net.heads @ net.heads.T, torch.eye(7), atol=1e-5)
    logits = torch.arange(7).float()[None]
    assert torch.cat([net.of_task(logits, task) for task in classes], 1).equal(logits)
    assert not any("head" in name for name in state(net.body))
    assert any(name.startswith(WORDS) for name in state(net.body))


# Examples


@pytest.fixture(scope="module")
def shared() -> dict[str, torch.Tensor]:
    return package_list("drawn-packages", COLUMNS, 20)


@pytest.fixture(scope="module")
def examples(shared: dict[str, torch.Tensor]) -> Examples:
    kept = draw_packages(shared, 400, COLUMNS, (0.5, 0.2), 3, np.random.default_rng(0))
    kept |= paper_tensors(graph("drawn-papers"), COLUMNS)
    tasks = dict.fromkeys(FACETS, "packages") | {"drawn-papers": "drawn-papers"}
    return Examples(kept, tasks, {task: int(kept[f"{task}/classes"]) for task in tasks})


def test_no_source_package_is_in_two_parts() -> None:
    rng = np.random.default_rng(0)
    sources = rng.integers(200, size=1000)
    part = part_of_groups(sources, (0.5, 0.2), rng)
    each = [{*sources[part == p].tolist()} for p in range(3)]
    assert sum(map(len, each)) == len({*sources.tolist()})
    assert [(part == p).mean() for p in range(3)] == pytest.approx([0.5, 0.2, 0.3], abs=0.02)


def test_what_is_tested_on_is_not_there_when_it_is_learnt(examples: Examples) -> None:
    nodes = [len(examples.view("packages", part).begins) for part in PARTS]
    assert nodes[0] < nodes[1] < nodes[2] == 400
    for part, n in zip(PARTS, nodes, strict=True):
        view = examples.view("packages", part)
        assert int(view.edges.max()) < n
        assert view.words.equal(examples.view("packages", "test").words[: len(view.words)])
    for task in FACETS:
        rows = [examples.rows(task, part)[0] for part in PARTS]
        for found, begin, end in zip(rows, [0, *nodes[:2]], nodes, strict=True):
            assert begin <= int(found.min()) <= int(found.max()) < end
        assert all((examples.rows(task, part)[1] >= 0).all() for part in PARTS)
    papers = [len(examples.view("drawn-papers", part).begins) for part in PARTS]
    assert papers == [400] * 3  # transductive


def test_packages_keep_their_words_and_neighbours(examples: Examples) -> None:
    whole = examples.view("packages", "test")
    d = packages("drawn-packages")
    degree = np.bincount(d.edges[0].numpy(), minlength=len(d.names))
    assert int(whole.edges[0].bincount(minlength=400).max()) <= degree.max()
    pairs = {(u, v) for u, v in whole.edges.T.tolist()}
    assert all((v, u) in pairs for u, v in pairs)
    noisy = examples.view("noisy", "test")
    assert noisy.edges.equal(whole.edges)
    learnt = {*examples.view("packages", "train").words.tolist()}
    for node in range(0, 400, 37):
        clean, more = (Counter(bag(view, node)) for view in (whole, noisy))
        assert clean <= more  # its own words are there still
        assert more.total() == 4 * clean.total()
        assert {*(more - clean)} <= learnt  # and nothing is heard of packages to test on


def bag(view: View, node: int) -> list[int]:
    return view.words.tensor_split(view.begins[1:])[node].tolist()


def test_noise_is_that_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    words, ends = torch.tensor([1, 2, 3]), torch.tensor([0, 2, 3])
    found, after = in_noise(words, ends, torch.tensor([7, 8]), 2, rng)
    assert after.tolist() == [0, 6, 9]
    assert found[:2].tolist() == [1, 2]
    assert found[6] == 3
    assert {*found[2:6].tolist(), *found[7:].tolist()} <= {7, 8}
    assert in_noise(words, ends, words, 0, rng)[0].equal(words)


def test_bags_and_reordering_are_those_of_a_loop() -> None:
    from scipy import sparse

    x = sparse.csr_matrix(np.array([[0, 1, 0, 0, 0, 2], [0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 1, 0]], np.float32))
    words, ends = bags(x, 4)
    assert [row.tolist() for row in words.tensor_split(ends[1:-1])] == [[1, 1], [0], [0, 0]]  # 5 % 4, 4 % 4
    moved, edges = reorder(x, torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), np.array([2, 1]))
    assert moved.toarray().tolist() == x.toarray()[[2, 1]].tolist()
    assert edges.T.tolist() == [[1, 0], [0, 1]]


def test_molecules_are_seen_whole_and_in_their_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path))
    folder = tmp_path / "muhanzhang" / "DGCNN-graphs" / "PTC"
    (folder / "10fold_idx").mkdir(parents=True)
    lines = ["30"]
    for k in range(30):  # rings of 3 to 7 nodes: class 1 where the first has tag 1
        n = 3 + k % 5
        lines.append(f"{n} {k % 2}")
        lines += [f"{(k % 2) * (i == 0)} 2 {(i - 1) % n} {(i + 1) % n}" for i in range(n)]
    (folder / "PTC.txt").write_text("\n".join(lines) + "\n")
    for k in range(10):
        (folder / "10fold_idx" / f"test_idx-{k + 1}.txt").write_text(f"{3 * k}\n{3 * k + 1}\n{3 * k + 2}\n")
    kept = draw_molecules("ptc", 64, 0, np.random.default_rng(0))
    d = Examples(kept, {"ptc": "ptc"}, {"ptc": int(kept["ptc/classes"])})
    rows = [d.rows("ptc", part)[0].tolist() for part in PARTS]
    assert rows == [[*range(24)], [24, 25, 26], [27, 28, 29]]
    for part, count in zip(PARTS, (24, 27, 30), strict=True):
        view = d.view("ptc", part)
        assert int(view.member.max()) + 1 == count
        assert view.member[view.edges[0]].equal(view.member[view.edges[1]])
        assert view.edges[1].bincount(minlength=len(view.begins)).eq(2).all()
        assert view.words[::2].eq(2).all()  # the number of neighbours comes first
    tags = view.words[1::2].eq(view.words[1::2].max())
    ones = torch.zeros(30).index_add(0, view.member, tags.float())
    assert ones.long().equal(kept["ptc/y"])
    small, large = (d.rows("ptc", f"train-{size}")[0] for size in ("small", "large"))
    sizes = view.member.bincount()
    assert sizes[small].max() < sizes[large].min()
    assert len(small) + len(large) == 24


def test_lessons_show_what_they_are_called(examples: Examples) -> None:
    aims = aims_of((*FACETS,), ("drawn-papers",), "role", 4, {letter: Lesson(("use",)) for letter in "ABCD"})
    _, y = lesson_rows(examples, aims.lessons["forgotten"], "role")
    assert {*y.tolist()} == {2, 3}
    assert aims.lessons["ascent"].up
    assert [first_forgotten(k) for k in (2, 5, 6)] == [1, 3, 3]
    assert aims.foreign_tasks == ("role", "language", "interface", "use")
    whole = dict.fromkeys(aims.added, 0.5) | {"drawn-papers": 0.8, "role-low": 0.2, "role-high": 1.0}
    assert aims.control(whole) == pytest.approx((0.2 + 4 * 0.5 + 0.8) / 6)


# Scores


def test_macro_f1_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(0)
    for classes in (2, 5):
        y, predicted = rng.integers(classes, size=80), rng.integers(classes, size=80)
        wanted = f1_score(y, predicted, average="macro")
        assert macro_f1(torch.tensor(predicted), torch.tensor(y), classes) == pytest.approx(wanted)
    assert macro_f1(torch.tensor([0, 0]), torch.tensor([0, 0]), 3) == 1  # classes that are nowhere do not count


def test_shares_of_forgotten_classes_are_those_of_a_loop() -> None:
    logits = torch.tensor([[3.0, 0, 1], [0, 3, 1], [1, 0, 2], [0, 3, 2], [0, 1, 4.0]])
    y = torch.tensor([0, 0, 2, 2, 1])
    found = shares(logits, y, 1)  # answers 0 1 2 1 2; among the last two 2 1 2 1 2
    assert found["low"] == pytest.approx(1 / 2)
    assert found["high"] == pytest.approx((0 + 1 / 2) / 2)
    assert found["among"] == pytest.approx((0 + 1 / 2) / 2)


class Knowing(nn.Module):
    """A network that knows some tasks of the packages, and nothing else."""

    def __init__(self, d: Examples, known: tuple[str, ...]) -> None:
        super().__init__()
        self.d, self.known, self.nothing = d, known, nn.Parameter(torch.zeros(1))

    def forward(self, view: View) -> torch.Tensor:
        logits = torch.zeros(len(view.begins), sum(self.d.classes.values()))
        begin = 0
        for task, classes in self.d.classes.items():
            y = self.d.kept[f"{task}/y"]
            if task in self.known:
                rows = (y[: len(logits)] >= 0).nonzero().flatten()
                logits[rows, begin + y[rows]] = 1
            begin += classes
        return logits

    of_task = Reader.of_task

    @property
    def classes(self) -> dict[str, int]:
        return dict(self.d.classes)


@pytest.mark.parametrize("part", PARTS)
def test_scores_of_a_network_that_knows_some_tasks(examples: Examples, part: str) -> None:
    net = Knowing(examples, ("role", "drawn-papers"))
    found = scores(net, examples, part, tuple(examples.tasks), {"role": 2})
    assert found["role"] == found["drawn-papers"] == found["role-high"] == found["role-among"] == 1
    assert all(found[task] < 0.3 for task in ("language", "use", "toolkit"))
    assert corner(net, examples, Lesson(("role",), "noisy"), part) == 1
    assert corner(net, examples, Lesson(("role", "use")), part) < 0.8
    assert majority(examples, "use", part) < 0.3


def test_shares_kept_of_what_each_knows_alone() -> None:
    aims = aims_of(("a", "b", "c"), (), "a", 4, {letter: Lesson(("a",)) for letter in "ABCD"})
    own = {"a": 0.8, "b": 0.5, "c": 1.0}
    found = summary(aims, {"a": 0.4, "b": 0.5, "c": 0.25}, own)
    assert found["test/kept"] == pytest.approx((0.5 + 1 + 0.25) / 3)
    assert found["test/kept-least"] == 0.25
    assert found["test/moved"] == pytest.approx(0.45)


# The study


def test_every_variant_has_its_operation() -> None:
    named = {variant.changes["operation"] for variant in STUDY.variants}
    assert named == {*OPERATIONS, "single"}
    assert all(variant.name == variant.changes["operation"] for variant in STUDY.variants)
    assert catalogue.find("graph-task-vectors") is STUDY


def test_the_test_chooses_nothing() -> None:
    assert not any("scalings" in STUDY.scales[name].changes for name in ("laptop", "molecules", "paper"))
    source = Path(sys.modules["etudes.studies.adapt.graph_task_vectors.operations"].__file__).read_text()
    choosing = source.split("# Addition")[1]
    assert '"test"' not in choosing
    assert choosing.count('"validation"') >= 4
