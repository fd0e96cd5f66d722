import math
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from etudes.core.errors import Problem
from etudes.core.run import execute
from etudes.data.pairs import Pairs
from etudes.data.tokens import bpe
from etudes.measure.size import count_parameters
from etudes.nn.translator import pad
from etudes.studies.language.translation import STUDY, Config, load_network, loss_of, mean_loss, network
from etudes.studies.language.translation.corpus import DESCRIPTIONS, combinations, curriculum, join, phrases, register
from etudes.studies.language.translation.decoding import attention_many, attention_of, own_words, translate
from etudes.studies.language.translation.drawing import CELL, SCALE, picture
from etudes.studies.language.translation.networks import (
    TransformerTranslator,
    bahdanau_scores,
    luong_scores,
    positions,
    weigh,
)
from etudes.studies.language.translation.scores import (
    attention_numbers,
    bleu,
    monotony,
    nearest_translations,
    on_own,
    steps_back,
)

END = 0
KINDS = ("none", "luong", "bahdanau", "transformer")
SENTENCES = [[3, 4, 5], [6], [7, 8, 9, 10, 11, 3], [2, 2]]


def a_network(kind, vocabulary=12):
    torch.manual_seed(KINDS.index(kind))
    changes = {"network": "transformer"} if kind == "transformer" else {"attention": kind}
    model = network(Config(embedding=8, width=10, heads=2, **changes), vocabulary).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # far from even, so that argmax is never a near tie
            parameter.mul_(2)
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_filled_up_changes_nothing(kind):
    model = a_network(kind)
    sources, lengths = pad(SENTENCES, END)
    written, _ = pad([[12, 4, 5, 6]] * 4, END)
    together, _, looks = model.look(written, *model.read(sources, lengths))
    for i, sentence in enumerate(SENTENCES):
        alone, _, weights = model.look(written[:1], *model.read(*pad([sentence], END)))
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(looks[i : i + 1, :, : len(sentence)], weights, rtol=1e-4, atol=1e-5)
        assert (looks[i, :, len(sentence) :] == 0).all()
        other = sources.clone()
        other[i, len(sentence) :] = 9  # nor does what it is filled up with
        torch.testing.assert_close(model.look(written, *model.read(other, lengths))[0], together)


@pytest.mark.parametrize("kind", KINDS)
def test_step_by_step_is_all_at_once(kind):
    model = a_network(kind)
    memory, state = model.read(*pad(SENTENCES, END))
    tokens = torch.tensor([[12, 4, 5, 6, 0]] * 4)
    whole, _ = model.write(tokens, memory, state)
    for t in range(5):
        logits, state = model.write(tokens[:, t : t + 1], memory, state)
        torch.testing.assert_close(logits[:, 0], whole[:, t], rtol=1e-4, atol=1e-5)


def test_scores_and_weights_are_the_papers_formulas():
    torch.manual_seed(0)
    hidden, keys, v = torch.randn(2, 3, 4), torch.randn(2, 5, 4), torch.randn(4)
    luong, bahdanau = luong_scores(hidden, keys), bahdanau_scores(hidden[:, 0], keys, v)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    weights = weigh(luong, mask[:, None])
    for n in range(2):
        for s in range(5):
            additive = sum(v[k] * math.tanh(hidden[n, 0, k] + keys[n, s, k]) for k in range(4))
            assert bahdanau[n, s] == pytest.approx(float(additive), abs=1e-5)
            for t in range(3):
                assert luong[n, t, s] == pytest.approx(float(sum(hidden[n, t] * keys[n, s])), abs=1e-5)
                total = sum(math.exp(luong[n, t, j]) for j in range(5) if mask[n, j])
                expected = math.exp(luong[n, t, s]) / total if mask[n, s] else 0
                assert weights[n, t, s] == pytest.approx(expected, rel=1e-4)


def test_heads_are_those_of_torch():
    torch.manual_seed(0)
    model = TransformerTranslator(7, 8, 2, (1, 1), 4)
    ours, theirs = model.writer[0].across, nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.pair.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.pair.bias]))
        theirs.out_proj.weight.copy_(ours.out.weight)
        theirs.out_proj.bias.copy_(ours.out.bias)
    x, memory, mask = torch.randn(2, 3, 8), torch.randn(2, 5, 8), torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]) > 0
    seen, weights = ours(x, *ours.project(memory), mask[:, None, None])
    expected, average = theirs(x, memory, memory, key_padding_mask=~mask)
    torch.testing.assert_close(seen, expected)
    torch.testing.assert_close(weights.mean(1), average)
    assert positions(9, 6)[7, 3] == pytest.approx(math.cos(7 / 10_000 ** (2 / 6)), abs=1e-5)


