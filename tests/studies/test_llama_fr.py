from dataclasses import replace

import pytest
import torch

from etudes.core.errors import Problem
from etudes.core.run import Run, execute
from etudes.data.text import Texts
from etudes.generate.sampling import choice, generate
from etudes.measure.size import count_parameters
from etudes.studies.language.llama_fr import STUDY, Config, arithmetic, equal_cost_steps, load_network, network
from etudes.studies.language.llama_fr.reading import tokenize

SMALL = Config(width=64, depth=2, context=16)


def built(cfg, vocabulary=300):
    torch.manual_seed(0)
    return network(cfg, vocabulary)


@pytest.mark.parametrize("width", [64, 128, 192, 256])
def test_both_blocks_have_about_as_many_parameters(width):
    llama, gpt = (count_parameters(built(Config(width=width, block=block), 4096)) for block in ("llama", "gpt"))
    assert llama == pytest.approx(gpt, rel=0.025)  # GPT has learnt positions and biases besides


def test_heads_that_do_not_fill_the_width_are_refused():
    with pytest.raises(Problem, match="a width of 128 does not fall into heads of 48"):
        network(Config(head=48), 300)


def test_arithmetic_is_what_a_counter_counts():
    from torch.utils.flop_counter import FlopCounterMode

    for block in ("llama", "gpt"):
        cfg = replace(SMALL, block=block)
        model = built(cfg)
        tokens = torch.zeros(1, 16, dtype=torch.int64)
        with FlopCounterMode(display=False) as flops:
            model(tokens)
        # The counter sees whole squares of attention, twice the causal half.
        masked = 2 * 16 * 64
        assert flops.get_total_flops() / 2 == 16 * (arithmetic(cfg, model, 300) + masked)


def test_networks_with_any_vocabulary_spend_the_same_arithmetic():
    cfg = replace(SMALL, steps=10_000, duration=0.5)
    for vocabulary in (300, 4096, 32_768):
        model = built(cfg, vocabulary)
        spent = equal_cost_steps(cfg, model, vocabulary) * arithmetic(cfg, model, vocabulary)
        assert spent == pytest.approx(5000 * arithmetic(cfg, model, 4096), rel=1e-3)


@pytest.mark.parametrize("block", ["llama", "gpt"])
def test_greedy_and_drawn_tokens_of_a_trained_network_are_the_same_with_and_without_the_cache(block, tmp_path):
    (spec,) = STUDY.plan("smoke", seeds=1, variants=(block,), context=64, steps=40)
    execute(STUDY, spec, tmp_path)
    model, tokenizer = load_network(Config(**spec.config), tmp_path / spec.key)
    begin = torch.tensor([tokenizer.start, *tokenizer.encode("def f")])
    for temperature in (0.0, 1.0):
        one, other = (choice(temperature, generator=torch.Generator().manual_seed(0)) for _ in range(2))
        with_cache = generate(model, begin[None], 50, one)[0]
        whole = begin
        with torch.no_grad():
            for _ in range(50):
                whole = torch.cat([whole, other(model(whole[None])[:, -1])])
        assert with_cache.tolist() == whole[len(begin) :].tolist()
    assert len(with_cache.unique()) > 10


def test_variants_of_a_seed_share_one_tokenizer(tmp_path):
    d = Texts("tiny", ("Il était une fois. " * 50, "— Œuf « dur » ? " * 30), ("x",), ("y",), {})
    plan = {spec.variant: spec for spec in STUDY.plan("smoke", variants=("llama", "gpt", "letters"))}
    found = {}
    for name, spec in plan.items():
        folder = tmp_path / spec.key
        folder.mkdir(parents=True)
        found[name] = tokenize(Run(spec, folder), d, spec.config["tokenizer"], {"dataset": d.name})
    assert torch.equal(found["llama"][1], found["gpt"][1])
    assert len(found["letters"][1]) == sum(map(len, d.train)) + 2  # a token a character, and the start of each work
    tokenizer, tokens = found["llama"]
    assert tokenizer.decode(tokens.tolist()) == "".join(d.train)
    assert len(list((tmp_path / "llama-fr" / "smoke" / "once" / "tokens").glob("*/tokens.safetensors"))) == 2


def test_claims_measure_what_they_say():
    bits, names = "test/bits-per-byte", [variant.name for variant in STUDY.variants]
    trial = {name: {bits: 2.0} for name in names}
    trial["letters"][bits], trial["gpt"][bits], trial["brief"][bits], trial["little-text"][bits] = 2.5, 2.25, 2.75, 3.0
    trial["narrow"][bits], trial["wide"][bits] = 2.125, 1.5
    values = [claim.measure(trial) for claim in STUDY.claims.values()]
    assert values == [-0.5, -0.25, -0.75, -1.0, -0.125]
