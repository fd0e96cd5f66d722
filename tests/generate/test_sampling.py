import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import nn

from etudes.core.errors import Problem
from etudes.generate.sampling import beam, choice, generate, nucleus, select, stream, top_k
from etudes.nn.gpt import GPT
from etudes.nn.llama import Llama
from etudes.nn.recurrent import Recurrent

rows = st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=30).map(lambda row: torch.tensor([row]))
# Few different values: ties are the rule.
tied = st.lists(st.sampled_from([-1.0, 0.0, 0.5, 3.0]), min_size=1, max_size=30).map(lambda row: torch.tensor([row]))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed))


def kept(logits: torch.Tensor) -> list[list[int]]:
    return [row.isfinite().nonzero()[:, 0].tolist() for row in logits]


def log(*probabilities: float) -> torch.Tensor:
    return torch.tensor([probabilities], dtype=torch.float64).log().float()


# --- the sets that are kept


@settings(deadline=None)
@given(st.one_of(rows, tied), st.integers(1, 40))
def test_top_k_keeps_what_is_no_less_than_the_kth(logits, k):
    values = logits[0].tolist()
    least = sorted(values, reverse=True)[min(k, len(values)) - 1]
    found = top_k(logits, k)
    assert kept(found) == [[i for i, value in enumerate(values) if value >= least]]
    assert torch.equal(found[found.isfinite()], logits[found.isfinite()])
    assert torch.equal(top_k(logits, 0), logits)


@settings(deadline=None)
@given(rows, st.floats(0, 1))
def test_the_nucleus_is_the_smallest_set_that_reaches_p(logits, p):
    exact = logits[0].double().softmax(-1)
    found = kept(nucleus(logits, p))[0]
    inside = exact[found].sort(descending=True).values
    outside = [i for i in range(len(exact)) if i not in found]
    assert found
    assert inside.sum() >= p - 1e-5
    assert inside[:-1].sum() < p + 1e-5 or p == 1  # without the last it would not reach p
    assert not outside or exact[outside].max() <= inside[-1]


@settings(deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=12), st.integers(0, 40))
def test_a_sum_that_is_p_exactly_reaches_it(weights, share):
    total = sum(weights)
    share = min(share, total)
    needed, reached = 0, 0
    for weight in sorted(weights, reverse=True):
        if reached < share or needed == 0:
            needed, reached = needed + 1, reached + weight
    logits = log(*(weight / total for weight in weights))
    assert len(kept(nucleus(logits, share / total))[0]) == needed


@settings(deadline=None)
@given(st.one_of(rows, tied))
def test_the_ends_of_the_nucleus(logits):
    assert len(kept(nucleus(logits, 0))[0]) == 1
    assert logits[0, kept(nucleus(logits, 0))[0]] == logits.max()
    assert torch.equal(nucleus(logits, 1), logits)


def test_of_equals_the_later_ones_stay():
    logits = torch.zeros(1, 1000)
    logits[0, :3] = 1.0
    assert kept(nucleus(logits, 0)) == [[2]]
    assert kept(nucleus(torch.zeros(1, 1000), 0.01)) == [list(range(990, 1000))]


def test_the_crossing_token_stays_in_the_nucleus():
    assert kept(nucleus(log(0.5, 0.3, 0.15, 0.05), 0.6)) == [[0, 1]]
    assert kept(nucleus(log(0.5, 0.3, 0.15, 0.05), 0.8)) == [[0, 1]]
    assert kept(nucleus(log(0.05, 0.15, 0.3, 0.5), 0.81)) == [[1, 2, 3]]
    assert kept(nucleus(log(0.1, 0.9).repeat(2, 1), 0.5)) == [[1], [1]]
    assert kept(nucleus(torch.zeros(1, 10), 0.8)) == [list(range(2, 10))]


def test_what_top_k_dropped_is_nothing_to_the_nucleus():
    logits = top_k(log(0.4, 0.3, 0.2, 0.1), 2)  # 4/7 and 3/7
    assert kept(nucleus(logits, 0.57)) == [[0]]
    assert kept(nucleus(logits, 0.58)) == [[0, 1]]
    assert kept(nucleus(logits, 1)) == [[0, 1]]


