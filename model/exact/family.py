"""The families exact-gaussian, exact-mixture and exact-empirical.

They sample like a network of family ddim, flow or edm (model.process), but with the exact score of
a distribution that is fitted to the pool without training: a Gaussian, a Gaussian for each class,
or a Gaussian kernel at each image.
"""

import math
from collections.abc import Callable
from functools import partial
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from model.blocks import CLASS_BLOCK
from model.checkpoint import Checkpoint
from model.config import SampleConfig, restored_model
from model.exact.mixture import Mixture
from model.exact.processes import PROCESSES
from model.gaussian import check_classes, fitted_names, mean_and_factor, rows_by_class
from model.images import to_unit
from model.job import Diverged, Fit, TrainingJob, checkpoint_settings, training_labels
from model.networks.conditioning import sampling_labels
from model.networks.sampling import sample_batches
from model.training.trainer import normalization

Describe = Callable[[Tensor], dict[str, Tensor]]
"""Describes (N, D) float64 normalised images by tensors; N is at least 1."""


def describe_gaussian(rows: Tensor) -> dict[str, Tensor]:
    """Mean and factor of the covariance (maximum likelihood)."""
    mean, factor = mean_and_factor(rows)
    return {"mean": mean.unsqueeze(0), "factor": factor}


def describe_points(rows: Tensor) -> dict[str, Tensor]:
    """The images themselves, which are the means of the kernels."""
    return {"mean": rows}


def fit_exact(
    describe: Describe, images: np.ndarray, labels: np.ndarray | None, job: TrainingJob
) -> Fit:
    """Fit a family to a pool, class by class if it is conditional, in the network's units.

    Raises:
        UsageError: model.conditional does not fit the family, or the labels or job.num_classes
            are invalid.
        Diverged: The images are not finite.
    """
    started = perf_counter()
    learned = training_labels(labels, len(images), job)
    unit = to_unit(torch.from_numpy(images)).double()
    if not unit.isfinite().all():
        raise Diverged("the images are not finite")
    mean, std = map(torch.from_numpy, normalization(images, job))
    tensors = {"mean": mean, "std": std}
    flat = ((unit - mean.view(1, -1, 1, 1)) / std.view(1, -1, 1, 1)).flatten(1)
    for name, rows in rows_by_class(flat, learned).items():
        tensors |= {f"ema.{part}{name}": tensor for part, tensor in describe(rows).items()}
        tensors[f"ema.count{name}"] = rows.new_tensor([len(rows)])
    settings = checkpoint_settings(
        job, shape=images.shape[1:], dtype=str(images.dtype), precision="fp64"
    )
    checkpoint = Checkpoint(tensors=tensors, settings=settings)
    return Fit(checkpoint=checkpoint, seconds=perf_counter() - started, images_seen=len(images))


def check_exact(checkpoint: Checkpoint) -> None:
    """Raise UsageError unless there are the tensors of each class with images."""
    channels, dim = checkpoint.shape[0], math.prod(checkpoint.shape)
    shapes: dict[str, tuple[int, ...]] = {"mean": (channels,), "std": (channels,)}

    def rows(name: str) -> int:
        tensor = checkpoint.tensors.get(name, torch.empty(0))
        return len(tensor) if tensor.ndim else 0

    for name in fitted_names(checkpoint):
        shapes[f"ema.count{name}"] = (1,)
        if checkpoint.family == "exact-empirical":
            shapes[f"ema.mean{name}"] = (max(1, rows(f"ema.mean{name}")), dim)
        else:
            shapes[f"ema.mean{name}"] = (1, dim)
            shapes[f"ema.factor{name}"] = (min(rows(f"ema.factor{name}"), dim), dim)
    checkpoint.check_tensors(shapes, torch.float64)


def fitted_mixture(checkpoint: Checkpoint, *, device: str = "cpu") -> Mixture:
    """The distribution of a checkpoint of these families, in the network's units."""
    model = restored_model(checkpoint.settings["model"])
    names, tensors = fitted_names(checkpoint), checkpoint.tensors
    means = [tensors[f"ema.mean{name}"] for name in names]
    factors = [tensors.get(f"ema.factor{name}", means[0][:0]) for name in names]
    # A class's images are shared by its Gaussians, of which kernels have one for each image.
    counts = [
        (tensors[f"ema.count{name}"] / len(mean)).expand(len(mean))
        for name, mean in zip(names, means, strict=True)
    ]
    owners = [torch.full((len(factor),), k) for k, factor in enumerate(factors)]
    labels = [
        torch.full((len(mean),), int(name[1:] or 0))
        for name, mean in zip(names, means, strict=True)
    ]
    return Mixture(
        means=torch.cat(means).to(device),
        log_weights=torch.cat(counts).log().to(device),
        factors=torch.cat(factors).to(device),
        owners=torch.cat(owners).to(device),
        labels=torch.cat(labels).to(device),
        bandwidth=model.bandwidth,
    )


def sample_exact(
    checkpoint: Checkpoint,
    noise: np.ndarray,
    config: SampleConfig,
    *,
    labels: np.ndarray | None = None,
    device: str = "cpu",
) -> np.ndarray:
    """Turn noise into images with the sampler of model.process and the exact score, in float64.

    Raises:
        UsageError: Labels or the sampler's settings do not fit the checkpoint.
        Diverged: An image is not finite, or the pool had no image of a class.
    """
    classes = sampling_labels(checkpoint, labels, len(noise), config)
    check_classes(checkpoint, classes)
    model = restored_model(checkpoint.settings["model"])
    process = PROCESSES[model.process]
    mixture = fitted_mixture(checkpoint, device=device)
    estimate = partial(estimate_images, mixture, checkpoint.settings.get("num_classes", 0))
    predict = process.prediction(estimate, model)
    sample = process.objective.sample
    return sample_batches(
        sample, predict, checkpoint, noise, config, classes=classes, device=device
    )


def estimate_images(
    mixture: Mixture,
    no_class: int,
    noisy: Tensor,
    signal_rate: Tensor,
    noise_rate: Tensor,
    labels: Tensor | None = None,
) -> Tensor:
    """The mean of images given (B, C, H, W) noisy ones, and (B,) classes or the label `no_class`.

    Of an image without a class, all Gaussians are possible origins.
    """
    flat = noisy.flatten(1)
    rates = [rate.flatten(1).expand(len(flat), 1) for rate in (signal_rate, noise_rate)]
    if labels is None:
        return mixture.posterior_mean(flat, *rates).view_as(noisy)
    # Blocks of one class have the same shape, and so the same rounding, whatever is beside them.
    blocks = zip(*(x.split(CLASS_BLOCK) for x in (labels, flat, *rates)), strict=True)
    means = [_estimate_block(mixture, no_class, *block) for block in blocks]
    return torch.cat(means).view_as(noisy)


def _estimate_block(mixture: Mixture, no_class: int, labels: Tensor, *noisy: Tensor) -> Tensor:
    """(B, D) means of a few images given the noisy ones, their rates and labels."""
    present = set(labels.tolist())
    possible = {k: mixture if k == no_class else mixture.of_class(k) for k in present}
    if len(possible) == 1:
        (gaussians,) = possible.values()
        return gaussians.posterior_mean(*noisy)
    means = torch.empty_like(noisy[0])
    for label, gaussians in possible.items():
        rows = labels == label
        means[rows] = gaussians.posterior_mean(*(x[rows] for x in noisy))
    return means
