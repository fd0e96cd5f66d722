import struct

import numpy as np
import pytest
import torch
from tokenizers import pre_tokenizers

from etudes.core.errors import Problem
from etudes.data.sources import cache_folder
from etudes.data.sources.carriers import cache_path
from etudes.generate.chat import SMOLLM2, HubNetwork, HubTokenizer, Local
from etudes.generate.gguf import Gguf
from etudes.generate.smollm2 import SmolTokenizer, network, read, talk
from etudes.nn.llama import Llama

gguf = pytest.importorskip("gguf")

MARKS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TALKS = [
    [{"role": "user", "content": "Hi\n"}],
    [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi"}],
    [{"role": role, "content": role[0]} for role in ("user", "assistant", "user")],
]
CPU = torch.device("cpu")
here = pytest.mark.skipif(
    not cache_path(SMOLLM2, cache_folder()).exists(), reason="the small chat model was not fetched yet"
)


def neighbours(matrix: np.ndarray, heads: int) -> np.ndarray:
    """The rows as llama.cpp has them: the partners of a rotary pair side by side."""
    d = len(matrix) // heads
    order = [head * d + i + half for head in range(heads) for i in range(d // 2) for half in (0, d // 2)]
    return matrix[order]


def write(writer) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture
def small(tmp_path):
    """A Llama with random weights, and the file of it as llama.cpp writes it, with a vocabulary of bytes."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    torch.manual_seed(0)
    model = Llama(len(MARKS) + len(letters) + 1, 64, 2, 4, 2, 96, 40, theta=500.0, eps=1e-3).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(parameter.ndim < 2, 0.3)
    writer = gguf.GGUFWriter(tmp_path / "small.gguf", "llama")
    writer.add_block_count(2)
    writer.add_context_length(40)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(96)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_freq_base(500.0)
    writer.add_layer_norm_rms_eps(1e-3)
    writer.add_vocab_size(len(model.embedding))
    writer.add_token_list([*MARKS, *letters, "he"])
    writer.add_token_types([3] * len(MARKS) + [1] * (len(letters) + 1))
    writer.add_token_merges(["h e"])
    writer.add_eos_token_id(2)
    tensors = {"token_embd": model.embedding, "output_norm": model.norm}
    for i, block in enumerate(model.blocks):
        q, k, v = block.qkv.detach().split((64, 32, 32))
        gate, up = block.gate_up.chunk(2)
        tensors |= {f"blk.{i}.attn_norm": block.norm1, f"blk.{i}.attn_v": v, f"blk.{i}.attn_output": block.out}
        tensors |= {f"blk.{i}.ffn_norm": block.norm2, f"blk.{i}.ffn_gate": gate, f"blk.{i}.ffn_up": up}
        tensors |= {f"blk.{i}.ffn_down": block.down}
        tensors |= {f"blk.{i}.attn_q": torch.from_numpy(neighbours(q.numpy(), 4))}
        tensors |= {f"blk.{i}.attn_k": torch.from_numpy(neighbours(k.numpy(), 2))}
    for name, tensor in tensors.items():
        writer.add_tensor(f"{name}.weight", tensor.detach().contiguous().numpy())
    write(writer)
    return model, tmp_path / "small.gguf"


def test_a_file_s_network_is_the_one_that_was_written(small):
    wanted, path = small
    found = network(Gguf(path))
    tokens = torch.randint(len(wanted.embedding), (2, 40), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert wanted(tokens).std() > 0.1
        torch.testing.assert_close(found(tokens), wanted(tokens), atol=1e-4, rtol=0)
        last, state = found.last(tokens[:, :30], found.start(2))
        rest, _ = found.next(tokens[:, 30:], state)
        torch.testing.assert_close(torch.cat([last, rest], 1), wanted(tokens)[:, 29:], atol=1e-4, rtol=0)
    assert found.context == 40


def test_words_are_bytes_joined_and_marks(small):
    words = SmolTokenizer(Gguf(small[1]))
    text = "hehe, déjà vu 🙂\n"
    assert words.decode(words.encode(text)) == text
    assert len(words.encode("hehe")) == 2
    assert words.encode("a<|im_end|>")[1:] == [2]
    assert words.decode([2, *words.encode("a")]) == "a"
    assert words.ends == {2}


def test_scores_are_those_of_each_whole_text_read_alone(small, monkeypatch):
    model = Local("small", *read(small[1], CPU))
    monkeypatch.setattr(model.words, "prompt", lambda messages: [5, 6, 7, 8])  # a talk is longer than its context
    texts = ["yes", "no", "perhaps"]
    for text, score in zip(texts, model.scores([], texts), strict=True):
        ids = torch.tensor([[5, 6, 7, 8, *model.words.encode(text)]])
        with torch.no_grad():
            logits = small[0](ids).double().log_softmax(-1)[0]
        assert score == pytest.approx(sum(logits[i - 1, ids[0, i]].item() for i in range(4, ids.shape[1])), abs=1e-4)


@pytest.mark.parametrize("name", ["F32", "Q4_1", "Q8_0"])
def test_weights_are_unpacked_as_ggml_s_own_package_does(name, tmp_path):
    kind = gguf.GGMLQuantizationType[name]
    weights = np.random.default_rng(0).normal(size=(6, 96)).astype(np.float32)
    packed = gguf.quants.quantize(weights, kind)
    writer = gguf.GGUFWriter(tmp_path / "file.gguf", "llama")
    writer.add_array("numbers", [1, 2, 3])
    writer.add_array("names", ["a", "é"])
    writer.add_bool("true", True)
    writer.add_float32("half", 0.5)
    writer.add_tensor("odd", np.arange(5, dtype=np.float32))
    writer.add_tensor("weights", packed, raw_dtype=kind)
    write(writer)
    file = Gguf(tmp_path / "file.gguf")
    wanted = gguf.quants.dequantize(packed, kind)
    assert abs(wanted - weights).max() < 0.2
    np.testing.assert_array_equal(file.tensor("weights"), wanted)
    room = np.zeros((8, 96), np.float32)
    file.tensor("weights", room[1:7])
    np.testing.assert_array_equal(room[1:7], wanted)
    assert not room[[0, 7]].any()
    np.testing.assert_array_equal(file.tensor("odd"), np.arange(5))
    assert file.shape("weights") == (6, 96)
    assert {"numbers": [1, 2, 3], "names": ["a", "é"], "true": True, "half": 0.5}.items() <= file.facts.items()


def test_other_files_are_one_sentence(tmp_path):
    (tmp_path / "text").write_text("GGUF is a format")
    with pytest.raises(Problem, match="no GGUF file"):
        Gguf(tmp_path / "text")
    (tmp_path / "short").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 1, 0))
    (tmp_path / "empty").touch()
    for name in ("short", "empty"):
        with pytest.raises(Problem, match="ends too soon"):
            Gguf(tmp_path / name)
    writer = gguf.GGUFWriter(tmp_path / "half", "llama")
    writer.add_tensor("weights", np.zeros((2, 32), np.float16))
    write(writer)
    with pytest.raises(Problem, match="ways that are not read here: 1"):
        Gguf(tmp_path / "half")


@here
@pytest.mark.parametrize("messages", TALKS)
def test_a_talk_is_told_as_the_model_s_own_template_does(messages):
    jinja2 = pytest.importorskip("jinja2")
    template = jinja2.Template(
        Gguf(cache_path(SMOLLM2, cache_folder())).facts["tokenizer.chat_template"], keep_trailing_newline=True
    )
    assert talk(messages) == template.render(messages=messages, add_generation_prompt=True)


@here
@pytest.mark.slow
def test_the_carried_model_is_the_one_that_transformers_reads():
    transformers = pytest.importorskip("transformers")
    path = cache_path(SMOLLM2, cache_folder())
    tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    model = transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    theirs = Local("theirs", HubNetwork(model.eval()), HubTokenizer(model, tokenizer))
    ours = Local("ours", *read(path, CPU))
    assert (ours.context, ours.words.ends) == (theirs.context, theirs.words.ends)
    for text in (
        *(m["content"] for messages in TALKS for m in messages),
        " é 日本 🙂 1234  x\t\n\n don 't , <|im_start|>",
    ):
        assert ours.words.encode(text) == theirs.words.encode(text)
        assert ours.words.decode(ours.words.encode(text)) == theirs.words.decode(theirs.words.encode(text))
    long = [{"role": "user", "content": f"Sum this up: {' '.join(f'{i} cats slept.' for i in range(150))}"}]
    for messages in (*TALKS, long):
        ids = torch.tensor([ours.words.prompt(messages)])
        assert ids.tolist() == [theirs.words.prompt(messages)]
        with torch.inference_mode():
            assert (ours.network.first(ids)[0] - theirs.network.first(ids)[0]).abs().max() < 2e-4
        assert ours.answer(messages, tokens=12) == theirs.answer(messages, tokens=12)
    assert ids.shape[1] > 512
    words = ["Hello", "Bye", "Good afternoon to you"]
    np.testing.assert_allclose(ours.scores(TALKS[1], words), theirs.scores(TALKS[1], words), atol=1e-4)
