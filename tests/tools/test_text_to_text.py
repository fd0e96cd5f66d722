from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from etudes.core.errors import Problem
from etudes.core.run import Run
from etudes.core.spec import Spec
from etudes.data.tokens import bpe, characters
from etudes.nn.exchange import to_transformers
from etudes.nn.llama import Llama
from etudes.nn.t5 import T5
from etudes.tools import hub, text_to_text
from etudes.tools.text_to_text import (
    REVISIONS,
    Decoder,
    EncoderDecoder,
    Pretraining,
    Words,
    corrupted_windows,
    hub_network,
    own_network,
    own_words,
    passages,
)

NEAR = [f"Sales of firm {letter} rose by {n} per cent in the last quarter ." for letter in "abcdef" for n in range(9)]
RECIPE = Pretraining(
    "drawn-packages", 9000, width=8, depth=1, head=4, vocabulary=300, tokens=16, steps=3, batch=4, lr=1e-2
)


def a_run(folder, variant="a", seed=0):
    spec = Spec("sketch", "smoke", variant, seed, {}, "fp32")
    (folder / spec.key).mkdir(parents=True, exist_ok=True)
    return Run(spec, folder / spec.key)


def our_words():
    return own_words(bpe(NEAR, 300))


def small_t5():
    torch.manual_seed(0)
    words = our_words()
    return EncoderDecoder(T5(words.size, 16, 1, 2, 8, 24).eval(), words)


def small_decoder():
    pytest.importorskip("transformers")
    torch.manual_seed(0)
    words = our_words()
    llama = Llama(words.size, 16, 2, 2, 2, 24, 64)
    for weight in llama.parameters():
        if weight.ndim == 2:
            torch.nn.init.normal_(weight, std=0.3)
    return Decoder(to_transformers(llama), words)


MAKERS = {"encoder-decoder": small_t5, "decoder": small_decoder}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_question_loses_the_end_of_its_text_and_nothing_of_the_prompt(kind):
    model = MAKERS[kind]()
    whole = model.question("mood: {} so", "Sales rose by 5 per cent", 99)
    cut = model.question("mood: {} so", "Sales rose by 5 per cent", 2)
    end = [model.words.end + 1, model.words.end] if kind == "encoder-decoder" else []
    before, text, after = (model.words.encode(part) for part in ("mood: ", "Sales rose by 5 per cent", " so"))
    assert whole == before + text + after + end
    assert cut == before + text[:2] + after + end


@pytest.mark.parametrize("kind", MAKERS)
def test_the_loss_is_the_mean_over_tokens_of_answers_whatever_they_are_padded_to(kind):
    model = MAKERS[kind]()
    questions = [model.question("{}", text, 9) for text in ("Sales rose", "Sales of firm a rose by", "by")]
    answers = [model.answer(text) for text in ("a", "in the last quarter", "rose")]
    nats, count = 0.0, 0
    for question, answer in zip(questions, answers, strict=True):
        if kind == "encoder-decoder":
            logits = model.network(torch.tensor([question]), torch.tensor([answer]))[0]
        else:
            both = torch.tensor([question + answer])
            logits = model.network(input_ids=both).logits[0, len(question) - 1 : -1]
        nats += functional.cross_entropy(logits, torch.tensor(answer), reduction="sum").item()
        count += len(answer)
    assert model.loss(questions, answers).item() == pytest.approx(nats / count, abs=1e-5)


def test_a_decoder_writes_as_transformers_does():
    model = small_decoder()
    questions = [model.question("{}", text, 9) for text in ("Sales rose", "Sales of firm a rose by 5")]
    found = model.write(questions, 5)
    for question, text in zip(questions, found, strict=True):
        tokens = torch.tensor([question])
        how = {"max_new_tokens": 5, "do_sample": False, "eos_token_id": model.words.end, "pad_token_id": 0}
        wanted = model.network.generate(input_ids=tokens, attention_mask=torch.ones_like(tokens), **how)
        ids = [token for token in wanted[0, len(question) :].tolist() if token != model.words.end]
        assert text == model.words.decode(ids).strip()


