"""Model families: pairs of functions that fit a model to images and draw images from it.

Adding one is a pair of functions and a line in FAMILIES; those of networks share theirs, and are
lines in OBJECTIVES. Must not know pools, lineages or files.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Protocol

import numpy as np
import torch

from model.checkpoint import Checkpoint
from model.config import SampleConfig, check_choice
from model.images import from_unit, to_unit
from model.objectives import OBJECTIVES
from model.randomness import Purpose, Seed, image_noise
from model.sampling import SAMPLE_BATCH, sample_network
from model.training import Diverged, Fit, TrainingJob, fit_network


class FitFunction(Protocol):
    """Fit a model to a pool's images."""

    def __call__(self, images: np.ndarray, labels: np.ndarray | None, job: TrainingJob) -> Fit:
        """(N, C, H, W) uint8 or float32 images and (N,) int64 labels to a fitted model."""
        ...


class SampleFunction(Protocol):
    """Turn noise into images."""

    def __call__(
        self,
        checkpoint: Checkpoint,
        noise: np.ndarray,
        config: SampleConfig,
        *,
        device: str = "cpu",
    ) -> np.ndarray:
        """(N, C, H, W) float32 noise to (N, C, H, W) images of the training images' type."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """A model family."""

    fit: FitFunction
    sample: SampleFunction
    iterative: bool
    """Whether it trains in steps (else train.* has no effect)."""


def fit_gaussian(images: np.ndarray, labels: np.ndarray | None, job: TrainingJob) -> Fit:
    """Fit mean and covariance (maximum likelihood, divisor N) of the flattened images.

    The covariance is kept as a factor A of min(N, D) rows, covariance = A^T A, from the singular
    values of the centred images: the null model of estimation noise, whose lineages have closed
    forms.
    """
    started = perf_counter()
    flat = to_unit(torch.from_numpy(images)).double().flatten(1)
    if not flat.isfinite().all():
        raise Diverged("the images are not finite")
    mean = flat.mean(dim=0)
    _, singular_values, directions = torch.linalg.svd(flat - mean, full_matrices=False)
    factor = singular_values.unsqueeze(1) * directions / len(flat) ** 0.5
    settings = {
        "family": "gaussian",
        "model": asdict(job.model),
        "shape": list(images.shape[1:]),
        "dtype": str(images.dtype),
        "bounded": job.bounded,
        "precision": "fp64",
    }
    checkpoint = Checkpoint(tensors={"ema.mean": mean, "ema.factor": factor}, settings=settings)
    return Fit(checkpoint=checkpoint, seconds=perf_counter() - started, images_seen=len(images))


def sample_gaussian(
    checkpoint: Checkpoint, noise: np.ndarray, config: SampleConfig, *, device: str = "cpu"
) -> np.ndarray:
    """Images mean + A^T z, z the first rows(A) numbers of an image's noise; on the CPU."""
    mean, factor = checkpoint.tensors["ema.mean"], checkpoint.tensors["ema.factor"]
    z = torch.from_numpy(noise).double().flatten(1)[:, : len(factor)]
    # One row at a time, as the sums of a matrix product may depend on how many rows it has.
    images = mean + torch.stack([row @ factor for row in z])
    shaped = images.float().view(len(noise), *checkpoint.shape)
    if not shaped.isfinite().all():
        raise Diverged("samples are not finite")
    settings = checkpoint.settings
    return from_unit(shaped, settings["dtype"], bounded=settings["bounded"]).numpy()


def family_of(name: str) -> Family:
    """The family called `name`; raises ValueError with a suggestion."""
    check_choice("model.family", name, FAMILIES)
    return FAMILIES[name]


def sample_images(
    checkpoint: Checkpoint,
    noise_of: Callable[[range], np.ndarray],
    indices: range,
    config: SampleConfig,
    *,
    device: str = "cpu",
) -> np.ndarray:
    """Images `indices` of a stream; raises Diverged where they are not finite or all the same."""
    images = family_of(checkpoint.family).sample(
        checkpoint, noise_of(indices), config, device=device
    )
    if len(images) > 1 and (images == images[:1]).all():
        raise Diverged("all samples are the same image")
    return images


def draw_block(
    checkpoint: Checkpoint,
    block: int,
    config: SampleConfig,
    *,
    seed: Seed,
    purpose: Purpose,
    device: str = "cpu",
) -> np.ndarray:
    """Block number `block` of a stream: SAMPLE_BATCH images, however many are needed of it.

    Raises:
        Diverged: As sample_images.
    """
    return sample_images(
        checkpoint,
        lambda indices: image_noise(seed, purpose, indices, checkpoint.shape),
        range(block * SAMPLE_BATCH, (block + 1) * SAMPLE_BATCH),
        config,
        device=device,
    )


def draw_images(
    checkpoint: Checkpoint,
    num_images: int,
    config: SampleConfig,
    *,
    seed: Seed,
    purpose: Purpose,
    device: str = "cpu",
) -> Iterator[np.ndarray]:
    """The first `num_images` of a stream, in parts of at most SAMPLE_BATCH; raises Diverged."""
    for start in range(0, num_images, SAMPLE_BATCH):
        block = start // SAMPLE_BATCH
        images = draw_block(checkpoint, block, config, seed=seed, purpose=purpose, device=device)
        yield images[: num_images - start]


FAMILIES: dict[str, Family] = {
    **{name: Family(fit=fit_network, sample=sample_network, iterative=True) for name in OBJECTIVES},
    "gaussian": Family(fit=fit_gaussian, sample=sample_gaussian, iterative=False),
}
