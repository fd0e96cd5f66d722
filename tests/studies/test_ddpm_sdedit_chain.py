import pytest
import torch

from etudes.generate.diffusion import cosine, linear
from etudes.studies.generative.ddpm_sdedit.chain import chain_error


def pictures(n=200):
    return torch.rand(n, 1, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


def seeded():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("betas", [linear(50), cosine(50)], ids=["linear", "cosine"])
def test_a_chain_is_its_closed_form(betas):
    x = pictures()
    error = chain_error(betas, (1 - betas).cumprod(0), x, seeded())
    assert 0 < error < 4 * x.numel() ** -0.5 * 3**0.5  # the slope's deviation is that over the spread of x, 3^-1/2


def test_another_closed_form_is_found_out():
    betas, x = linear(50), pictures()
    alpha_bar = (1 - betas).cumprod(0)
    late = torch.cat([alpha_bar.new_ones(1), alpha_bar[:-1]])  # off by one level
    assert chain_error(betas, late, x, seeded()) > 0.04
    assert chain_error(betas, alpha_bar.sqrt(), x, seeded()) > 0.05
    assert chain_error(betas.flip(0), alpha_bar, x, seeded()) > 0.05


def test_the_error_of_known_noise_is_the_naive_one():
    x, betas = pictures(3), torch.tensor([0.3, 0.2, 0.5, 0.4], dtype=torch.float64)
    alpha_bar = torch.tensor([0.6, 0.6, 0.2, 0.2], dtype=torch.float64)
    generator, walked, worst = seeded(), x.double(), 0.0
    for t in range(4):
        noise = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        walked = (1 - betas[t]).sqrt() * walked + betas[t].sqrt() * noise
        flat, at = x.double().flatten(), walked.flatten()
        slope = torch.linalg.lstsq(flat[:, None], at[:, None]).solution.item()
        worst = max(worst, abs(slope - float(alpha_bar[t]) ** 0.5))
        worst = max(worst, abs(float((at - slope * flat).square().mean()) ** 0.5 - (1 - float(alpha_bar[t])) ** 0.5))
    assert chain_error(betas, alpha_bar, x, seeded()) == pytest.approx(worst)