@settings(deadline=None)
@given(st.one_of(rows, tied), st.integers(1, 40))
def test_the_top_k_are_those_of_transformers(logits, k):
    processors = pytest.importorskip("transformers.generation.logits_process")
    assert torch.equal(top_k(logits, k), processors.TopKLogitsWarper(k)(None, logits))


@settings(deadline=None)
@given(st.one_of(rows, tied), st.one_of(st.sampled_from([0.0, 1.0, 0.5, 0.9, 0.25]), st.floats(0, 1)))
def test_the_nucleus_is_that_of_transformers(logits, p):
    """But where the docstring says: p = 1 keeps all; sums that are p exactly, and equals, are not left to chance."""
    processors = pytest.importorskip("transformers.generation.logits_process")
    theirs, ours = processors.TopPLogitsWarper(p)(None, logits), nucleus(logits, p)
    least = logits.double().sort(-1).values.softmax(-1).cumsum(-1)
    on_the_edge = ((least - (1 - p)).abs() < 3e-6).any() and 0 < p < 1
    if p == 1:
        assert (logits.softmax(-1)[theirs != ours] < 1e-37).all()
    elif on_the_edge:
        ours, theirs = (found[found.isfinite()].sort(descending=True).values for found in (ours, theirs))
        both = min(len(ours), len(theirs))
        assert torch.equal(ours[:both], theirs[:both])
    elif logits.unique().numel() == logits.numel() or logits.numel() <= 16:  # its sort is stable for so few
        assert torch.equal(ours, theirs)
    else:
        assert torch.equal(ours.sort(-1).values, theirs.sort(-1).values)


def test_where_transformers_has_another_nucleus():
    processors = pytest.importorskip("transformers.generation.logits_process")
    faint = torch.tensor([[0.0, -200.0]])  # e^-200 is no float32, but a probability: only both have the whole
    assert kept(processors.TopPLogitsWarper(1.0)(None, faint)) == [[0]]
    assert kept(nucleus(faint, 1.0)) == [[0, 1]]
    differ = 0
    for n in range(2, 40):  # of n equal tokens, m have the probability m / n
        for m in range(1, n):
            theirs = kept(processors.TopPLogitsWarper(m / n)(None, torch.zeros(1, n)))[0]
            assert len(kept(nucleus(torch.zeros(1, n), m / n))[0]) == m
            differ += len(theirs) != m
    assert differ > 0


# --- the choice


def exact(logits: torch.Tensor, temperature: float, k: int, p: float) -> torch.Tensor:
    """The distribution [v] that the settings mean, in their order, by sorted lists."""
    weights = {i: math.exp((x - logits.max().item()) / temperature) for i, x in enumerate(logits[0].tolist())}
    order = sorted(weights, key=weights.get, reverse=True)[: k or None]
    total = sum(weights[i] for i in order)
    inside, reached = [], 0.0
    for i in order:
        if reached < p:
            inside.append(i)
            reached += weights[i] / total
    total = sum(weights[i] for i in inside)
    return torch.tensor([weights[i] / total if i in inside else 0.0 for i in range(logits.shape[1])])


@pytest.mark.parametrize(
    ("temperature", "k", "p"),
    [(1, 0, 1.0), (0.5, 0, 1.0), (2.0, 0, 1.0), (1, 3, 1.0), (1, 0, 0.7), (2.0, 6, 0.8), (0.7, 4, 0.9)],
)
def test_draws_have_the_distribution(temperature, k, p):
    logits, count = normal(1, 9) * 1.5, 20_000
    expected = exact(logits, temperature, k, p)
    drawn = choice(temperature, k, p, generator())(logits.expand(count, -1)).bincount(minlength=9)
    assert drawn[expected == 0].sum() == 0
    inside = expected > 0
    share = (expected[inside] / expected[inside].sum()).double()
    assert chisquare(drawn[inside], share * count, sum_check=False).pvalue > 0.001
    assert drawn.sum() == count