def plain_beam(model, sentence, width):
    """A beam search of one sentence with lists: [(tokens, log-probability, whether it has ended)]."""
    kept = [([], 0.0, False)]
    for _ in range(2 * len(sentence) + 10):
        grown = []
        for tokens, total, ended in kept:
            if ended:
                grown.append((tokens, total, True))
                continue
            written = torch.tensor([[model.vocabulary, *tokens]])
            steps = model.write(written, *model.read(*pad([sentence], END)))[0][0, -1].log_softmax(-1)
            grown += [([*tokens, i], total + p, i == END) for i, p in enumerate(steps.tolist())]
        kept = sorted(grown, key=lambda one: -one[1] / len(one[0]))[:width]
        if all(ended for _, _, ended in kept):
            break
    best = max(kept, key=lambda one: one[1] / len(one[0]))[0]
    return best[: best.index(END)] if END in best else best


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_decoding_side_by_side_is_a_plain_loop(kind):
    model = a_network(kind)
    model.bias[END] += 1.0
    for width in (1, 3):
        expected = [plain_beam(model, sentence, width) for sentence in SENTENCES]
        assert translate(model, SENTENCES, END, width) == expected
        assert translate(model, SENTENCES, END, width, batch=2) == expected
    with pytest.raises(Problem, match="beam"):
        translate(model, SENTENCES, END, 0)


def test_own_words_are_those_of_a_loop():
    model = a_network("luong")
    examples = [([3, 4, 5], [6, 7]), ([8, 9], [2, 3, 4])]
    total = count = 0
    with torch.no_grad():
        for (source, target), own in zip(examples, (True, False), strict=True):
            memory, state = model.read(*pad([source], END))
            token = model.vocabulary
            for wanted in [*target, END]:
                logits, state = model.write(torch.tensor([[token]]), memory, state)
                total -= logits[0, 0].log_softmax(-1)[wanted].item()
                count += 1
                token = logits.argmax().item() if own else wanted
        loss = loss_of(model, examples, END, np.array([True, False]))
        assert loss.item() == pytest.approx(total / count, rel=1e-5)
        assert mean_loss(model, examples, END, 1) == pytest.approx(loss_of(model, examples, END).item(), rel=1e-5)
        memory, state = model.read(*pad([[3, 4, 5]], END))
        assert own_words(model, memory, state, 4).shape == (1, 4)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_attention_has_a_row_for_each_token_and_the_end(kind):
    model = a_network(kind)
    weights, written = attention_of(model, SENTENCES[2], END)
    assert weights.shape == (len(written) + 1, 6)
    torch.testing.assert_close(weights.sum(1), torch.ones(len(written) + 1))
    some = attention_many(model, SENTENCES, [[4], [5, 6], [7], []], END)
    assert [tuple(w.shape) for w in some] == [(2, 3), (3, 1), (2, 6), (1, 2)]


def test_a_transformer_has_the_parameters_of_the_gru():
    cfg = Config()
    gru = count_parameters(network(cfg, 900))
    other = count_parameters(network(Config(network="transformer"), 900))
    assert abs(other / gru - 1) < 0.005


def plain_bleu(written, references):
    """Of words that spaces part, without smoothing (Papineni et al. 2002)."""
    logs, ours, theirs = [], 0, 0
    for n in range(1, 5):
        match = total = 0
        for a, b in zip(written, references, strict=True):
            counts = [Counter(zip(*(text.split()[k:] for k in range(n)), strict=False)) for text in (a, b)]
            match, total = match + (counts[0] & counts[1]).total(), total + counts[0].total()
        logs.append(math.log(match / total) / 4)
    ours, theirs = (sum(len(text.split()) for text in side) for side in (written, references))
    return 100 * math.exp(sum(logs) + min(0, 1 - theirs / ours))


def test_bleu_is_of_whole_texts():
    pytest.importorskip("sacrebleu")
    references = ["le chat noir dort sur le lit", "je ne sais pas quoi faire", "tu es venu hier soir"]
    written = ["le chat noir dort sur un lit", "je ne sais pas quoi dire", "tu es venu"]
    assert bleu(written, references) == pytest.approx(plain_bleu(written, references))
    assert bleu(references, references) == pytest.approx(100)
    assert bleu([text.upper() for text in references], references) < 1  # case counts
    spaced = ["je ne sais pas ."], ["je ne sais pas."]
    assert bleu(*spaced) == pytest.approx(100)  # it cuts off marks itself
    with pytest.raises(Problem, match="cannot be compared"):
        bleu(written, references[:2])


