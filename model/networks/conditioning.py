"""Class conditioning: labels for training and sampling, and classifier-free guidance.

The label for "no class" is the number of classes, one above the last class.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from model.blocks import SAMPLE_BATCH
from model.checkpoint import Checkpoint
from model.config import SampleConfig, restored_model
from model.errors import UsageError
from model.family_facts import check_sampler
from model.job import checked_labels


def sampling_labels(
    checkpoint: Checkpoint, labels: np.ndarray | None, num_images: int, config: SampleConfig
) -> np.ndarray | None:
    """The checked classes of the images to sample: (N,) int64, or None for an unconditional model.

    Raises:
        UsageError: Labels are missing, do not fit or have no effect, or the model does not support
            the sampler's settings.
    """
    model = restored_model(checkpoint.settings["model"])
    check_sampler(model, config)
    if model.conditional:
        return checked_labels(labels, num_images, checkpoint.settings["num_classes"])
    if labels is not None:
        raise UsageError(f"labels must be None for an unconditional model, got {labels.shape}")
    return None


def drop_labels(
    labels: Tensor, share: float, *, no_class: int, generator: torch.Generator
) -> Tensor:
    """Replace each label by `no_class` with probability `share` (Ho and Salimans, algorithm 1).

    Args:
        labels: (B,) int64.
        share: Probability of dropping a label.
        no_class: The label for "no class".
        generator: Random generator on the labels' device.
    """
    dropped = torch.rand(labels.shape, generator=generator, device=labels.device) < share
    return labels.masked_fill(dropped, no_class)


def padded_labels(labels: np.ndarray) -> Tensor:
    """(SAMPLE_BATCH,) labels of a network call: the given ones, then copies of the last one."""
    return torch.from_numpy(np.pad(labels, (0, SAMPLE_BATCH - len(labels)), mode="edge"))


def guide(
    predict: Callable[..., Tensor], labels: Tensor, *, guidance: float, no_class: int
) -> Callable[..., Tensor]:
    """Apply classifier-free guidance to a predictor (Ho and Salimans, arXiv:2207.12598).

    The prediction is unconditional + guidance (conditional - unconditional), which is their
    equation 6 with guidance = 1 + w. It calls the predictor twice, or once if guidance is 0 or 1.

    Args:
        predict: Predictor whose last input is (B,) labels.
        labels: (B,) int64 classes of the images to sample.
        guidance: Guidance weight; 1 is the conditional model, 0 the unconditional one.
        no_class: The label for "no class".
    """
    none = torch.full_like(labels, no_class)
    if guidance in (0, 1):
        chosen = labels if guidance == 1 else none
        return lambda *inputs: predict(*inputs, chosen)

    def guided(*inputs: Tensor) -> Tensor:
        unconditional = predict(*inputs, none)
        return unconditional + guidance * (predict(*inputs, labels) - unconditional)

    return guided