def test_the_order_is_temperature_then_top_k_then_nucleus():
    logits = log(0.4, 0.3, 0.2, 0.1)
    after_k = choice(1.0, top_k=2, top_p=0.57, generator=generator())(logits.expand(500, -1))
    assert after_k.unique().tolist() == [0]  # 4/7 > 0.57; before top-k two tokens would be needed
    hot = choice(100.0, top_p=0.4, generator=generator())(logits.expand(500, -1))
    assert hot.unique().tolist() == [0, 1]  # nearly equal: two of four reach 0.4, one at temperature 1 would


@settings(deadline=None)
@given(rows)
def test_no_temperature_takes_the_most_probable(logits):
    assert choice(temperature=0)(logits).tolist() == logits.argmax(-1).tolist()
    assert logits.max() - logits[0, choice(1e-30, generator=generator())(logits)] < 1e-28
    assert logits[0, choice(top_k=1, generator=generator())(logits)] == logits.max()
    assert logits[0, choice(top_p=0, generator=generator())(logits)] == logits.max()


def test_the_same_seed_draws_the_same_in_any_precision_of_the_logits():
    logits = normal(50, 7)
    first, second = (choice(generator=generator(3))(logits) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, choice(generator=generator(4))(logits))
    assert choice(generator=generator(3))(logits.bfloat16()).dtype == torch.int64
    torch.manual_seed(3)
    assert torch.equal(choice()(logits), first)  # PyTorch's own generator, where none is given


def test_no_draw_falls_on_a_token_without_probability():
    class Ends:  # the least and the largest number that can be drawn
        device = "cpu"

    logits = torch.tensor([[-math.inf, 0.3, -math.inf, 1.1, 0.2, -math.inf]])
    for number in (0.0, 1 - 2**-24):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "rand", lambda *shape, number=number, **_: torch.full(shape, number))
            assert choice(generator=Ends())(logits).item() == (1 if number == 0 else 4)


# --- whole texts

MODELS = {
    "gpt": lambda: GPT(6, 12, 2, 3, 10),
    "llama": lambda: Llama(6, 16, 2, 4, 2, 12, 10),
    "lstm": lambda: Recurrent("lstm", 6, 8, 2),
    "gru": lambda: Recurrent("gru", 6, 8, 1),
}


def lively(kind: str, seed: int = 0) -> nn.Module:
    model = MODELS[kind]()
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter.copy_(normal(*parameter.shape, seed=seed * 100 + i) * 0.6 + (parameter.ndim < 2))
    return model.eval()


class Scripted(nn.Module):
    """A network whose logits are a table by the last two tokens; its state is the token before. It has no limit."""

    context = 0

    def __init__(self, table: torch.Tensor) -> None:
        super().__init__()
        self.table = table

    def start(self, n):
        return (torch.zeros(n, 1, dtype=torch.int64),)

    def next(self, tokens, state):
        assert not self.training
        assert not torch.is_grad_enabled()
        before = torch.cat([state[0], tokens[:, :-1]], 1)
        return self.table[before, tokens], (tokens[:, -1:],)


@pytest.mark.parametrize("kind", MODELS)
def test_the_stream_is_what_the_network_says_to_the_whole_text(kind):
    model, prompt = lively(kind), torch.tensor([[1, 2], [3, 0], [5, 5]])
    found = list(stream(model, prompt, 7, choice(temperature=0)))
    assert [token.shape for token in found] == [(3,)] * 7
    text = prompt
    with torch.no_grad():
        for token in found:
            assert torch.equal(token, model(text)[:, -1].argmax(-1))
            text = torch.cat([text, token[:, None]], 1)
    assert torch.equal(generate(model, prompt, 7, choice(temperature=0)), text[:, 2:])
    drawn = [generate(model, prompt, 7, choice(generator=generator(5))) for _ in range(2)]
    assert torch.equal(*drawn)
    assert torch.equal(torch.stack(list(stream(model, prompt, 7, choice(generator=generator(5)))), 1), drawn[0])


