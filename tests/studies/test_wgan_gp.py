import itertools
import math

import numpy
import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from etudes.core.errors import Problem
from etudes.data.images import images, unit
from etudes.measure.size import count_parameters
from etudes.studies.generative.wgan_gp import STUDY, Config, domains, findings
from etudes.studies.generative.wgan_gp.domains import Domain
from etudes.studies.generative.wgan_gp.findings import gradient_norms, measure_samples
from etudes.studies.generative.wgan_gp.losses import critic_loss, estimate, generator_loss, gradient_penalty
from etudes.studies.generative.wgan_gp.networks import check_critic, perceptron, picture_critic, picture_generator
from etudes.studies.generative.wgan_gp.steps import optimiser, update_critic, update_generator


def linear(slope, inputs=12):
    critic = nn.Sequential(nn.Flatten(), nn.Linear(inputs, 1))
    with torch.no_grad():
        critic[1].weight.fill_(slope / math.sqrt(inputs))
    return critic


def pictures(n=5, seed=0):
    chance = torch.Generator().manual_seed(seed)
    return (
        torch.randn(n, 3, 2, 2, generator=chance),
        torch.randn(n, 3, 2, 2, generator=chance),
        torch.rand(n, generator=chance),
    )


@pytest.mark.parametrize(("slope", "penalty"), [(1, 0), (2, 1), (0.5, 0.25), (0, 1)])
def test_a_linear_critic_has_the_penalty_of_its_slope(slope, penalty):
    assert gradient_penalty(linear(slope), *pictures()).item() == pytest.approx(penalty, abs=1e-6)


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


def cloud(critic):
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
            update_critic(cfg, cloud(critic), opt, constant, i)
        assert all(p.abs().max() <= 0.01 for p in critic.parameters()) == bounded


def test_the_optimisers_are_those_of_the_papers():
    critic = perceptron(2, 4, 1, 1)
    made = {method: optimiser(Config(method=method), critic) for method in ("wgan-gp", "wgan", "gan")}
    assert isinstance(made["wgan"], torch.optim.RMSprop)
    assert made["wgan"].defaults["lr"] == 5e-5
    assert made["wgan-gp"].defaults["betas"] == (0.0, 0.9)
    assert made["wgan-gp"].defaults["lr"] == 1e-4
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
    known = 128 * 8192 + 8192 + sum(16 * a * b + b for a, b in itertools.pairwise(channels)) + 2 * 960
    assert count_parameters(generator) == known
    assert generator(torch.zeros(2, 128)).shape == (2, 3, 64, 64)


def test_sides_that_cannot_be_halved_are_refused():
    with pytest.raises(Problem, match="8, 16, 32 or 64"):
        picture_critic((1, 20, 20), 4, "none", "relu")


def test_the_generator_climbs_the_critic():
    torch.manual_seed(0)
    critic, generator = perceptron(2, 16, 2, 1), perceptron(2, 16, 2, 2)
    noise = torch.randn(64, 2)
    cfg = Config(penalty_lr=0.01)
    opt = optimiser(cfg, generator)
    d = Domain(lambda i: noise, lambda n: generator(noise[:n]), noise, critic, generator)
    constant = torch.optim.lr_scheduler.LambdaLR(opt, lambda _: 1.0)
    before = critic(generator(noise)).mean().item()
    losses = [update_generator(cfg, d, opt, constant, 64).item() for _ in range(5)]
    assert losses[0] == pytest.approx(-before, rel=1e-5)
    assert losses == sorted(losses, reverse=True)


def test_all_methods_make_as_many_steps_of_both_networks_together():
    for scale in ("laptop", "paper"):
        configs = STUDY.configs[scale]
        per_step = {name: configs[name]["critic_steps"] + 1 for name in ("points-gp", "points-clip", "points-gan")}
        assert per_step == {"points-gp": 6, "points-clip": 6, "points-gan": 2}
        assert len({configs[name]["point_steps"] for name in per_step}) == 1
        assert all(configs[name]["point_steps"] % each == 0 for name, each in per_step.items())


class Kept:
    """A run that keeps what is put into its result."""

    device = torch.device("cpu")

    def __init__(self, folder):
        self.folder, self.found = folder, {}

    def rng(self, name, *index):
        return numpy.random.default_rng([len(name), *index])

    def result(self, **numbers):
        self.found |= numbers

    def path(self, name):
        return self.folder / name


def test_the_trivial_generator_and_the_floor_stand_beside_the_samples(tmp_path):
    chance = torch.Generator().manual_seed(0)

    def draw(i):
        return torch.randn(50, 2, generator=chance) * torch.tensor([3.0, 0.1])

    d = Domain(draw, draw, torch.cat([draw(0), draw(0)]), perceptron(2, 4, 1, 1), None)
    run = Kept(tmp_path)
    measure_samples(run, d, d.test + 10)
    assert run.found["test/distance"] == pytest.approx(10 * math.sqrt(2), rel=1e-5)
    assert run.found["test/distance-floor"] < 1
    assert run.found["test/distance-noise"] < 1  # the data are such noise
    assert run.found["test/sliced-distance"] < run.found["test/distance"]


def test_classes_that_samples_lack_are_not_covered(tmp_path, monkeypatch):
    d = images("digits")
    shown = torch.arange(len(d.test_x))[d.test_y < 4][:80]  # four of ten
    judge = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    monkeypatch.setattr(findings, "classifier", lambda *_: (judge, 0.1))
    monkeypatch.setattr(findings, "predictions", lambda net, x: d.test_y[shown])
    run, made = Kept(tmp_path), 2 * unit(d.test_x[shown]) - 1
    domain = Domain(lambda i: made, lambda n: made, made, perceptron(2, 4, 1, 1), None, d)
    findings._judge(Config(), run, domain, made)
    assert run.found == {"test/judge-error": 0.1, "test/classes": pytest.approx(0.4)}
    findings._judge(Config(only=2), run, domain, made)
    assert run.found["test/recognised"] == pytest.approx((d.test_y[shown] == 2).double().mean().item())


def test_too_few_samples_for_a_face_networks_features_are_refused(monkeypatch):
    with pytest.raises(Problem, match="set tested above 128"):
        domains.domain(Config(dataset="orl-faces", tested=80), Kept(None))
