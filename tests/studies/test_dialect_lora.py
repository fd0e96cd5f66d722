import dataclasses
import math

import numpy as np
import pytest
import torch

from etudes.core.errors import Problem
from etudes.core.run import Run, execute
from etudes.data.corpus import LIST
from etudes.data.dialects import drawn_documents
from etudes.data.tokens import bpe, ids
from etudes.generate.sampling import choice, generate
from etudes.nn.llama import Llama
from etudes.nn.lora import LowRankLinear, merge
from etudes.studies.language.dialect_lora import STUDY, Config, mixture
from etudes.studies.language.dialect_lora.claims import (
    BITS,
    CROSS,
    least_premium,
    least_saving,
    loss_for_gain,
    near_over,
)
from etudes.studies.language.dialect_lora.findings import cutting, fertility, language_of, read_samples
from etudes.studies.language.dialect_lora.materials import check_language, ngram_bits, stretches
from etudes.studies.language.dialect_lora.networks import (
    HubWriter,
    _adapted,
    check_network,
    equal_steps,
    multiply_adds,
    next_token_loss,
    optimiser,
    small_network,
)

SMALL = Config(width=32, depth=2, context=16, vocabulary=300, head=16)


def network(cfg=SMALL, vocabulary=300):
    torch.manual_seed(0)
    return small_network(cfg, vocabulary)


def llama(context=32):
    """A small network of transformers, as SmolLM2 is one."""
    from etudes.nn.exchange import to_transformers

    torch.manual_seed(0)
    ours = Llama(50, 32, 2, 4, 2, 48, context)
    return ours, HubWriter(to_transformers(ours), context)


def moved(model, steps=2):
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    opt = optimiser(model, 1e-2)
    for _ in range(steps):
        opt.zero_grad()
        next_token_loss(model, torch.arange(34).view(2, 17) % 20).backward()
        opt.step()
    return {name for name, p in model.named_parameters() if not torch.equal(before[name], p)}


def test_low_rank_changes_begin_as_nothing_and_merge_into_the_matrices():
    model, tokens = network().eval(), torch.arange(16)[None]
    before = model(tokens)
    _adapted(SMALL, model)
    assert sum(isinstance(layer, LowRankLinear) for layer in model.modules()) == 4 * SMALL.depth
    assert torch.equal(model(tokens), before)
    moved(model)
    after = model(tokens)
    assert not torch.allclose(after, before)
    assert torch.allclose(merge(model)(tokens), after, atol=1e-5)


def test_what_is_trained_moves_and_nothing_else_does():
    low_rank = moved(_adapted(SMALL, network()))
    assert {name.rsplit(".", 1)[-1] for name in low_rank} == {"a", "b"}
    pieces = moved(_adapted(dataclasses.replace(SMALL, pieces=True), network()))
    assert pieces - low_rank == {"embedding.weight", "position_embedding.weight"}
    assert moved(network()) == {name for name, _ in network().named_parameters()}


def test_the_loss_is_the_mean_of_minus_log_p_of_the_next_token():
    model, block = network().eval(), torch.randint(300, (3, 9))
    p = model(block[:, :-1]).softmax(-1)
    by_hand = [-math.log(p[i, t, block[i, t + 1]].item()) for i in range(3) for t in range(8)]
    assert next_token_loss(model, block).item() == pytest.approx(np.mean(by_hand), rel=1e-5)


def test_arithmetic_is_what_a_counter_counts():
    from torch.utils.flop_counter import FlopCounterMode

    for model, width in ((network(), 32), (llama(16)[1], 32)):
        with FlopCounterMode(display=False) as flops:
            model(torch.zeros(1, 16, dtype=torch.int64))
        attention = 2 * 16 * width  # of two layers; the counter may see whole squares, twice the causal half
        found = flops.get_total_flops() / 2 / 16 - multiply_adds(model, 16)
        assert found == pytest.approx(0) or found == pytest.approx(attention) or found == pytest.approx(-attention)


def test_a_new_network_has_the_arithmetic_of_adaptation_or_of_pretraining_too():
    cfg = dataclasses.replace(SMALL, steps=90, batch=4, base_steps=500, base_batch=8)
    base, new = network(), network(vocabulary=600)
    dearer = multiply_adds(new, 16) / multiply_adds(base, 16)
    # a step with frozen matrices: two ways forward; a step of all weights: three
    assert equal_steps(cfg, base, base) == 60
    assert equal_steps(cfg, base, new) * dearer == pytest.approx(60, rel=0.02)
    everything = dataclasses.replace(cfg, pays_for="all")
    assert equal_steps(everything, base, base) == 60 + 2 * 500


def test_a_networks_of_the_hub_is_read_and_adapted_like_ours():
    ours, hub = llama()
    tokens = torch.randint(50, (2, 9))
    assert torch.allclose(hub(tokens), ours(tokens), atol=1e-5)
    logits, state = hub.next(tokens[:, :4], hub.start(2))
    logits, state = hub.next(tokens[:, 4:], state)
    assert torch.allclose(logits, ours(tokens)[:, 4:], atol=1e-5)
    assert generate(hub, tokens, 3, choice(0)).equal(generate(ours, tokens, 3, choice(0)))
    cfg = dataclasses.replace(SMALL, rank=2)
    _adapted(cfg, hub)
    names = {name for name, layer in hub.named_modules() if isinstance(layer, LowRankLinear)}
    assert len(names) == 7 * 2
    assert not any(name.endswith("lm_head") for name in names)


