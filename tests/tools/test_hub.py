"""Encoders of the hub, on tiny random ones of the same classes that a test writes as the library does."""

import json

import pytest
import torch

from etudes.core.errors import Problem
from etudes.tools.encoders import HubEncoder, layer_parameters
from etudes.tools.hub import PINNED, hub_address, hub_encoder

transformers = pytest.importorskip("transformers")
huggingface_hub = pytest.importorskip("huggingface_hub")
SIZES = {
    "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
    "max_position_embeddings": 40, "pad_token_id": 0,
}  # fmt: skip
KINDS = {
    "bert": transformers.BertConfig,
    "roberta": transformers.RobertaConfig,
    "xlm-roberta": transformers.XLMRobertaConfig,
    "deberta": transformers.DebertaV2Config,
}


def write_tokenizer(folder):
    import tokenizers

    words = {name: i for i, name in enumerate(("[PAD]", "[UNK]", "sales", "costs", "rose", "fell", "again"))}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(
        folder
    )


def write_network(folder, kind="bert"):
    torch.manual_seed(0)
    transformers.AutoModel.from_config(KINDS[kind](**SIZES)).save_pretrained(folder)
    write_tokenizer(folder)
    return str(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_vectors_that_padding_does_not_change(kind, tmp_path):
    encoder = HubEncoder(*hub_encoder(write_network(tmp_path, kind)))
    rows = [encoder.encode(text) for text in ("sales rose", "costs fell again and again", "sales")]
    with torch.no_grad():
        together = encoder(rows)
        for row, vector in zip(rows, together, strict=True):
            torch.testing.assert_close(vector, encoder([row])[0], atol=1e-5, rtol=0)
    assert together.shape == (3, 16)
    assert (together[0] - together[2]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_its_layers_and_no_pooler(kind, tmp_path):
    encoder = HubEncoder(*hub_encoder(write_network(tmp_path, kind)))
    layers = layer_parameters(encoder)
    assert len(layers) == 3
    assert sum(map(len, layers)) == len(list(encoder.parameters()))
    assert encoder.words.weight.shape == (40, 16)
    assert not any("pooler" in name for name, _ in encoder.named_parameters())
    encoder.keep(1)
    assert len(layer_parameters(encoder)) == 2


def test_weights_are_those_of_the_file_or_first_ones(tmp_path):
    where = write_network(tmp_path)
    network, _ = hub_encoder(where)
    kept = transformers.BertModel.from_pretrained(where).get_input_embeddings().weight
    torch.testing.assert_close(network.get_input_embeddings().weight, kept)
    assert not network.training
    torch.manual_seed(1)
    first, _ = hub_encoder(where, pretrained=False)
    assert (first.get_input_embeddings().weight - kept).abs().max() > 1e-3


def test_names_have_a_fixed_revision():
    assert hub_address("FacebookAI/roberta-base") == ("FacebookAI/roberta-base", PINNED["FacebookAI/roberta-base"])
    assert hub_address("someone/encoder@abc") == ("someone/encoder", "abc")
    for name in ("someone/encoder", "roberta", "someone/encoder@", "a/b/c@d"):
        with pytest.raises(Problem, match="fixed revision"):
            hub_address(name)
    assert all(len(revision) == 40 and int(revision, 16) for revision in PINNED.values())


def test_a_pickle_is_not_read(tmp_path):
    write_network(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(Problem, match="from safetensors alone"):
        hub_encoder(str(tmp_path))


def test_weights_that_are_absent_are_not_drawn(tmp_path):
    from safetensors.torch import load_file, save_file

    write_network(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    lost = "encoder.layer.1.output.dense.bias"
    save_file({k: v for k, v in weights.items() if k != lost}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(Problem, match=lost):
        hub_encoder(str(tmp_path))


def test_code_of_the_hub_is_not_run(tmp_path):
    write_network(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "theirs", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "own.py").write_text("raise SystemExit('this ran')")
    with pytest.raises(Problem, match="cannot be had"):
        hub_encoder(str(tmp_path))


def test_a_hub_out_of_reach_is_told_in_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(Problem, match="connect to the hub") as told:
        hub_encoder("FacebookAI/roberta-base")
    assert "\n" not in str(told.value)
