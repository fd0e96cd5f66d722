import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from etudes.core.errors import Problem
from etudes.generate.diffusion import SCHEDULES, TARGETS, Blend, Diffusion, cosine, ddim, ddpm, linear, sdedit, unblend

processes = st.builds(
    lambda schedule, steps, predicts: Diffusion(SCHEDULES[schedule](steps), predicts),
    st.sampled_from(sorted(SCHEDULES)),
    st.integers(21, 300),
    st.sampled_from(TARGETS),
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed))


class Answers(nn.Module):
    """A network given as a function of (x_t, t); it remembers how it was called."""

    def __init__(self, function):
        super().__init__()
        self.function, self.seen = function, []

    def forward(self, x, t):
        assert not self.training
        assert not torch.is_grad_enabled()
        assert t.dtype == torch.int64
        assert len(set(t.tolist())) == 1
        assert len(t) == len(x)
        self.seen.append((int(t[0]), x))
        return self.function(x, t)


def knows(diffusion: Diffusion, data) -> Answers:
    """The network that expects the clean picture data(x, alpha_bar_t), in the process's own terms."""

    def answer(x, t):
        alpha_bar = diffusion.alpha_bar[t[0]].item()
        clean = data(x, alpha_bar)
        return diffusion.target(clean, (x - math.sqrt(alpha_bar) * clean) / math.sqrt(1 - alpha_bar), t)

    return Answers(answer)


def test_the_linear_schedule_is_the_papers_and_leaves_nothing_at_any_length():
    assert torch.allclose(linear(1000)[[0, 999]], torch.tensor([1e-4, 0.02], dtype=torch.float64), rtol=1e-12)
    assert (linear(1000).diff() - 0.0199 / 999).abs().max() < 1e-12
    for steps in (21, 50, 100, 200, 1000, 4000):
        alpha_bar = Diffusion(linear(steps), "noise").alpha_bar
        assert 0 < alpha_bar[-1] < 5e-5
        assert alpha_bar[0] > 0.9
    with pytest.raises(Problem, match="of 20 steps is too coarse; take more than 20 steps, or 'cosine'"):
        linear(20)


@pytest.mark.parametrize("steps", [1, 10, 1000])
def test_the_cosine_schedule_is_a_squared_cosine(steps):
    alpha_bar = Diffusion(cosine(steps), "noise").alpha_bar
    start = math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    for t in range(steps - 1):  # the last variance is held at 0.999
        share = (t + 1) / steps
        assert alpha_bar[t].item() == pytest.approx(
            math.cos((share + 0.008) / 1.008 * math.pi / 2) ** 2 / start, rel=1e-9
        )
    assert cosine(steps)[-1].item() == 0.999
    assert alpha_bar.dtype == torch.float64


def test_what_cannot_be_is_refused():
    with pytest.raises(Problem, match="no target of a diffusion network 'nois'; did you mean 'noise'"):
        Diffusion(linear(100), "nois")
    for make in (linear, cosine, Blend):
        with pytest.raises(Problem, match="of 0 steps"):
            make(0)
    d, model, x = Diffusion(linear(100), "noise"), Answers(lambda x, t: x), normal(1, 1, 2, 2)
    with pytest.raises(Problem, match="cannot take 101 steps over 100 levels"):
        ddim(model, d, x, generator(), steps=101)
    with pytest.raises(Problem, match="cannot start at level 101 of 100"):
        ddpm(model, d, x, generator(), start=101)
    with pytest.raises(Problem, match=r"cannot be 1\.5; take 0 \(the guide\) to 1"):
        sdedit(model, d, x, 1.5, generator())


def test_noise_added_step_by_step_has_the_marginals_of_noise_added_at_once():
    d = Diffusion(linear(50), "noise")
    x = torch.full((200_000,), 0.7)
    for t, beta in enumerate(d.betas.tolist()):
        x = math.sqrt(1 - beta) * x + math.sqrt(beta) * normal(len(x), seed=t)
        if t in (0, 10, 49):
            at_once = d.add_noise(torch.full_like(x, 0.7), normal(len(x), seed=99), torch.full((len(x),), t))
            for sample in (x, at_once):
                spread = math.sqrt(1 - d.alpha_bar[t])
                assert sample.mean().item() == pytest.approx(0.7 * math.sqrt(d.alpha_bar[t]), abs=4 * spread / 447)
                assert sample.std().item() == pytest.approx(spread, rel=0.01)


