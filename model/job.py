"""What a training is given and what it returns, for every family."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from model.checkpoint import Checkpoint
from model.config import ImagesOn, ModelConfig, TrainConfig, stored_model
from model.errors import UsageError
from model.family_facts import check_conditional
from model.randomness import Seed


class Diverged(Exception):
    """Training or sampling left the finite numbers; a result, not a failure."""


class Scratch(Protocol):
    """Keeps the state of a running training; the last state saved is the one loaded."""

    def load(self) -> bytes | None:
        """The newest saved state, or None."""

    def save(self, data: bytes) -> None:
        """Keep a state."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a training is; `images_per_second` leaves out earlier attempts."""

    step: int
    num_steps: int
    loss: float
    images_per_second: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingJob:
    """What a family needs beside the images to fit a model."""

    model: ModelConfig
    train: TrainConfig
    num_steps: int
    seed: Seed
    """(lineage seed, generation, member)."""
    num_classes: int = 0
    """Classes of the labels; has no effect on an unconditional model."""
    class_names: tuple[str, ...] = ()
    """Their names, or none; a conditional model's checkpoint keeps them."""
    bounded: bool = True
    """Whether pixels are confined to [0, 1] (in unit scale)."""
    device: str = "cpu"
    initial: Checkpoint | None = None
    """Model of the same settings whose training goes on; None trains from scratch."""
    first_images: np.ndarray | None = None
    """Images of the lineage's first pool, for model.normalization=first_pool; None if the pool is
    the first itself."""
    images_on: ImagesOn = "auto"
    """Where the images lie; changes no number."""
    score: Callable[[Checkpoint], float] | None = None
    """For train.select=best_kid: a checkpoint's KID on the validation images."""
    scratch: Scratch | None = None
    checkpoint_seconds: float = 60.0
    """Time between saved states."""
    progress: Callable[[Progress], None] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """A trained model and how it came about."""

    checkpoint: Checkpoint
    curves: dict[str, np.ndarray] = field(default_factory=dict)
    """`step` and the objective's curves, the loss first: one value per step, float32."""
    seconds: float = 0.0
    images_seen: int = 0

    @property
    def final_loss(self) -> float | None:
        """Mean loss over the last tenth of the steps; None without steps."""
        losses = next((curve for name, curve in self.curves.items() if name != "step"), ())
        return float(losses[-max(1, len(losses) // 10) :].mean()) if len(losses) else None


def checkpoint_settings(
    job: TrainingJob, *, shape: tuple[int, ...], dtype: str, precision: str
) -> dict[str, Any]:
    """What a family's sampler must know of a trained model, as its checkpoint keeps it.

    Args:
        job: Of the training.
        shape: (C, H, W) of the images.
        dtype: Their type, uint8 or float32.
        precision: Arithmetic of the fit.
    """
    settings = {
        "family": job.model.family,
        "model": stored_model(job.model),
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
    """The labels that a job's model learns: (N,) int64, or None for an unconditional one.

    Raises:
        UsageError: The model is conditional and its family, the labels or the classes do not fit.
    """
    if not job.model.conditional:
        return None
    check_conditional(job.model)
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
    """Labels as they are; raises UsageError unless they are (N,) int64 in [0, num_classes)."""
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
