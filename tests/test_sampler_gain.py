"""Facts of the closed form of a sampler's gain, held against the samplers themselves.

The best network for pixels N(0, v) is linear in the noisy pixel, so a sampler turns each noise
number into a known multiple. A sampler that is given this network, and one noise at a time, shows
these multiples; the sum of their squares is the variance of its images.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from model.config import ModelConfig, SampleConfig
from model.errors import UsageError
from model.networks.ddim import DDIM
from model.networks.edm import EDM, preconditioning
from model.networks.flow import FLOW
from model.networks.sampler_gain import (
    RESPONSES,
    noise_levels,
    sampler_gain,
    sampler_response,
    sigma_data,
)

VARIANCES = np.array([1e-3, 0.05, 0.3, 1.0, 4.0, 50.0])
Network = Callable[[Tensor, Tensor], Tensor]


def best_network(family: str, model: ModelConfig, mean: float = 0.0) -> Network:
    """What a network of the family that is trained to the end on pixels N(mean, v) computes."""
    v = torch.from_numpy(VARIANCES)

    def ddim(noisy: Tensor, noise_variance: Tensor) -> Tensor:
        signal_variance = 1 - noise_variance
        centred = noisy - signal_variance.sqrt() * mean
        return noise_variance.sqrt() * centred / (signal_variance * v + noise_variance)

    def flow(noisy: Tensor, time: Tensor) -> Tensor:
        along = (1 - time) ** 2 * v + time**2
        return (time - (1 - time) * v) / along * (noisy - (1 - time) * mean) - mean

    def edm(scaled: Tensor, log_level: Tensor) -> Tensor:
        sigma = (4 * log_level).exp()
        c_skip, c_out, c_in, _ = preconditioning(sigma, sigma_data(model))
        noisy = scaled / c_in
        return (mean + v / (v + sigma**2) * (noisy - mean) - c_skip * noisy) / c_out

    return {"ddim": ddim, "flow": flow, "edm": edm}[family]


def measured(family: str, model: ModelConfig, sample: SampleConfig) -> np.ndarray:
    """The gains that the sampler shows; each of its noises is 1 once, and 0 otherwise."""
    objective = {"ddim": DDIM, "flow": FLOW, "edm": EDM}[family]
    P, num_noises = len(VARIANCES), 1 if sample.stochasticity == 0 else sample.steps
    noise = torch.eye(num_noises, dtype=torch.float64).view(num_noises, num_noises, 1, 1, 1)
    noise = noise.expand(-1, -1, 1, 1, P).contiguous()
    if sample.stochasticity == 0:
        noise = noise[:, 0]
    network = best_network(family, model)
    images = objective.sample(network, noise, model=model, config=sample, bounds=None)
    return (images.numpy().reshape(num_noises, P) ** 2).sum(axis=0) / VARIANCES


every_sampler = pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("ddim", {}),
        ("ddim", {"stochasticity": 1.0}),
        ("ddim", {"stochasticity": 0.3, "multistep": 2}),
        ("ddim", {"multistep": 2}),
        ("ddim", {"denoise_last": False}),
        ("ddim", {"denoise_last": False, "stochasticity": 0.7, "multistep": 2}),
        ("flow", {}),
        ("edm", {}),
    ],
)


@pytest.mark.parametrize("steps", [1, 2, 5, 40])
@every_sampler
def test_the_gain_is_that_of_the_sampler(family, settings, steps) -> None:
    for model in (ModelConfig(family=family), ModelConfig(family=family, normalization="half")):
        sample = SampleConfig(steps=steps, **settings)
        expected = measured(family, model, sample)
        np.testing.assert_allclose(sampler_gain(VARIANCES, model, sample), expected, rtol=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 5, 40])
@every_sampler
def test_the_share_of_the_mean_that_is_left_is_that_of_the_sampler(family, settings, steps) -> None:
    """With all noises 0, images are the mean of the samples."""
    model, sample = ModelConfig(family=family), SampleConfig(steps=steps, **settings)
    objective = {"ddim": DDIM, "flow": FLOW, "edm": EDM}[family]
    shape = (1, len(VARIANCES)) if sample.stochasticity == 0 else (steps, 1, len(VARIANCES))
    noise = torch.zeros(1, *shape[:-1], 1, len(VARIANCES), dtype=torch.float64)
    network = best_network(family, model, mean=3.0)
    images = objective.sample(network, noise, model=model, config=sample, bounds=None)
    of_mean = sampler_response(VARIANCES, model, sample).of_mean
    np.testing.assert_allclose(images.numpy().ravel() / 3, of_mean, rtol=1e-6)
    assert (of_mean == 1).all() or family != "flow"


def test_the_published_schedule_loses_a_tenth_of_a_variance_of_one() -> None:
    """The limit of many steps: the last estimate keeps 0.95^2 of a variance of 1."""
    model = ModelConfig(min_signal_rate=1e-6)
    gain = sampler_gain(np.array([1.0]), model, SampleConfig(steps=20_000))
    np.testing.assert_allclose(gain, 0.95**2, rtol=2e-4)


def test_without_the_last_estimate_images_are_those_of_the_forward_process() -> None:
    """The limit of many steps: a signal of rate s, and noise of rate n: s^2 v + n^2."""
    model = ModelConfig(min_signal_rate=1e-6)
    sample = SampleConfig(steps=20_000, denoise_last=False)
    expected = 0.95**2 + (1 - 0.95**2) / VARIANCES
    np.testing.assert_allclose(sampler_gain(VARIANCES, model, sample), expected, rtol=2e-3)


@pytest.mark.parametrize("family", ["ddim", "flow"])
def test_the_gain_tends_to_one_as_steps_grow_and_the_schedule_ends_at_data(family) -> None:
    model = ModelConfig(family=family, max_signal_rate=1 - 1e-9, min_signal_rate=1e-5)
    errors = [
        np.abs(sampler_gain(VARIANCES[1:], model, SampleConfig(steps=steps)) - 1).max()
        for steps in (20, 200, 2000)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.02


def test_edm_loses_in_many_steps_what_its_first_and_last_levels_lack() -> None:
    """Its first noise lacks v of sigma_max^2 + v, and its last estimate is a mean at sigma_min."""
    first, last, _ = np.square(noise_levels(2, data=1.0))
    gain = sampler_gain(VARIANCES, ModelConfig(family="edm"), SampleConfig(steps=5000))
    expected = first / (first + VARIANCES) * VARIANCES / (VARIANCES + last)
    np.testing.assert_allclose(gain, expected, rtol=5e-4)


def test_the_gaussian_family_loses_nothing() -> None:
    gain = sampler_gain(VARIANCES, ModelConfig(family="gaussian"), SampleConfig())
    assert gain.tolist() == [1] * len(VARIANCES)


@pytest.mark.parametrize("process", ["ddim", "flow", "edm"])
def test_an_exact_score_has_the_gain_of_its_process(process) -> None:
    exact, network = (ModelConfig(family=f, process=process) for f in ("exact-gaussian", process))
    sample = SampleConfig(steps=4)
    expected = sampler_gain(VARIANCES, network, sample)
    np.testing.assert_array_equal(sampler_gain(VARIANCES, exact, sample), expected)


@pytest.mark.parametrize(
    ("model", "sample", "message"),
    [
        (
            ModelConfig(family="vae"),
            SampleConfig(),
            f"one of {', '.join(RESPONSES)} for a forecast",
        ),
        (ModelConfig(), SampleConfig(guidance=2.0), "sample.guidance must be 1 for a forecast"),
    ],
)
def test_what_has_no_closed_form_is_refused(model, sample, message) -> None:
    with pytest.raises(UsageError, match=message):
        sampler_gain(VARIANCES, model, sample)
