from collections import Counter
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from etudes.core.errors import Problem
from etudes.measure.size import count_parameters
from etudes.studies.labels.multimodal_birds import STUDY, sets
from etudes.studies.labels.multimodal_birds.birds import (
    LIMITS,
    Bird,
    all_birds,
    bayes_accuracy,
    draw_birds,
    draw_pictures,
    write_caption,
)
from etudes.studies.labels.multimodal_birds.findings import ablations, first_caption, ridge_error
from etudes.studies.labels.multimodal_birds.fusion import FUSIONS, draw_kept, fusion, hide, match, pool
from etudes.studies.labels.multimodal_birds.networks import ResNetPlaces, build
from etudes.studies.labels.multimodal_birds.sets import Examples

# The generator and its limits


def worlds():
    """Every bird as often as it comes among 4 x 4 equal chances of season and leaves, by loops of its own."""
    for body, song, crown, season, leaves in product(range(4), range(2), range(2), range(4), range(4)):
        winter, hidden = season == 0, leaves == 0
        shade = (crown + winter) % 2
        sees = ("leaves" if hidden else body, shade)
        hears = (song, winter, body if hidden else "a bird")
        yield (body, song, crown), sees, hears


def best_share(view) -> Fraction:
    """The share of worlds that the best of all rules from views to kinds names right, by counting."""
    counts = Counter((view(sees, hears), kind) for kind, sees, hears in worlds())
    best: dict = {}
    for (seen, _), count in counts.items():
        best[seen] = max(best.get(seen, 0), count)
    return Fraction(sum(best.values()), sum(counts.values()))


def test_the_limits_are_those_of_a_naive_enumeration():
    assert LIMITS["picture"] == best_share(lambda sees, hears: sees)
    assert LIMITS["caption"] == best_share(lambda sees, hears: hears)
    assert LIMITS["both"] == best_share(lambda sees, hears: (sees, hears)) == 1
    assert bayes_accuracy() == best_share(lambda sees, hears: None) == Fraction(1, 16)


def test_the_limit_of_late_fusion_is_that_of_a_naive_enumeration():
    rows = [*worlds()]
    kinds = sorted({kind for kind, _, _ in rows})
    seen, heard = (Counter((row[i], row[0]) for row in rows) for i in (1, 2))
    right = Fraction(0)
    for kind, sees, hears in rows:
        scores = {k: seen[sees, k] * heard[hears, k] for k in kinds}  # all kinds are equally likely
        winners = [k for k in kinds if scores[k] == max(scores.values())]
        right += Fraction(kind in winners, len(winners))
    assert LIMITS["late"] == right / len(rows)
    assert LIMITS["picture"] < LIMITS["late"] < 1
    assert LIMITS["caption"] < LIMITS["late"]


def test_birds_are_drawn_as_often_as_the_limits_take_them_to_be():
    birds = draw_birds(40_000, np.random.default_rng(0))
    shares = Counter(birds)
    assert sum(chance for _, chance in all_birds()) == 1
    for bird, chance in all_birds():
        assert shares[bird] / 40_000 == pytest.approx(float(chance), abs=0.004)


def test_pictures_show_and_captions_tell_what_the_limits_take_them_to():
    rng = np.random.default_rng(0)
    red, summer = Bird(0, 1, 1, 0, 0), Bird(0, 0, 1, 0, 1)
    winter = summer._replace(winter=1)
    each = 100
    pictures = draw_pictures([b for b in (red, summer, winter) for _ in range(each)], rng).float()
    bodies = pictures[:, :, 9:12, 6:9].mean((2, 3)).reshape(3, each, 3).mean(1)
    crowns = pictures[:, :, 3:5, 10:12].mean((1, 2, 3)).reshape(3, each).mean(1)
    assert bodies[0, 0] > bodies[0, 2] + 100  # red
    assert (bodies[1:] < 90).all()  # leaves
    assert max(crowns[0], crowns[1]) + 50 < crowns[2]
    assert not {"red", "blue", "green", "yellow"} & {*write_caption(red, rng).split()}
    for _ in range(20):
        assert "red" in write_caption(summer, rng).split()
        assert {*write_caption(winter, rng).split()} & {"winter", "january", "snow"}
        assert {*write_caption(red, rng).split()} & {"whistles", "pipes", "flutes"}


# Fusion


def tokens(n=5, width=8):
    generator = torch.Generator().manual_seed(0)
    picture, words = (torch.randn(n, k, width, generator=generator) for k in (4, 3))
    words[0, 1:] = 0  # a title of one word
    return [picture, words]


def test_pooling_leaves_out_what_is_absent():
    picture, words = tokens()
    assert torch.allclose(pool(words)[0], words[0, 0])
    assert torch.allclose(pool(picture), picture.mean(1))
    assert torch.equal(pool(torch.zeros(2, 3, 8)), torch.zeros(2, 8))


