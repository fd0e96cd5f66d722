import torch
from torch import nn

from etudes.train.checkpoint import load, save
from etudes.train.ema import EMA

CPU = torch.device("cpu")


def make() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(36, 3))
    return model.to(memory_format=torch.channels_last)


def move(model: nn.Module, seed: int) -> None:
    """A step of something like training: every parameter and buffer changes."""
    generator = torch.Generator().manual_seed(seed)
    model(torch.randn(4, 2, 5, 5, generator=generator))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=generator))


def flat(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_it_is_the_average_by_the_formula_with_its_warm_up():
    model = make()
    ema = EMA(model, 0.6)
    wanted = flat(model).double()
    for i in range(30):
        move(model, i)
        ema.update()
        decay = min(0.6, (1 + i) / (10 + i))
        wanted = decay * wanted + (1 - decay) * flat(model).double()
    assert torch.allclose(flat(ema.model).double(), wanted, atol=1e-5)
    assert not torch.allclose(flat(ema.model), flat(model), atol=0.1)


def test_long_after_the_start_a_still_model_is_its_own_average():
    model = make()
    ema = EMA(model, 0.9)
    move(model, 1)
    for _ in range(400):
        ema.update()
    assert torch.allclose(flat(ema.model), flat(model), atol=1e-6)


def test_buffers_are_copied_and_the_average_neither_trains_nor_drifts():
    model = make()
    ema = EMA(model, 0.99)
    before = flat(ema.model)
    move(model, 1)
    assert torch.equal(flat(ema.model), before)
    assert not torch.equal(ema.model[1].running_mean, model[1].running_mean)
    ema.update()
    assert torch.equal(ema.model[1].running_mean, model[1].running_mean)
    assert torch.equal(ema.model[1].num_batches_tracked, model[1].num_batches_tracked)
    assert model.training
    assert not ema.model.training
    assert not any(p.requires_grad for p in ema.model.parameters())
    assert ema.model[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_saved_and_loaded_it_goes_on_bit_for_bit(tmp_path):
    def advance(model, ema, steps):
        for i in steps:
            move(model, i)
            ema.update()
        return flat(ema.model)

    model = make()
    wanted = advance(model, EMA(model, 0.5), range(8))

    model = make()
    first = EMA(model, 0.5)
    advance(model, first, range(5))
    save(tmp_path / "a", {"model": model, "ema": first})
    other = make()
    second = EMA(other, 0.5)
    load(tmp_path / "a", {"model": other, "ema": second}, CPU)
    assert torch.equal(advance(other, second, range(5, 8)), wanted)
