"""EDM: preconditioning of a denoiser, its training noise, and the deterministic sampler.

Times are noise levels sigma. A sampler is a function of any callable that denoises. Must not know
networks, training or files. (Karras, Aittala, Aila, Laine, arXiv:2206.00364; table 1, column
"ours", and algorithm 1.)
"""

from collections.abc import Callable

import torch
from torch import Tensor

from model.config import ModelConfig
from model.diffusion import clip_images
from model.ode import heun

SIGMA_MIN, SIGMA_MAX, RHO = 0.002, 80.0, 7.0
"""Lowest and highest noise level of the sampler, and the exponent of its levels' spacing."""
LOG_SIGMA_MEAN, LOG_SIGMA_STD = -1.2, 1.2
"""Of the normal distribution of ln(sigma) in training (P_mean and P_std)."""

Denoise = Callable[[Tensor, Tensor], Tensor]
"""(B, C, H, W) noisy images and (B, 1, 1, 1) noise levels to (B, C, H, W) image estimates."""


def sigma_data(model: ModelConfig) -> float:
    """The images' deviation: 1 where a pool's own normalises them, in [-1, 1] the paper's 0.5."""
    return 0.5 if model.normalization == "half" else 1.0


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


def noise_levels(steps: int) -> list[float]:
    """The sampler's levels (equation 5): `steps` from SIGMA_MAX to SIGMA_MIN, and then 0."""
    high, low = SIGMA_MAX ** (1 / RHO), SIGMA_MIN ** (1 / RHO)
    return [
        *((high + k / max(1, steps - 1) * (low - high)) ** RHO for k in range(steps)),
        0.0,
    ]


def edm_sample(
    denoise: Denoise,
    noise: Tensor,
    *,
    steps: int,
    bounds: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Turn noise into images by Heun steps from SIGMA_MAX to 0.

    Args:
        denoise: Image estimator.
        noise: (B, C, H, W) standard normal.
        steps: Time steps, the last an Euler step to 0: 2 steps - 1 calls of `denoise`.
        bounds: Lowest and highest valid pixel, to which each estimate is clipped; None does not.

    Returns:
        (B, C, H, W) images in the network's normalised units.
    """

    def derivative(noisy: Tensor, sigma: float) -> Tensor:
        images = denoise(noisy, torch.full_like(noisy[:, :1, :1, :1], sigma))
        if bounds is not None:
            images = clip_images(images, bounds)
        return (noisy - images) / sigma  # equation 1 with sigma(t) = t, s(t) = 1, and equation 3

    return heun(derivative, SIGMA_MAX * noise, times=noise_levels(steps))
