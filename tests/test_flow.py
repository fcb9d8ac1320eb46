"""Facts of rectified flow, against closed forms: Gaussian data need no training."""

import pytest
import torch
from torch import Tensor

from model.config import ModelConfig, SampleConfig
from model.networks.flow import flow_sample, interpolate
from model.networks.objective import Bounds

GAUSSIANS = pytest.mark.parametrize(("mean", "variance"), [(0.0, 1.0), (0.7, 0.25), (-2.0, 9.0)])
ENDS = torch.tensor([0.0, 1.0], dtype=torch.float64).view(2, 1, 1, 1)
"""Two noises: where a sampler is affine, they tell all."""


def gaussian_velocity(mean: float, variance: float):
    """E[noise - image | x_t] of pixels N(mean, variance).

    x_t has mean (1 - t) mean and variance (1 - t)^2 variance + t^2; its covariance with
    noise - image is t - (1 - t) variance.
    """

    def velocity(noisy: Tensor, times: Tensor) -> Tensor:
        total = (1 - times) ** 2 * variance + times**2
        slope = (times - (1 - times) * variance) / total
        return slope * (noisy - (1 - times) * mean) - mean

    return velocity


def draw(velocity, noise: Tensor, *, steps: int, bounds: Bounds = None) -> Tensor:
    config = SampleConfig(steps=steps)
    return flow_sample(velocity, noise, model=ModelConfig(), config=config, bounds=bounds)


def sample(mean: float, variance: float, steps: int, **settings) -> tuple[float, float]:
    """Image of noise 0, and d(image) / d(noise)."""
    velocity = gaussian_velocity(mean, variance)
    at_zero, at_one = draw(velocity, ENDS, steps=steps, **settings).flatten()
    return at_zero.item(), (at_one - at_zero).item()


def test_path_runs_from_the_image_to_the_noise():
    image, noise = torch.full((1, 1, 1, 1), 3.0), torch.full((1, 1, 1, 1), -1.0)
    path = [interpolate(image, noise, torch.tensor(time)).item() for time in (0.0, 0.25, 1.0)]
    assert path == [3.0, 2.0, -1.0]


@GAUSSIANS
def test_many_steps_sample_the_data(mean, variance):
    """Noise N(0, 1) becomes images N(mean, variance)."""
    found_mean, found_deviation = sample(mean, variance, 4000)
    assert found_mean == pytest.approx(mean, abs=5e-3)
    assert found_deviation**2 == pytest.approx(variance, rel=5e-3)


@GAUSSIANS
def test_twice_the_steps_halve_the_error(mean, variance):
    """Of the deviation: Euler's method has order 1."""
    coarse, fine = (abs(sample(mean, variance, steps)[1] - variance**0.5) for steps in (1000, 2000))
    assert coarse / fine == pytest.approx(2, rel=0.02)


@GAUSSIANS
def test_one_step_samples_the_mean(mean, variance):
    """Noise alone tells nothing of the image: the velocity at 1 is noise - mean."""
    assert sample(mean, variance, 1) == pytest.approx((mean, 0.0), abs=1e-12)


def test_sampler_calls_the_network_at_uniform_times():
    """T calls at 1, 1 - 1/T, ... 1/T: never at 0."""
    seen: list[float] = []

    def velocity(noisy: Tensor, times: Tensor) -> Tensor:
        assert times.shape == (len(noisy), 1, 1, 1)
        seen.append(times[0].item())
        return torch.zeros_like(noisy)

    draw(velocity, ENDS, steps=4)
    assert seen == [1.0, 0.75, 0.5, 0.25]


def test_clipped_images_keep_their_bounds():
    """Slopes of N(0, 9) leave [-1/2, 1/2] where they are free to."""
    half = torch.tensor(0.5, dtype=torch.float64)
    noise = torch.linspace(-3, 3, 13, dtype=torch.float64).view(-1, 1, 1, 1)
    free = draw(gaussian_velocity(0, 9), noise, steps=5)
    clipped = draw(gaussian_velocity(0, 9), noise, steps=5, bounds=(-half, half))
    assert free.abs().max() > 0.5
    assert clipped.abs().max() <= 0.5 + 1e-12


def test_bounds_that_are_never_met_change_nothing():
    wide = torch.tensor(1e6, dtype=torch.float64)
    assert sample(0.7, 4, 5, bounds=(-wide, wide)) == pytest.approx(sample(0.7, 4, 5), abs=1e-9)
