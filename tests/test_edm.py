"""Facts of EDM, against closed forms: Gaussian data need no training."""

import math

import pytest
import torch
from torch import Tensor

from model.config import ModelConfig
from model.networks.edm import heun_sample, preconditioning
from model.networks.sampler_gain import noise_levels, sigma_data

GAUSSIANS = pytest.mark.parametrize(("mean", "variance"), [(0.0, 1.0), (0.7, 0.25), (-2.0, 9.0)])
ENDS = torch.tensor([0.0, 1.0], dtype=torch.float64).view(2, 1, 1, 1)
"""Two noises: where a sampler is affine, they tell all."""
SIGMAS = torch.logspace(-3, 2, 11, dtype=torch.float64)
DEVIATIONS = pytest.mark.parametrize("data", [0.5, 1.0, 3.0])


def gaussian_denoiser(mean: float, variance: float):
    """E[image | image + sigma noise] of pixels N(mean, variance)."""

    def denoise(noisy: Tensor, sigma: Tensor) -> Tensor:
        return (variance * noisy + sigma**2 * mean) / (variance + sigma**2)

    return denoise


def sample(mean: float, variance: float, steps: int) -> tuple[float, float]:
    """Image of noise 0, and d(image) / d(noise)."""
    at_zero, at_one = heun_sample(gaussian_denoiser(mean, variance), ENDS, steps=steps).flatten()
    return at_zero.item(), (at_one - at_zero).item()


def exact(mean: float, variance: float) -> tuple[float, float]:
    """The same of the ODE: (x - mean) / sqrt(variance + sigma^2) is kept, from x(80) = 80 noise."""
    deviation = 80 * math.sqrt(variance / (variance + 6400))
    return mean * (1 - deviation / 80), deviation


# Preconditioning


@DEVIATIONS
def test_inputs_have_unit_variance(data):
    """c_in^2 (sigma^2 + sigma_data^2) = 1 (appendix B.6)."""
    _, _, c_in, _ = preconditioning(SIGMAS, data)
    torch.testing.assert_close(c_in**2 * (SIGMAS**2 + data**2), torch.ones_like(SIGMAS))


@DEVIATIONS
def test_targets_have_unit_variance(data):
    """Those of the network: (image - c_skip noisy) / c_out, noisy = image + sigma noise."""
    c_skip, c_out, _, _ = preconditioning(SIGMAS, data)
    varies = (1 - c_skip) ** 2 * data**2 + c_skip**2 * SIGMAS**2
    torch.testing.assert_close(varies / c_out**2, torch.ones_like(SIGMAS))


@DEVIATIONS
def test_loss_weight_times_squared_output_scale_is_one(data):
    """Lambda = (sigma^2 + sigma_data^2) / (sigma sigma_data)^2 of table 1."""
    _, c_out, _, _ = preconditioning(SIGMAS, data)
    weight = (SIGMAS**2 + data**2) / (SIGMAS * data) ** 2
    torch.testing.assert_close(weight * c_out**2, torch.ones_like(SIGMAS))


def test_network_has_nothing_to_add_for_centred_gaussian_images():
    """Their ideal denoiser is c_skip times the noisy image."""
    noisy = torch.ones_like(SIGMAS)
    c_skip, _, _, _ = preconditioning(SIGMAS, 2.0)
    torch.testing.assert_close(c_skip * noisy, gaussian_denoiser(0, 4)(noisy, SIGMAS))


def test_noise_level_enters_as_a_quarter_of_its_logarithm():
    _, _, _, c_noise = preconditioning(torch.tensor([1.0, math.e**4]), 1.0)
    assert c_noise.tolist() == pytest.approx([0.0, 1.0])


@pytest.mark.parametrize(
    ("normalization", "deviation"), [("train_channel", 1.0), ("first_pool", 1.0), ("half", 0.5)]
)
def test_deviation_of_the_images_follows_the_normalisation(normalization, deviation):
    """1 by the pool's own or D_1's; in [-1, 1] the paper's constant (table 1)."""
    assert sigma_data(ModelConfig(normalization=normalization)) == deviation


# Sampler


def test_levels_are_uniform_in_the_seventh_root():
    """Equation 5: 80 at first, 0.002 at last, then 0."""
    levels = noise_levels(5)
    assert (levels[0], levels[-2], levels[-1]) == (pytest.approx(80), pytest.approx(0.002), 0)
    roots = torch.tensor(levels[:-1], dtype=torch.float64) ** (1 / 7)
    torch.testing.assert_close(roots.diff(), roots.diff()[:1].expand(4))


def test_images_twice_as_wide_are_drawn_as_the_others_are():
    """Everything in proportion: N(0, 4 v) from twice the levels is twice N(0, v), bit for bit."""
    narrow = heun_sample(gaussian_denoiser(0, 0.25), ENDS, steps=7, data=0.5)
    wide = heun_sample(gaussian_denoiser(0, 1.0), ENDS, steps=7, data=1.0)
    assert torch.equal(wide, 2 * narrow)


@pytest.mark.parametrize("steps", [1, 2, 18])
def test_sampler_calls_the_network_twice_a_step_but_once_in_the_last(steps):
    """35 calls for 18 steps, as the paper counts them."""
    seen: list[float] = []

    def denoise(noisy: Tensor, sigma: Tensor) -> Tensor:
        assert sigma.shape == (len(noisy), 1, 1, 1)
        seen.append(sigma[0].item())
        return noisy

    heun_sample(denoise, ENDS, steps=steps)
    assert len(seen) == 2 * steps - 1
    assert min(seen) > 0


@GAUSSIANS
def test_many_steps_solve_the_differential_equation(mean, variance):
    """And so sample N(mean, variance), but for what a signal in noise of 80 still tells."""
    assert sample(mean, variance, 500) == pytest.approx(exact(mean, variance), rel=1e-4, abs=1e-4)
    assert exact(mean, variance)[1] ** 2 == pytest.approx(variance, rel=2e-3)


@GAUSSIANS
def test_twice_the_steps_quarter_the_error(mean, variance):
    """Of the deviation: Heun's method has order 2."""
    coarse, fine = (
        abs(sample(mean, variance, steps)[1] - exact(mean, variance)[1]) for steps in (100, 200)
    )
    assert coarse / fine == pytest.approx(4, rel=0.1)


@GAUSSIANS
def test_one_step_is_the_denoiser_at_the_highest_level(mean, variance):
    expected = gaussian_denoiser(mean, variance)(80 * ENDS, torch.tensor(80.0))
    images = heun_sample(gaussian_denoiser(mean, variance), ENDS, steps=1)
    torch.testing.assert_close(images, expected)


def test_clipped_images_keep_their_bounds():
    """The last step ends at an image estimate."""
    half = torch.tensor(0.5, dtype=torch.float64)
    noise = torch.linspace(-3, 3, 13, dtype=torch.float64).view(-1, 1, 1, 1)
    free = heun_sample(gaussian_denoiser(0, 9), noise, steps=5)
    clipped = heun_sample(gaussian_denoiser(0, 9), noise, steps=5, bounds=(-half, half))
    assert free.abs().max() > 0.5
    assert clipped.abs().max() <= 0.5 + 1e-12
