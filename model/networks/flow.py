"""Rectified flow: the straight path from images to noise, the loss on its velocity, the sampler.

Times run from 0 (data) to 1 (noise), as in ddim.py; the papers' time is 1 minus ours. (Liu,
Gong, Liu, arXiv:2209.03003; Lipman et al., arXiv:2210.02747, optimal transport path with
sigma_min = 0.)
"""

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
from model.networks.ode import euler
from model.networks.unet import UNet


def interpolate(images: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    """Points x_t = (1 - t) images + t noise of the path, whose velocity is noise - images."""
    return (1 - times) * images + times * noise


def flow_loss(
    call: Call, images: Tensor, *, draws: Draws, model: ModelConfig, train: TrainConfig
) -> StepLoss:
    """Loss on the predicted velocity at uniform times (arXiv:2209.03003, equation 1)."""
    noise, times = draws
    error = call(interpolate(images, noise, times), times) - (noise - images)
    # The image estimate is x_t - t v.
    return step_loss(error, absolute_error(error) * times, train)


def flow_sample(
    predict: Call, noise: Tensor, *, model: ModelConfig, config: SampleConfig, bounds: Bounds
) -> Tensor:
    """Turn noise into images with Euler steps, uniform in time from 1 to 0.

    Args:
        predict: Maps (B, C, H, W) noisy images and (B, 1, 1, 1) times to (B, C, H, W) velocities.
        noise: (B, C, H, W) standard normal.
        model: Has no effect.
        config: `steps` is the number of predictor calls.
        bounds: Lowest and highest valid pixel, to which the image estimate x_t - t v of each step
            is clipped, or None.

    Returns:
        (B, C, H, W) images in the network's normalised units.
    """

    def velocity(noisy: Tensor, time: float) -> Tensor:
        predicted = predict(noisy, torch.full_like(noisy[:, :1, :1, :1], time))
        if bounds is None:
            return predicted
        return (noisy - clip_images(noisy - time * predicted, bounds)) / time

    return euler(velocity, noise, times=[1 - k / config.steps for k in range(config.steps + 1)])


FLOW = Objective(
    new_network=UNet,
    draw=draw_noise_and_times,
    loss=flow_loss,
    sample=flow_sample,
    curves=("velocity_loss", "image_loss"),
)