def test_a_batch_is_cut_between_the_dialect_and_italian():
    run = object.__new__(Run)
    (run.spec,) = STUDY.plan("smoke", seeds=1, variants=("venetian",))
    dialect, italian = torch.zeros(200, dtype=torch.int64), torch.ones(200, dtype=torch.int64)
    for rehearsal, expected in ((0.0, [8, 0]), (0.25, [6, 2]), (1.0, [0, 8])):
        cfg = dataclasses.replace(SMALL, batch=8, rehearsal=rehearsal)
        block = torch.cat([each.at(0) for each in mixture(cfg, run, dialect, italian)])
        assert block.shape == (8, 17)
        assert torch.bincount(block[:, 0], minlength=2).tolist() == expected


def test_fertility_and_premium_are_ratios_of_counts():
    italian, dialect = ["il gatto dorme"], ["el gato dorme cuà"]
    tokenizer = bpe(italian * 50, 300)
    count = {works[0]: len(ids(tokenizer, works)) - 1 for works in (italian, dialect)}
    found = cutting(tokenizer, dialect, italian, dialect)
    assert found["test/tokens-per-word-english"] == count[dialect[0]] / 4
    assert found["test/tokens-per-word"] == fertility(tokenizer, dialect) == count[dialect[0]] / 4
    assert found["test/tokens-per-word-italian"] == count[italian[0]] / 3
    assert found["test/premium"] == pytest.approx(count[dialect[0]] / count[italian[0]] - 1)
    assert found["test/premium"] > 0


def test_samples_are_read_by_their_words():
    train = ["el gato dorme inte la caxa de la nona\nla note xe longa"]
    found = read_samples(["el gato dorme inte la nona", "xe xe xe el gato dorme inte la"], train)
    assert found["test/samples-known-words"] == 1
    assert found["test/samples-copied"] == pytest.approx(2 / 6)  # runs of five: one of two, and one of four
    assert found["test/samples-circles"] == 0
    works = {code: ["\n".join(lines) for lines in drawn_documents(code).values()] for code in ("it", "scn")}
    texts = [works["scn"][50], works["it"][50], works["scn"][51]]
    assert language_of(texts, works["scn"][:40], works["it"][:40]) == pytest.approx(2 / 3)


def test_an_n_gram_of_bytes_needs_no_bits_for_what_it_has_seen_again_and_again():
    assert ngram_bits(["ab" * 5000], ["ab" * 500]) < 0.01
    assert ngram_bits(["ab" * 5000], ["xyz" * 50]) > 3


def test_stretches_are_pieces_of_each_work_from_a_place_that_is_drawn():
    works = ["".join(map(chr, range(97, 123))) * 20, "0123456789" * 30]
    found = stretches(works, 100, np.random.default_rng(0))
    assert [len(piece) for piece in found] == [50, 50]
    assert all(piece in work for piece, work in zip(found, works, strict=True))
    assert found != stretches(works, 100, np.random.default_rng(1))


def test_the_claims_numbers_by_hand():
    trial = {
        "a": {BITS: 3.0, f"{BITS}-untouched": 4.0, "test/premium": 0.3},
        "b": {BITS: 3.6, f"{BITS}-untouched": 4.0, "test/premium": 0.2},
    }
    trial["a"] |= {"test/gain": 1.0, "test/loss": 0.2}
    assert least_saving(("a", "b"))(trial) == pytest.approx(0.1)
    assert least_premium(("a", "b"))(trial) == 0.2
    assert loss_for_gain("a")(trial) == pytest.approx(0.2)
    after = {"lombard": 3.0, "ligurian": 3.2, "sicilian": 3.5}
    trial = {name: {CROSS: bits, f"{CROSS}-untouched": 4.0} for name, bits in after.items()}
    assert near_over("")(trial) == pytest.approx(-0.9)
    assert near_over("sicilian")(trial) == pytest.approx(-0.4)


def test_a_folder_of_ones_own_is_learnt_from(tmp_path):
    works = list(drawn_documents("scn").values())[:6]
    lines = ["file,language,licence"]
    for i, work in enumerate(works):
        (tmp_path / f"{i}.txt").write_text("\n".join(work), encoding="utf-8")
        lines.append(f"{i}.txt,roa,public domain")
    (tmp_path / LIST).write_text("\n".join(lines), encoding="utf-8")
    settings = {"dataset": f"folder:{tmp_path}", "dialect": "roa"}
    (spec,) = STUDY.plan("smoke", seeds=1, variants=("venetian",), **settings)
    execute(STUDY, spec, tmp_path / "runs")
    corpora = [*(tmp_path / "runs").glob("*/smoke/once/corpus/*/works.json")]
    assert any("own-folder" in path.read_text() for path in corpora)
    assert (tmp_path / "runs" / spec.key / "samples.txt").exists()


def test_what_cannot_be_is_refused(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(Problem, match="'xx' is no language here"):
        check_language(Config(dialect="xx"))
    with pytest.raises(Problem, match="the network nobody/nothing cannot be had"):
        check_network(Config(network="nobody/nothing"))
    with pytest.raises(Problem, match="heads of 48"):
        small_network(Config(head=48), 300)
