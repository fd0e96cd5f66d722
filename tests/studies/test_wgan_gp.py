import math

import numpy
import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from etudes.core.errors import Problem
from etudes.measure.size import count_parameters
from etudes.studies.generative.wgan_gp import (
    STUDY, Config, critic_loss, estimate, generator_loss, gradient_penalty, optimiser, update_critic,
)  # fmt: skip
from etudes.studies.generative.wgan_gp.domains import Domain
from etudes.studies.generative.wgan_gp.findings import gradient_norms
from etudes.studies.generative.wgan_gp.networks import check_critic, perceptron, picture_critic, picture_generator


def linear(slope, inputs=12):
    critic = nn.Sequential(nn.Flatten(), nn.Linear(inputs, 1))
    with torch.no_grad():
        critic[1].weight.fill_(slope / math.sqrt(inputs))
    return critic


def pictures(n=5, seed=0):
    chance = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, 2, 2, generator=chance), torch.randn(n, 3, 2, 2, generator=chance), torch.rand(n, generator=chance)


@pytest.mark.parametrize("slope, penalty, one_sided", [(1, 0, 0), (2, 1, 1), (0.5, 0.25, 0), (0, 1, 0)])
def test_a_linear_critic_has_the_penalty_of_its_slope(slope, penalty, one_sided):
    critic = linear(slope)
    assert gradient_penalty(critic, *pictures()).item() == pytest.approx(penalty, abs=1e-6)
    assert gradient_penalty(critic, *pictures(), one_sided=True).item() == pytest.approx(one_sided, abs=1e-6)


def test_the_penalty_is_the_naive_loop_over_examples():
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Conv2d(3, 4, 2), nn.Tanh(), nn.Flatten(), nn.Linear(4, 1))
    real, made, mix = pictures()
    penalties = []
    for x, g, e in zip(real, made, mix, strict=True):
        between = (e * x + (1 - e) * g)[None].requires_grad_()
        (slope,) = torch.autograd.grad(critic(between).sum(), between)
        penalties.append((sum(v**2 for v in slope.flatten().tolist()) ** 0.5 - 1) ** 2)  # over all pixels and channels
    assert gradient_penalty(critic, real, made, mix).item() == pytest.approx(numpy.mean(penalties), rel=1e-5)


def test_the_penalty_is_not_that_of_every_pixel():
    real, made, mix = pictures()
    between = torch.lerp(made, real, mix.view(-1, 1, 1, 1)).requires_grad_()
    (slope,) = torch.autograd.grad(linear(1)(between).sum(), between)
    assert (slope.norm(2, dim=1) - 1).square().mean() > 0.2  # the norm over channels alone, a mistake that is about
    assert gradient_penalty(linear(1), real, made, mix) < 1e-10


def test_a_constant_critic_has_a_finite_gradient():
    critic = linear(0)
    gradient_penalty(critic, *pictures()).backward()
    assert torch.isfinite(critic[1].weight.grad).all()


def test_the_losses_are_those_of_the_papers():
    real, made = torch.randn(7, 1), torch.randn(7, 1)
    one, zero = torch.ones(7, 1), torch.zeros(7, 1)
    bce = binary_cross_entropy_with_logits
    assert critic_loss("gan", real, made).item() == pytest.approx((bce(real, one) + bce(made, zero)).item(), rel=1e-5)
    assert generator_loss("gan", made).item() == pytest.approx(bce(made, one).item(), rel=1e-5)
    assert critic_loss("wgan", real, made).item() == pytest.approx((made.mean() - real.mean()).item(), rel=1e-5)
    assert generator_loss("wgan-gp", made).item() == pytest.approx(-made.mean().item(), rel=1e-5)


