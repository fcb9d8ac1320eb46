"""What a family of networks adds to the training and sampling loops, which all families share.

An Objective builds the network, draws the random numbers of a training step, computes the loss of a
batch, and turns noise into images. Optimisers, averages and files belong to the loops.
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
"""A network wrapped by `make_call`."""
Draws = tuple[Tensor, ...]
"""The random numbers of a training step."""
Bounds = tuple[Tensor, Tensor] | None
"""Lowest and highest valid pixel, (1, C, 1, 1) normalised, to which samplers clip each image
estimate; None disables clipping."""


def make_call(network: Callable[..., Any], *, bf16: bool) -> Call:
    """Wrap a network for training and sampling, which call it only through this wrapper.

    The first input, (B, C, H, W), is converted to channels last. The network runs in bf16 if
    requested, and its outputs are converted to float32.
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
    """The loss of one step, and the values that the curves record for it."""

    loss: Tensor
    """The scalar that is differentiated."""
    curves: tuple[Tensor, ...]
    """One number for each of the objective's curves, without gradients."""


class DrawFunction(Protocol):
    """Draw the random numbers of a training step."""

    def __call__(
        self, shape: tuple[int, ...], generator: torch.Generator, *, model: ModelConfig
    ) -> Draws:
        """Draw tensors on the generator's device for a batch of shape (B, C, H, W)."""
        ...


class LossFunction(Protocol):
    """Compute the loss of a batch."""

    def __call__(
        self, call: Call, images: Tensor, *, draws: Draws, model: ModelConfig, train: TrainConfig
    ) -> StepLoss:
        """Compute the loss of a network on (B, C, H, W) normalised images."""
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
        """Turn standard normal noise into (B, C, H, W) normalised images.

        The noise is (B, C, H, W), or (B, steps, C, H, W) if sample.stochasticity is above 0.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """How a family of networks is built, trained and sampled."""

    new_network: Callable[[Shape, ModelConfig, torch.Generator | None, int], nn.Module]
    """Builds the network from (C, H, W), settings, the random generator of its initial weights
    (None leaves them undefined), and the number of classes (0 for an unconditional model)."""
    draw: DrawFunction
    loss: LossFunction
    sample: Sampler
    curves: tuple[str, ...]
    """Names of the curves recorded in training, the loss first."""
    sampling_part: str = ""
    """Name of the submodule that `sample` calls; empty for the whole network."""


def draw_noise_and_times(
    shape: tuple[int, ...], generator: torch.Generator, *, model: ModelConfig
) -> Draws:
    """Standard normal (B, C, H, W) noise, and (B, 1, 1, 1) times uniform in [0, 1)."""
    noise = torch.randn(shape, generator=generator, device=generator.device)
    times = torch.rand((shape[0], 1, 1, 1), generator=generator, device=generator.device)
    return noise, times


def reduce_loss(elements: Tensor, train: TrainConfig) -> Tensor:
    """Reduce (B, C, H, W) elementwise losses to the scalar that is differentiated."""
    if train.loss_reduction == "mean":
        return elements.mean()
    # Keras averages over channels only, and its tape differentiates the sum over the other axes.
    return elements.mean(dim=1).sum()


def error_loss(error: Tensor, train: TrainConfig) -> Tensor:
    """Reduce (B, C, H, W) errors to the scalar that is differentiated."""
    return reduce_loss(error.abs() if train.loss == "mae" else error.square(), train)


def absolute_error(error: Tensor) -> Tensor:
    """Mean absolute error of each image, (B, 1, 1, 1), without gradients."""
    return error.detach().abs().mean(dim=(1, 2, 3), keepdim=True)


def step_loss(error: Tensor, image_error: Tensor, train: TrainConfig) -> StepLoss:
    """The loss and the recorded curves of a prediction.

    Args:
        error: (B, C, H, W) errors of the prediction.
        image_error: (B, 1, 1, 1) mean absolute errors of the implied image estimates.
        train: Kind and reduction of the loss.
    """
    # Curves record the mean over all elements, whatever the reduction.
    recorded = absolute_error(error) if train.loss == "mae" else error.detach().square()
    return StepLoss(loss=error_loss(error, train), curves=(recorded.mean(), image_error.mean()))


def clip_images(images: Tensor, bounds: Bounds) -> Tensor:
    """Clip pixels to `bounds`, the lowest and highest value, which broadcast over the images.

    Without bounds the images are returned unchanged.
    """
    if bounds is None:
        return images
    return torch.minimum(torch.maximum(images, bounds[0]), bounds[1])
