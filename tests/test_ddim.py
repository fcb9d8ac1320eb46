"""Facts of the schedule and the sampler, against closed forms: Gaussian data need no training."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from model.config import ModelConfig, SampleConfig
from model.errors import UsageError
from model.family_facts import check_sampler
from model.networks.ddim import ddim_sample, diffusion_rates, estimate_images
from model.networks.objective import Bounds


def rates(time: float, **limits: float) -> tuple[float, float]:
    signal, noise = diffusion_rates(torch.tensor(time, dtype=torch.float64), **limits)
    return signal.item(), noise.item()


def draw_noise(num_images: int = 4) -> Tensor:
    """(N, 2, 3, 3) float64."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(num_images, 2, 3, 3, generator=generator, dtype=torch.float64)


def sample(predict_noise, noise: Tensor, *, bounds: Bounds = None, **settings) -> Tensor:
    config = SampleConfig(**settings)
    return ddim_sample(predict_noise, noise, model=ModelConfig(), config=config, bounds=bounds)


def gaussian_predictor(mean: float, variance: float):
    """The ideal noise predictor of pixels N(mean, variance): E[noise | noisy], which is affine."""

    def predict_noise(noisy: Tensor, noise_variance: Tensor) -> Tensor:
        signal = (1 - noise_variance).sqrt()
        total = signal**2 * variance + noise_variance
        return noise_variance.sqrt() * (noisy - signal * mean) / total

    return predict_noise


def gaussian_slope(variance: float, steps: int, **limits: float) -> float:
    """d(image) / d(noise) of the sampler with `gaussian_predictor`, by hand.

    With u = noisy - signal * mean and D = signal^2 variance + noise^2, a step maps u to
    u (signal signal' variance + noise noise') / D; the estimate is mean + signal variance u / D.
    """
    slope = 1.0
    for k in range(steps):
        signal, noise = rates(1 - k / steps, **limits)
        total = signal**2 * variance + noise**2
        if k == steps - 1:
            return slope * signal * variance / total
        next_signal, next_noise = rates(1 - (k + 1) / steps, **limits)
        slope *= (signal * next_signal * variance + noise * next_noise) / total
    raise AssertionError


# Schedule


@pytest.mark.parametrize(
    ("time", "signal", "noise"),
    [(0.0, 0.95, 0.31225), (0.5, 0.5945, 0.8041), (1.0, 0.02, 0.9998)],
)
def test_schedule_has_the_examples_values(time, signal, noise):
    """Cos and sin of acos(.95) at time 0, of acos(.02) at time 1, of their mean between."""
    assert rates(time) == pytest.approx((signal, noise), abs=5e-5)


@given(st.floats(0, 1), st.floats(0.01, 0.5), st.floats(0.51, 0.999))
def test_schedule_preserves_variance(time, lowest, highest):
    signal, noise = rates(time, min_signal_rate=lowest, max_signal_rate=highest)
    assert signal**2 + noise**2 == pytest.approx(1, abs=1e-12)
    assert lowest - 1e-12 <= signal <= highest + 1e-12


def test_images_are_estimated_from_their_own_noise():
    images, noise = draw_noise(), draw_noise().flip(0)
    noisy = 0.6 * images + 0.8 * noise
    estimated = estimate_images(noisy, noise, torch.tensor(0.6), torch.tensor(0.8))
    torch.testing.assert_close(estimated.double(), images, rtol=0, atol=1e-6)


# Sampler


@pytest.mark.parametrize("steps", [1, 2, 5, 20])
@pytest.mark.parametrize(("mean", "variance"), [(0.0, 1.0), (0.7, 0.25), (-2.0, 9.0)])
def test_sampler_of_gaussian_data_is_its_closed_form(mean, variance, steps):
    """Image = mean + slope x (noise - .02 mean), as the first step believes in a signal of .02."""
    noise = draw_noise()
    images = sample(gaussian_predictor(mean, variance), noise, steps=steps)
    expected = mean + gaussian_slope(variance, steps) * (noise - rates(1.0)[0] * mean)
    torch.testing.assert_close(images, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("mean", "variance"), [(0.0, 1.0), (0.7, 0.25), (-2.0, 9.0)])
def test_many_steps_sample_the_posterior_mean_at_time_0(mean, variance):
    """In the limit u / sqrt(D) is kept, so that noise N(0, 1) becomes images N(m', v').

    With signal rates .95 and .02, v' = v x .9025 v / (.9025 v + .0975) / (.0004 v + .9996): even an
    ideal network's images vary less than the data (.9025 for v = 1), as the last estimate is a mean
    over what a noise rate of .31 hides.
    """
    limit = variance * 0.9025 * variance / (0.9025 * variance + 0.0975)
    limit /= 0.0004 * variance + 0.9996
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64).view(2, 1, 1, 1)
    at_zero, at_one = sample(gaussian_predictor(mean, variance), ends, steps=4000).flatten()
    slope = (at_one - at_zero).item()
    assert slope**2 == pytest.approx(limit, rel=2e-3)
    assert at_zero.item() == pytest.approx(mean * (1 - 0.02 * slope), abs=1e-10)