@pytest.mark.parametrize("kind", ["gpt", "llama"])
@pytest.mark.parametrize("length", [1, 9, 10, 11, 30])
def test_past_the_context_the_window_slides(kind, length):
    model = lively(kind)
    prompt = torch.randint(6, (2, length), generator=generator(2))
    found = generate(model, prompt, 25, choice(generator=generator(3)))
    text, choose = prompt, choice(generator=generator(3))
    window = prompt[:, -10:]
    with torch.no_grad():
        for i in range(25):
            if window.shape[1] > 10:
                window = text[:, -5:]  # the last half of the context
            token = choose(model(window)[:, -1])
            assert torch.equal(token, found[:, i])
            text, window = torch.cat([text, token[:, None]], 1), torch.cat([window, token[:, None]], 1)


def test_a_context_of_one_token_slides_too():
    model = GPT(6, 12, 1, 3, 1).eval()
    found = generate(model, torch.tensor([[3, 4]]), 5, choice(temperature=0))[0].tolist()
    text = [4, *found]
    for before, after in itertools.pairwise(text):
        assert model(torch.tensor([[before]])).argmax().item() == after


def test_the_stream_leaves_the_world_as_it_was():
    model = lively("llama").train()
    modes = []
    model.blocks[0].register_forward_hook(lambda module, *_: modes.append((module.training, torch.is_grad_enabled())))
    for token in stream(model, torch.tensor([[1]]), 3, choice(generator=generator())):
        assert model.training
        assert all(module.training for module in model.modules())
        assert torch.is_grad_enabled()
        model(token[:, None]).mean().backward()  # tokens may be trained on
    assert modes[::2] == [(False, False)] * 3
    made = generate(model, torch.tensor([[1]]), 3, choice(temperature=0))
    assert not made.is_inference()
    assert not beam(model, torch.tensor([[1]]), 3, 2)[1].is_inference()
    assert next(stream(model, torch.tensor([[1]]), 1, lambda logits: logits.zero_().argmax(-1))) == 0  # may change them


# --- beams


