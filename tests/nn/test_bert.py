import pytest
import torch

from etudes.nn.bert import Bert, from_checkpoint

LENGTHS = (7, 1, 20, 3)


@pytest.fixture(scope="module")
def theirs():
    """A BertModel with random weights in every tensor, norms and biases too."""
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=40,
        max_position_embeddings=20,
        layer_norm_eps=1e-5,
    )
    model = transformers.BertModel(config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3, generator=generator)
    return model


@pytest.fixture
def ours(theirs) -> Bert:
    return from_checkpoint(theirs.state_dict(), 3, 1e-5)


def texts() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(50, (length,), generator=generator) for length in LENGTHS]


def test_vectors_are_those_of_transformers(ours, theirs):
    with torch.inference_mode():
        found = ours(texts())
        for text, vectors in zip(texts(), found, strict=True):
            wanted = theirs(text[None]).last_hidden_state[0]
            assert vectors.shape == wanted.shape == (len(text), 24)
            assert wanted.std() > 0.1
            torch.testing.assert_close(vectors, wanted, atol=1e-5, rtol=0)


def test_no_text_sees_another(ours):
    with torch.inference_mode():
        together = ours(texts())
        others = ours([texts()[2], texts()[0].flip(0)])
        for text, vectors in zip(texts(), together, strict=True):
            torch.testing.assert_close(vectors, ours([text])[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(others[0], together[2], atol=1e-5, rtol=0)
        assert (others[1] - together[0]).abs().max() > 1e-3


def test_the_sizes_are_the_checkpoint_s(ours):
    assert (ours.context, len(ours.blocks), ours.blocks[0].heads) == (20, 2, 3)
    assert not ours.training
