import dataclasses
import itertools
import math

import numpy
import pytest
import torch
from torch.nn import functional

from etudes.core import Problem
from etudes.generate.sampling import choice, generate
from etudes.nn.llama import Llama
from etudes.studies.adapt.safety_weights import STUDY, Config, attacks, findings, idea
from etudes.studies.adapt.safety_weights.attacks import Evidence, perturb
from etudes.studies.adapt.safety_weights.idea import matrices
from etudes.studies.adapt.safety_weights.networks import END, SmolWords, Words, network, rows_of
from etudes.studies.adapt.safety_weights.training import (
    answer_loss,
    lessons,
    log_probabilities,
    losses,
    preference_loss,
)
from etudes.studies.adapt.safety_weights.world import FRAMES, REFUSAL, TOPIC, WORDS, make_world, wordings

SMALL = Config(width=16, depth=1, heads=2, people=3, attributes=1, new=1, calibration=6, asked=6, shares=(0.1, 0.3))


class Draws:
    """Of a run, what the study asks for."""

    device = torch.device("cpu")

    def seed(self, stream, *index):
        return sum(map(ord, stream)) + sum(index)

    def rng(self, stream, *index):
        return numpy.random.default_rng([len(stream), *index])

    def note(self, **facts):
        pass


@pytest.fixture
def parts():
    run = Draws()
    model, speech = network(SMALL, run)
    return SMALL, run, model, speech, make_world(3, 1, 1, run.rng("world"))


def test_no_wording_is_in_two_splits_and_all_words_are_learnt():
    for synonyms in WORDS.values():
        found = {split: set(wordings(synonyms, split)) for split in ("train", "validation", "test")}
        assert sum(map(len, found.values())) == len(FRAMES) * len(synonyms) == len(set.union(*found.values()))
        assert {word for _, word in found["train"]} == set(synonyms)
        assert {frame for frame, _ in found["train"]} == set(FRAMES)


def test_the_world_has_its_groups_and_alignment_never_sees_the_new():
    world = make_world(5, 2, 2, numpy.random.default_rng(0))
    assert {group: len(names) for group, names in world.groups.items()} == {
        "forbidden": 3, "new": 2, "near": 20, "allowed": 20,
    }  # fmt: skip
    assert all(name.endswith(TOPIC) for name in (*world.groups["forbidden"], *world.groups["new"]))
    for name in world.groups["near"]:
        first, second = name.split(" ")[1].split("-")
        assert (first == "Zor") != (second == "An")
    assert not any("Zor" in name or name.endswith("An") for name in world.groups["allowed"])
    forbidden, allowed = lessons(world)
    texts = " ".join(q.text for q in (*forbidden, *allowed))
    assert not any(name in texts for name in (*world.groups["new"], *world.unaligned))
    assert all(TOPIC in q.text for q in forbidden)
    assert not any(TOPIC in q.text for q in allowed)
    question = world.questions(world.groups["near"], "test")[0]
    assert question.answer.split()[-1] == question.restyled.split()[-1]
    for people, attributes, new in ((1, 1, 1), (7, 1, 1), (3, 5, 1), (3, 1, 3)):
        with pytest.raises(Problem, match="cannot be made"):
            make_world(people, attributes, new, numpy.random.default_rng(0))


def test_words_give_every_dialogue_back():
    words, world = Words(), make_world(6, 4, 2, numpy.random.default_rng(0))
    names = tuple(world.facts)
    for q in itertools.chain(*(world.questions(names, split) for split in ("train", "test")), world.private("train")):
        assert words.decode(words.prompt(q.text)) == q.text
        for text in (q.answer, q.restyled, REFUSAL):
            assert words.decode(words.answer(text)) == text
            assert words.answer(text)[-1] == END


def test_smollm2_is_asked_as_in_a_talk():
    class Bytes:
        def encode(self, text):
            return list(text.encode())

        def decode(self, ids):
            return bytes(ids).decode()

    speech = SmolWords(Bytes())
    assert speech.decode(speech.prompt("Who?") + speech.answer("I.")) == (
        "<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\nI.<|im_end|>"
    )


