"""What a trained network of family ddim, flow or edm would predict if its score were exact.

The samplers of these families call it in place of a network.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from model.config import ModelConfig
from model.networks.ddim import DDIM
from model.networks.edm import EDM, preconditioning
from model.networks.flow import FLOW
from model.networks.objective import Call, Objective
from model.networks.sampler_gain import sigma_data

Estimate = Callable[..., Tensor]
"""Maps (B, C, H, W) noisy images, (B, 1, 1, 1) signal and noise rates, and optional (B,) labels to
the mean of the images given the noisy ones."""


def noise_prediction(estimate: Estimate, model: ModelConfig) -> Call:
    """The predictor of family ddim, of noise from noisy images and noise variances."""

    def predict(noisy: Tensor, noise_variance: Tensor, *labels: Tensor) -> Tensor:
        signal_rate, noise_rate = (1 - noise_variance).sqrt(), noise_variance.sqrt()
        images = estimate(noisy, signal_rate, noise_rate, *labels)
        return (noisy - signal_rate * images) / noise_rate

    return predict


def velocity_prediction(estimate: Estimate, model: ModelConfig) -> Call:
    """The predictor of family flow, of velocities from noisy images and times."""

    def predict(noisy: Tensor, times: Tensor, *labels: Tensor) -> Tensor:
        return (noisy - estimate(noisy, 1 - times, times, *labels)) / times

    return predict


def preconditioned_prediction(estimate: Estimate, model: ModelConfig) -> Call:
    """The predictor of family edm: the raw output of the preconditioned network."""

    def predict(scaled: Tensor, c_noise: Tensor, *labels: Tensor) -> Tensor:
        sigma = (4 * c_noise).exp()
        c_skip, c_out, c_in, _ = preconditioning(sigma, sigma_data(model))
        noisy = scaled / c_in
        images = estimate(noisy, sigma.new_ones(sigma.shape), sigma, *labels)
        return (images - c_skip * noisy) / c_out

    return predict


@dataclass(frozen=True, kw_only=True, slots=True)
class Process:
    """A family's sampler, and what its network would predict."""

    objective: Objective
    prediction: Callable[[Estimate, ModelConfig], Call]


PROCESSES: dict[str, Process] = {
    "ddim": Process(objective=DDIM, prediction=noise_prediction),
    "flow": Process(objective=FLOW, prediction=velocity_prediction),
    "edm": Process(objective=EDM, prediction=preconditioned_prediction),
}
"""Processes by model.process."""
