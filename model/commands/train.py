"""Training of one model, for `model train` and `model.train`; prints nothing.

A model trained in this way equals V_1 of a lineage with the same settings and seed.
"""

import typing
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from model.best_checkpoint import validation_score
from model.checkpoint import Checkpoint
from model.commands.checkpoint_file import with_initial
from model.commands.process import prepare_process
from model.config import DataConfig, MetricsConfig, ModelConfig, SampleConfig, TrainConfig
from model.data.datasets import Dataset
from model.errors import UsageError
from model.families import family_of
from model.family_facts import check_together
from model.features.extractors import check_images
from model.job import Fit, TrainingJob
from model.programs.settings import check_commands
from model.randomness import Seed
from model.training.initial import with_digest
from model.training.length import training_length


def first_seed(seed: int) -> Seed:
    """The seed of generation 1 and its only member, as in a lineage with this seed."""
    return (seed, 1, 0)


def fit_dataset(data: Dataset, job: TrainingJob) -> Fit:
    """Train on the training images of a data set.

    Args:
        data: The images, their classes, and the validation images for train.select=best_kid.
        job: The training; its classes, range of pixels and score are replaced by those of the data.

    Raises:
        UsageError: The settings do not fit the data, or the saved state belongs to other settings.
        Diverged: The loss is not finite.
    """
    train_labels, validation_labels = (
        None if data.labels is None else data.labels[part] for part in (data.train, data.validation)
    )
    score = None
    if job.train.select == "best_kid":
        # A lineage, too, uses this sampler and extractor by default.
        score = validation_score(
            data.images[data.validation],
            SampleConfig(),
            MetricsConfig(),
            seed=job.seed,
            labels=validation_labels if job.model.conditional else None,
            device=job.device,
        )
    job = replace(
        job,
        num_classes=data.num_classes,
        class_names=data.class_names,
        bounded=data.bounded,
        score=score,
    )
    job = with_initial(job, data.shape, str(data.images.dtype))
    return family_of(job.model.family).fit(data.images[data.train], train_labels, job)


def fit_images(
    images: np.ndarray,
    labels: np.ndarray | None,
    *,
    model: ModelConfig,
    train: TrainConfig,
    class_names: tuple[str, ...],
    bounded: bool,
    seed: int,
    device: str,
) -> Checkpoint:
    """Train on arrays; `model.train` describes the arguments and errors."""
    check_images(images)
    size, _, height, width = images.shape
    if size < 2 or height != width:
        raise UsageError(f"images must be at least 2 square images, got {images.shape}")
    if train.select != "last":
        raise UsageError(
            f"train.select must be last for arrays, which have no validation images, "
            f"got {train.select!r}"
        )
    data = DataConfig(image_size=width, dtype=typing.cast(Any, str(images.dtype)))
    check_together(data, model, train)
    check_commands(data, model, train, None)
    num_steps, _ = training_length(size, model, train, first_pool=size, image_size=width)
    num_classes = len(class_names) or (0 if labels is None else int(labels.max()) + 1)
    job = TrainingJob(
        model=model,
        train=with_digest(train),
        num_steps=num_steps,
        seed=first_seed(seed),
        num_classes=num_classes,
        class_names=class_names,
        bounded=bounded,
        device=device,
    )
    job = with_initial(job, images.shape[1:], str(images.dtype))
    return family_of(model.family).fit(images, labels, job).checkpoint


def check_labelled(model: ModelConfig, data: Dataset) -> None:
    """Raise UsageError if a conditional model would be trained on images without classes."""
    if model.conditional and (data.labels is None or not data.class_names):
        raise UsageError(
            f"model.conditional must be False for data without classes ({data.name}), got True"
        )


def use_device(device: str, threads: int) -> None:
    """Prepare the process to compute on a device; raises UsageError if there is no GPU for cuda."""
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device must be cpu on a machine without a CUDA GPU, got 'cuda'")
    prepare_process(device, threads)
