"""A plug-in with a model family: training images, drawn again with a little noise (a bootstrap).

sweep run quickstart --import examples/own_family.py --model.family bootstrap --out runs/bootstrap
"""

import numpy as np
import torch

from model.checkpoint import Checkpoint
from model.config import ModelConfig, SampleConfig
from model.families import Family
from model.family_facts import FamilyFacts
from model.images import from_unit, to_unit
from model.job import Fit, TrainingJob, checkpoint_settings
from model.networks.size import ModelSize, Shape

NOISE = 0.05


def fit_bootstrap(images: np.ndarray, labels: np.ndarray | None, job: TrainingJob) -> Fit:
    """Store the images as the model."""
    settings = checkpoint_settings(
        job, shape=images.shape[1:], dtype=str(images.dtype), precision="fp32"
    )
    tensors = {"ema.images": torch.from_numpy(images)}
    return Fit(checkpoint=Checkpoint(tensors=tensors, settings=settings), images_seen=len(images))


def sample_bootstrap(
    checkpoint: Checkpoint,
    noise: np.ndarray,
    config: SampleConfig,
    *,
    labels: np.ndarray | None = None,
    device: str = "cpu",
) -> np.ndarray:
    """For each image, pick a stored one by the noise's first number, and add the noise."""
    images = to_unit(checkpoint.tensors["ema.images"])
    z = torch.from_numpy(noise)
    share = torch.special.ndtr(z.flatten(1)[:, 0].double())
    picked = images[(share * len(images)).long().clamp(max=len(images) - 1)]
    settings = checkpoint.settings
    drawn = picked + NOISE * z
    return from_unit(drawn, settings["dtype"], bounded=settings["bounded"]).numpy()


def bootstrap_size(
    config: ModelConfig, shape: Shape, num_images: int, num_classes: int
) -> ModelSize:
    """The size of the stored images."""
    count = num_images * shape[0] * shape[1] * shape[2]
    return ModelSize(
        num_parameters=count, num_buffers=0, flops=0.0, checkpoint_bytes=count, state_bytes=0
    )


FAMILY_FACTS = {
    "bootstrap": FamilyFacts(
        size=bootstrap_size, version="1", iterative=False, conditional=False, guided=False
    )
}
FAMILIES = {"bootstrap": Family(fit=fit_bootstrap, sample=sample_bootstrap)}
