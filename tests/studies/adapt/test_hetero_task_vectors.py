import dataclasses
import itertools

import pytest
import torch

from etudes.core import Problem
from etudes.data.domains import domains
from etudes.data.images import images
from etudes.nn.vit import ViT
from etudes.studies.adapt.hetero_task_vectors import PAPER, STUDY, Config
from etudes.studies.adapt.hetero_task_vectors.findings import ANALOGY, SIGNS, Bench, analogy, modules, negation
from etudes.studies.adapt.hetero_task_vectors.idea import best, combine, largest_forgetting, route, ties, trim
from etudes.studies.adapt.hetero_task_vectors.learning import networks
from etudes.studies.adapt.hetero_task_vectors.materials import Materials
from etudes.studies.adapt.hetero_task_vectors.networks import KINDS, Mixing
from etudes.train.arithmetic import minus, put, state

CLASSES = {"things": 7, "other": 10}


def vectors(n: int) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(n)
    return [{"a": torch.randn(3, 4, generator=generator), "b": torch.randn(5, generator=generator)} for _ in range(n)]


def config(scale: str, variant: str = "own") -> Config:
    return Config(**next(spec.config for spec in STUDY.plan(scale) if spec.variant == variant))


def test_negation_addition_and_analogy_are_the_papers_sums():
    base, a, b, c = vectors(4)
    for name in base:
        assert torch.allclose(combine(base, [a], [-1], 0.5)[name], base[name] - 0.5 * a[name])
        assert torch.allclose(combine(base, [a, b], [1, 1], 0.8)[name], base[name] + 0.8 * (a[name] + b[name]))
        wanted = base[name] + 0.4 * (c[name] + (b[name] - a[name]))
        assert torch.allclose(combine(base, [b, a, c], SIGNS, 0.4)[name], wanted)
    assert ANALOGY == ("fresh first", "known first", "known second")
    with pytest.raises(ValueError, match="shorter"):
        combine(base, [a, b], [1], 1)


def test_forgetting_takes_the_lowest_target_among_those_that_keep_the_control():
    target = {1.0: 0.5, 2.0: 0.3, 3.0: 0.1}.__getitem__
    control = {1.0: 0.99, 2.0: 0.95, 3.0: 0.8}.__getitem__
    assert largest_forgetting([1.0, 2.0, 3.0], target, control, 0.95) == 2
    assert largest_forgetting([1.0, 2.0, 3.0], target, control, 1) == 0
    assert best([1, 2, 3], {1: 0.2, 2: 0.4, 3: 0.4}.get) == 2


def test_trimming_keeps_the_largest_numbers_of_all_tensors_together():
    vector = vectors(1)[0]
    kept = trim(vector, 0.25)
    numbers = sorted((t.abs().item() for tensor in vector.values() for t in tensor.flatten()), reverse=True)
    left = sorted((t.abs().item() for tensor in kept.values() for t in tensor.flatten() if t != 0), reverse=True)
    assert left == numbers[:4]
    assert all(torch.equal(trim(vector, 1)[name], vector[name]) for name in vector)


def test_ties_is_the_papers_three_steps_by_a_loop():
    some = vectors(3)
    small = [trim(vector, 0.5) for vector in some]
    merged = ties(some, 0.5)
    for name, tensor in merged.items():
        for place in itertools.product(*map(range, tensor.shape)):
            numbers = [vector[name][place].item() for vector in small]
            positive = sum(numbers) > 0
            agree = [x for x in numbers if x and (x > 0) == positive]
            assert tensor[place].item() == pytest.approx(sum(agree) / max(len(agree), 1), abs=1e-6)


def test_a_picture_goes_to_the_nearest_centre():
    centres = torch.tensor([[0.0, 0], [4, 0], [0, 4]])
    assert route(torch.tensor([[1.0, 0], [3, 1], [-1, 9]]), centres).tolist() == [0, 1, 2]


