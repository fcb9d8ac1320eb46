"""Objectives: what a family adds to the training loop and the sampling loop, which are shared.

A family of networks is a function that makes its network, the random numbers of a step, the loss of
a batch, and the sampler. Adding one is an Objective and a line in OBJECTIVES and in SIZES. Must not
know optimisers, averages, batches or files.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from model.config import ModelConfig, SampleConfig, TrainConfig
from model.networks.ddim import ddim_sample, diffusion_rates
from model.networks.edm import edm_sample, preconditioning, sigma_data, training_levels
from model.networks.flow import flow_sample, interpolate
from model.networks.unet import UNet
from model.networks.unet2d import new_diffusers_unet
from model.networks.vae import (
    Autoencoder,
    divergence_from_prior,
    gaussian_surprise,
    laplace_surprise,
)

Call = Callable[..., Any]
"""A network as an objective sees it: see `make_call`."""
Draws = tuple[Tensor, ...]
"""The random numbers of a step."""
Bounds = tuple[Tensor, Tensor]
"""Lowest and highest valid pixel, normalised, (1, C, 1, 1) each."""


def make_call(network: Callable[..., Any], *, bf16: bool) -> Call:
    """The network as training and sampling call it, and the only place where they do.

    The first input, (B, C, H, W), is laid out channels last; the arithmetic is bf16 where asked
    for; outputs are float32.
    """

    def call(images: Tensor, *inputs: Tensor) -> Any:
        images = images.contiguous(memory_format=torch.channels_last)
        cast = torch.autocast(images.device.type, torch.bfloat16) if bf16 else nullcontext()
        with cast:
            outputs = network(images, *inputs)
        if isinstance(outputs, Tensor):
            return outputs.float()
        return tuple(output.float() for output in outputs)

    return call


@dataclass(frozen=True, kw_only=True, slots=True)
class StepLoss:
    """What a step comes to."""

    loss: Tensor
    """The number that is differentiated."""
    curves: tuple[Tensor, ...]
    """One number for each of the objective's curves, without gradients."""


class DrawFunction(Protocol):
    """Draw the random numbers of a step."""

    def __call__(
        self, shape: tuple[int, ...], generator: torch.Generator, *, model: ModelConfig
    ) -> Draws:
        """Shape (B, C, H, W) of the batch and the step's generator to tensors on its device."""
        ...


class LossFunction(Protocol):
    """The loss of a batch."""

    def __call__(
        self, call: Call, images: Tensor, *, draws: Draws, model: ModelConfig, train: TrainConfig
    ) -> StepLoss:
        """Network and (B, C, H, W) normalised images to a loss."""
        ...


class DrawImagesFunction(Protocol):
    """Turn noise into images."""

    def __call__(
        self,
        call: Call,
        noise: Tensor,
        *,
        fresh: Tensor | None,
        model: ModelConfig,
        config: SampleConfig,
        bounds: Bounds | None,
    ) -> Tensor:
        """Network and (B, C, H, W) standard normal noise to (B, C, H, W) normalised images.

        `fresh` is the (B, steps - 1, C, H, W) noise of a stochastic sampler; None without one.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """A family of networks."""

    new_network: Callable[[tuple[int, int, int], ModelConfig, torch.Generator, int], nn.Module]
    """From (C, H, W), settings, random numbers of the initial weights, and the number of classes of
    a conditional model (0 for another)."""
    draw: DrawFunction
    loss: LossFunction
    sample: DrawImagesFunction
    curves: tuple[str, ...]
    """Names of what is recorded of each step, the loss first."""
    sampling_part: str = ""
    """The part of the network that samples; empty for the whole."""


def new_unet(
    shape: tuple[int, int, int], config: ModelConfig, generator: torch.Generator, num_classes: int
) -> nn.Module:
    """The paper's network."""
    return UNet(shape[0], config, generator, num_classes)


def reduce_loss(elements: Tensor, train: TrainConfig) -> Tensor:
    """The loss that is differentiated, of (B, C, H, W) losses of elements."""
    if train.loss_reduction == "mean":
        return elements.mean()
    # Keras averages the channel axis only, and the tape differentiates the sum of what is left.
    return elements.mean(dim=1).sum()


def error_loss(error: Tensor, train: TrainConfig) -> Tensor:
    """The loss that is differentiated, of (B, C, H, W) errors."""
    return reduce_loss(error.abs() if train.loss == "mae" else error.square(), train)


def absolute_error(error: Tensor) -> Tensor:
    """Mean absolute error of each image, (B, 1, 1, 1), without gradients."""
    return error.detach().abs().mean(dim=(1, 2, 3), keepdim=True)


def mean_loss(error: Tensor, train: TrainConfig) -> Tensor:
    """The loss as curves show it: the mean over all elements, without gradients."""
    per_image = absolute_error(error) if train.loss == "mae" else error.detach().square()
    return per_image.mean()


def draw_noise_and_times(
    shape: tuple[int, ...], generator: torch.Generator, *, model: ModelConfig
) -> Draws:
    """Standard normal (B, C, H, W) noise, and (B, 1, 1, 1) times uniform in [0, 1)."""
    noise = torch.randn(shape, generator=generator, device=generator.device)
    times = torch.rand((shape[0], 1, 1, 1), generator=generator, device=generator.device)
    return noise, times