def test_an_optimal_discriminator_tells_the_jensen_shannon_divergence():
    data, made = numpy.array([0.7, 0.2, 0.1]), numpy.array([0.1, 0.3, 0.6])  # probabilities of three values
    values = torch.from_numpy(numpy.log(data / made))  # of the optimal discriminator
    counts = (1000 * numpy.stack([data, made])).round().astype(int)
    told = estimate("gan", *(values.repeat_interleave(torch.from_numpy(c))[:, None] for c in counts))
    middle = (data + made) / 2
    divergence = (data * numpy.log(data / middle) + made * numpy.log(made / middle)).sum() / 2
    assert told.item() == pytest.approx(divergence, rel=1e-6)


def test_batch_norm_in_a_penalised_critic_is_refused():
    with pytest.raises(Problem, match="layer norm or none"):
        check_critic(picture_critic((1, 16, 16), 4, "batch", "relu"))
    for norm in ("layer", "none"):
        check_critic(picture_critic((1, 16, 16), 4, norm, "relu"))


def domain(critic):
    chance = numpy.random.default_rng(0)
    real = torch.from_numpy(chance.normal(size=(64, 2))).float()
    return Domain(lambda i: real, lambda n: torch.randn(n, 2) + 2, real, critic, None)


def test_clipped_weights_stay_clipped_and_penalised_ones_do_not():
    for method, bounded in (("wgan", True), ("wgan-gp", False)):
        torch.manual_seed(0)
        critic = perceptron(2, 16, 2, 1)
        cfg = Config(method=method, data="8-gaussians", batch=64, clip=0.01, clip_lr=0.01, penalty_lr=0.01)
        opt = optimiser(cfg, critic)
        constant = torch.optim.lr_scheduler.LambdaLR(opt, lambda _: 1.0)
        for i in range(20):
            update_critic(cfg, domain(critic), opt, constant, i)
        assert all(p.abs().max() <= 0.01 for p in critic.parameters()) == bounded


def test_the_optimisers_are_those_of_the_papers():
    critic = perceptron(2, 4, 1, 1)
    made = {method: optimiser(Config(method=method), critic) for method in ("wgan-gp", "wgan", "gan")}
    assert isinstance(made["wgan"], torch.optim.RMSprop) and made["wgan"].defaults["lr"] == 5e-5
    assert made["wgan-gp"].defaults["betas"] == (0.0, 0.9) and made["wgan-gp"].defaults["lr"] == 1e-4
    assert made["gan"].defaults["betas"] == (0.5, 0.999)


def test_gradients_by_layer_are_those_of_the_chain_rule():
    torch.manual_seed(0)
    critic, x = perceptron(2, 5, 2, 1, "tanh").double(), torch.randn(6, 2).double()
    first, second, last = (layer for layer in critic if isinstance(layer, nn.Linear))
    hidden = torch.tanh(first(x))
    at_second = last.weight * (1 - torch.tanh(second(hidden)) ** 2)
    at_first = at_second @ second.weight * (1 - hidden**2)
    found = gradient_norms(critic, x)
    assert found == pytest.approx([at_first.norm(dim=1).mean().item(), at_second.norm(dim=1).mean().item(), 1.0])


def test_the_paper_scale_has_the_papers_settings_and_dcgans_size():
    cfg = STUDY.configs["paper"]["gp-norm"]
    assert (cfg["penalty"], cfg["critic_steps"], cfg["penalty_lr"], cfg["batch"]) == (10, 5, 1e-4, 64)
    generator = picture_generator(128, (3, 64, 64), 64, "batch", "relu", "conv")
    channels = [512, 256, 128, 64, 3]
    known = 128 * 8192 + 8192 + sum(16 * a * b + b for a, b in zip(channels, channels[1:], strict=False)) + 2 * 960
    assert count_parameters(generator) == known
    assert generator(torch.zeros(2, 128)).shape == (2, 3, 64, 64)


def test_sides_that_cannot_be_halved_are_refused():
    with pytest.raises(Problem, match="8, 16, 32 or 64"):
        picture_critic((1, 20, 20), 4, "none", "relu")