@given(processes, st.integers(0, 10_000))
def test_the_right_answer_is_the_data_and_the_noise(d, t):
    x, noise = normal(3, 2, 4, 4).double(), normal(3, 2, 4, 4, seed=2).double()
    t = torch.tensor([0, t % d.steps, d.steps - 1])
    x_t = d.add_noise(x, noise, t)
    target = d.target(x, noise, t)
    assert torch.allclose(d.to_data(x_t, target, t), x, atol=1e-6)
    assert torch.allclose(d.to_noise(x_t, target, t), noise, atol=1e-6)


def test_velocity_is_the_derivative_by_the_angle():
    d = Diffusion(cosine(40), "velocity")
    x, noise = normal(5, 1, 2, 2).double(), normal(5, 1, 2, 2, seed=2).double()
    t = torch.arange(5) * 8
    angle = torch.atan2((1 - d.alpha_bar[t]).sqrt(), d.alpha_bar[t].sqrt())[:, None, None, None]
    step = 1e-6
    ahead, behind = (torch.cos(a) * x + torch.sin(a) * noise for a in (angle + step, angle - step))
    assert torch.allclose(d.target(x, noise, t), (ahead - behind) / (2 * step), atol=1e-6)


@given(processes, st.integers(0, 10_000))
def test_one_step_of_ancestral_sampling_is_the_posterior(d, t):
    t %= d.steps
    beta, now = d.betas[t].item(), d.alpha_bar[t].item()
    before = d.alpha_bar[t - 1].item() if t else 1.0
    x, data = normal(6).double(), normal(6, seed=2).double()
    mean, deviation = d.step_back(x, data, t + 1, t, 1.0)
    wanted = math.sqrt(before) * beta / (1 - now) * data + math.sqrt(1 - beta) * (1 - before) / (1 - now) * x  # eq. 7
    assert torch.allclose(mean, wanted, atol=1e-8)
    assert deviation == pytest.approx(math.sqrt((1 - before) / (1 - now) * beta), rel=1e-6, abs=1e-9)
    if t == 0:
        assert deviation == 0
        assert torch.equal(mean, data)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("predicts", TARGETS)
@pytest.mark.parametrize("sampler", [ddpm, partial(ddim, steps=7), partial(ddim, steps=50, eta=0.5)])
def test_the_exact_denoiser_of_one_known_picture_samples_that_picture(schedule, predicts, sampler):
    d = Diffusion(SCHEDULES[schedule](50), predicts)
    picture = normal(1, 1, 4, 4).clamp(-1, 1).double()
    model = knows(d, lambda x, alpha_bar: picture.expand_as(x)).train()
    for clip in (True, False):
        made = sampler(model, d, normal(3, 1, 4, 4, seed=2).double(), generator(), clip=clip)
        assert torch.allclose(made, picture.expand(3, 1, 4, 4), atol=1e-8)
    assert model.training


@pytest.mark.parametrize("predicts", TARGETS)
@pytest.mark.parametrize(
    ("steps", "sampler", "error"),
    [(100, ddpm, 0.15), (1000, ddpm, 0.02), (100, partial(ddim, steps=100), 0.05)],
)
def test_the_exact_denoiser_of_gaussian_data_samples_its_mean_and_deviation(predicts, steps, sampler, error):
    """The smaller variance of DDPM makes samples narrow where the steps are few: by how much is known in advance."""
    d, mean, deviation = Diffusion(linear(steps), predicts), 0.3, 0.25

    def gain(alpha_bar):
        return math.sqrt(alpha_bar) * deviation**2 / (alpha_bar * deviation**2 + 1 - alpha_bar)

    def expected(x, alpha_bar):
        return mean + gain(alpha_bar) * (x - math.sqrt(alpha_bar) * mean)

    made = sampler(knows(d, expected), d, normal(20_000, 1, 1, 1, seed=3), generator(), clip=False)
    assert made.mean().item() == pytest.approx(mean, abs=4 * deviation / 141)
    assert made.std().item() == pytest.approx(deviation, rel=error)
    if sampler is ddpm:
        variance = 1.0
        for t in range(steps - 1, -1, -1):
            beta, now, before = d.betas[t].item(), d.alpha_bar[t].item(), d.alpha_bar[t - 1].item() if t else 1.0
            slope = (math.sqrt(before) * beta * gain(now) + math.sqrt(1 - beta) * (1 - before)) / (1 - now)
            variance = slope**2 * variance + (1 - before) / (1 - now) * beta
        assert made.std().item() == pytest.approx(math.sqrt(variance), rel=0.02)


