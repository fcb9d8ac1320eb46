"""Model families: pairs of functions that fit a model to images and draw images from it.

A family consists of one module, one record in model/family_facts.py (the facts that planning needs,
without torch) and one line in FAMILIES. A family of networks is an Objective in model/networks/;
all of them share the training and sampling loops.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from model.checkpoint import Checkpoint
from model.config import SampleConfig
from model.errors import check_choice
from model.exact.family import (
    Describe,
    check_exact,
    describe_gaussian,
    describe_points,
    fit_exact,
    sample_exact,
)
from model.gaussian import check_gaussian, fit_gaussian, sample_gaussian
from model.job import Fit, TrainingJob
from model.networks.ddim import DDIM
from model.networks.edm import EDM
from model.networks.flow import FLOW
from model.networks.objective import Objective
from model.networks.sampling import check_network, sample_network
from model.networks.unet2d import UNET2D
from model.networks.vae import VAE
from model.programs.family import check_files, draw_command, fit_command
from model.randomness import Purpose, Seed
from model.training.fit import fit_network


class FitFunction(Protocol):
    """Fit a model to a pool's images."""

    def __call__(self, images: np.ndarray, labels: np.ndarray | None, job: TrainingJob) -> Fit:
        """Fit a model to (N, C, H, W) uint8 or float32 images and (N,) int64 labels."""
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
        """Map (N, C, H, W) float32 noise to (N, C, H, W) images of the training images' dtype.

        A conditional checkpoint needs the (N,) int64 classes of the images; for any other, `labels`
        must be None.
        """
        ...


class DrawFunction(Protocol):
    """Draw the first images of a stream at once."""

    def __call__(
        self,
        checkpoint: Checkpoint,
        config: SampleConfig,
        *,
        seed: Seed,
        purpose: Purpose,
        count: int,
    ) -> np.ndarray:
        """Return (count, C, H, W) images, which may depend on their number."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """A model family. It has either `sample` or `draw`."""

    fit: FitFunction
    sample: SampleFunction | None = None
    draw: DrawFunction | None = None
    check: Callable[[Checkpoint], None] = lambda checkpoint: None
    """Raises UsageError unless the tensors of a checkpoint are those that its settings imply."""


def family_of(name: str) -> Family:
    """The family called `name`; raises UsageError with a suggestion."""
    check_choice("model.family", name, FAMILIES, extensible=True)
    return FAMILIES[name]


def network_family(objective: Objective) -> Family:
    """The family that trains and samples a network with the shared loops."""
    return Family(
        fit=partial(fit_network, objective),
        sample=partial(sample_network, objective),
        check=check_network,
    )


def exact_family(describe: Describe) -> Family:
    """The family that samples with the exact score of what `describe` makes of the pool."""
    return Family(fit=partial(fit_exact, describe), sample=sample_exact, check=check_exact)


FAMILIES: dict[str, Family] = {
    "ddim": network_family(DDIM),
    "flow": network_family(FLOW),
    "edm": network_family(EDM),
    "vae": network_family(VAE),
    "unet2d": network_family(UNET2D),
    "gaussian": Family(fit=fit_gaussian, sample=sample_gaussian, check=check_gaussian),
    "exact-gaussian": exact_family(describe_gaussian),
    "exact-mixture": exact_family(describe_gaussian),
    "exact-empirical": exact_family(describe_points),
    "command": Family(fit=fit_command, draw=draw_command, check=check_files),
}