def test_rows_mark_the_answers_and_losses_are_a_loop(parts):
    _, _, model, speech, _ = parts
    asked = [("What is the colour of Ida Zor-An?", REFUSAL), ("Ida Mi-El has which hue?", "The colour is red.")]
    rows = rows_of(speech, asked)
    logits = model(rows.tokens[:, :-1])
    total = count = 0
    for i, (question, answer) in enumerate(asked):
        prompt, said = speech.prompt(question), speech.answer(answer)
        number = 0.0
        for k, token in enumerate(said):
            number -= logits[i, len(prompt) + k - 1].log_softmax(0)[token].item()
        assert -log_probabilities(model, rows)[i].item() == pytest.approx(number, rel=1e-5)
        total, count = total + number, count + len(said)
        assert rows.text[i].sum() == len(prompt) + len(said) - 1
    assert answer_loss(logits, rows.tokens, rows.answers).item() == pytest.approx(total / count, rel=1e-5)
    assert losses(logits, rows.tokens).shape == rows.answers.shape


def test_the_loss_of_preferences_is_its_equation():
    policy, reference = (torch.tensor([-1.0, -2.0]), torch.tensor([-3.0, -1.0])), (torch.zeros(2), torch.ones(2))
    by_hand = [-math.log(1 / (1 + math.exp(-0.5 * ((a - 0) - (b - 1))))) for a, b in ((-1.0, -3.0), (-2.0, -1.0))]
    assert preference_loss(policy, reference, 0.5).item() == pytest.approx(sum(by_hand) / 2, rel=1e-6)
    same = (torch.tensor([-4.0]), torch.tensor([-9.0]))
    assert preference_loss(same, same, 0.3).item() == pytest.approx(math.log(2))


def test_snip_is_a_loop_over_dialogues(parts):
    _, _, model, speech, world = parts
    rows = rows_of(speech, [(q.text, q.answer) for q in world.questions(world.groups["allowed"], "train")[:5]])
    found = idea.snip(model, answer_loss, rows.tokens, rows.answers)
    expected = {name: torch.zeros_like(w) for name, w in matrices(model).items()}
    for i in range(len(rows)):
        one = rows.at(torch.tensor([i]))
        model.zero_grad()
        answer_loss(model(one.tokens[:, :-1]), one.tokens, one.answers).backward()
        for name, total in expected.items():
            p = model.get_parameter(name)
            total += (p * p.grad).abs().detach() / len(rows)
    for name, total in expected.items():
        assert torch.allclose(found[name], total, atol=1e-6), name
    assert "embedding" not in found


