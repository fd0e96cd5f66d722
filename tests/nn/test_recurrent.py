import pytest
import torch
from torch import nn

from etudes.core.errors import Problem
from etudes.measure.size import count_parameters
from etudes.nn.recurrent import FUSED, Normalised, Recurrent, hidden_units, parameters_of, walk

KINDS = ["rnn", "lstm", "gru"]
STATES = {"rnn": ("hidden",), "lstm": ("hidden", "cell"), "gru": ("hidden",)}


def network(kind, **options):
    torch.manual_seed(0)
    return Recurrent(kind, 11, 7, **options)


def tokens(n=3, t=9):
    return torch.randint(11, (n, t), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", KINDS)
def test_our_steps_are_pytorchs(kind):
    torch.manual_seed(2)
    layer = FUSED[kind](6, 6, batch_first=True)
    x, state = torch.randn(4, 8, 6), tuple(torch.randn(4, 6) for _ in STATES[kind])
    given = tuple(part[None] for part in state)
    expected, last = layer(x, given if kind == "lstm" else given[0])
    seen = walk(layer, kind, x, state)
    assert torch.allclose(seen["hidden"], expected, atol=1e-5)
    if kind == "lstm":
        assert torch.allclose(seen["cell"][:, -1], last[1][0], atol=1e-5)


def normal(x, norm):
    mean = x.mean()
    return (x - mean) / ((x - mean).square().mean() + norm.eps).sqrt() * norm.weight + norm.bias


def naive(kind, layer, x, h, c):
    """The hidden states of one sequence x [t, h], by the equations of Ba et al. 2016."""
    found, size = [], len(h)
    for now in x:
        a, b = layer.weight_ih_l0 @ now, layer.weight_hh_l0 @ h
        if kind == "rnn":
            h = normal(a + b, layer.norm).tanh()
        elif kind == "lstm":
            i, f, g, o = (normal(a, layer.norms_ih[0]) + normal(b, layer.norms_hh[0])).split(size)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * normal(c, layer.norm).tanh()
        else:
            both = normal(a[: 2 * size], layer.norms_ih[0]) + normal(b[: 2 * size], layer.norms_hh[0])
            r, z = both.sigmoid().split(size)
            new = normal(a[2 * size :], layer.norms_ih[1]) + r * normal(b[2 * size :], layer.norms_hh[1])
            h = (1 - z) * new.tanh() + z * h
        found.append(h)
    return torch.stack(found)


@pytest.mark.parametrize("kind", KINDS)
def test_layer_normalisation_is_the_naive_loop(kind):
    torch.manual_seed(3)
    layer = Normalised(kind, 5)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    x, h, c = torch.randn(2, 6, 5), torch.randn(2, 5), torch.randn(2, 5)
    seen = walk(layer, kind, x, (h, c) if kind == "lstm" else (h,))
    for row in range(2):
        assert torch.allclose(seen["hidden"][row], naive(kind, layer, x[row], h[row], c[row]), atol=1e-5)


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_state_carried_over_is_one_long_pass_and_stays_as_it_was(kind, layer_norm):
    model, x = network(kind, layers=2, layer_norm=layer_norm).eval(), tokens()
    first, state = model.next(x[:, :4], model.start(3))
    kept = [part.clone() for layer in state for part in layer]
    second, _ = model.next(x[:, 4:], state)
    assert torch.allclose(torch.cat([first, second], 1), model(x), atol=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(kept, (p for layer in state for p in layer), strict=True))


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_every_tensor_of_the_state_has_the_batch_first(kind, layer_norm):
    model, x = network(kind, layers=2, layer_norm=layer_norm).eval(), tokens(n=5)
    _, state = model.next(x, model.start(5))
    assert [len(layer) for layer in state] == [len(STATES[kind])] * 2
    assert {part.shape for layer in state for part in layer} == {(5, 7)}
    rows = torch.tensor([3, 3, 0])
    picked = tuple(tuple(part[rows] for part in layer) for layer in state)
    assert torch.allclose(model.next(x[rows], picked)[0], model.next(x, state)[0][rows], atol=1e-6)


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_watching_shows_what_the_network_does(kind, layer_norm):
    model, x = network(kind, layers=2, dropout=0.5, layer_norm=layer_norm).eval(), tokens()
    seen = model.watch(x, model.start(3))
    assert torch.allclose(model.head(seen[-1]["hidden"]), model(x), atol=1e-5)
    _, state = model.next(x, model.start(3))
    for layer, after in zip(seen, state, strict=True):
        for name, part in zip(STATES[kind], after, strict=True):
            assert torch.allclose(layer[name][:, -1], part, atol=1e-5)
        gates = {name: layer[name] for name in layer if name not in ("hidden", "cell")}
        assert len(gates) == {"rnn": 0, "lstm": 3, "gru": 2}[kind]
        assert all(((gate > 0) & (gate < 1)).all() for gate in gates.values())


def test_dropout_acts_between_layers_and_on_the_output_but_not_in_time():
    model, x = network("lstm", layers=2, dropout=0.9), tokens()
    torch.manual_seed(0)
    _, (first, second) = model.next(x, model.start(3))
    _, (plain_first, plain_second) = model.eval().next(x, model.start(3))
    assert torch.allclose(first[0], plain_first[0])  # below the first dropout
    assert not torch.allclose(second[0], plain_second[0])
    single = network("lstm", dropout=0.9)
    assert not torch.allclose(single(x), single.eval()(x))


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_counted_by_a_closed_form(kind, layers):
    assert parameters_of(kind, 11, 7, layers) == count_parameters(network(kind, layers=layers))


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_hidden_for_is_the_nearest_of_all(kind, layers):
    for wanted in (2_000, 12_345, 100_000):
        sizes = {h: abs(parameters_of(kind, 30, h, layers) - wanted) for h in range(1, 300)}
        assert hidden_units(kind, 30, layers, wanted) == min(sizes, key=sizes.get)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_the_start_forgets_little_and_turns_hidden_states(layer_norm):
    layer = network("lstm", layer_norm=layer_norm).layers[0]
    shifts = layer.norms_ih[0].bias if layer_norm else layer.bias_ih_l0
    assert shifts.reshape(4, 7).tolist() == [[0.0] * 7, [1.0] * 7, [0.0] * 7, [0.0] * 7]
    for block in layer.weight_hh_l0.chunk(4):
        assert torch.allclose(block @ block.T, torch.eye(7), atol=1e-5)


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_logits_start_with_unit_variance(kind, layer_norm):
    torch.manual_seed(0)
    model = Recurrent(kind, 50, 40, 2, dropout=0.5, layer_norm=layer_norm).eval()
    logits = model(torch.randint(50, (64, 32), generator=torch.Generator().manual_seed(5)))
    assert logits.std().item() == pytest.approx(1, abs=0.1)


def test_what_cannot_be_is_told():
    with pytest.raises(Problem, match="did you mean 'lstm'"):
        Recurrent("lstn", 11, 7)
    with pytest.raises(Problem, match="dropout in"):
        Recurrent("lstm", 11, 7, dropout=1.0)
    with pytest.raises(Problem, match="parameters or more, not 10"):
        hidden_units("gru", 50, 1, 10)
