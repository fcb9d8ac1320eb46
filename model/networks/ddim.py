"""The cosine schedule, the noising of images and the deterministic DDIM sampler.

Times run from 0 (data) to 1 (noise); signal_rate^2 + noise_rate^2 = 1. A sampler is a function of
any callable that predicts noise, so that it can be tested with a closed-form one. Must not know
networks, training or files. (Song, Meng, Ermon, arXiv:2010.02502; rates of the Keras example.)
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

PredictNoise = Callable[[Tensor, Tensor], Tensor]
"""(B, C, H, W) noisy images and (B, 1, 1, 1) noise variances to (B, C, H, W) noise."""


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
    """The images that `noisy` holds if its noise is `noise` (DDIM, equation 9)."""
    return (noisy - noise_rate * noise) / signal_rate


def clip_images(images: Tensor, bounds: tuple[Tensor, Tensor]) -> Tensor:
    """Images with their pixels cut to [lowest, highest], which broadcast over them."""
    return torch.minimum(torch.maximum(images, bounds[0]), bounds[1])


def ddim_sample(
    predict_noise: PredictNoise,
    noise: Tensor,
    *,
    steps: int,
    max_signal_rate: float = 0.95,
    min_signal_rate: float = 0.02,
    bounds: tuple[Tensor, Tensor] | None = None,
    stochasticity: float = 0.0,
    fresh: Tensor | None = None,
    multistep: int = 1,
    callback: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Turn noise into images by the DDIM sampler, deterministic unless it is given fresh noise.

    Steps are uniform in time, t_k = 1 - k / steps, and the last image estimate is returned, not its
    remix with the last noise: the sampler of the Keras example.

    Args:
        predict_noise: Noise predictor.
        noise: (B, C, H, W) standard normal.
        steps: Calls of the predictor.
        max_signal_rate: See `diffusion_rates`.
        min_signal_rate: See `diffusion_rates`.
        bounds: Lowest and highest valid pixel, to which each estimate is clipped; None does not.
        stochasticity: eta in [0, 1]: the share of fresh noise (DDIM, equation 16).
        fresh: (B, steps - 1, C, H, W) standard normal; needed for stochasticity above 0.
        multistep: 2 extrapolates the predicted noise from two steps (Adams-Bashforth).
        callback: Called with (step, image estimate) after every step.

    Returns:
        (B, C, H, W) images in the network's normalised units.
    """
    times = 1 - torch.arange(steps + 1, dtype=torch.float64) / steps
    signal_rates, noise_rates = diffusion_rates(times, max_signal_rate, min_signal_rate)
    signal_rates = signal_rates.to(noise.device, noise.dtype).view(-1, 1, 1, 1)
    noise_rates = noise_rates.to(noise.device, noise.dtype).view(-1, 1, 1, 1)
    noisy = noise
    images = noise
    before: Tensor | None = None
    for k in range(steps):
        signal_rate, noise_rate = signal_rates[k], noise_rates[k]
        predicted = predict_noise(noisy, (noise_rate**2).expand(len(noisy), 1, 1, 1))
        if multistep == 2:
            last, before = before, predicted
            predicted = predicted if last is None else 1.5 * predicted - 0.5 * last
        images = estimate_images(noisy, predicted, signal_rate, noise_rate)
        if bounds is not None:
            images = clip_images(images, bounds)
            predicted = (noisy - signal_rate * images) / noise_rate
        if callback is not None:
            callback(k, images)
        if stochasticity == 0 or k == steps - 1:
            noisy = signal_rates[k + 1] * images + noise_rates[k + 1] * predicted
            continue
        assert fresh is not None
        added = stochasticity * fresh_rate(signal_rates[k : k + 2], noise_rates[k : k + 2])
        kept = (noise_rates[k + 1] ** 2 - added**2).sqrt()
        noisy = signal_rates[k + 1] * images + kept * predicted + added * fresh[:, k]
    return images


def fresh_rate(signal_rates: Tensor, noise_rates: Tensor) -> Tensor:
    """Rate of fresh noise of an ancestral step (DDIM, equation 16 at eta = 1).

    Args:
        signal_rates: Before and after the step, (2, ...).
        noise_rates: Likewise.
    """
    ratio = signal_rates[0] / signal_rates[1]
    return noise_rates[1] / noise_rates[0] * (1 - ratio**2).sqrt()
