import dataclasses

import pytest
import torch
from torch import nn

from etudes.core.errors import Problem
from etudes.core.run import Run
from etudes.core.spec import Spec
from etudes.nn.bert import Bert
from etudes.tools import encoders
from etudes.tools.encoders import BERT, draw_first_weights, layer_parameters, sentence_encoder, shorten

TEXTS = ["sales rose by five per cent", "costs fell", "the firm has offices in Turku"]


@pytest.fixture
def run(tmp_path):
    spec = Spec("sketch", "smoke", "a", 0, {}, "fp32")
    (tmp_path / spec.key).mkdir(parents=True)
    return Run(spec, tmp_path / spec.key)


def own(run, depth=0):
    return sentence_encoder(run, "own", True, TEXTS, (300, 32, 3), depth)


def test_a_vector_is_the_mean_of_its_sentence_s_tokens(run):
    encoder = own(run)
    rows = [encoder.encode(text) for text in TEXTS]
    with torch.no_grad():
        found = encoder(rows)
        for row, vector in zip(rows, found, strict=True):
            torch.testing.assert_close(vector, encoder.network([torch.tensor(row)])[0].mean(0), atol=1e-5, rtol=0)
    assert found.shape == (3, encoder.width) == (3, 32)


def test_an_encoder_cut_short_gives_what_its_lower_blocks_give(run):
    whole, half = own(run), own(run, 1)
    rows = [whole.encode(text) for text in TEXTS]
    whole.network.blocks[1] = whole.network.blocks[2] = Same()
    with torch.no_grad():
        assert torch.equal(whole(rows), half(rows))
    assert len(own(run, 9).blocks) == 3


class Same(nn.Module):
    def forward(self, x, lengths):
        return x


def test_layers_hold_every_parameter_once(run):
    encoder = own(run)
    layers = layer_parameters(encoder)
    assert [len(layer) for layer in layers] == [5, *[12] * 3]
    assert {id(p) for layer in layers for p in layer} == {id(p) for p in encoder.parameters()}
    assert any(p is encoder.words.weight for p in layers[0])


def test_first_weights_are_bert_s():
    network = draw_first_weights(Bert(200, 64, 2, 2, 128, 32))
    for name, p in network.named_parameters():
        if name.endswith("bias"):
            assert not p.any()
        elif "norm" in name:
            assert (p == 1).all()
        elif p.ndim > 1:
            assert p.std().item() == pytest.approx(0.02, rel=0.1)


def test_a_row_is_cut_before_its_end_mark():
    assert shorten([1, 2, 3, 9], 4) == [1, 2, 3, 9]
    assert shorten([1, 2, 3, 9], 3) == [1, 2, 9]


def test_what_is_carried_is_not_changed_by_training(run, monkeypatch):
    kept = draw_first_weights(Bert(300, 32, 2, 1, 64, 64))
    monkeypatch.setattr(encoders, "LocalBert", Carried)
    monkeypatch.setattr(encoders, "embedder", lambda name: Carried(kept))
    encoder = sentence_encoder(run, "minilm", True, [], (300, 32, 3))
    rows = [encoder.encode(text) for text in TEXTS]
    assert torch.equal(encoder(rows), encoders.OwnEncoder(kept, len)(rows))
    other = sentence_encoder(run, "minilm", False, [], (300, 32, 3))
    assert not torch.equal(other.words.weight, kept.words.weight)
    with torch.no_grad():
        encoder.words.weight.zero_()
    assert kept.words.weight.any()


def test_what_comes_packed_has_no_copy_with_first_weights(run, monkeypatch):
    packed = draw_first_weights(Bert(300, 32, 2, 1, 64, 64))
    packed.words = nn.Identity()
    monkeypatch.setattr(encoders, "LocalBert", Carried)
    monkeypatch.setattr(encoders, "embedder", lambda name: Carried(packed))
    assert sentence_encoder(run, "e5-small", True, [], (300, 32, 3)).width == 32
    with pytest.raises(Problem, match="comes packed"):
        sentence_encoder(run, "e5-small", False, [], (300, 32, 3))


@dataclasses.dataclass
class Ids:
    ids: list[int]


class Carried:
    begin = "query: "

    def __init__(self, model):
        self.model, self.tokenizer = model, self

    def encode(self, text):
        return Ids([ord(letter) % 300 for letter in text])


@pytest.mark.parametrize(("name", "millions"), [("bert-base-random", 109.48), ("bert-large-random", 335.14)])
def test_random_ones_have_bert_s_numbers_of_weights(name, millions):
    vocabulary, width = BERT[name][:2]
    with torch.device("meta"):
        ours = sum(p.numel() for p in Bert(*BERT[name]).parameters())
    pooler, second_segment = width * width + width, width
    assert (ours + pooler + second_segment) / 1e6 == pytest.approx(millions, abs=0.01)
    assert vocabulary == 30522