def every(model: nn.Module, prompt: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """All continuations and their log-probabilities, each read as a whole."""
    texts = torch.tensor(list(itertools.product(range(6), repeat=count)))
    whole = torch.cat([prompt.expand(len(texts), -1), texts], 1)
    with torch.no_grad():
        logs = model(whole[:, :-1]).double().log_softmax(-1)[:, -count:]
    return texts, logs.gather(2, texts[:, :, None]).sum((1, 2))


@pytest.mark.parametrize("kind", MODELS)
def test_a_beam_of_full_width_finds_what_looking_at_all_finds(kind):
    model, prompt = lively(kind), torch.tensor([[2, 0, 4]])
    texts, sums = every(model, prompt, 4)
    best = sums.argsort(descending=True)[:216]
    found, scores = beam(model, prompt, 4, 216)
    assert torch.allclose(scores.double(), sums[best], atol=1e-4)
    assert torch.equal(found[:3], texts[best[:3]])
    assert {tuple(text) for text in found.tolist()} == {tuple(text) for text in texts[best].tolist()}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("width", [1, 2, 5])
def test_the_scores_of_a_beam_are_sums_of_what_the_network_says(kind, width):
    model, prompt = lively(kind), torch.tensor([[2, 0, 4]])
    found, scores = beam(model, prompt, 6, width)
    assert found.shape == (width, 6)
    assert scores.tolist() == sorted(scores.tolist(), reverse=True)
    assert len({tuple(text) for text in found.tolist()}) == width
    with torch.no_grad():
        for text, score in zip(found, scores, strict=True):
            whole = torch.cat([prompt[0], text])
            logs = model(whole[None, :-1])[0].log_softmax(-1)
            assert score.item() == pytest.approx(sum(logs[2 + i, text[i]].item() for i in range(6)), abs=1e-4)
    if width == 1:
        assert torch.equal(found, generate(model, prompt, 6, choice(temperature=0)))
        past_the_context = beam(model, prompt, 30, 1)[0]
        assert torch.equal(past_the_context, generate(model, prompt, 30, choice(temperature=0)))


def test_a_beam_looks_past_the_greedy_token():
    table = torch.full((3, 3, 3), -9.0)
    table[0, 0] = log(0.2, 0.45, 0.35)  # first token: greedy is 1
    table[0, 1] = log(0.34, 0.33, 0.33)  # after it all is open: 0.45 * 0.34
    table[0, 2] = log(0.01, 0.01, 0.98)  # after 2 it is nearly certain: 0.35 * 0.98
    table[0, 0, 0] = -9.0
    model, prompt = Scripted(table).eval(), torch.tensor([[0]])
    assert beam(model, prompt, 2, 1)[0].tolist() == [[1, 0]]
    found, scores = beam(model, prompt, 2, 2)
    assert found.tolist()[0] == [2, 2]
    logs = table.log_softmax(-1)
    assert scores[0].item() == pytest.approx((logs[0, 0, 2] + logs[0, 2, 2]).item(), abs=1e-6)


def test_a_beam_wider_than_there_are_texts_gives_them_all():
    found, scores = beam(lively("lstm"), torch.tensor([[1]]), 2, 100)
    assert sorted(map(tuple, found.tolist())) == list(itertools.product(range(6), repeat=2))
    assert scores.exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_select_reorders_nested_states():
    a, b, c = torch.arange(3), torch.arange(6).reshape(3, 2), torch.arange(12).reshape(3, 2, 2)
    found = select((a, (b, (c,))), torch.tensor([2, 0, 2, 1]))
    assert found[0].tolist() == [2, 0, 2, 1]
    assert found[1][0].tolist() == [[4, 5], [0, 1], [4, 5], [2, 3]]
    assert torch.equal(found[1][1][0], c[[2, 0, 2, 1]])


# --- what cannot be


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: choice(temperature=-0.1), r"a temperature cannot be -0\.1"),
        (lambda: choice(temperature=math.nan), "a temperature cannot be nan"),
        (lambda: choice(temperature=math.inf), "a temperature cannot be inf"),
        (lambda: choice(top_p=1.1), r"a nucleus has a probability, which cannot be 1\.1"),
        (lambda: choice(top_p=-0.1, temperature=0), r"cannot be -0\.1"),
        (lambda: choice(top_p=math.nan), "cannot be nan"),
        (lambda: choice(top_k=-1), "the -1 most probable tokens do not exist"),
        (lambda: nucleus(torch.zeros(1, 2), 2), "cannot be 2"),
        (lambda: top_k(torch.zeros(1, 2), -3), "the -3 most probable tokens"),
    ],
)
def test_settings_that_cannot_be(make, words):
    with pytest.raises(Problem, match=words):
        make()


@pytest.mark.parametrize("write", [stream, generate, beam])
@pytest.mark.parametrize(
    ("prompt", "count", "words"),
    [
        (torch.zeros(1, 0, dtype=torch.int64), 3, r"a prompt is one token or more in each row, \[n, t\], not \[1, 0\]"),
        (torch.zeros(0, 2, dtype=torch.int64), 3, r"not \[0, 2\]"),
        (torch.zeros(2, dtype=torch.int64), 3, r"not \[2\]"),
        (torch.zeros(1, 2, dtype=torch.int64), 0, "0 tokens cannot be written"),
    ],
)
def test_prompts_and_counts_that_cannot_be(write, prompt, count, words):
    with pytest.raises(Problem, match=words):  # at the call, not at the stream's first token
        write(lively("gpt"), prompt, count, 1 if write is beam else choice())


@pytest.mark.parametrize(("n", "width"), [(1, 0), (2, 3)])
def test_beams_that_cannot_be(n, width):
    with pytest.raises(Problem, match=f"continues one prompt, not {width} and {n}"):
        beam(lively("gpt"), torch.zeros(n, 2, dtype=torch.int64), 3, width)
