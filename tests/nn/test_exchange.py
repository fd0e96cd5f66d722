import pytest
import torch

from etudes.core.errors import Problem
from etudes.generate.sampling import choice, generate
from etudes.nn.exchange import from_transformers, to_transformers
from etudes.nn.gpt import GPT
from etudes.nn.llama import Llama

transformers = pytest.importorskip("transformers")

MODELS = {
    "gpt": lambda: GPT(60, 24, 2, 4, 64, dropout=0.1),
    "llama": lambda: Llama(60, 32, 3, 4, 4, 40, 64),
    "llama, grouped": lambda: Llama(60, 48, 2, 6, 2, 56, 64, theta=500.0, eps=1e-3),
    "llama, one group": lambda: Llama(60, 16, 1, 4, 1, 8, 64),
}
LLAMA = {
    "vocab_size": 60,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "intermediate_size": 56,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
}
GPT2 = {"vocab_size": 60, "n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 64}


def random(model, seed: int = 0):
    """The model with weights of its own in every tensor, norms and biases too; in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(parameter.ndim < 2, 0.3, generator=generator)
    return model.eval()


def tokens(n: int = 3, t: int = 14) -> torch.Tensor:
    return torch.randint(60, (n, t), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", MODELS)
def test_logits_are_those_of_transformers_there_and_back(kind, tmp_path):
    ours = random(MODELS[kind]())
    theirs = to_transformers(ours)
    theirs.save_pretrained(tmp_path)
    with torch.no_grad():
        wanted = theirs(tokens()).logits
        assert (ours(tokens()) - wanted).abs().max() < 1e-4
        assert wanted.std() > 0.1
        for source in (theirs, tmp_path, str(tmp_path)):
            back = from_transformers(source)
            assert torch.equal(back(tokens()), ours(tokens()))
            assert not back.training
        assert back.context == ours.context
        first = next(theirs.parameters())
        first.zero_()  # a copy: ours stay
        assert all(p.abs().sum() > 0 for p in ours.parameters())


@pytest.mark.parametrize("make", [lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**LLAMA)),
                                  lambda: transformers.GPT2LMHeadModel(transformers.GPT2Config(**GPT2))])  # fmt: skip
def test_networks_of_transformers_are_taken_over(make):
    theirs = random(make())
    ours = from_transformers(theirs)
    with torch.no_grad():
        assert (ours(tokens()) - theirs(tokens()).logits).abs().max() < 1e-4
        assert (to_transformers(ours)(tokens()).logits - theirs(tokens()).logits).abs().max() < 1e-6


@pytest.mark.parametrize("kind", MODELS)
def test_fifty_greedy_tokens_are_the_same_with_and_without_cache_and_those_of_transformers(kind):
    ours = random(MODELS[kind]())
    prompt = tokens()
    cached = generate(ours, prompt, 50, choice(temperature=0))
    whole = prompt
    with torch.no_grad():
        for _ in range(50):
            whole = torch.cat([whole, ours(whole)[:, -1].argmax(-1, keepdim=True)], 1)
    theirs = to_transformers(ours).generate(
        prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=50
    )
    assert torch.equal(cached, whole[:, 14:])
    assert torch.equal(whole, theirs)
    assert len(cached.unique()) > 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, r"rotary positions are scaled \(linear\)"),
        ({"attention_bias": True}, "projections have biases"),
        ({"mlp_bias": True}, "projections have biases"),
        ({"tie_word_embeddings": False}, "output has a matrix of its own"),
        ({"hidden_act": "gelu"}, "its activation is gelu"),
        ({"head_dim": 16}, "its heads are 16 wide"),
        ({"attention_dropout": 0.1}, "drops attention weights"),
    ],
)
def test_what_our_llama_has_no_place_for(changes, words):
    with pytest.raises(Problem, match=f"this LlamaForCausalLM cannot be taken over: .*{words}"):
        from_transformers(transformers.LlamaForCausalLM(transformers.LlamaConfig(**LLAMA | changes)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"activation_function": "relu"}, "its activation is relu"),
        ({"n_inner": 50}, "it is 50 wide between its layers"),
        ({"attn_pdrop": 0.2}, "its dropouts differ"),
        ({"layer_norm_epsilon": 1e-3}, r"its norms add 0\.001"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scales scores by the layer"),
        ({"tie_word_embeddings": False}, "output has a matrix of its own"),
    ],
)
def test_what_our_gpt_has_no_place_for(changes, words):
    with pytest.raises(Problem, match=f"this GPT2LMHeadModel cannot be taken over: .*{words}"):
        from_transformers(transformers.GPT2LMHeadModel(transformers.GPT2Config(**GPT2 | changes)))


def test_what_is_no_network_of_ours(tmp_path):
    with pytest.raises(Problem, match=r"a Linear is none of the networks .* LlamaForCausalLM, GPT2LMHeadModel"):
        from_transformers(torch.nn.Linear(2, 2))
    with pytest.raises(Problem, match=r"nowhere has no config\.json"):
        from_transformers(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(Problem, match="no network that transformers reads from safetensors"):
        from_transformers(tmp_path)
