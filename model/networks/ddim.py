"""DDIM, the paper's family: the cosine schedule, the loss on the noise, and the sampler.

Times run from 0 (data) to 1 (noise), and signal_rate^2 + noise_rate^2 = 1. The sampler takes any
callable that predicts noise, so tests can pass a closed-form one. (Song, Meng, Ermon,
arXiv:2010.02502; the rates and the last step follow the Keras example.)
"""

import math

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
    draw_noise_and_times,
    step_loss,
)
from model.networks.unet import UNet


def diffusion_rates(
    times: Tensor, max_signal_rate: float = 0.95, min_signal_rate: float = 0.02
) -> tuple[Tensor, Tensor]:
    """Signal and noise rates: cosine and sine of an angle that is linear in time.

    Args:
        times: Any shape, in [0, 1].
        max_signal_rate: Signal rate at time 0.
        min_signal_rate: Signal rate at time 1.

    Returns:
        Two tensors of the shape of `times`.
    """
    start, end = math.acos(max_signal_rate), math.acos(min_signal_rate)
    angles = start + times * (end - start)
    return angles.cos(), angles.sin()


def estimate_images(
    noisy: Tensor, noise: Tensor, signal_rate: Tensor, noise_rate: Tensor
) -> Tensor:
    """Estimate the images in `noisy`, given its noise (DDIM, equation 9)."""
    return (noisy - noise_rate * noise) / signal_rate


def ddim_loss(
    call: Call, images: Tensor, *, draws: Draws, model: ModelConfig, train: TrainConfig
) -> StepLoss:
    """Loss on the predicted noise at times drawn uniformly from the schedule."""
    noise, times = draws
    signal_rates, noise_rates = diffusion_rates(times, model.max_signal_rate, model.min_signal_rate)
    noisy = signal_rates * images + noise_rates * noise
    error = call(noisy, noise_rates**2) - noise
    # |image error| = |noise error| x noise rate / signal rate.
    return step_loss(error, absolute_error(error) * noise_rates / signal_rates, train)


def ddim_sample(
    predict_noise: Call, noise: Tensor, *, model: ModelConfig, config: SampleConfig, bounds: Bounds
) -> Tensor:
    """Turn noise into images with the DDIM sampler, deterministic if stochasticity is 0.

    Steps are uniform in time, t_k = 1 - k / steps. As in the Keras example, the result is the last
    image estimate, a mean without the noise that remains at time 0. If denoise_last is False, it is
    the noisy image at time 0 itself: signal_rate x image + noise_rate x noise with the rates of
    time 0. It is not divided by the signal rate, so that with an exact score and many steps its
    distribution is that of the training images after the forward process, as where the reverse
    process of Khelifa et al. (arXiv:2606.13796) stops early.

    Args:
        predict_noise: Maps (B, C, H, W) noisy images and (B, 1, 1, 1) noise variances to noise.
        noise: (B, C, H, W) standard normal, or (B, steps, C, H, W) if stochasticity is above 0: the
            first entry is the starting noise, the others are the fresh noise of the steps.
        model: Provides the schedule's rates.
        config: `stochasticity` is eta, the share of fresh noise (DDIM, equation 16), of which the
            last step adds none; `multistep` 2 extrapolates the predicted noise from two steps
            (Adams-Bashforth).
        bounds: Lowest and highest valid pixel, to which each image estimate is clipped, or None.

    Returns:
        (B, C, H, W) images in the network's normalised units.
    """
    noisy, fresh = (noise[:, 0], noise[:, 1:]) if noise.ndim == 5 else (noise, None)
    times = 1 - torch.arange(config.steps + 1, dtype=torch.float64) / config.steps
    signal_rates, noise_rates = (
        rates.to(noise.device, noise.dtype).view(-1, 1, 1, 1)
        for rates in diffusion_rates(times, model.max_signal_rate, model.min_signal_rate)
    )
    images = noisy
    before: Tensor | None = None
    for k in range(config.steps):
        signal_rate, noise_rate = signal_rates[k], noise_rates[k]
        predicted = predict_noise(noisy, (noise_rate**2).expand(len(noisy), 1, 1, 1))
        if config.multistep == 2:
            last, before = before, predicted
            predicted = predicted if last is None else 1.5 * predicted - 0.5 * last
        images = estimate_images(noisy, predicted, signal_rate, noise_rate)
        if bounds is not None:
            images = clip_images(images, bounds)
            predicted = (noisy - signal_rate * images) / noise_rate
        if config.stochasticity == 0 or k == config.steps - 1:
            noisy = signal_rates[k + 1] * images + noise_rates[k + 1] * predicted
            continue
        assert fresh is not None
        added = config.stochasticity * fresh_rate(signal_rates[k : k + 2], noise_rates[k : k + 2])
        kept = (noise_rates[k + 1] ** 2 - added**2).sqrt()
        noisy = signal_rates[k + 1] * images + kept * predicted + added * fresh[:, k]
    return images if config.denoise_last else noisy


def fresh_rate(signal_rates: Tensor, noise_rates: Tensor) -> Tensor:
    """Rate of the fresh noise in an ancestral step (DDIM, equation 16 at eta = 1).

    Args:
        signal_rates: (2, ...) signal rates before and after the step.
        noise_rates: (2, ...) noise rates before and after the step.
    """
    ratio = signal_rates[0] / signal_rates[1]
    return noise_rates[1] / noise_rates[0] * (1 - ratio**2).sqrt()


DDIM = Objective(
    new_network=UNet,
    draw=draw_noise_and_times,
    loss=ddim_loss,
    sample=ddim_sample,
    curves=("noise_loss", "image_loss"),
)