@pytest.mark.parametrize("scale", ["laptop", "paper"])
def test_the_common_part_is_at_least_half_of_each_network_and_no_classifier(scale):
    with torch.device("meta"):
        model = networks(config(scale), CLASSES)
        side = config(scale).side
        for kind in KINDS:
            assert model.common_share(kind) >= 0.5
            tokens = model.tokens(kind, torch.empty(2, 3, side, side))
            assert tokens.shape == (2, (side // config(scale).patch) ** 2, config(scale).width)
            assert model.trunk(tokens).shape == (2, config(scale).width)
    trunk = set(map(id, model.trunk.parameters()))
    assert trunk.isdisjoint(map(id, [*model.heads.parameters(), *model.stems.parameters()]))
    assert not [name for name, _ in model.trunk.named_buffers()]  # no statistics of batches


def test_at_the_papers_size_the_transformer_is_vit_b_16_and_the_residual_network_begins_as_resnet_18():
    with torch.device("meta"):
        model, vit = networks(config("paper"), CLASSES), ViT(224, 16, 768, 12, 12, 1000)
    sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in model.stems.items()}
    blocks = sum(p.numel() for p in vit.blocks.parameters())
    ours = sum(p.numel() for p in model.trunk.blocks.parameters())
    ours += sum(p.numel() for p in model.stems["transformer"].blocks.parameters())
    assert ours == blocks
    convolutions = [m for m in model.stems["residual"].modules() if isinstance(m, torch.nn.Conv2d)]
    assert [tuple(m.weight.shape) for m in convolutions[:2]] == [(64, 3, 7, 7), (64, 64, 3, 3)]
    assert sum(m.kernel_size == (3, 3) for m in convolutions) == 12
    assert sizes["residual"] == pytest.approx(2.78e6 + 256 * 768, rel=0.1)
    assert PAPER["batch"] == 256


def test_a_block_that_mixes_is_the_papers_equation_by_hand():
    torch.manual_seed(0)
    block, x = Mixing(4, 6, 8), torch.randn(2, 4, 6)
    normal = block.norm1(x)
    y = torch.stack(
        [x[:, :, c] + block.back(torch.nn.functional.gelu(block.among(normal[:, :, c]))) for c in range(6)], dim=2
    )
    hidden = torch.nn.functional.gelu(block.up(block.norm2(y)))
    assert torch.allclose(block(x), y + block.down(hidden), atol=1e-6)


def test_a_residual_stem_whose_tokens_are_of_another_size_is_refused():
    with pytest.raises(Problem, match=r"channels \[16, 32, 48\] make tokens of 16 pixels, not 8"):
        networks(dataclasses.replace(config("laptop"), channels=(16, 32, 48)), CLASSES)


@pytest.fixture
def bench() -> Bench:
    """A network of random weights over digits."""
    torch.manual_seed(0)
    cfg = config("smoke")
    things, digits = domains("digit-domains").resize(cfg.side), images("digits")
    other = dataclasses.replace(digits, x=digits.x.expand(-1, 3, -1, -1), test_x=digits.test_x.expand(-1, 3, -1, -1))
    m = Materials(things, other, cfg.known, cfg.fresh, cfg.second, 50, 50, torch.device("cpu"))
    return Bench(networks(cfg, m.classes), "residual", m)


def test_tasks_are_disjoint_by_part_and_as_named(bench):
    m = bench.m
    second = {m.things.classes.index(name) for name in m.second}
    for part in ("train", "validation", "test"):
        assert set(m.of("fresh second", part)[1].tolist()) == second
        assert set(m.of("fresh first", part)[1].tolist()).isdisjoint(second)
    parts = [m.of("other", part)[0] for part in ("train", "validation")]
    assert torch.equal(torch.cat(parts), m.other.x)
    assert len(m.of("other", "test")[0]) == 50


def test_a_trunk_is_exchanged_and_the_base_stays_as_it_was(bench):
    before = state(bench.model)
    with torch.no_grad():
        other = {name: tensor + 0.3 * torch.randn_like(tensor) for name, tensor in bench.base.items()}
    right = bench.right(other, "known", "test")
    x, y, head = bench.m.of("known", "test")
    put(bench.model.trunk, other)
    with torch.no_grad():
        logits = bench.model.heads[head](bench.model.trunk(bench.model.tokens("residual", x.float() / 255)))
    assert torch.equal(right, logits.argmax(1) == y)
    put(bench.model.trunk, bench.base)
    assert all(torch.equal(before[name], tensor) for name, tensor in state(bench.model).items())


def test_a_vector_of_zeros_changes_no_accuracy(bench):
    nothing = minus(bench.base, bench.base)
    found = negation(bench, nothing)
    assert found["target"] == bench.accuracy(bench.base, "other")
    assert analogy(bench, dict.fromkeys(ANALOGY, nothing))["analogy"] == bench.accuracy(bench.base, "fresh second")
    routed = modules(bench, {"other": nothing, "fresh": nothing}, 1.0)
    assert routed["kept"] == bench.accuracy(bench.base, "known")


def test_no_choice_reads_a_test_picture(bench, monkeypatch):
    """Whatever the labels of the test pictures are, the coefficients are the same."""
    generator = torch.Generator().manual_seed(1)
    vector = {name: 0.3 * torch.randn(tensor.shape, generator=generator) for name, tensor in bench.base.items()}
    first = negation(bench, vector)["negation-coefficient"], analogy(bench, dict.fromkeys(ANALOGY, vector))
    of = bench.m.of

    def shuffled(self, task, part):
        x, y, head = of(task, part)
        return x, (y.roll(1) if part == "test" else y), head

    monkeypatch.setattr(Materials, "of", shuffled)
    second = negation(bench, vector)["negation-coefficient"], analogy(bench, dict.fromkeys(ANALOGY, vector))
    assert first[0] == second[0]
    assert first[1]["analogy-coefficient"] == second[1]["analogy-coefficient"]