def test_ddim_takes_the_strides_it_says():
    d, model = Diffusion(cosine(10), "data"), Answers(lambda x, t: 0 * x)
    ddim(model, d, normal(2, 1, 2, 2), generator(), steps=4)
    assert [t for t, _ in model.seen] == [9, 7, 4, 1]
    model.seen.clear()
    ddim(model, d, normal(2, 1, 2, 2), generator(), steps=4, start=4)
    assert [t for t, _ in model.seen] == [3, 1]


def test_eta_is_a_share_of_the_posteriors_deviation_and_the_rest_is_expected_noise():
    d, x, data = Diffusion(linear(100), "data"), normal(6).double(), normal(6, seed=2).double()
    expected = (x - d.alpha_bar[79].sqrt() * data) / (1 - d.alpha_bar[79]).sqrt()
    _, whole = d.step_back(x, data, 80, 60, 1.0)
    for eta in (0.0, 0.3, 1.0):
        mean, deviation = d.step_back(x, data, 80, 60, eta)
        assert deviation == pytest.approx(eta * whole)
        rest = (1 - d.alpha_bar[59] - deviation**2).sqrt()
        assert torch.allclose(mean, d.alpha_bar[59].sqrt() * data + rest * expected, atol=1e-12)


def test_samples_stay_in_range_and_in_float32_whatever_the_network_says():
    d = Diffusion(linear(30), "noise")
    wild, x = Answers(lambda x, t: (-5 * x).bfloat16()), normal(2, 1, 3, 3)
    for sampler, process in ((ddpm, d), (partial(ddim, steps=5), d), (unblend, Blend(4))):
        made = sampler(wild, process, x, generator())
        assert made.dtype == torch.float32
        assert made.abs().max() == 1
        assert sampler(wild, process, x, generator(), clip=False).abs().max() > 2
    still = Answers(lambda x, t: x)
    unblend(still, Blend(4), x)
    assert all(torch.equal(seen, x) for _, seen in still.seen)  # on the way a blend is as wide as its noise


