import pytest
import torch
from torch import nn

from etudes.core.errors import Problem
from etudes.measure.size import count_parameters
from etudes.nn.exchange import from_transformers, to_transformers
from etudes.nn.roberta import Roberta, look_beside, rotation, waves

LENGTHS = (9, 3, 12)


def small(**changes) -> Roberta:
    """A network with weights of its own in every tensor; in evaluation mode."""
    torch.manual_seed(0)
    model = Roberta(**{"vocabulary": 50, "width": 24, "depth": 2, "heads": 3, "context": 12} | changes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(parameter.ndim < 2, 0.3)
    return model.eval()


def rows(pad: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(2, 50, (len(LENGTHS), 12), generator=generator)
    return torch.where(torch.arange(12) < torch.tensor(LENGTHS)[:, None], tokens, pad)


def test_blocks_are_those_of_pytorch_s_encoder():
    ours = small()
    layer = nn.TransformerEncoderLayer(24, 3, 96, 0.0, "gelu", layer_norm_eps=1e-5, batch_first=True)
    theirs = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    with torch.no_grad():
        for block, other in zip(ours.blocks, theirs.layers, strict=True):
            other.self_attn.in_proj_weight.copy_(block.qkv.weight)
            other.self_attn.in_proj_bias.copy_(block.qkv.bias)
            pairs = {"out": other.self_attn.out_proj, "norm1": other.norm1, "up": other.linear1,
                     "down": other.linear2, "norm2": other.norm2}  # fmt: skip
            for name, part in pairs.items():
                part.load_state_dict(getattr(block, name).state_dict())
        tokens = rows()
        x = ours.norm(ours.embedding(tokens) + ours.position_embedding.weight)
        wanted = theirs(x, src_key_padding_mask=tokens == 0)
        there = tokens != 0
        torch.testing.assert_close(ours(tokens)[there], wanted[there], atol=1e-5, rtol=0)


def test_padding_changes_nothing():
    model, tokens = small(), rows()
    with torch.no_grad():
        together = model(tokens)
        for row, vectors, length in zip(tokens, together, LENGTHS, strict=True):
            torch.testing.assert_close(vectors[:length], model(row[None, :length])[0], atol=1e-5, rtol=0)


def test_wanted_places_alone_have_the_same_vectors_and_gradients():
    model, tokens = small(), rows()
    wanted = (torch.rand(tokens.shape, generator=torch.Generator().manual_seed(2)) < 0.3) & (tokens != 0)
    gradients = []
    for vectors in (model(tokens)[wanted], model(tokens, wanted)):
        model.zero_grad()
        (vectors**3).sum().backward()
        gradients.append([p.grad.clone() for p in model.blocks.parameters()])
    torch.testing.assert_close(model(tokens, wanted), model(tokens)[wanted], atol=1e-5, rtol=0)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-4)


def test_every_token_sees_both_sides():
    model, tokens = small(), rows()[2:]
    with torch.no_grad():
        before = model(tokens)
        for place in (0, 11):
            changed = tokens.clone()
            changed[0, place] = 2 + (tokens[0, place] - 1) % 40
            assert ((model(changed) - before).abs().amax(2) > 1e-4).all()


def test_waves_are_orthogonal_and_a_shift_is_a_rotation():
    table = waves(12, 24)
    products = table @ table.T
    assert products.diagonal().tolist() == pytest.approx([12.0] * 12)
    assert (products - 12 * torch.eye(12)).abs().max() < 1.5
    for shift in (1, -2):
        turned = table @ rotation(24, shift).T
        begin, end = max(0, shift), 12 + min(0, shift)
        torch.testing.assert_close(turned[begin - shift : end - shift], table[begin:end], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("width", "heads"), [(128, 2), (256, 4)])
def test_heads_begin_by_looking_at_the_places_beside(width, heads):
    torch.manual_seed(0)
    model = look_beside(Roberta(300, width, 2, heads, 40))
    tokens = torch.randint(2, 300, (16, 40))
    x = model.norm(model.embedding(tokens) + model.position_embedding.weight).flatten(0, 1)
    q, k, _ = model.blocks[0].qkv(x).view(16, 40, 3, heads, -1).permute(2, 0, 3, 1, 4)
    weights = (q @ k.transpose(2, 3) / 8).softmax(-1).mean(0)
    for head, offset in zip(weights, (-1, 1, -2, 2), strict=False):
        means = {o: head.diagonal(o).mean().item() for o in range(-4, 5)}
        assert max(means, key=means.get) == offset
        assert means.pop(offset) > 5 * max(means.values())


def test_the_paper_s_base_has_its_parameters():
    with torch.device("meta"):
        model = Roberta(50_265, 768, 12, 12, 512)
    # As RobertaForMaskedLM's 124,697,433, less two rows of positions that it never uses and the vector of its segment.
    assert count_parameters(model) == 124_697_433 - 3 * 768


@pytest.mark.parametrize("pad", [0, 1])
def test_padded_batches_give_the_hidden_states_of_transformers_there_and_back(pad, tmp_path):
    pytest.importorskip("transformers")
    ours = small(pad=pad)
    theirs = to_transformers(ours)
    tokens = rows(pad)
    there = tokens != pad
    theirs.save_pretrained(tmp_path)
    with torch.no_grad():
        wanted = theirs(tokens, attention_mask=there.long(), output_hidden_states=True)
        vectors = ours(tokens)
        assert wanted.logits.std() > 0.1
        torch.testing.assert_close(vectors[there], wanted.hidden_states[-1][there], atol=1e-4, rtol=0)
        torch.testing.assert_close(ours.logits(vectors)[there], wanted.logits[there], atol=1e-4, rtol=0)
        for source in (theirs, tmp_path):
            back = from_transformers(source)
            assert torch.equal(back(tokens), vectors)
            assert torch.equal(back.logits(vectors), ours.logits(vectors))
            assert not back.training
            assert (back.pad, back.context) == (pad, ours.context)


def test_a_network_of_transformers_is_taken_over():
    transformers = pytest.importorskip("transformers")
    sizes = {
        "vocab_size": 50,
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 96,
        "max_position_embeddings": 14,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-5,
    }
    theirs = transformers.RobertaForMaskedLM(transformers.RobertaConfig(**sizes)).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(parameter.ndim < 2, 0.3)
        tokens = rows(1)
        wanted = theirs(tokens, attention_mask=(tokens != 1).long()).logits
        ours = from_transformers(theirs)
        there = tokens != 1
        torch.testing.assert_close(ours.logits(ours(tokens))[there], wanted[there], atol=1e-4, rtol=0)
    for changes, words in (
        ({"hidden_act": "relu"}, "its activation is relu"),
        ({"intermediate_size": 50}, "it is 50 wide between its layers"),
        ({"layer_norm_eps": 1e-3}, r"its norms add 0\.001"),
        ({"attention_probs_dropout_prob": 0.2}, "its dropouts differ"),
        ({"is_decoder": True}, "it sees only what comes before"),
        ({"tie_word_embeddings": False}, "output has a matrix of its own"),
    ):
        other = transformers.RobertaForMaskedLM(transformers.RobertaConfig(**sizes | changes))
        with pytest.raises(Problem, match=words):
            from_transformers(other)


def test_what_is_no_network():
    with pytest.raises(Problem, match="does not fall into 5 heads"):
        small(heads=5)
    with pytest.raises(Problem, match="pad is one of the tokens"):
        small(pad=50)
    with pytest.raises(Problem, match="sees 12 tokens at once, not 13"):
        small()(torch.zeros(1, 13, dtype=torch.int64))