@pytest.mark.parametrize("kind", MAKERS)
def test_what_is_learnt_by_heart_is_written(kind):
    model = MAKERS[kind]().train()
    questions = [model.question("mood: {}", text, 9) for text in ("Sales rose", "Sales of firm a")]
    texts = ["positive", "neutral"]
    opt = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(60):
        opt.zero_grad()
        model.loss(questions, [model.answer(text) for text in texts]).backward()
        opt.step()
    assert model.eval().write(questions, 12) == texts


def test_windows_with_their_spans_put_back_are_pieces_of_the_streams():
    streams = [np.arange(100, 200), np.arange(200, 300)]
    end = 1000
    texts, answers = corrupted_windows(streams, 6, 20, end, np.random.default_rng(0))
    again, again_answers = corrupted_windows(streams, 6, 20, end, np.random.default_rng(0))
    assert torch.equal(texts, again)
    assert torch.equal(answers, again_answers)
    for k, (text, answer) in enumerate(zip(texts.tolist(), answers.tolist(), strict=True)):
        assert text[-1] == answer[-1] == end
        spans, mark = {}, None
        for token in answer[:-1]:
            if token > end:
                mark = token
                spans[mark] = []
            else:
                spans[mark].append(token)
        window = [t for token in text[:-1] for t in (spans[token] if token > end else [token])]
        assert window == list(range(window[0], window[0] + 20))
        assert window[0] // 100 == 1 + k % 2
        assert sum(map(len, spans.values())) == 3


def test_windows_without_marks_end_in_a_gap():
    end = 1000
    texts, answers = corrupted_windows(
        [np.arange(100, 200)], 5, 20, end, np.random.default_rng(0), rate=0.3, mean=2.0, asked="dropped"
    )
    assert (texts[:, -2:] == torch.tensor([end + 1, end])).all()
    assert (answers[:, 0] == end + 1).all()
    for text, answer in zip(texts.tolist(), answers.tolist(), strict=True):
        assert len(answer) == 6 + 2
        window = sorted([*text[:-2], *answer[1:-1]])
        assert window == list(range(window[0], window[0] + 20))


def test_what_is_asked_is_not_seen_in_pretraining(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(text_to_text, "passages", lambda name, characters: [*NEAR, "of the far", "asked later"])
    monkeypatch.setattr(text_to_text, "bpe", lambda texts, size: (seen.extend(texts), bpe(texts, size))[1])
    own_network(a_run(tmp_path), RECIPE, NEAR, 0, unseen={"asked later"})
    assert "of the far" in seen
    assert "asked later" not in seen


def test_more_spans_than_marks_are_refused(tmp_path):
    with pytest.raises(Problem, match="more than 16 spans"):
        own_network(a_run(tmp_path), replace(RECIPE, tokens=40, rate=0.5, mean=1.0), NEAR, 0)


def test_a_tokenizer_that_begins_works_otherwise_is_refused():
    tokenizer = characters(NEAR)
    tokenizer.start = 7
    with pytest.raises(Problem, match="token 0 for padding"):
        own_words(tokenizer)


def test_our_own_network_is_made_once_and_its_copy_begins_afresh(tmp_path):
    one = own_network(a_run(tmp_path, "a"), RECIPE, NEAR, 0)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("once/**/*.safetensors")}
    other = own_network(a_run(tmp_path, "b", seed=3), RECIPE, NEAR, 0)
    assert len(files) == 1
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("once/**/*.safetensors")}
    fresh = [own_network(a_run(tmp_path, name, seed), RECIPE, NEAR, 0, False) for name, seed in (("a", 0), ("b", 3))]
    weights = [model.network.encoder.blocks[0].gate.weight for model in (one, other, *fresh)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[2], weights[3])
    assert one.words.decode(one.words.encode("Sales rose")) == "Sales rose"