def test_the_same_generator_gives_the_same_samples_and_another_gives_others():
    d, model = Diffusion(linear(30), "data"), Answers(lambda x, t: (x / 2).tanh())
    first, second, other = (ddpm(model, d, normal(2, 1, 3, 3), generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.allclose(first, other, atol=0.01)


def test_a_blend_is_a_straight_line_and_its_target_lies_one_level_below():
    blend, x, noise = Blend(4), normal(4, 1, 2, 2), normal(4, 1, 2, 2, seed=2)
    t = torch.arange(4)
    for i, share in enumerate((0.25, 0.5, 0.75, 1.0)):
        assert torch.allclose(blend.add_noise(x, noise, t)[i], (1 - share) * x[i] + share * noise[i], atol=1e-6)
        below = share - 0.25
        assert torch.allclose(blend.target(x, noise, t)[i], (1 - below) * x[i] + below * noise[i], atol=1e-6)


@pytest.mark.parametrize("steps", [16, 400])
def test_a_blend_under_the_squared_error_is_eulers_rectified_flow(steps):
    """Gaussian data: the best guess of the next blend is known, and too narrow where the steps are few."""
    mean, deviation, blend = 0.2, 0.4, Blend(steps)

    def spread(share):
        return ((1 - share) * deviation) ** 2 + share**2

    def best(x, t):
        now, after = (t[0].item() + 1) / steps, t[0].item() / steps
        shared = (1 - now) * (1 - after) * deviation**2 + now * after
        return (1 - after) * mean + shared / spread(now) * (x - (1 - now) * mean)

    x = normal(1000, 1, 1, 1).double()
    made = unblend(Answers(best), blend, x, clip=False)
    euler = x
    for level in range(steps, 0, -1):
        now = level / steps
        data = mean + (1 - now) * deviation**2 / spread(now) * (euler - (1 - now) * mean)
        euler = euler - (euler - data) / now / steps  # the velocity is expected noise - expected data
    assert torch.allclose(made, euler, atol=1e-9)
    assert (made.std() / x.std()).item() == pytest.approx(deviation, rel=0.01 if steps == 400 else 0.2)
    assert (made.std() / x.std()).item() < deviation


@pytest.mark.parametrize(("process", "sampler"), [(Diffusion(linear(50), "data"), ddpm), (Blend(16), unblend)])
def test_sdedit_starts_from_the_guide_with_the_noise_of_its_share(process, sampler):
    guide = torch.full((2, 1, 60, 60), 0.5)
    model = Answers(lambda x, t: 0 * x)
    assert torch.equal(sdedit(model, process, guide, 0, generator(), sampler=sampler), guide)
    assert not model.seen
    for t0 in (0.1, 0.5, 1.0):
        model.seen.clear()
        sdedit(model, process, guide, t0, generator(), sampler=sampler)
        steps = round(t0 * process.steps)
        assert [t for t, _ in model.seen] == list(range(steps - 1, -1, -1))
        noise = torch.randn(guide.shape, generator=generator())
        assert torch.equal(model.seen[0][1], process.add_noise(guide, noise, torch.full((2,), steps - 1)))


def test_sdedit_of_one_known_picture_is_that_picture_from_any_share():
    d = Diffusion(linear(50), "noise")
    picture = normal(1, 1, 4, 4).clamp(-1, 1).double()
    model = knows(d, lambda x, alpha_bar: picture.expand_as(x))
    for t0 in (0.1, 0.6, 1.0):
        made = sdedit(model, d, torch.zeros(2, 1, 4, 4).double(), t0, generator())
        assert torch.allclose(made, picture.expand(2, 1, 4, 4), atol=1e-8)


SAMPLERS = [
    (Diffusion(linear(50), "noise"), ddpm),
    (Diffusion(cosine(50), "velocity"), partial(ddim, steps=10)),
    (Blend(16), unblend),
]


@pytest.mark.parametrize(("process", "sampler"), SAMPLERS)
@pytest.mark.parametrize("kind", [torch.bool, torch.uint8, torch.float32])
def test_what_the_mask_keeps_is_the_guide_bit_for_bit(process, sampler, kind):
    guide = normal(3, 2, 6, 6).clamp(-1, 1)
    mask = (torch.arange(6) < 3).to(kind).expand(1, 1, 6, 6)
    model = Answers(lambda x, t: (3 * x).tanh())
    for t0 in (0, 0.3, 1.0):
        made = sdedit(model, process, guide, t0, generator(), mask=mask, sampler=sampler)
        assert torch.equal(made[..., 3:], guide[..., 3:])
        assert torch.equal(made[..., :3], guide[..., :3]) == (t0 == 0)


def test_on_the_way_the_kept_pixels_have_the_noise_of_each_level():
    d, model = Diffusion(linear(50), "data"), Answers(lambda x, t: 0 * x)
    guide, mask = torch.full((1, 1, 300, 300), 0.5), torch.zeros(1, 1, 300, 300)
    mask[..., :100] = 1
    sdedit(model, d, guide, 0.8, generator(), mask=mask)
    assert len(model.seen) == 40
    noises = []
    for t, x in model.seen:
        kept, spread = x[..., 100:], math.sqrt(1 - d.alpha_bar[t])
        assert kept.mean().item() == pytest.approx(0.5 * math.sqrt(d.alpha_bar[t]), abs=5 * spread / 245)
        assert kept.std().item() == pytest.approx(spread, rel=0.02)
        noises.append((kept - kept.mean()).flatten() / spread)
    assert abs((noises[0] * noises[1]).mean()) < 0.03  # noise is drawn anew at each level


PREDICTION = {"noise": "epsilon", "data": "sample", "velocity": "v_prediction"}


def peer(kind: str, schedule: str, predicts: str, steps: int, **settings):
    """A scheduler of diffusers, given its own tables in float64: its float32 ones err by more than is tested here."""
    diffusers = pytest.importorskip("diffusers")
    ends = {"beta_start": 0.1 / steps, "beta_end": 20 / steps} if schedule == "linear" else {}
    scheduler = getattr(diffusers, kind)(
        num_train_timesteps=steps,
        beta_schedule={"linear": "linear", "cosine": "squaredcos_cap_v2"}[schedule],
        prediction_type=PREDICTION[predicts],
        **ends,
        **settings,
    )
    assert (scheduler.alphas_cumprod - (1 - scheduler.betas.double()).cumprod(0)).abs().max() < 1e-5
    scheduler.betas = scheduler.betas.double()
    scheduler.alphas = 1 - scheduler.betas
    scheduler.alphas_cumprod = scheduler.alphas.cumprod(0)
    return scheduler


def network(x, t):
    return torch.sin(3 * x + 0.1 * t.reshape(-1, 1, 1, 1))


@pytest.mark.parametrize("steps", [100, 1000])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("predicts", TARGETS)
def test_tables_noise_and_targets_are_diffusers(schedule, predicts, steps):
    theirs = peer("DDPMScheduler", schedule, predicts, steps)
    ours = Diffusion(SCHEDULES[schedule](steps), predicts)
    assert (ours.betas - theirs.betas).abs().max() < 1e-5
    assert (ours.alpha_bar - theirs.alphas_cumprod).abs().max() < 1e-5
    x, noise, t = normal(8, 2, 3, 3), normal(8, 2, 3, 3, seed=2), torch.linspace(0, steps - 1, 8).long()
    assert (ours.add_noise(x, noise, t) - theirs.add_noise(x, noise, t)).abs().max() < 1e-5
    if predicts == "velocity":
        assert (ours.target(x, noise, t) - theirs.get_velocity(x, noise, t)).abs().max() < 1e-5


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("predicts", TARGETS)
def test_a_step_of_ddpm_is_diffusers(schedule, predicts, clip):
    theirs = peer("DDPMScheduler", schedule, predicts, 100, variance_type="fixed_small", clip_sample=clip)
    ours = Diffusion(SCHEDULES[schedule](100), predicts)
    for t in (0, 1, 2, 20, 60, 90, 99) if clip else (0, 1, 2, 20, 60, 90):
        x = normal(4, 1, 5, 5, seed=t)
        output = network(x, torch.full((4,), t))
        data = ours.to_data(x, output, torch.full((4,), t))
        mean, deviation = ours.step_back(x, data.clamp(-1, 1) if clip else data, t + 1, t, 1.0)
        made = mean + deviation * torch.randn(x.shape, generator=generator()) if deviation else mean
        assert (made - theirs.step(output, t, x, generator=generator()).prev_sample).abs().max() < 1e-5


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("predicts", TARGETS)
def test_a_step_of_ddim_is_diffusers(schedule, predicts, clip):
    theirs = peer("DDIMScheduler", schedule, predicts, 100, clip_sample=clip)
    theirs.set_timesteps(20)
    ours = Diffusion(SCHEDULES[schedule](100), predicts)
    for t in (4, 9, 49, 89):
        for eta in (0.0, 0.7):
            x = normal(4, 1, 5, 5, seed=t)
            output = network(x, torch.full((4,), t))
            data = ours.to_data(x, output, torch.full((4,), t))
            mean, deviation = ours.step_back(x, data.clamp(-1, 1) if clip else data, t + 1, t - 4, eta)
            made = mean + deviation * torch.randn(x.shape, generator=generator())
            step = theirs.step(output, t, x, eta=eta, use_clipped_model_output=clip, generator=generator())
            assert (made - step.prev_sample).abs().max() < 1e-5


@pytest.mark.parametrize("predicts", TARGETS)
def test_whole_samples_are_diffusers(predicts):
    x = normal(3, 1, 4, 4)
    ours, model = Diffusion(linear(100), predicts), Answers(network)

    def loop(theirs, **settings):
        noise, sample = generator(), x
        for t in theirs.timesteps:
            sample = theirs.step(network(sample, t.expand(3)), t, sample, generator=noise, **settings).prev_sample
        return sample

    theirs = peer("DDPMScheduler", "linear", predicts, 100, variance_type="fixed_small")
    theirs.set_timesteps(100)
    assert (ddpm(model, ours, x, generator()) - loop(theirs)).abs().max() < 1e-4
    theirs = peer("DDIMScheduler", "linear", predicts, 100, timestep_spacing="trailing")
    theirs.set_timesteps(10)
    mine = ddim(model, ours, x, generator(), steps=10)
    assert (mine - loop(theirs, use_clipped_model_output=True)).abs().max() < 1e-4