def test_one_modality_at_most_is_dropped_and_as_often_as_asked():
    kept = draw_kept(20_000, 3, 0.6, np.random.default_rng(0))
    assert kept.sum(1).min() == 2
    assert (~kept).double().mean(0).tolist() == pytest.approx([0.2] * 3, abs=0.01)
    hidden = hide([torch.ones(20_000, 2, 4), torch.ones(20_000, 3, 5, 5), torch.ones(20_000, 1, 4)], kept)
    for m, x in enumerate(hidden):
        assert torch.equal(x.flatten(1).any(1), kept[:, m])


def test_late_fusion_adds_the_decisions_of_those_that_are_there():
    model, (picture, words) = fusion("late", 2, 8, 6, 3), tokens()
    scores, (one, other) = model([picture, words])
    for i in range(5):
        naive = [np.log(np.exp(y) / np.exp(y).sum()) for y in (one[i].detach().numpy(), other[i].detach().numpy())]
        assert scores[i].tolist() == pytest.approx((naive[0] + naive[1]).tolist(), abs=1e-5)
    alone, _ = model([picture, torch.zeros_like(words)])
    assert torch.equal(alone.argmax(1), one.argmax(1))


def test_gates_are_those_of_the_paper():
    model, both = fusion("gated", 2, 8, 6, 3), tokens()
    v, t = (pool(x) for x in both)
    z = torch.sigmoid(torch.cat([v, t], 1) @ model.gates.weight.T + model.gates.bias)
    h = z[:, :6] * torch.tanh(model.values[0](v)) + z[:, 6:] * torch.tanh(model.values[1](t))
    assert torch.allclose(model(both)[0], model.out(h), atol=1e-6)


def test_attention_is_pytorchs_and_does_not_see_what_is_absent():
    model, both = fusion("attention", 2, 8, 6, 3), tokens()
    x = torch.cat([tokens + kind for tokens, kind in zip(both, model.kinds, strict=True)], 1)
    absent = torch.cat([(tokens == 0).all(-1) for tokens in both], 1)
    keys, values = (layer(x).unflatten(2, (4, -1)).transpose(1, 2) for layer in (model.keys, model.values))
    query = model.query[None, :, None].expand(5, -1, -1, -1)
    mask = ~absent[:, None, None]
    found = nn.functional.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
    assert torch.allclose(model(both)[0], model.head(found.flatten(1)), atol=1e-5)


def test_blended_trains_every_modality_by_itself_and_decides_by_all():
    model, both = fusion("blended", 2, 8, 6, 3), tokens()
    scores, (joint, one, other) = model(both)
    assert torch.equal(scores, joint)
    assert torch.allclose(one, model.alone[0](pool(both[0])))
    assert torch.allclose(other, model.alone[1](pool(both[1])))
    assert len(fusion("joint", 2, 8, 6, 3)(both)[1]) == 1


@pytest.mark.parametrize("way", [way for way in FUSIONS if way != "early"])
def test_fusions_are_of_one_size(way):
    size = count_parameters(fusion("joint", 2, 64, 128, 31))
    hidden = match(lambda units: fusion(way, 2, 64, units, 31), size)
    assert count_parameters(fusion(way, 2, 64, hidden, 31)) == pytest.approx(size, rel=0.02)


def test_an_unknown_way_is_refused():
    with pytest.raises(Problem, match="no way of fusion 'lat'; did you mean 'late'"):
        fusion("lat", 2, 8, 6, 3)


# Examples


def test_captions_become_numbers_of_words_that_are_frequent_in_training():
    splits = {"train": [("a blue bird",), ("a red bird",)], "test": [("a green bird",), ("",)]}
    numbers, vocabulary = sets.encode_captions(splits, 2)
    assert vocabulary == ["", "?", "a", "bird"]
    assert numbers["train"].tolist() == [[[2, 1, 3]], [[2, 1, 3]]]
    assert numbers["test"].tolist() == [[[2, 1, 3]], [[0, 0, 0]]]


def test_one_of_several_captions_is_drawn():
    words = torch.arange(24).reshape(4, 3, 2)
    found = sets.choose_caption({"words": words}, np.random.default_rng(0))["words"]
    assert found.shape == (4, 2)
    assert all(row.tolist() in words[i].tolist() for i, row in enumerate(found))


def test_what_is_said_of_a_digit_is_true_and_no_digits_own():
    rng = np.random.default_rng(0)
    said = {digit: {frozenset(sets.say_of_digit(digit, rng).split()) for _ in range(400)} for digit in range(10)}
    assert not {"odd", "high", "threefold", "otherwise"} & {word for text in said[4] for word in text}
    counts = Counter(text for texts in said.values() for text in texts)
    assert min(counts.values()) > 1


def test_pairs_are_made_by_class():
    y, labels = torch.tensor([0, 1, 1, 0]), torch.tensor([1, 0, 1, 0, 0])
    found = sets.pair_by_class(y, torch.arange(5), labels, np.random.default_rng(0))
    assert torch.equal(labels[found], y)
    with pytest.raises(Problem, match="nothing of class 1 to pair with"):
        sets.pair_by_class(y, torch.arange(2), torch.tensor([0, 0]), np.random.default_rng(0))


