"""Classes as a model is told them: labels that train it, labels that are asked for, guidance.

"No class" has the number after the last class. Must not know networks, pools or files.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from model.checkpoint import Checkpoint
from model.config import SampleConfig, check, restored_model
from model.errors import UsageError
from model.family_facts import check_conditional, check_sampler
from model.networks.size import SAMPLE_BATCH

if TYPE_CHECKING:
    from model.training.trainer import TrainingJob


def training_labels(
    labels: np.ndarray | None, num_images: int, job: "TrainingJob"
) -> np.ndarray | None:
    """The labels that a job's model learns: (N,) int64, or None for an unconditional one.

    Raises:
        UsageError: The model is conditional and its family, the labels or the classes do not fit.
    """
    if not job.model.conditional:
        return None
    check_conditional(job.model)
    way_out = "train on data with classes or set model.conditional to False"
    check(job.num_classes >= 1, "num_classes", "be at least 1", job.num_classes, way_out)
    named = len(job.class_names) in (0, job.num_classes)
    rule = f"name all {job.num_classes} classes or none"
    check(named, "class_names", rule, job.class_names)
    return checked_labels(labels, num_images, job.num_classes)


def class_settings(job: "TrainingJob") -> dict[str, Any]:
    """What a conditional model's checkpoint holds of its classes; nothing for another."""
    if not job.model.conditional:
        return {}
    return {"num_classes": job.num_classes, "class_names": list(job.class_names)}


def asked_labels(
    checkpoint: Checkpoint, labels: np.ndarray | None, num_images: int, config: SampleConfig
) -> np.ndarray | None:
    """The classes of images to be drawn: (N,) int64, or None of an unconditional model.

    Raises:
        UsageError: Labels are missing, do not fit or have no effect, or guidance has none.
    """
    model = restored_model(checkpoint.settings["model"])
    check_sampler(model, config)
    if model.conditional:
        return checked_labels(labels, num_images, checkpoint.settings["num_classes"])
    given = None if labels is None else labels.shape
    check(labels is None, "labels", "be None for an unconditional model", given)
    return None


def checked_labels(labels: np.ndarray | None, num_images: int, num_classes: int) -> np.ndarray:
    """Labels as they are; raises UsageError unless they are (N,) int64 in [0, num_classes)."""
    if labels is None:
        raise UsageError(f"labels must be ({num_images},) int64 for a conditional model, got None")
    whole = labels.shape == (num_images,) and labels.dtype == np.int64
    rule = f"be ({num_images},) int64 for as many images"
    check(whole, "labels", rule, f"{labels.shape} {labels.dtype}")
    limits = (int(labels.min()), int(labels.max())) if num_images else (0, 0)
    inside = limits[0] >= 0 and limits[1] < num_classes
    check(inside, "labels", f"lie in [0, {num_classes})", limits)
    return labels


def drop_labels(
    labels: Tensor, share: float, *, no_class: int, generator: torch.Generator
) -> Tensor:
    """Labels with a random share replaced by `no_class` (Ho and Salimans, algorithm 1).

    Args:
        labels: (B,) int64.
        share: Probability of each.
        no_class: The number of "no class".
        generator: Of the labels' device.
    """
    dropped = torch.rand(labels.shape, generator=generator, device=labels.device) < share
    return labels.masked_fill(dropped, no_class)


def padded_labels(labels: np.ndarray, no_class: int) -> Tensor:
    """(SAMPLE_BATCH,) labels of a network call: those given, then "no class" for its padding."""
    padded = torch.full((SAMPLE_BATCH,), no_class)
    padded[: len(labels)] = torch.from_numpy(labels)
    return padded


def guide(
    predict: Callable[..., Tensor], labels: Tensor, *, guidance: float, no_class: int
) -> Callable[..., Tensor]:
    """A predictor of given classes, by classifier-free guidance (Ho and Salimans, 2207.12598).

    The prediction is unconditional + guidance (conditional - unconditional): their equation 6 with
    guidance = 1 + w. Two calls of the predictor; one where guidance is 1 or 0, which need one.

    Args:
        predict: Takes its inputs and, last, (B,) labels.
        labels: (B,) int64, the classes asked for.
        guidance: Weight of the class; 1 is the conditional model, 0 the unconditional one.
        no_class: The number of "no class".
    """
    none = torch.full_like(labels, no_class)
    if guidance in (0, 1):
        chosen = labels if guidance == 1 else none
        return lambda *inputs: predict(*inputs, chosen)

    def guided(*inputs: Tensor) -> Tensor:
        unconditional = predict(*inputs, none)
        return unconditional + guidance * (predict(*inputs, labels) - unconditional)

    return guided
