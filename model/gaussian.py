"""The null model: a Gaussian with the mean and covariance of the images, or of each class.

Estimation is its only source of error, so its lineages have closed forms.
"""

import math
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from model.checkpoint import Checkpoint
from model.config import SampleConfig
from model.images import from_unit, to_unit
from model.job import Diverged, Fit, TrainingJob, checkpoint_settings, training_labels
from model.networks.conditioning import sampling_labels


def fit_gaussian(images: np.ndarray, labels: np.ndarray | None, job: TrainingJob) -> Fit:
    """Fit mean and covariance (maximum likelihood, divisor N) of the flattened images.

    The covariance is stored as a factor A with min(N, D) rows, covariance = A^T A, computed from
    the singular values of the centred images. A conditional model has a mean and a factor for each
    class that has images.

    Raises:
        UsageError: The model is conditional and the labels or job.num_classes do not fit.
        Diverged: The images are not finite.
    """
    started = perf_counter()
    learned = training_labels(labels, len(images), job)
    flat = to_unit(torch.from_numpy(images)).double().flatten(1)
    if not flat.isfinite().all():
        raise Diverged("the images are not finite")
    tensors: dict[str, Tensor] = {}
    for name, rows in rows_by_class(flat, learned).items():
        tensors[f"ema.mean{name}"], tensors[f"ema.factor{name}"] = mean_and_factor(rows)
    settings = checkpoint_settings(
        job, shape=images.shape[1:], dtype=str(images.dtype), precision="fp64"
    )
    checkpoint = Checkpoint(tensors=tensors, settings=settings)
    return Fit(checkpoint=checkpoint, seconds=perf_counter() - started, images_seen=len(images))


def rows_by_class(flat: Tensor, labels: np.ndarray | None) -> dict[str, Tensor]:
    """(N, D) images of each class that has any, by the end of its tensors' names.

    The end is the class's number after a dot, or empty if `labels` is None.
    """
    if labels is None:
        return {"": flat}
    return {f".{k}": flat[torch.from_numpy(labels == k)] for k in np.unique(labels).tolist()}


def mean_and_factor(flat: Tensor) -> tuple[Tensor, Tensor]:
    """(D,) mean and (min(N, D), D) covariance factor of (N, D) float64 images, N at least 1."""
    mean = flat.mean(dim=0)
    _, singular_values, directions = torch.linalg.svd(flat - mean, full_matrices=False)
    return mean, singular_values.unsqueeze(1) * directions / len(flat) ** 0.5


def sample_gaussian(
    checkpoint: Checkpoint,
    noise: np.ndarray,
    config: SampleConfig,
    *,
    labels: np.ndarray | None = None,
    device: str = "cpu",
) -> np.ndarray:
    """Draw mean + A^T z on the CPU, with z the first len(A) numbers of an image's noise.

    Raises:
        UsageError: Labels or guidance do not fit the checkpoint.
        Diverged: An image is not finite, or the pool had no image of a class.
    """
    classes = sampling_labels(checkpoint, labels, len(noise), config)
    names = [""] * len(noise) if classes is None else [f".{label}" for label in classes]
    check_classes(checkpoint, classes)
    rows = torch.from_numpy(noise).double().flatten(1)
    # One row at a time, because the sums of a matrix product may depend on its number of rows.
    images = torch.stack(
        [draw_row(checkpoint, z, name) for z, name in zip(rows, names, strict=True)]
    )
    shaped = images.float().view(len(noise), *checkpoint.shape)
    if not shaped.isfinite().all():
        raise Diverged("samples are not finite")
    settings = checkpoint.settings
    return from_unit(shaped, settings["dtype"], bounded=settings["bounded"]).numpy()


def check_gaussian(checkpoint: Checkpoint) -> None:
    """Raise UsageError unless there are a mean and a factor, or those of each class with images."""
    dim, shapes = math.prod(checkpoint.shape), {}
    for name in fitted_names(checkpoint):
        factor = checkpoint.tensors.get(f"ema.factor{name}", torch.empty(0))
        shapes[f"ema.mean{name}"] = (dim,)
        shapes[f"ema.factor{name}"] = (min(len(factor) if factor.ndim else 0, dim), dim)
    checkpoint.check_tensors(shapes, torch.float64)


def draw_row(checkpoint: Checkpoint, z: Tensor, name: str) -> Tensor:
    """The (D,) float64 image of (D,) noise, by the mean and factor whose names end in `name`."""
    factor = checkpoint.tensors[f"ema.factor{name}"]
    return checkpoint.tensors[f"ema.mean{name}"] + z[: len(factor)] @ factor


def fitted_names(checkpoint: Checkpoint) -> list[str]:
    """How the names of tensors end, for each class that had images; [""] without classes."""
    classes = range(checkpoint.settings.get("num_classes", 0))
    names = [f".{k}" for k in classes if f"ema.mean.{k}" in checkpoint.tensors]
    return names if classes else [""]


def empty_classes(checkpoint: Checkpoint) -> list[int]:
    """Classes that had no images; empty for an unconditional model.

    It is also empty for families that are not fitted class by class.
    """
    names = fitted_names(checkpoint)
    classes = range(checkpoint.settings.get("num_classes", 0))
    return [k for k in classes if f".{k}" not in names] if names else []


def check_classes(checkpoint: Checkpoint, classes: np.ndarray | None) -> None:
    """Raise Diverged, naming the class, if a class to be drawn had no images.

    The pool of a lineage can lose a class. Like a loss that is not finite, this is a result.
    """
    empty = empty_classes(checkpoint)
    for label in [] if classes is None else np.unique(classes).tolist():
        if label in empty:
            names = checkpoint.settings["class_names"]
            called = f"{label} ({names[label]!r})" if names else str(label)
            raise Diverged(f"the pool had no image of class {called}")