class Fixed:
    """Of a run the device, the seed and the generator alone."""

    device = torch.device("cpu")

    def seed(self, *names):
        return 0

    def rng(self, *names):
        return np.random.default_rng(0)

    def note(self, **facts):
        pass


def test_pairing_anew_keeps_each_class_its_words_and_each_example_its_picture():
    y = torch.arange(40) % 4
    examples = Examples({"picture": torch.arange(40), "words": torch.arange(40).reshape(40, 1, 1)}, y)
    task = sets.pair_anew(sets.Task({"train": examples}, 4, ()), Fixed())
    words = task.splits["train"].inputs["words"].flatten()
    assert torch.equal(words.sort().values, torch.arange(40))
    assert torch.equal(words % 4, y)
    assert not torch.equal(words, torch.arange(40))
    assert torch.equal(task.splits["train"].inputs["picture"], torch.arange(40))


# Networks

EXAMPLES = Examples(
    {
        "picture": torch.randint(256, (6, 3, 32, 24), generator=torch.Generator().manual_seed(0)).byte(),
        "words": torch.tensor([[2, 3, 0], [3, 2, 1], [2, 0, 0]] * 2)[:, None],
    },
    torch.arange(6) % 2,
)
TASK = sets.Task({"train": EXAMPLES}, 2, ("", "?", "blue", "bird"))


@pytest.mark.parametrize("way", FUSIONS)
def test_networks_are_of_one_size_and_answer(way):
    sizes = ("small", "bag", False)
    model, joint = (build(Fixed(), TASK, name, 16, 64, sizes) for name in (way, "joint"))
    scores, trained = model(first_caption(EXAMPLES.inputs))
    assert scores.shape == (6, 2)
    assert all(logits.shape == (6, 2) for logits in trained)
    assert count_parameters(model) == pytest.approx(count_parameters(joint), rel=0.02)


def test_networks_of_full_size_read_pictures_and_sentences():
    model = build(Fixed(), TASK, "joint", 16, 8, ("resnet18", "own", False))
    tokens = model.tokens(first_caption(EXAMPLES.inputs))
    assert [tuple(x.shape) for x in tokens] == [(6, 1, 16), (6, 1, 16)]
    assert model.encoders["words"].texts(torch.tensor([[2, 3, 0]])) == ["blue bird"]
    assert ResNetPlaces("resnet18", False, 11, 16)(torch.randn(2, 11, 64, 64)).shape == (2, 4, 16)


# What is measured


class Reads(nn.Module):
    """A network whose scores are the first modality's only token."""

    def answer(self, tokens):
        return tokens[0][:, 0], []


def test_a_network_that_reads_one_modality_alone_is_seen_to():
    y = torch.arange(60) % 3
    tokens = [nn.functional.one_hot(y).float()[:, None], torch.ones(60, 1, 3)]
    found = ablations(Reads(), ("picture", "words"), tokens, tokens, y)
    assert found["test/error-no-words"] == found["test/error-shuffled-words"] == found["test/error-mean-words"] == 0
    assert found["test/error-shuffled-picture"] == 1  # the next example has another class
    assert found["test/error-no-picture"] == pytest.approx(2 / 3)


def test_the_probe_is_ridge_regression():
    generator = torch.Generator().manual_seed(0)
    x, test_x = torch.randn(200, 6, generator=generator), torch.randn(100, 6, generator=generator)
    truth = torch.randn(6, 3, generator=generator)
    y, test_y = (x @ truth).argmax(1), (test_x @ truth).argmax(1)
    mean, std = x.mean(0), x.std(0, correction=0)
    targets = nn.functional.one_hot(y).double()
    # Least squares on more rows: one for each weight, as large as the penalty; and no weight of the constant's.
    rows = torch.cat([((x - mean) / std).double(), (0.01 * 200) ** 0.5 * torch.eye(6)])
    constant = torch.cat([torch.ones(200, 1), torch.zeros(6, 1)])
    answers = torch.cat([targets, torch.zeros(6, 3)])
    weights = np.linalg.lstsq(torch.cat([rows, constant], 1).numpy(), answers.numpy(), rcond=None)[0]
    tested = np.concatenate([((test_x - mean) / std).double().numpy(), np.ones((100, 1))], 1)
    expected = ((tested @ weights).argmax(1) != test_y.numpy()).mean()
    assert ridge_error(x, y, test_x, test_y) == pytest.approx(expected, abs=1e-9)
    assert 0 < ridge_error(x, y, test_x, test_y) < 0.3


def test_variants_change_one_thing():
    plan = {spec.variant: spec.config for spec in STUDY.plan("laptop", seeds=1)}
    for name in ("early", "late", "gated", "attention", "blended", "dropped", "anew"):
        changed = {key for key in plan["joint"] if plan[name][key] != plan["joint"][key]}
        assert len(changed) == 1, name
