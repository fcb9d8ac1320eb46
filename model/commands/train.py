"""Training of one model, for `model train`, and reading of trained models; prints nothing.

A model trained in this way equals V_1 of a lineage with the same settings and seed.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from model.best_checkpoint import validation_score
from model.checkpoint import Checkpoint
from model.config import MetricsConfig, ModelConfig, SampleConfig
from model.data.datasets import Dataset
from model.errors import MissingFileError, UsageError, check_choice, reading
from model.families import FAMILIES, family_of
from model.job import Fit, TrainingJob
from model.randomness import Seed

CHECKPOINT_SETTINGS = {"family", "model", "shape", "dtype", "bounded", "precision"}


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
    labels = data.labels if job.model.conditional else None
    train_labels, validation_labels = (
        None if labels is None else labels[part] for part in (data.train, data.validation)
    )
    score = None
    if job.train.select == "best_kid":
        # A lineage, too, uses this sampler and extractor by default.
        score = validation_score(
            data.images[data.validation],
            SampleConfig(),
            MetricsConfig(),
            seed=job.seed,
            labels=validation_labels,
            device=job.device,
        )
    job = replace(
        job,
        num_classes=data.num_classes,
        class_names=data.class_names,
        bounded=data.bounded,
        score=score,
    )
    return family_of(job.model.family).fit(data.images[data.train], train_labels, job)


def check_labelled(model: ModelConfig, data: Dataset) -> None:
    """Raise UsageError if a conditional model would be trained on images without classes."""
    if model.conditional and (data.labels is None or not data.class_names):
        raise UsageError(
            f"model.conditional must be False for data without classes ({data.name}), got True"
        )


def use_device(device: str, threads: int) -> None:
    """Set the number of torch's threads; raises UsageError if there is no GPU for cuda."""
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device must be cpu on a machine without a CUDA GPU, got 'cuda'")
    torch.set_num_threads(threads)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the file of a trained model.

    Raises:
        UsageError: The file is damaged, or was not written by `model train` or a sweep.
        MissingFileError: The file does not exist.
    """
    if not path.is_file():
        raise MissingFileError(
            f"CHECKPOINT must be an existing file, got {str(path)!r}; "
            "model train --out FILE.safetensors writes one"
        )
    with reading(path):
        data = path.read_bytes()
    checkpoint = Checkpoint.from_bytes(data, source=str(path))
    missing = CHECKPOINT_SETTINGS - set(checkpoint.settings)
    if not missing and checkpoint.settings["model"].get("conditional"):
        missing = {"num_classes", "class_names"} - set(checkpoint.settings)
    if missing or checkpoint.family not in FAMILIES:
        lacks = ", ".join(sorted(missing)) or f"a family of {', '.join(FAMILIES)}"
        raise UsageError(
            f"{path} must be a model trained by this package, got one that lacks {lacks}"
        )
    return checkpoint


def class_names_of(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Names of a conditional model's classes, or their numbers if they have no names."""
    named = checkpoint.settings["class_names"]
    return tuple(named or map(str, range(checkpoint.settings["num_classes"])))


def chosen_classes(words: Sequence[str], checkpoint: Checkpoint) -> list[int]:
    """Indices of the classes that --classes names, or of all classes if it names none.

    A word of digits is a class's number, unless the name of some class is a number.

    Raises:
        UsageError: The model is unconditional, a word is not a class, or a class is named twice.
    """
    if not checkpoint.settings["model"].get("conditional"):
        if words:
            raise UsageError(
                f"--classes must be left out for an unconditional model, got {' '.join(words)!r}"
            )
        return []
    names = class_names_of(checkpoint)
    numbers = [] if any(name.isdecimal() for name in names) else list(map(str, range(len(names))))
    for word in words:
        check_choice("--classes", word, [*names, *(word for word in numbers if word in words)])
    chosen = [numbers.index(w) if w in numbers else names.index(w) for w in words]
    if len(set(chosen)) < len(chosen):
        raise UsageError(f"--classes must name each class once, got {' '.join(words)!r}")
    return chosen or list(range(len(names)))