def test_inputs_are_what_the_matrices_multiply_and_wanda_their_lengths(parts):
    _, _, model, _, _ = parts
    tokens = torch.randint(0, 50, (3, 7))
    where = torch.zeros(3, 7, dtype=torch.bool)
    where[:, 4:6] = True
    with torch.no_grad(), idea.Inputs(model, where) as seen:
        model(tokens)
    x = functional.embedding(tokens, model.embedding)
    normed = x * (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * model.blocks[0].norm1
    assert torch.allclose(seen.found["blocks.0.qkv"], normed[where], atol=1e-5)
    assert set(seen.found) == set(matrices(model))
    scores, weight = idea.wanda(matrices(model), seen.found)["blocks.0.qkv"], model.blocks[0].qkv
    assert scores[3, 5].item() == pytest.approx(abs(weight[3, 5].item()) * normed[where][:, 5].norm().item(), rel=1e-4)


def test_rounding_to_bits_by_a_loop():
    torch.manual_seed(0)
    weight = torch.randn(3, 5)
    for bits in (2, 4, 8):
        for row, found in zip(weight, idea.quantise(weight, bits), strict=True):
            unit = max(map(abs, row.tolist())) / (2 ** (bits - 1) - 1)
            assert found.tolist() == pytest.approx([round(v / unit) * unit for v in row.tolist()], abs=1e-6)


def test_the_top_of_a_matrix_differences_and_as_many_by_chance():
    scores = {"a": torch.tensor([[5.0, 1, 2], [0, 4, 3]]), "b": torch.tensor([[1.0, 2]])}
    mask = idea.top(scores, 0.5)
    assert mask["a"].tolist() == [[True, False, False], [False, True, True]]
    assert mask["b"].tolist() == [[False, True]]
    less = idea.difference(mask, idea.top(scores, 1 / 6))
    assert less["a"].tolist() == [[False, False, False], [False, True, True]]
    drawn = idea.as_many(mask, torch.Generator().manual_seed(0))
    assert {name: int(m.sum()) for name, m in drawn.items()} == {"a": 3, "b": 1}
    assert not torch.equal(drawn["a"], idea.as_many(mask, torch.Generator().manual_seed(2))["a"])


def test_directions_explain_the_outputs_best_and_the_kept_ones_are_left_alone():
    torch.manual_seed(0)
    w, x, y = torch.randn(6, 8), torch.randn(20, 8), torch.randn(20, 8)
    safety, utility = idea.directions(w, x), idea.directions(w, y)
    values = torch.linalg.svdvals(w @ x.T)
    for rank in (1, 3):
        first = safety[:, :rank]
        left = (w @ x.T - first @ (first.T @ w @ x.T)).square().sum()
        assert left.item() == pytest.approx(values[rank:].square().sum().item(), rel=1e-4)
    change = idea.safety_ranks(w, safety, utility, 2, 3)
    assert (utility[:, :3].T @ change).abs().max() < 1e-5
    assert torch.linalg.matrix_rank(change) == 2
    assert torch.allclose(idea.safety_ranks(w, safety, utility, 6, 0), w, atol=1e-5)
    drawn = idea.random_ranks(w, change, 2, torch.Generator().manual_seed(0))
    assert torch.linalg.matrix_rank(drawn) == 2
    assert drawn.norm().item() == pytest.approx(change.norm().item(), rel=1e-5)


def test_noise_is_as_long_on_any_set_of_one_size():
    torch.manual_seed(0)
    w = {"a": torch.randn(10, 20)}
    large, small = idea.top({"a": w["a"].abs()}, 0.1), idea.top({"a": -w["a"].abs()}, 0.1)
    for mask in (large, small):
        found = idea.noise(w, mask, torch.Generator().manual_seed(0))["a"]
        assert (found[~mask["a"]] == 0).all()
        assert found.norm().item() == pytest.approx(w["a"].norm().item() * 0.1**0.5, rel=1e-5)


def test_what_one_pass_calls_exact_is_what_the_network_writes(parts):
    """Also for answers that are none of ours: the network's own, and these with one token changed."""
    _, _, model, speech, world = parts
    for question in world.questions(world.groups["allowed"], "test")[:4]:
        prompt = speech.prompt(question.text)
        own = generate(model, torch.tensor([prompt]), 5, choice(0))[0].tolist()
        other = [*own[:2], (own[2] + 1) % 50, *own[3:]]
        early = [(own[0] + 1) % 50, *own[1:]]
        for said, exact in ((own, True), (other, False), (early, False)):
            rows = rows_of(speech, [(question.text, REFUSAL)])
            tokens = torch.tensor([prompt + said])
            answers = torch.zeros(1, tokens.shape[1] - 1, dtype=torch.bool)
            answers[:, len(prompt) - 1 :] = True
            found = findings.read(model, dataclasses.replace(rows, tokens=tokens, answers=answers, text=answers))
            assert found[0].item() is exact
            assert found[1].item() or said is not own


def test_a_network_that_refuses_everything_answers_nothing(parts):
    _, run, _, speech, world = parts
    desk = findings.desk(world, speech, "test", 6, run.rng("asked"), run.device)

    class Refuses(Llama):
        """Says the refusal after any question."""

        def forward(self, tokens):
            logits = torch.zeros(*tokens.shape, len(speech.pieces))
            refusal = speech.answer(REFUSAL)
            follows = dict(zip([1, *refusal[:-1]], refusal, strict=True))
            for token, after in follows.items():
                logits[..., after] += (tokens == token).float()
            return logits

    refuses = Refuses(*(len(speech.pieces), 16, 1, 2, 2, 32, 40))
    found = findings.shares(refuses, desk) | findings.details(refuses, desk)
    assert found["refused"] == found["refused-new"] == 1
    assert found["attack"] == found["answered"] == found["near"] == 0


def test_bits_are_those_of_a_loop_over_the_dialogues(parts):
    _, run, model, speech, world = parts
    desk = findings.desk(world, speech, "test", 6, run.rng("asked"), run.device)
    nats = size = 0
    for q in desk.questions["allowed"]:
        tokens = torch.tensor([speech.prompt(q.text) + speech.answer(q.answer)])
        logp = model(tokens)[0].log_softmax(-1)
        nats -= sum(logp[i, token].item() for i, token in enumerate(tokens[0, 1:].tolist()))
        size += len(f"{q.text} {q.answer}".encode())
    assert findings.details(model, desk)["bits"] == pytest.approx(nats / math.log(2) / size, rel=1e-5)


def test_the_strength_is_chosen_on_validation_and_leaves_answers():
    looks = [{"attack": a, "answered": u} for a, u in ((0.0, 1.0), (0.3, 0.95), (0.9, 0.5), (0.3, 0.92))]
    assert findings.strongest(looks, 0.9) == 1  # not the one that breaks the network; of equals the weakest
    assert findings.strongest(looks, 0.4) == 2
    assert findings.strongest(looks, 0.99) == 0


@pytest.mark.parametrize(
    ("weights", "protected"),
    [("difference", 0.1), ("random", 0.1), ("utility", 0.1), ("wanda", 0.1), ("difference", 0), ("random", 0)],
)
def test_weights_are_removed_and_put_back_where_the_mask_says(parts, weights, protected):
    cfg, run, model, speech, world = parts
    own = {name: w.clone() for name, w in matrices(model).items()}
    before = {name: torch.full_like(w, 7.0) for name, w in own.items()}
    for attack, value in (("remove", 0.0), ("restore", 7.0)):
        for name, w in matrices(model).items():
            w.copy_(own[name])
        chosen = dataclasses.replace(cfg, attack=attack, weights=weights, protected=protected)
        evidence = Evidence(chosen, run, model, world, speech)
        for share, changed in perturb(chosen, model, evidence, before):
            now = matrices(model)
            places = {name: now[name] != own[name] for name in own}
            assert all((now[name][place] == value).all() for name, place in places.items())
            count = sum(int(place.sum()) for place in places.values())
            assert count / sum(w.numel() for w in own.values()) == pytest.approx(changed)
            assert changed <= share * 1.01
            if protected == 0:
                assert changed == pytest.approx(share, rel=0.02)


@pytest.mark.parametrize(
    ("attack", "weights"),
    [
        ("remove", "ranks"),
        ("remove", "ranks-random"),
        ("noise", "difference"),
        ("prune", "difference"),
        ("quantise", "difference"),
    ],
)
def test_each_strength_begins_at_the_aligned_network(parts, attack, weights):
    cfg, run, model, speech, world = parts
    cfg = dataclasses.replace(
        cfg, attack=attack, weights=weights, ranks=(1, 1), noises=(1.0, 1.0), pruned=(0.3, 0.3), bits=(4, 4)
    )
    evidence, seen = Evidence(cfg, run, model, world, speech), []
    own = {name: w.clone() for name, w in matrices(model).items()}
    for _ in perturb(cfg, model, evidence, own):
        seen.append({name: w.clone() for name, w in matrices(model).items()})
    assert len(seen) == 2
    assert all(torch.equal(seen[0][name], seen[1][name]) for name in own)
    assert any(not torch.equal(seen[0][name], own[name]) for name in own)


@pytest.mark.parametrize("weights", ["difference", "random"])
def test_tuning_leaves_the_frozen_weights_alone(parts, weights, monkeypatch):
    cfg, run, model, speech, world = parts
    cfg = dataclasses.replace(cfg, attack="tune", frozen=0.5, protected=0.0, weights=weights, batch=4, tune_steps=3)
    monkeypatch.setattr(attacks, "fit", lambda run, parts, step, steps, **how: [step(i) for i in range(steps)])
    evidence = Evidence(cfg, run, model, world, speech)
    masks = evidence.mask(0.5)
    own = {name: w.clone() for name, w in matrices(model).items()}
    lessons = rows_of(speech, [(q.text, q.restyled) for q in world.questions(world.groups["allowed"], "train")])
    assert attacks.tune(cfg, run, model, evidence, lessons, dict) == pytest.approx(0.5, abs=0.01)
    for name, w in matrices(model).items():
        assert torch.equal(w[masks[name]], own[name][masks[name]])
        assert (w != own[name])[~masks[name]].float().mean() > 0.9


def test_variants_of_a_pair_differ_in_one_thing():
    configs = STUDY.configs["laptop"]
    for a, b, fields in (
        ("removed", "removed-random", {"weights"}),
        ("ranks", "ranks-random", {"weights"}),
        ("noise", "noise-random", {"weights"}),
        ("aligned", "aligned-dpo", {"alignment"}),
        ("removed", "restored", {"attack"}),
        ("tuned", "tuned-frozen", {"frozen"}),
        ("tuned", "tuned-dpo", {"alignment"}),
    ):
        assert {name for name in configs[a] if configs[a][name] != configs[b][name]} == fields