def test_orders_and_steps_of_attention():
    assert monotony([0, 1, 2, 5]) == 1
    assert monotony([4, 2, 1]) == -1
    assert monotony([3, 3]) == 0
    assert monotony([0, 2, 1, 3]) == pytest.approx((5 - 1) / 6)
    assert steps_back([0, 2, 1, 9, 4, 4]) == (2, 1)
    weights = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.3, 0.5], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])  # the last: the end
    assert on_own(weights, [(2, 1), (1, 2)]) == pytest.approx((1.0 + 0.5 + 1.0) / 3)
    looks = [torch.eye(6)] * 20
    numbers = attention_numbers(looks, [[(3, 2), (3, 3)]] * 20, np.random.default_rng(0))
    assert numbers["test/monotony"] == 1
    assert abs(numbers["test/monotony-shuffled"]) < 0.5
    assert numbers["test/steps-back"] == 0 < numbers["test/steps-back-shuffled"]


def test_no_sentence_is_learnt_from_and_asked_about_in_other_case_or_marks():
    train = tuple((f"I see {w}.", f"Je vois {w}.") for w in ("one", "two", "three", "four"))
    d = Pairs(
        "p", train, (("I see one!", "Ah !"), ("I see a one", "Oui.")), (("See", "JE vois two"), ("four", "?")), {}
    )
    kept = register(d, 0, 0)
    assert kept["train"] == list(train)
    assert kept["validation"] == [("I see a one", "Oui.")]
    assert kept["test"] == [("four", "?")]
    with pytest.raises(Problem, match="no pair"):
        register(d, 2, 0)


def test_a_register_is_of_short_sentences_that_begin_alike():
    some = (("I'm well.", "Je vais bien."), ("I'm well!", "Ça va !"), ("Imagine that.", "Imaginez."))
    d = Pairs(
        "p", some, (("He is far away.", "Il est loin."), ("He is here.", "Il est là.")), (("They're in.", "x"),), {}
    )
    kept = register(d, 4, 0, DESCRIPTIONS)
    assert kept["train"] == [some[0]]  # the first translation of a sentence, whatever its mark
    assert kept["validation"] == [("He is here.", "Il est là.")]
    assert kept["test"] == [("They're in.", "x")]
    with pytest.raises(Problem, match="each seen 2 times"):
        register(d, 4, 2, DESCRIPTIONS)


def test_joined_tokens_are_those_of_the_joined_text():
    d = phrases()
    tokenizer = bpe([" " + side for pair in d.train for side in pair], 320)
    tokens = [[tokenizer.encode(" " + side) for side in pair] for pair in d.train[:30]]
    (example,) = join(tokens, [[4, 9, 2]])
    for side in (0, 1):
        text = " ".join(d.train[i][side] for i in (4, 9, 2))
        assert example[side] == tokenizer.encode(" " + text)
        assert tokenizer.decode(example[side]).strip() == text


def test_joins_use_all_sentences_before_any_again():
    rng = np.random.default_rng(0)
    rows = combinations(10, 7, 3, rng)
    assert rows.shape == (7, 3)
    assert all(len(set(row)) == 3 for row in rows.tolist())
    assert len(set(rows[:3].flatten().tolist())) == 9
    with pytest.raises(Problem, match="joined"):
        combinations(2, 4, 3, rng)
    made = curriculum([([i], [i, i]) for i in range(20)], 3, rng)
    assert sorted(len(source) for source, _ in made) == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert len({token for source, _ in made for token in source}) == 18


def test_the_nearest_sentence_lends_its_translation():
    train = [("Tom is here.", "Tom est là."), ("I see a dog.", "Je vois un chien.")]
    assert nearest_translations(["I see a cat.", "Tom is not here."], train) == ["Je vois un chien.", "Tom est là."]


def test_the_picture_of_attention_is_dark_where_is_looked():
    weights = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    drawn = picture(weights, ["a", "bb"], ["à", "œuf", "(end)"])
    side = CELL * SCALE
    cells = drawn[-3 * side :, -2 * side :]
    shades = [[int(cells[i * side + side // 2, j * side + side // 2]) for j in (0, 1)] for i in range(3)]
    assert shades == [[0, 255], [255, 0], [128, 128]]
    with pytest.raises(Problem, match="do not belong"):
        picture(weights, ["a"], ["à", "b", "c"])


@pytest.mark.parametrize("variant", ["none", "transformer"])
def test_a_finished_run_gives_its_network_back(variant, tmp_path):
    pytest.importorskip("sacrebleu")
    (spec,) = STUDY.plan("smoke", seeds=1, variants=(variant,))
    execute(STUDY, spec, tmp_path)
    model, tokenizer = load_network(Config(**spec.config), tmp_path / spec.key)
    assert not model.training
    (written,) = translate(model, [tokenizer.encode(" I see the dog.")], tokenizer.start)
    assert isinstance(tokenizer.decode(written), str)