def test_texts_too_short_for_a_window_are_refused(tmp_path):
    with pytest.raises(Problem, match="windows of 16 tokens"):
        own_network(a_run(tmp_path), RECIPE, ["Sales"], 0)


def write_flan(folder, **how):
    """A tiny Flan-T5 and its tokenizer, as the library writes them."""
    transformers = pytest.importorskip("transformers")
    import tokenizers

    torch.manual_seed(0)
    sizes = {"vocab_size": 300, "d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 1, "num_heads": 2}
    kind = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "decoder_start_token_id": 0}
    theirs = transformers.T5ForConditionalGeneration(transformers.T5Config(**sizes, **kind)).eval()
    theirs.save_pretrained(folder, **how)
    made = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({"<pad>": 0, "</s>": 1, "?": 2, "rose": 3, "positive": 4}, "?")
    )
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="</s>").save_pretrained(
        folder
    )
    return theirs


def test_flan_t5_of_the_hub_is_taken_over(tmp_path, monkeypatch):
    theirs, asked = write_flan(tmp_path / "flan"), []
    monkeypatch.setattr(hub, "hub_address", lambda name: (asked.append(name), (str(tmp_path / "flan"), None))[1])
    model = hub_network(a_run(tmp_path), "flan-t5-small", True, NEAR)
    assert asked == [f"google/flan-t5-small@{REVISIONS['flan-t5-small']}"]
    question, wanted = model.question("mood: {}", "Sales rose", 99), model.answer("positive")
    assert (question, wanted) == ([2, 2, 2, 3, 1], [4, 1])
    with torch.no_grad():
        expected = theirs(input_ids=torch.tensor([question]), labels=torch.tensor([wanted])).loss
        assert model.loss([question], [wanted]).item() == pytest.approx(expected.item(), abs=1e-4)
    assert model.words.decode([3, 4]) == "rose positive"


def test_weights_that_are_no_safetensors_are_refused(tmp_path, monkeypatch):
    theirs = write_flan(tmp_path / "flan")
    (tmp_path / "flan/model.safetensors").unlink()
    torch.save(theirs.state_dict(), tmp_path / "flan/pytorch_model.bin")
    monkeypatch.setattr(hub, "hub_address", lambda name: (str(tmp_path / "flan"), None))
    with pytest.raises(Problem, match="safetensors"):
        hub_network(a_run(tmp_path), "flan-t5-small", True, NEAR)


@pytest.mark.parametrize("name", REVISIONS)
def test_revisions_are_fixed(name):
    assert hub.hub_address(f"google/{name}@{REVISIONS[name]}") == (f"google/{name}", REVISIONS[name])
    assert len(REVISIONS[name]) == 40


def test_without_the_hub_it_says_so(tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.setattr(hub, "offline", lambda: True)
    with pytest.raises(Problem, match=r"google/flan-t5-base cannot be had \(.*\); connect"):
        hub_network(a_run(tmp_path), "flan-t5-base", True, NEAR)


def test_an_answer_fills_the_gap_that_its_question_ends_in():
    model = small_t5()
    gap, end = model.words.end + 1, model.words.end
    assert model.question("{}", "rose", 9)[-2:] == [gap, end]
    assert model.answer("rose") == [gap, *model.words.encode("rose"), end]


def test_words_end_in_a_token_of_no_text():
    words = our_words()
    assert isinstance(words, Words)
    assert words.end not in words.encode("".join(NEAR))
    assert words.size == words.end + 17


@pytest.mark.parametrize("name", ["drawn-packages", "python"])
def test_passages_come_from_all_over_a_set(name):
    every = passages(name, 0)
    some = passages(name, sum(map(len, every)) // 5)
    assert some == every[::5]
    assert 0.1 < sum(map(len, some)) / sum(map(len, every)) < 0.4
