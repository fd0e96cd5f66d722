import math

import pytest
import torch
from torch.nn import functional

from etudes.core.errors import Problem
from etudes.nn.exchange import from_transformers, to_transformers
from etudes.nn.t5 import PAD, T5, answer_loss, buckets, rows, write_greedily

END = 5


def drawn(depth=2):
    """A network with weights of its own in every tensor."""
    torch.manual_seed(0)
    model = T5(60, 24, depth, 3, 10, 40).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim < 2:
                parameter.normal_(1, 0.3)
    return model


def texts_and_answers():
    generator = torch.Generator().manual_seed(1)
    texts, answers = (torch.randint(6, 60, size, generator=generator) for size in ((4, 150), (4, 7)))
    texts[0, 100:], texts[1, 3:], answers[2, 4:] = PAD, PAD, PAD
    return texts, answers


def bucket(distance, both_ways, count=32, farthest=128):
    """Of one distance, as in sec. 2.1."""
    offset = 0
    if both_ways:
        count //= 2
        offset = count if distance > 0 else 0
        distance = abs(distance)
    else:
        distance = max(-distance, 0)
    if distance < count // 2:
        return offset + distance
    share = math.log(distance / (count // 2)) / math.log(farthest / (count // 2))
    return offset + min(count - 1, count // 2 + int(share * (count - count // 2) + 1e-6))


@pytest.mark.parametrize("both_ways", [True, False])
def test_buckets_are_those_of_the_formula(both_ways):
    distances = torch.arange(-300, 301)
    expected = [bucket(distance, both_ways) for distance in distances.tolist()]
    assert buckets(distances, both_ways).tolist() == expected
    assert set(expected) == set(range(32)) - ({16} if both_ways else set())  # of distance 0 behind the query


def test_it_is_transformers_t5_there_and_back(tmp_path):
    transformers = pytest.importorskip("transformers")
    ours, (texts, answers) = drawn(), texts_and_answers()
    theirs = to_transformers(ours)
    theirs.save_pretrained(tmp_path)
    labels = answers.masked_fill(answers == PAD, -100)
    with torch.no_grad():
        wanted = theirs(input_ids=texts, attention_mask=(texts != PAD).long(), labels=labels)
        logits = ours(texts, answers)
        assert wanted.logits.std() > 0.3
        assert (logits - wanted.logits).abs().max() < 1e-4
        assert (ours.encode(texts) - wanted.encoder_last_hidden_state)[texts != PAD].abs().max() < 1e-4
        assert answer_loss(logits, answers).item() == pytest.approx(wanted.loss.item(), abs=1e-5)
        for source in (theirs, tmp_path):
            assert torch.equal(from_transformers(source)(texts, answers), logits)
        sizes = {"vocab_size": 60, "d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 1, "num_heads": 2}
        kind = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
        config = transformers.T5Config(**sizes, **kind, dropout_rate=0.0, decoder_start_token_id=PAD)
        other = transformers.T5ForConditionalGeneration(config).eval()
        wanted = other(input_ids=texts, attention_mask=(texts != PAD).long(), labels=labels).logits
        assert (from_transformers(other)(texts, answers) - wanted).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"feed_forward_proj": "relu"}, "its layer is relu"),
        ({"tie_word_embeddings": True}, "its output's matrix is the embedding's"),
        ({"num_decoder_layers": 3}, "its halves differ in depth"),
        ({"relative_attention_num_buckets": 8}, "8 buckets"),
        ({"layer_norm_epsilon": 1e-5}, "its norms add"),
    ],
)
def test_other_kinds_of_t5_are_refused(change, words):
    transformers = pytest.importorskip("transformers")
    settings = {"vocab_size": 9, "d_model": 4, "d_kv": 2, "d_ff": 4, "num_layers": 1, "num_heads": 2}
    settings |= {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False} | change
    theirs = transformers.T5ForConditionalGeneration(transformers.T5Config(**settings))
    with pytest.raises(Problem, match=words):
        from_transformers(theirs)


def test_writing_is_the_likeliest_token_after_token():
    model, (texts, _) = drawn(), texts_and_answers()
    found = write_greedily(model, texts, END, 6)
    for i, text in enumerate(texts):
        written = []
        while len(written) < 6 and END not in written:
            begun = torch.tensor([[PAD, *written]])
            written.append(model.write(model.read(text[None]), begun)[0, -1].argmax().item())
        assert found[i].tolist() == written + [PAD] * (found.shape[1] - len(written))


def test_it_writes_as_transformers_does():
    pytest.importorskip("transformers")
    model, (texts, _) = drawn(), texts_and_answers()
    theirs = to_transformers(model)
    end = write_greedily(model, texts, END, 3)[0, 2].item()  # an end that is reached
    how = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": end}
    wanted = theirs.generate(input_ids=texts, attention_mask=(texts != PAD).long(), **how)
    assert torch.equal(write_greedily(model, texts, end, 6), wanted[:, 1:])


def test_padding_and_later_tokens_change_nothing():
    model, (texts, answers) = drawn(), texts_and_answers()
    alone = model(texts[1:2, :3], answers[1:2])
    assert torch.allclose(model(texts, answers)[1], alone[0], atol=1e-5)
    changed = answers.clone()
    changed[:, 4:] = 7
    assert torch.allclose(model(texts, changed)[:, :4], model(texts, answers)[:, :4], atol=1e-6)


def test_the_loss_leaves_out_what_is_no_token():
    logits, answers = torch.randn(2, 3, 60), torch.tensor([[9, END, PAD], [8, 9, END]])
    nats = -logits.log_softmax(-1)
    expected = [nats[i, j, answers[i, j]] for i in range(2) for j in range(3) if answers[i, j] != PAD]
    assert answer_loss(logits, answers).item() == pytest.approx(sum(expected).item() / 5, abs=1e-6)


def test_scores_begin_neither_flat_nor_sharp():
    torch.manual_seed(0)
    model, (texts, answers) = T5(60, 64, 2, 4, 16, 128), texts_and_answers()
    assert 0.5 < model(texts, answers).std() < 2
    assert functional.cross_entropy(model(texts, answers).flatten(0, 1), answers.flatten()) < 6


def test_rows_end_in_pad():
    assert rows([[3, 4], [5]]).tolist() == [[3, 4], [5, PAD]]


def test_sizes_below_one_are_refused():
    with pytest.raises(Problem, match="a T5 needs"):
        T5(60, 24, 0, 3, 10, 40)
