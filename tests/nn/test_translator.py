import pytest
import torch
from torch.nn import functional

from etudes.core.errors import Problem
from etudes.nn.translator import Translator, pad, translate

END = 0


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Translator(vocabulary=9, width=8).eval()


def test_padding_changes_nothing(model):
    sentences = [[1, 2, 3], [4, 5, 6, 7, 8, 1], [2]]
    tokens = torch.tensor([[9, 3, 4]] * 3)
    together = model(*pad(sentences, END), tokens)
    for sentence, logits in zip(sentences, together, strict=True):
        alone = model(*pad([sentence], END), tokens[:1])[0]
        assert torch.allclose(logits, alone, atol=1e-6)
    other = pad(sentences, 7)  # whatever it is filled up with
    assert torch.allclose(model(*other, tokens), together, atol=1e-6)


def test_both_readers_and_the_attention_are_the_naive_ones(model):
    sentence, tokens = [1, 2, 3, 4], [9, 5, 6]
    x = 8**0.5 * model.embedding(torch.tensor([sentence]))
    forth = model.readers[0](x)[0]
    back = model.readers[1](x.flip(1))[0].flip(1)
    m = torch.cat([forth, back], -1)[0]
    h0 = model.begin(torch.cat([forth[0, -1], back[0, 0]])).tanh()
    out, _ = model.writer(8**0.5 * model.embedding(torch.tensor([tokens])), (h0[None, None], torch.zeros(1, 1, 8)))
    for t, logits in enumerate(model(*pad([sentence], END), torch.tensor([tokens]))[0]):
        h = out[0, t]
        scores = torch.stack([h @ model.score.weight @ m_s for m_s in m])  # eq. 8, general
        c = (scores.softmax(0)[:, None] * m).sum(0)
        attentional = model.merge(torch.cat([c, h])).tanh()
        assert torch.allclose(logits, model.embedding.weight[:9] @ attentional + model.bias, atol=1e-5)


def test_written_step_by_step_it_is_the_same(model):
    sources, lengths = pad([[1, 2, 3], [4, 5]], END)
    tokens = torch.tensor([[9, 3, 4, 1], [10, 3, 2, 2]])
    memory, state = model.read(sources, lengths)
    steps = []
    for token in tokens.split(1, dim=1):
        logits, state = model.write(token, memory, state)
        steps.append(logits)
    assert torch.allclose(torch.cat(steps, 1), model(sources, lengths, tokens), atol=1e-6)


def test_what_comes_later_changes_nothing_before(model):
    sources, lengths = pad([[1, 2, 3]], END)
    tokens = torch.tensor([[9, 3, 4, 1]])
    changed = tokens.clone()
    changed[0, 2] = 8
    before, after = model(sources, lengths, tokens)[0], model(sources, lengths, changed)[0]
    assert torch.equal(before[:2], after[:2])
    assert not torch.allclose(before[2], after[2])


def greedy(model, sentence, language):
    """The naive loop: the whole translation so far is read again for each token."""
    written = [9 + language]
    while len(written) - 1 < 2 * len(sentence) + 10:
        written.append(int(model(*pad([sentence], END), torch.tensor([written]))[0, -1].argmax()))
        if written[-1] == END:
            break
    return [token for token in written[1:] if token != END]


def test_translations_are_those_of_the_naive_loop_in_the_given_order(model):
    sentences = [[1, 2, 3, 4, 5], [6], [7, 8], [1, 1, 1], [3, 2]]
    for language in (0, 1):
        expected = [greedy(model, sentence, language) for sentence in sentences]
        for batch in (1, 2, 128):
            assert translate(model, sentences, language, END, batch=batch) == expected
    assert translate(model, [], 0, END) == []


def test_a_draw_is_taken_where_one_is_given(model):
    sevens = translate(model, [[1], [2, 3]], 0, END, choose=lambda logits: torch.full((len(logits),), 7))
    assert sevens == [[7] * 12, [7] * 14]
    assert translate(model, [[1]], 0, END, choose=lambda logits: torch.full((len(logits),), END)) == [[]]


def test_it_learns_two_languages_at_once():
    """Language 0 is the sentence itself, language 1 the sentence reversed."""
    torch.manual_seed(1)
    model = Translator(vocabulary=7, width=48)
    opt = torch.optim.Adam(model.parameters(), 1e-2)
    rng = torch.Generator().manual_seed(2)
    draw = lambda: torch.randint(1, 7, (4,), generator=rng).tolist()  # noqa: E731
    told = lambda sentence, language: sentence[::-1] if language else sentence  # noqa: E731
    for i in range(250):
        sentences = [draw() for _ in range(64)]
        targets = torch.tensor([[7 + i % 2, *told(s, i % 2), END] for s in sentences])
        logits = model(*pad(sentences, END), targets[:, :-1])
        loss = functional.cross_entropy(logits.flatten(0, 1), targets[:, 1:].flatten())
        opt.zero_grad()
        loss.backward()
        opt.step()
    fresh = [draw() for _ in range(100)]
    for language in (0, 1):
        right = [
            a == told(b, language) for a, b in zip(translate(model.eval(), fresh, language, END), fresh, strict=True)
        ]
        assert sum(right) > 80


def test_impossible_sizes_and_sentences_are_told():
    for bad in ({"width": 7}, {"width": 0}, {"vocabulary": 0}, {"dropout": 1.0}):
        with pytest.raises(Problem, match="a translator needs"):
            Translator(**({"vocabulary": 9, "width": 8} | bad))
    for none in ([], [[1], []]):
        with pytest.raises(Problem, match="sentence"):
            pad(none, END)
