"""What a sampler does to the variance of its images, in closed form and without torch.

If the training images are Gaussian, the best network is linear in its input: along a principal
direction with variance v (in the network's normalised units) it is a known number times the noisy
coordinate. Every sampler here is then linear in its noise, so the variance of its images along that
direction is known exactly. The gain is that variance over v. A gain below 1 is a loss of variance
that no training can prevent: the schedule of DDIM ends at a signal rate below 1, the last image
estimate is a mean, and steps are few. (Khelifa, arXiv:2606.13796, finds such a low-pass filter for
diffusion that stops early.) A schedule whose first image already has some signal also loses a share
of the mean, because the noise that a sampler starts from has a mean of 0.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from model.config import ModelConfig, SampleConfig
from model.errors import UsageError

PAPER_DATA = 0.5
"""Standard deviation of EDM's images (sigma_data), for which its noise levels are tuned."""
SIGMA_MIN, SIGMA_MAX, RHO = 0.002, 80.0, 7.0
"""Lowest and highest noise level of EDM's sampler, and the exponent that spaces its levels (Karras
et al., arXiv:2206.00364, table 1)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Response:
    """What a sampler makes of the variances and means of its training images, by direction."""

    variances: np.ndarray
    """(P,) variances of the images."""
    of_mean: np.ndarray
    """(P,) means of the images over those of the training images."""


def sampler_gain(variances: np.ndarray, model: ModelConfig, sample: SampleConfig) -> np.ndarray:
    """Variance of a sampler's images over that of its training images, by direction.

    Args:
        variances: (P,) float64, above 0: variances of the pool in normalised units.
        model: Family and schedule.
        sample: The sampler.

    Returns:
        (P,) float64.

    Raises:
        UsageError: The family has no closed form, or the sampler is guided.
    """
    variances = np.asarray(variances, np.float64)
    return sampler_response(variances, model, sample).variances / variances


def sampler_response(variances: np.ndarray, model: ModelConfig, sample: SampleConfig) -> Response:
    """The images that a sampler makes of its noise, for the variances of sampler_gain.

    Raises:
        UsageError: As sampler_gain.
    """
    check_linear(model, sample)
    return RESPONSES[model.family](np.asarray(variances, np.float64), model, sample)


def check_linear(model: ModelConfig, sample: SampleConfig) -> None:
    """Raise UsageError unless the sampler's gain has a closed form."""
    if sample.guidance != 1:
        raise UsageError(
            f"sample.guidance must be 1 for a forecast, got {sample.guidance}: two classes have no "
            "common Gaussian"
        )
    if model.family not in RESPONSES:
        raise UsageError(
            f"model.family must be one of {', '.join(RESPONSES)} for a forecast, "
            f"got {model.family!r}"
        )


def ddim_response(variances: np.ndarray, model: ModelConfig, sample: SampleConfig) -> Response:
    """That of `ddim_sample`: of its last image estimate, or of the noisy image at time 0.

    The state is the coefficient of each independent noise: the starting one, and the fresh noise of
    each step if stochasticity is above 0. The starting one stands for a first noisy image, of whose
    mean it has nothing.
    """
    start, end = math.acos(model.max_signal_rate), math.acos(model.min_signal_rate)
    angles = [start + (1 - k / sample.steps) * (end - start) for k in range(sample.steps + 1)]
    rates = [(math.cos(angle), math.sin(angle)) for angle in angles]
    noisy = np.ones((1, len(variances)))
    images, before = noisy, None
    for k, ((s, n), (s_next, n_next)) in enumerate(pairwise(rates)):
        predicted = n * noisy / (s**2 * variances + n**2)
        extrapolated = predicted
        if sample.multistep == 2 and before is not None:
            extrapolated = 1.5 * predicted
            extrapolated[: len(before)] -= 0.5 * before
        before = predicted
        images = (noisy - n * extrapolated) / s
        is_last = k == sample.steps - 1
        eta = 0.0 if is_last else sample.stochasticity
        added = eta * n_next / n * math.sqrt(1 - (s / s_next) ** 2)
        noisy = s_next * images + math.sqrt(n_next**2 - added**2) * extrapolated
        if added:
            noisy = np.concatenate([noisy, np.full((1, len(variances)), added)])
    returned, signal = (images, 1.0) if sample.denoise_last else (noisy, rates[-1][0])
    return Response(variances=(returned**2).sum(axis=0), of_mean=signal - rates[0][0] * returned[0])


def flow_response(variances: np.ndarray, model: ModelConfig, sample: SampleConfig) -> Response:
    """That of `flow_sample`: Euler steps along the velocity E[noise - image | noisy image]."""
    times = [1 - k / sample.steps for k in range(sample.steps + 1)]

    def slope(time: float) -> np.ndarray:
        return (time - (1 - time) * variances) / ((1 - time) ** 2 * variances + time**2)

    noisy = np.ones_like(variances)
    for now, following in pairwise(times):
        noisy = noisy * (1 + (following - now) * slope(now))
    return Response(variances=noisy**2, of_mean=np.ones_like(variances))


def edm_response(variances: np.ndarray, model: ModelConfig, sample: SampleConfig) -> Response:
    """That of `heun_sample`, whose image estimate is v / (v + sigma^2) x the noisy image."""
    levels = noise_levels(sample.steps, sigma_data(model))

    def slope(sigma: float) -> np.ndarray:
        return sigma / (variances + sigma**2)

    noisy = np.full_like(variances, levels[0])
    for now, following in pairwise(levels):
        step = following - now
        ahead = noisy * (1 + step * slope(now))
        if following == 0:
            noisy = ahead
        else:
            noisy = noisy + step * (noisy * slope(now) + ahead * slope(following)) / 2
    return Response(variances=noisy**2, of_mean=1 - noisy / levels[0])


def sigma_data(model: ModelConfig) -> float:
    """Standard deviation that is assumed for the normalised images.

    It is the paper's 0.5 if the images are scaled to [-1, 1], and 1 if they are standardised with
    a pool's statistics.
    """
    return PAPER_DATA if model.normalization == "half" else 1.0


def noise_levels(steps: int, data: float = PAPER_DATA) -> list[float]:
    """EDM's noise levels (equation 5): `steps` levels from SIGMA_MAX to SIGMA_MIN, then 0.

    They are scaled in proportion to `data`, the standard deviation of the images.
    """
    high, low = SIGMA_MAX ** (1 / RHO), SIGMA_MIN ** (1 / RHO)
    levels = [(high + k / max(1, steps - 1) * (low - high)) ** RHO for k in range(steps)]
    return [*(data / PAPER_DATA * level for level in levels), 0.0]


def exact_response(variances: np.ndarray, model: ModelConfig, sample: SampleConfig) -> Response:
    """That of `gaussian`, which draws from the fitted distribution itself."""
    return Response(variances=variances, of_mean=np.ones_like(variances))


def process_response(variances: np.ndarray, model: ModelConfig, sample: SampleConfig) -> Response:
    """That of a Gaussian's exact score: of the sampler it uses."""
    return RESPONSES[model.process](variances, model, sample)


RESPONSES: dict[str, Callable[[np.ndarray, ModelConfig, SampleConfig], Response]] = {
    "ddim": ddim_response,
    "unet2d": ddim_response,
    "flow": flow_response,
    "edm": edm_response,
    "gaussian": exact_response,
    "exact-gaussian": process_response,
    "exact-mixture": process_response,
}
"""Responses by model.family."""
