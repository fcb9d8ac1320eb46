"""What a family of networks adds to the training and sampling loops, which all families share.

An Objective makes the network, draws the random numbers of a training step, computes the loss of a
batch, and turns noise into images. It sees neither optimisers, averages nor files.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from model.config import ModelConfig, SampleConfig, TrainConfig
from model.networks.size import Shape

Call = Callable[..., Any]
"""A network as an objective sees it: see `make_call`."""
Draws = tuple[Tensor, ...]
"""The random numbers of a training step."""
Bounds = tuple[Tensor, Tensor] | None
"""Lowest and highest valid pixel, (1, C, 1, 1) normalised, to which samplers clip each image
estimate; None if they do not."""


def make_call(network: Callable[..., Any], *, bf16: bool) -> Call:
    """The network as training and sampling call it; they do so nowhere else.

    The first input, (B, C, H, W), is laid out channels last; the arithmetic is bf16 on request;
    outputs are float32.
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
    """The loss of one step, and what its curves record."""

    loss: Tensor
    """The number that is differentiated."""
    curves: tuple[Tensor, ...]
    """One number for each of the objective's curves, without gradients."""


class DrawFunction(Protocol):
    """Draw the random numbers of a training step."""

    def __call__(
        self, shape: tuple[int, ...], generator: torch.Generator, *, model: ModelConfig
    ) -> Draws:
        """Shape (B, C, H, W) of the batch and the step's generator to tensors on its device."""
        ...


class LossFunction(Protocol):
    """Compute the loss of a batch."""

    def __call__(
        self, call: Call, images: Tensor, *, draws: Draws, model: ModelConfig, train: TrainConfig
    ) -> StepLoss:
        """Network and (B, C, H, W) normalised images to a loss."""
        ...


class Sampler(Protocol):
    """Turn noise into images."""

    def __call__(
        self,
        call: Call,
        noise: Tensor,
        /,
        *,
        model: ModelConfig,
        config: SampleConfig,
        bounds: Bounds,
    ) -> Tensor:
        """Network and standard normal noise to (B, C, H, W) normalised images.

        The noise is (B, C, H, W), or (B, steps, C, H, W) for sample.stochasticity above 0.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """A family of networks."""

    new_network: Callable[[Shape, ModelConfig, torch.Generator, int], nn.Module]
    """From (C, H, W), settings, random numbers of the initial weights, and the number of classes (0
    for an unconditional model)."""
    draw: DrawFunction
    loss: LossFunction
    sample: Sampler
    curves: tuple[str, ...]
    """Names of what is recorded of each step, the loss first."""
    sampling_part: str = ""
    """The part of the network that samples; empty for the whole."""


def draw_noise_and_times(
    shape: tuple[int, ...], generator: torch.Generator, *, model: ModelConfig
) -> Draws:
    """Standard normal (B, C, H, W) noise, and (B, 1, 1, 1) times uniform in [0, 1)."""
    noise = torch.randn(shape, generator=generator, device=generator.device)
    times = torch.rand((shape[0], 1, 1, 1), generator=generator, device=generator.device)
    return noise, times


def reduce_loss(elements: Tensor, train: TrainConfig) -> Tensor:
    """The loss that is differentiated, from the (B, C, H, W) losses of elements."""
    if train.loss_reduction == "mean":
        return elements.mean()
    # Keras averages the channel axis only, and its tape differentiates the sum over the others.
    return elements.mean(dim=1).sum()


def error_loss(error: Tensor, train: TrainConfig) -> Tensor:
    """The loss that is differentiated, from (B, C, H, W) errors."""
    return reduce_loss(error.abs() if train.loss == "mae" else error.square(), train)


def absolute_error(error: Tensor) -> Tensor:
    """Mean absolute error of each image, (B, 1, 1, 1), without gradients."""
    return error.detach().abs().mean(dim=(1, 2, 3), keepdim=True)


def mean_loss(error: Tensor, train: TrainConfig) -> Tensor:
    """The loss as curves show it: the mean over all elements, without gradients."""
    per_image = absolute_error(error) if train.loss == "mae" else error.detach().square()
    return per_image.mean()


def step_loss(error: Tensor, image_error: Tensor, train: TrainConfig) -> StepLoss:
    """The loss of (B, C, H, W) errors of a prediction.

    Args:
        error: Of the prediction.
        image_error: (B, 1, 1, 1) mean absolute error of the image estimate that it implies.
        train: Kind and reduction of the loss.
    """
    curves = mean_loss(error, train), image_error.mean()
    return StepLoss(loss=error_loss(error, train), curves=curves)


def clip_images(images: Tensor, bounds: tuple[Tensor, Tensor]) -> Tensor:
    """Images with their pixels cut to [lowest, highest], which broadcast over them."""
    return torch.minimum(torch.maximum(images, bounds[0]), bounds[1])
