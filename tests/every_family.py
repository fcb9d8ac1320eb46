"""The model families as test parameters: one whose optional package is absent is skipped."""

from importlib.util import find_spec

import numpy as np
import pytest

from model.checkpoint import Checkpoint
from model.config import SampleConfig
from model.families import FAMILIES, family_of
from model.family_facts import FAMILY_FACTS
from model.job import Fit, TrainingJob
from model.networks.ddim import DDIM
from model.networks.edm import EDM
from model.networks.flow import FLOW
from model.networks.unet2d import UNET2D
from model.networks.vae import VAE
from model.training.trainer import Trainer

NEEDS_DIFFUSERS = pytest.mark.skipif(
    find_spec("diffusers") is None, reason="diffusers is not installed"
)
SLOW_IMPORT = (NEEDS_DIFFUSERS, pytest.mark.slow)
"""The package takes seconds to import."""
OBJECTIVES = {"ddim": DDIM, "flow": FLOW, "edm": EDM, "vae": VAE, "unet2d": UNET2D}


def with_marks(names: list[str]) -> list:
    return [pytest.param(name, marks=SLOW_IMPORT if name == "unet2d" else ()) for name in names]


EVERY_FAMILY = with_marks(
    [n for n, family in FAMILIES.items() if family.sample and FAMILY_FACTS[n].unconditional]
)
"""Those that turn noise into images, and need no classes."""
NETWORKS = with_marks(list(OBJECTIVES))
"""Those that train a network in steps."""


def fit_family(images: np.ndarray, labels: np.ndarray | None, job: TrainingJob) -> Fit:
    return family_of(job.model.family).fit(images, labels, job)


def sample_family(
    checkpoint: Checkpoint, noise: np.ndarray, config: SampleConfig, **settings
) -> np.ndarray:
    sample = family_of(checkpoint.family).sample
    assert sample is not None
    return sample(checkpoint, noise, config, **settings)


def new_trainer(images: np.ndarray, job: TrainingJob) -> Trainer:
    return Trainer(OBJECTIVES[job.model.family], images, None, job)