def ddim_loss(
    call: Call, images: Tensor, *, draws: Draws, model: ModelConfig, train: TrainConfig
) -> StepLoss:
    """Error of the predicted noise at a uniform time of the schedule."""
    noise, times = draws
    signal_rates, noise_rates = diffusion_rates(times, model.max_signal_rate, model.min_signal_rate)
    noisy = signal_rates * images + noise_rates * noise
    error = call(noisy, noise_rates**2) - noise
    # |image error| = |noise error| x noise rate / signal rate.
    image_error = absolute_error(error) * noise_rates / signal_rates
    curves = mean_loss(error, train), image_error.mean()
    return StepLoss(loss=error_loss(error, train), curves=curves)


def sample_ddim(
    call: Call,
    noise: Tensor,
    *,
    fresh: Tensor | None,
    model: ModelConfig,
    config: SampleConfig,
    bounds: Bounds | None,
) -> Tensor:
    """Images by the DDIM sampler."""
    return ddim_sample(
        call,
        noise,
        steps=config.steps,
        max_signal_rate=model.max_signal_rate,
        min_signal_rate=model.min_signal_rate,
        bounds=bounds,
        stochasticity=config.stochasticity,
        fresh=fresh,
        multistep=config.multistep,
    )


def flow_loss(
    call: Call, images: Tensor, *, draws: Draws, model: ModelConfig, train: TrainConfig
) -> StepLoss:
    """Error of the predicted velocity at a uniform time (arXiv:2209.03003, equation 1)."""
    noise, times = draws
    error = call(interpolate(images, noise, times), times) - (noise - images)
    # The image estimate is x_t - t v.
    curves = mean_loss(error, train), (absolute_error(error) * times).mean()
    return StepLoss(loss=error_loss(error, train), curves=curves)


def sample_flow(
    call: Call,
    noise: Tensor,
    *,
    fresh: Tensor | None,
    model: ModelConfig,
    config: SampleConfig,
    bounds: Bounds | None,
) -> Tensor:
    """Images by Euler steps along the predicted velocity."""
    return flow_sample(call, noise, steps=config.steps, bounds=bounds)


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
    """Weighted error of the image estimate (arXiv:2206.00364, equation 8).

    The weight of the squared error is lambda = 1 / c_out^2, and so that of the absolute error, with
    train.loss=mae, 1 / c_out: the loss is on what the network itself has to give.
    """
    noise, sigma = draws
    noisy = images + sigma * noise
    c_skip, c_out, c_in, c_noise = preconditioning(sigma, sigma_data(model))
    error = call(c_in * noisy, c_noise) - (images - c_skip * noisy) / c_out
    curves = mean_loss(error, train), (absolute_error(error) * c_out).mean()
    return StepLoss(loss=error_loss(error, train), curves=curves)


def sample_edm(
    call: Call,
    noise: Tensor,
    *,
    fresh: Tensor | None,
    model: ModelConfig,
    config: SampleConfig,
    bounds: Bounds | None,
) -> Tensor:
    """Images by the deterministic Heun sampler."""
    data = sigma_data(model)

    def denoise(noisy: Tensor, sigma: Tensor) -> Tensor:
        c_skip, c_out, c_in, c_noise = preconditioning(sigma, data)
        return c_skip * noisy + c_out * call(c_in * noisy, c_noise)

    return edm_sample(denoise, noise, steps=config.steps, data=data, bounds=bounds)


def draw_latent_noise(
    shape: tuple[int, ...], generator: torch.Generator, *, model: ModelConfig
) -> Draws:
    """Standard normal (B, latent_dim, 1, 1)."""
    latent_shape = (shape[0], model.latent_dim, 1, 1)
    return (torch.randn(latent_shape, generator=generator, device=generator.device),)


def vae_loss(
    call: Call, images: Tensor, *, draws: Draws, model: ModelConfig, train: TrainConfig
) -> StepLoss:
    """The negative evidence lower bound in nats per element, of one latent per image."""
    decoded, mean, log_variance, log_scale = call(images, *draws)
    surprise = laplace_surprise if train.loss == "mae" else gaussian_surprise
    divergence = divergence_from_prior(mean, log_variance)
    bound = surprise(images - decoded, log_scale) + divergence / images[0].numel()
    error = (images - decoded).detach().abs().mean()
    curves = (bound.detach().mean(), error, divergence.detach().mean())
    return StepLoss(loss=reduce_loss(bound, train), curves=curves)


def sample_vae(
    call: Call,
    noise: Tensor,
    *,
    fresh: Tensor | None,
    model: ModelConfig,
    config: SampleConfig,
    bounds: Bounds | None,
) -> Tensor:
    """The decoder's means, of latents that are the first numbers of each image's noise."""
    return call(noise.flatten(1)[:, : model.latent_dim, None, None])


DDIM = Objective(
    new_network=new_unet,
    draw=draw_noise_and_times,
    loss=ddim_loss,
    sample=sample_ddim,
    curves=("noise_loss", "image_loss"),
)

OBJECTIVES: dict[str, Objective] = {
    "ddim": DDIM,
    "flow": Objective(
        new_network=new_unet,
        draw=draw_noise_and_times,
        loss=flow_loss,
        sample=sample_flow,
        curves=("velocity_loss", "image_loss"),
    ),
    "edm": Objective(
        new_network=new_unet,
        draw=draw_noise_and_levels,
        loss=edm_loss,
        sample=sample_edm,
        curves=("denoising_loss", "image_loss"),
    ),
    "vae": Objective(
        new_network=Autoencoder,
        draw=draw_latent_noise,
        loss=vae_loss,
        sample=sample_vae,
        curves=("negative_bound", "image_loss", "divergence"),
        sampling_part="decoder",
    ),
    "unet2d": replace(DDIM, new_network=new_diffusers_unet),
}
