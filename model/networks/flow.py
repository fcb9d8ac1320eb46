"""Rectified flow: the straight path from images to noise, its velocity, and its sampler.

Times run from 0 (data) to 1 (noise), as everywhere here: the papers' time is 1 minus ours. A
sampler is a function of any callable that predicts velocity. Must not know networks, training or
files. (Liu, Gong, Liu, arXiv:2209.03003; Lipman et al., arXiv:2210.02747, optimal transport path
with sigma_min = 0.)
"""

from collections.abc import Callable

import torch
from torch import Tensor

from model.networks.ddim import clip_images
from model.networks.ode import euler

PredictVelocity = Callable[[Tensor, Tensor], Tensor]
"""(B, C, H, W) noisy images and (B, 1, 1, 1) times to (B, C, H, W) velocities."""


def interpolate(images: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    """The path x_t = (1 - t) images + t noise, whose velocity is noise - images."""
    return (1 - times) * images + times * noise


def flow_sample(
    predict_velocity: PredictVelocity,
    noise: Tensor,
    *,
    steps: int,
    bounds: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Turn noise into images by Euler steps, uniform in time from 1 to 0.

    Args:
        predict_velocity: Velocity predictor.
        noise: (B, C, H, W) standard normal.
        steps: Calls of the predictor.
        bounds: Lowest and highest valid pixel, to which the image estimate of each step,
            x_t - t v, is clipped; None does not.

    Returns:
        (B, C, H, W) images in the network's normalised units.
    """

    def velocity(noisy: Tensor, time: float) -> Tensor:
        predicted = predict_velocity(noisy, torch.full_like(noisy[:, :1, :1, :1], time))
        if bounds is None:
            return predicted
        return (noisy - clip_images(noisy - time * predicted, bounds)) / time

    return euler(velocity, noise, times=[1 - k / steps for k in range(steps + 1)])
