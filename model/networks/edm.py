"""EDM: the preconditioned denoiser, its noise levels and loss, and the deterministic sampler.

Times are noise levels sigma. (Karras, Aittala, Aila, Laine, arXiv:2206.00364; table 1, column
"ours", and algorithm 1.)
"""

from collections.abc import Callable

import torch
from torch import Tensor

from model.config import ModelConfig, SampleConfig, TrainConfig
from model.networks.objective import (
    Bounds,
    Call,
    Draws,
    Objective,
    StepLoss,
    absolute_error,
    clip_images,
    step_loss,
)
from model.networks.ode import heun
from model.networks.sampler_gain import PAPER_DATA, noise_levels, sigma_data
from model.networks.unet import UNet

LOG_SIGMA_MEAN, LOG_SIGMA_STD = -1.2, 1.2
"""Mean and standard deviation of ln(sigma) in training (P_mean and P_std)."""

Denoise = Callable[[Tensor, Tensor], Tensor]
"""Maps (B, C, H, W) noisy images and (B, 1, 1, 1) noise levels to (B, C, H, W) image estimates."""


def training_levels(normal: Tensor, data: float) -> Tensor:
    """Convert standard normal numbers to the noise levels of training.

    The paper's levels are scaled in proportion to `data`, the standard deviation of the images.
    """
    return data / PAPER_DATA * (LOG_SIGMA_MEAN + LOG_SIGMA_STD * normal).exp()


def preconditioning(sigma: Tensor, data: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """c_skip, c_out, c_in and c_noise of table 1.

    Args:
        sigma: Noise levels, any shape.
        data: Standard deviation of the images.

    Returns:
        Four tensors of the shape of `sigma`. With the network F, the image estimate is
        c_skip * noisy + c_out * F(c_in * noisy, c_noise).
    """
    total = sigma**2 + data**2
    return data**2 / total, sigma * data / total.sqrt(), 1 / total.sqrt(), sigma.log() / 4


def draw_noise_and_levels(
    shape: tuple[int, ...], generator: torch.Generator, *, model: ModelConfig
) -> Draws:
    """Standard normal (B, C, H, W) noise, and (B, 1, 1, 1) log-normal noise levels."""
    noise = torch.randn(shape, generator=generator, device=generator.device)
    normal = torch.randn((shape[0], 1, 1, 1), generator=generator, device=generator.device)
    return noise, training_levels(normal, sigma_data(model))


def edm_loss(
    call: Call, images: Tensor, *, draws: Draws, model: ModelConfig, train: TrainConfig
) -> StepLoss:
    """Weighted loss on the image estimate (equation 8).

    The squared error has the weight lambda = 1 / c_out^2, so the absolute error (train.loss=mae)
    has the weight 1 / c_out. Either way, the weighted error is that of the network's raw output.
    """
    noise, sigma = draws
    noisy = images + sigma * noise
    c_skip, c_out, c_in, c_noise = preconditioning(sigma, sigma_data(model))
    error = call(c_in * noisy, c_noise) - (images - c_skip * noisy) / c_out
    return step_loss(error, absolute_error(error) * c_out, train)


def heun_sample(
    denoise: Denoise, noise: Tensor, *, steps: int, data: float = PAPER_DATA, bounds: Bounds = None
) -> Tensor:
    """Turn noise into images with Heun steps from the highest noise level to 0.

    Args:
        denoise: Estimates images from noisy images.
        noise: (B, C, H, W) standard normal.
        steps: Number of steps. The last is an Euler step to 0, so `denoise` is called
            2 * steps - 1 times.
        data: Standard deviation of the images.
        bounds: Lowest and highest valid pixel, to which each image estimate is clipped, or None.

    Returns:
        (B, C, H, W) images in the network's normalised units.
    """

    def derivative(noisy: Tensor, sigma: float) -> Tensor:
        images = clip_images(denoise(noisy, torch.full_like(noisy[:, :1, :1, :1], sigma)), bounds)
        return (noisy - images) / sigma  # equation 1 with sigma(t) = t, s(t) = 1, and equation 3

    levels = noise_levels(steps, data)
    return heun(derivative, levels[0] * noise, times=levels)


def edm_sample(
    call: Call, noise: Tensor, *, model: ModelConfig, config: SampleConfig, bounds: Bounds
) -> Tensor:
    """Run `heun_sample` with the network's preconditioned image estimates (equation 7)."""
    data = sigma_data(model)

    def denoise(noisy: Tensor, sigma: Tensor) -> Tensor:
        c_skip, c_out, c_in, c_noise = preconditioning(sigma, data)
        return c_skip * noisy + c_out * call(c_in * noisy, c_noise)

    return heun_sample(denoise, noise, steps=config.steps, data=data, bounds=bounds)


EDM = Objective(
    new_network=UNet,
    draw=draw_noise_and_levels,
    loss=edm_loss,
    sample=edm_sample,
    curves=("denoising_loss", "image_loss"),
)