@pytest.mark.parametrize(("mean", "variance"), [(0.0, 1.0), (0.7, 0.25), (-2.0, 9.0)])
def test_many_steps_sample_the_data_if_the_schedule_ends_at_them(mean, variance):
    """With signal rates from 1e-4 to .99999 the images' mean and variance are the data's."""
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64).view(2, 1, 1, 1)
    at_zero, at_one = ddim_sample(
        gaussian_predictor(mean, variance),
        ends,
        model=ModelConfig(max_signal_rate=0.99999, min_signal_rate=1e-4),
        config=SampleConfig(steps=4000),
        bounds=None,
    ).flatten()
    assert at_zero.item() == pytest.approx(mean, abs=1e-3)
    assert (at_one - at_zero).item() ** 2 == pytest.approx(variance, rel=5e-3)


@pytest.mark.parametrize("steps", [1, 7])
def test_sampler_of_a_single_image_returns_it(steps):
    """The ideal predictor of data without variance."""
    images = sample(gaussian_predictor(0.3, 0.0), draw_noise(), steps=steps)
    torch.testing.assert_close(images, torch.full_like(images, 0.3), rtol=0, atol=1e-10)


def test_sampler_calls_the_network_at_uniform_times():
    """T calls at t = 1, 1 - 1/T, ... 1/T: never at 0."""
    seen = []

    def predict_noise(noisy: Tensor, variance: Tensor) -> Tensor:
        assert variance.shape == (len(noisy), 1, 1, 1)
        seen.append(variance[0].item())
        return torch.zeros_like(noisy)

    sample(predict_noise, draw_noise(), steps=4)
    assert seen == pytest.approx([rates(time)[1] ** 2 for time in (1.0, 0.75, 0.5, 0.25)])


def test_sampler_returns_the_last_estimate_not_its_remix():
    """One step of a zero predictor divides by the signal rate of .02 and adds no noise back."""
    noise = draw_noise()
    images = sample(lambda noisy, variance: torch.zeros_like(noisy), noise, steps=1)
    torch.testing.assert_close(images, noise / 0.02)


def test_clipped_estimates_keep_their_bounds():
    """Each channel has its own."""
    lowest = torch.tensor([-0.5, 0.0], dtype=torch.float64).view(1, 2, 1, 1)
    highest = torch.tensor([0.5, 0.1], dtype=torch.float64).view(1, 2, 1, 1)
    for steps in range(1, 6):
        images = sample(
            gaussian_predictor(0, 4), draw_noise(), steps=steps, bounds=(lowest, highest)
        )
        assert ((lowest <= images) & (images <= highest)).all()


def test_bounds_that_are_never_met_change_nothing():
    wide = torch.tensor(1e6, dtype=torch.float64)
    free = sample(gaussian_predictor(0, 1), draw_noise(), steps=5)
    clipped = sample(gaussian_predictor(0, 1), draw_noise(), steps=5, bounds=(-wide, wide))
    torch.testing.assert_close(clipped, free, rtol=0, atol=1e-9)


def test_clipped_step_continues_with_the_noise_of_the_clipped_estimate():
    """Two steps by hand: the estimate 1 / .02 is cut to 1, and the noise is what is left of 1."""
    noise = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    noisy_seen = []

    def predict_noise(noisy: Tensor, variance: Tensor) -> Tensor:
        noisy_seen.append(noisy.item())
        return torch.zeros_like(noisy)

    one = torch.tensor(1.0, dtype=torch.float64)
    sample(predict_noise, noise, steps=2, bounds=(-one, one))
    (signal, noise_rate), (next_signal, next_noise) = rates(1.0), rates(0.5)
    remixed = next_signal * 1 + next_noise * (1 - signal) / noise_rate
    assert noisy_seen == pytest.approx([1.0, remixed])
    assert math.isclose(signal, 0.02)


# Fresh noise and several steps


def gaussian_variance(variance: float, steps: int, eta: float) -> float:
    """Variance of the sampler's images with `gaussian_predictor`, by hand.

    A step maps u (see `gaussian_slope`) to u (signal signal' variance + noise kept) / D + added z.
    """
    u = 1.0  # pure noise, less signal * mean = 0
    for k in range(steps):
        signal, noise = rates(1 - k / steps)
        total = signal**2 * variance + noise**2
        if k == steps - 1:
            return u * (signal * variance / total) ** 2
        next_signal, next_noise = rates(1 - (k + 1) / steps)
        added = eta * next_noise / noise * math.sqrt(1 - (signal / next_signal) ** 2)
        kept = math.sqrt(next_noise**2 - added**2)
        u *= ((signal * next_signal * variance + noise * kept) / total) ** 2
        u += added**2
    raise AssertionError


