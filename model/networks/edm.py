"""EDM: preconditioning of a denoiser, its training noise, and the deterministic sampler.

Times are noise levels sigma. A sampler is a function of any callable that denoises. Must not know
networks, training or files. (Karras, Aittala, Aila, Laine, arXiv:2206.00364; table 1, column
"ours", and algorithm 1.)
"""

from collections.abc import Callable

import torch
from torch import Tensor

from model.config import ModelConfig
from model.networks.ddim import clip_images
from model.networks.ode import heun

PAPER_DATA = 0.5
"""Deviation of the paper's images, which the levels below are for (sigma_data)."""
SIGMA_MIN, SIGMA_MAX, RHO = 0.002, 80.0, 7.0
"""Lowest and highest noise level of the sampler, and the exponent of its levels' spacing."""
LOG_SIGMA_MEAN, LOG_SIGMA_STD = -1.2, 1.2
"""Of the normal distribution of ln(sigma) in training (P_mean and P_std)."""

Denoise = Callable[[Tensor, Tensor], Tensor]
"""(B, C, H, W) noisy images and (B, 1, 1, 1) noise levels to (B, C, H, W) image estimates."""


def sigma_data(model: ModelConfig) -> float:
    """The images' deviation: 1 where a pool's own normalises them, in [-1, 1] the paper's 0.5."""
    return PAPER_DATA if model.normalization == "half" else 1.0


def training_levels(normal: Tensor, data: float) -> Tensor:
    """Noise levels of training from standard normal numbers, for images of deviation `data`.

    The paper's, in proportion to the images: twice as wide, they take twice the noise.
    """
    return data / PAPER_DATA * (LOG_SIGMA_MEAN + LOG_SIGMA_STD * normal).exp()


def preconditioning(sigma: Tensor, data: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """c_skip, c_out, c_in and c_noise of table 1.

    Args:
        sigma: Noise levels, any shape.
        data: Deviation of the images.

    Returns:
        Four tensors of the shape of `sigma`; with the network F the image estimate is
        c_skip noisy + c_out F(c_in noisy, c_noise).
    """
    total = sigma**2 + data**2
    return data**2 / total, sigma * data / total.sqrt(), 1 / total.sqrt(), sigma.log() / 4


def noise_levels(steps: int, data: float = PAPER_DATA) -> list[float]:
    """The sampler's levels (equation 5): `steps` from SIGMA_MAX to SIGMA_MIN, and then 0.

    For images of another deviation than the paper's, in proportion to it.
    """
    high, low = SIGMA_MAX ** (1 / RHO), SIGMA_MIN ** (1 / RHO)
    levels = [(high + k / max(1, steps - 1) * (low - high)) ** RHO for k in range(steps)]
    return [*(data / PAPER_DATA * level for level in levels), 0.0]


def edm_sample(
    denoise: Denoise,
    noise: Tensor,
    *,
    steps: int,
    data: float = PAPER_DATA,
    bounds: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Turn noise into images by Heun steps from the highest noise level to 0.

    Args:
        denoise: Image estimator.
        noise: (B, C, H, W) standard normal.
        steps: Time steps, the last an Euler step to 0: 2 steps - 1 calls of `denoise`.
        data: Deviation of the images.
        bounds: Lowest and highest valid pixel, to which each estimate is clipped; None does not.

    Returns:
        (B, C, H, W) images in the network's normalised units.
    """

    def derivative(noisy: Tensor, sigma: float) -> Tensor:
        images = denoise(noisy, torch.full_like(noisy[:, :1, :1, :1], sigma))
        if bounds is not None:
            images = clip_images(images, bounds)
        return (noisy - images) / sigma  # equation 1 with sigma(t) = t, s(t) = 1, and equation 3

    levels = noise_levels(steps, data)
    return heun(derivative, levels[0] * noise, times=levels)
