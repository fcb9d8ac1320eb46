"""Model families: pairs of functions that fit a model to images and draw images from it.

Adding one is a pair of functions and a line in FAMILIES; those of networks share theirs, and are
lines in OBJECTIVES. Must not know pools, lineages or files.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from model.checkpoint import Checkpoint
from model.config import SampleConfig
from model.errors import check_choice
from model.family_facts import CONDITIONAL_FAMILIES
from model.gaussian import fit_gaussian, sample_gaussian
from model.networks.objective import OBJECTIVES
from model.networks.sampling import SAMPLE_BATCH, noise_shape, sample_network
from model.randomness import Purpose, Seed, image_noise
from model.training.trainer import Diverged, Fit, TrainingJob, fit_network


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
        labels: np.ndarray | None = None,
        device: str = "cpu",
    ) -> np.ndarray:
        """(N, C, H, W) float32 noise to (N, C, H, W) images of the training images' type.

        A conditional checkpoint needs the (N,) int64 classes of the images, another none.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """A model family."""

    fit: FitFunction
    sample: SampleFunction
    iterative: bool
    """Whether it trains in steps (else train.* has no effect)."""
    conditional: bool = False
    """Whether it can be told classes; as model.config.CONDITIONAL_FAMILIES says."""


def family_of(name: str) -> Family:
    """The family called `name`; raises UsageError with a suggestion."""
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
        lambda indices: image_noise(seed, purpose, indices, noise_shape(checkpoint, config)),
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
    **{
        name: Family(
            fit=fit_network,
            sample=sample_network,
            iterative=True,
            conditional=name in CONDITIONAL_FAMILIES,
        )
        for name in OBJECTIVES
    },
    "gaussian": Family(fit=fit_gaussian, sample=sample_gaussian, iterative=False, conditional=True),
}
