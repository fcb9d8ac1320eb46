"""The inputs and results of a training, for every family."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from model.checkpoint import Checkpoint
from model.config import ImagesOn, ModelConfig, TrainConfig, stored_settings
from model.errors import UsageError
from model.family_facts import check_conditional
from model.randomness import Seed


class Diverged(Exception):
    """Training or sampling broke down, as when the loss is not finite: a result, not an error."""


class Scratch(Protocol):
    """Storage for the state of a running training; `load` returns the last state saved."""

    def load(self) -> bytes | None:
        """The newest saved state, or None."""

    def save(self, data: bytes) -> None:
        """Save a state."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Progress of a training; `images_per_second` is the speed of the current attempt."""

    step: int
    num_steps: int
    loss: float
    images_per_second: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingJob:
    """What a family needs, besides the images, to fit a model."""

    model: ModelConfig
    train: TrainConfig
    num_steps: int
    seed: Seed
    """(lineage seed, generation, member)."""
    num_classes: int = 0
    """Number of classes; has no effect on an unconditional model."""
    class_names: tuple[str, ...] = ()
    """Names of the classes, or empty; the checkpoint of a conditional model stores them."""
    bounded: bool = True
    """Whether pixels are confined to [0, 1] (in unit scale)."""
    num_images: int | None = None
    """Number of images that the training also draws (family command without sample.command)."""
    device: str = "cpu"
    initial: Checkpoint | None = None
    """Model with the same settings to continue training from; None trains from scratch."""
    first_images: np.ndarray | None = None
    """Images of the lineage's first pool, for model.normalization=first_pool; None if this pool
    is the first."""
    images_on: ImagesOn = "auto"
    """Where the images are kept; does not change results."""
    score: Callable[[Checkpoint], float] | None = None
    """Computes a checkpoint's KID on the validation images; None unless train.select=best_kid."""
    scratch: Scratch | None = None
    checkpoint_seconds: float = 60.0
    """Seconds between saved states."""
    progress: Callable[[Progress], None] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """A trained model and the record of its training."""

    checkpoint: Checkpoint
    curves: dict[str, np.ndarray] = field(default_factory=dict)
    """`step` and the objective's curves (float32), the loss first; one value per step."""
    seconds: float = 0.0
    images_seen: int = 0

    @property
    def final_loss(self) -> float | None:
        """Mean loss over the last tenth of the steps; None if there are no steps."""
        losses = next((curve for name, curve in self.curves.items() if name != "step"), ())
        return float(losses[-max(1, len(losses) // 10) :].mean()) if len(losses) else None


def checkpoint_settings(
    job: TrainingJob, *, shape: tuple[int, ...], dtype: str, precision: str
) -> dict[str, Any]:
    """The settings that a checkpoint stores for its family's sampler.

    Args:
        job: The job that trained the model.
        shape: (C, H, W) of the images.
        dtype: dtype of the images, uint8 or float32.
        precision: Precision of the fit: fp32, tf32, bf16 or fp64.
    """
    settings = {
        "family": job.model.family,
        "model": stored_settings(job.model),
        "shape": list(shape),
        "dtype": dtype,
        "bounded": job.bounded,
        "precision": precision,
    }
    if job.model.conditional:
        settings |= {"num_classes": job.num_classes, "class_names": list(job.class_names)}
    return settings


def training_labels(
    labels: np.ndarray | None, num_images: int, job: TrainingJob
) -> np.ndarray | None:
    """The labels that a job's model learns: (N,) int64, or None for an unconditional model.

    Raises:
        UsageError: The model is conditional, but its family cannot be, or the labels or the classes
            are invalid.
    """
    check_conditional(job.model)
    if not job.model.conditional:
        return None
    if job.num_classes < 1:
        raise UsageError(
            f"num_classes must be at least 1, got {job.num_classes}; "
            "train on data with classes or set model.conditional to False"
        )
    if len(job.class_names) not in (0, job.num_classes):
        rule = f"name all {job.num_classes} classes or none"
        raise UsageError(f"class_names must {rule}, got {job.class_names!r}")
    return checked_labels(labels, num_images, job.num_classes)


def checked_labels(labels: np.ndarray | None, num_images: int, num_classes: int) -> np.ndarray:
    """Return the labels; raises UsageError unless they are (N,) int64 in [0, num_classes)."""
    if labels is None:
        raise UsageError(f"labels must be ({num_images},) int64 for a conditional model, got None")
    if labels.shape != (num_images,) or labels.dtype != np.int64:
        raise UsageError(
            f"labels must be ({num_images},) int64, one for each image, "
            f"got {labels.shape} {labels.dtype}"
        )
    if num_images and not (labels.min() >= 0 and labels.max() < num_classes):
        limits = (int(labels.min()), int(labels.max()))
        raise UsageError(f"labels must lie in [0, {num_classes}), got {limits}")
    return labels