@pytest.mark.parametrize("eta", [0.5, 1.0])
@pytest.mark.parametrize("steps", [2, 5, 20])
def test_a_stochastic_sampler_of_gaussian_data_has_its_closed_form(eta, steps):
    """20,000 pixels: the variance of a variance is 2 / N of its square; within four deviations."""
    generator = torch.Generator().manual_seed(1)
    shape = (20_000, 1, 1, 1)
    noise = torch.randn(shape, generator=generator, dtype=torch.float64)
    fresh = torch.randn((len(noise), steps - 1, 1, 1, 1), generator=generator, dtype=torch.float64)
    both = torch.cat([noise[:, None], fresh], dim=1)
    images = sample(gaussian_predictor(0.0, 0.5), both, steps=steps, stochasticity=eta)
    expected = gaussian_variance(0.5, steps, eta)
    assert images.var().item() == pytest.approx(expected, rel=4 * math.sqrt(2 / len(noise)))


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_the_noisy_image_at_time_0_is_the_last_estimate_with_its_noise(eta):
    """Of two steps, whose last adds no fresh noise; it is not divided by the signal rate."""
    noise, fresh = draw_noise(), draw_noise().flip(0)
    predictions: list[torch.Tensor] = []

    def predict(noisy, variance):
        predictions.append(0.3 * noisy)
        return predictions[-1]

    both = torch.stack([noise, fresh], dim=1)
    estimate = sample(predict, both, steps=2, stochasticity=eta)
    noisy = sample(predict, both, steps=2, stochasticity=eta, denoise_last=False)
    signal, rate = rates(0.0)
    assert torch.allclose(noisy, signal * estimate + rate * predictions[-1], rtol=1e-12)


def test_many_steps_without_the_last_estimate_are_the_forward_process():
    """From N(0, 1) noise, a linear map whose square is the variance 0.95^2 v + 1 - 0.95^2."""
    noise = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    noisy = sample(gaussian_predictor(0.0, 0.5), noise, steps=4000, denoise_last=False)
    assert noisy.item() ** 2 == pytest.approx(0.95**2 * 0.5 + 1 - 0.95**2, rel=1e-3)


def test_fresh_noise_has_no_effect_on_a_deterministic_sampler():
    """Nor is it needed."""
    predictor, noise = gaussian_predictor(0.3, 0.5), draw_noise()
    fresh = torch.full((len(noise), 4, *noise.shape[1:]), float("nan"))
    deterministic = sample(predictor, noise, steps=5)
    both = torch.cat([noise[:, None], fresh], dim=1)
    assert torch.equal(sample(predictor, both, steps=5), deterministic)


def test_two_past_predictions_are_extrapolated_by_adams_bashforth():
    """1.5 e_k - 0.5 e_(k-1), and the first step as it is: with e_0 = 1, e_1 = 3, e = 4."""
    predictions = iter([1.0, 3.0])
    noise = draw_noise()
    images = sample(
        lambda noisy, variance: torch.full_like(noisy, next(predictions)),
        noise,
        steps=2,
        multistep=2,
    )
    (signal, rate), (middle_signal, middle_rate) = rates(1.0), rates(0.5)
    middle = middle_signal * (noise - rate) / signal + middle_rate
    assert torch.allclose(images, (middle - middle_rate * 4) / middle_signal, rtol=1e-12)


def test_two_past_predictions_come_nearer_to_many_steps_than_one():
    """At ten steps on Gaussian data."""
    predictor, noise = gaussian_predictor(0.0, 0.5), draw_noise()
    limit = sample(predictor, noise, steps=2000)
    errors = [
        (sample(predictor, noise, steps=10, multistep=n) - limit).abs().max().item() for n in (1, 2)
    ]
    assert errors[1] < errors[0] / 2


def test_only_ddim_and_its_process_have_its_settings():
    ddim, edm = ModelConfig(family="ddim"), ModelConfig(family="exact-gaussian", process="edm")
    for config, message in (
        (SampleConfig(stochasticity=1.0), "stochasticity must be 0 with model.process=edm, got 1"),
        (
            SampleConfig(denoise_last=False),
            "denoise_last must be True with .*=edm, got False; only",
        ),
    ):
        check_sampler(ddim, config)
        check_sampler(replace(edm, process="ddim"), config)
        with pytest.raises(UsageError, match=rf"^sample\.{message}"):
            check_sampler(edm, config)
