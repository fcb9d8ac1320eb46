"""Reading the file of a trained model, whose settings and tensors are checked once, here.

A file may come from a stranger, so nothing in it is trusted: every setting has its type and range,
and every tensor the name, type and size that the settings imply.
"""

import hashlib
import json
import typing
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from model.checkpoint import Checkpoint, prefixed
from model.commands.values import typed
from model.config import (
    DataConfig,
    ModelConfig,
    TrainConfig,
    frozen_defaults,
    stored_settings,
)
from model.data.reading import MAX_CLASSES
from model.errors import (
    MissingFileError,
    UsageError,
    check_choice,
    check_class_names,
    reading,
    shown,
    user_path,
)
from model.families import family_of
from model.family_facts import FAMILY_FACTS, check_together
from model.job import TrainingJob, checkpoint_settings
from model.networks.unet2d import folder_weights
from model.training.initial import check_digest, check_folder, check_settings, weights_file

FIELDS: dict[str, Any] = {
    "family": str,
    "shape": tuple[int, ...],
    "dtype": Literal["uint8", "float32"],
    "bounded": bool,
    "precision": Literal["fp32", "tf32", "bf16", "fp64"],
}
"""Types of the settings of every checkpoint, in addition to `model`."""
CLASS_FIELDS: dict[str, Any] = {"num_classes": int, "class_names": tuple[str, ...]}
"""Types of the further settings of a conditional model."""


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the file of a trained model.

    Raises:
        UsageError: The file is damaged, or was not written by `model train` or a sweep.
        MissingFileError: The file does not exist.
    """
    if not user_path("CHECKPOINT", str(path)).is_file():
        raise MissingFileError(
            f"CHECKPOINT must be an existing file, got {shown(str(path))}; "
            "model train --out FILE.safetensors writes one"
        )
    with reading(path):
        data = path.read_bytes()
    return trained_model(data, source=str(path))


def trained_model(data: bytes, *, source: str, verified: bool = False) -> Checkpoint:
    """The model in a file's content; arguments and warning as for Checkpoint.from_bytes.

    Raises:
        UsageError: The file is damaged, or does not contain a model of this package.
    """
    checkpoint = Checkpoint.from_bytes(data, source=source, verified=verified)
    rule = f"{source} must be a model trained by this package"
    if missing := missing_settings(checkpoint.settings):
        raise UsageError(f"{rule}, got one that lacks {', '.join(sorted(missing))}")
    try:
        checkpoint = replace(checkpoint, settings=checked_settings(checkpoint.settings))
        family_of(checkpoint.family).check(checkpoint)
    except UsageError as error:
        raise UsageError(f"{rule}: {error}") from None
    return checkpoint


def with_initial(job: TrainingJob, shape: Sequence[int], dtype: str) -> TrainingJob:
    """The job with the weights that train.initial_checkpoint names, unless it has others.

    Both raw and averaged weights are the averaged ones of the file, which draw its images.

    Args:
        job: The training; its classes and whether its pixels are bounded are those of the data.
        shape: (C, H, W) of the images.
        dtype: dtype of the images.

    Raises:
        UsageError: The file has another digest than the settings, is damaged, or does not fit.
        MissingFileError: The file is missing.
    """
    train = job.train
    if job.initial is not None or train.initial_checkpoint is None:
        return job
    C, H, W = shape
    file = weights_file(train)
    with reading(file):
        data = file.read_bytes()
    check_digest(train, hashlib.sha256(data).hexdigest())
    if Path(train.initial_checkpoint).is_dir():
        num_classes = job.num_classes if job.model.conditional else 0
        config = check_folder(file.parent, job.model, (C, H, W), num_classes)
        weights = folder_weights(data, config, job.model, (C, H, W), num_classes)
        statistics = dict.fromkeys(("mean", "std"), torch.full((C,), 0.5))
    else:
        checkpoint = trained_model(data, source=str(file))
        check_settings(checkpoint.settings, job.model, (C, H, W), job.num_classes, job.class_names)
        weights = checkpoint.part("ema.")
        statistics = {name: checkpoint.tensors[name] for name in ("mean", "std")}
    settings = checkpoint_settings(job, shape=(C, H, W), dtype=dtype, precision=train.precision)
    tensors = prefixed("ema.", weights) | prefixed("raw.", weights) | statistics
    return replace(job, initial=Checkpoint(tensors=tensors, settings=settings, source=str(file)))


def missing_settings(stored: dict[str, Any]) -> set[str]:
    """Names of the settings that a trained model must have and this one lacks."""
    missing = {*FIELDS, "model"} - set(stored)
    if not missing and isinstance(stored["model"], dict) and stored["model"].get("conditional"):
        missing = set(CLASS_FIELDS) - set(stored)
    return missing


def checked_settings(stored: dict[str, Any]) -> dict[str, Any]:
    """The settings, each converted to its type; raises UsageError if one is not allowed."""
    model = checked_model(stored["model"])
    hints = FIELDS | (CLASS_FIELDS if model.conditional else {})
    check_known("", stored, {*hints, "model"})
    settings = {name: typed(stored[name], hint, name) for name, hint in hints.items()}
    shape, family = settings["shape"], settings["family"]
    if len(shape) != 3 or min(shape) < 1:
        raise UsageError(f"shape must be three positive numbers, got {shape}")
    if family != model.family:
        raise UsageError(f"family must be model.family ({model.family}), got {family!r}")
    for side in shape[1:]:
        check_together(DataConfig(image_size=side), model, TrainConfig())
    if model.conditional:
        check_classes(settings["num_classes"], settings["class_names"])
    return json.loads(json.dumps(settings | {"model": stored_settings(model)}))


def checked_model(stored: object) -> ModelConfig:
    """The settings of the network; raises UsageError if one is missing or not allowed."""
    if not isinstance(stored, dict):
        raise UsageError(f"model must be a table of settings, got {stored!r}")
    hints = typing.get_type_hints(ModelConfig)
    values = frozen_defaults(ModelConfig) | stored
    check_known("model.", values, set(hints))
    if missing := set(hints) - set(values):
        raise UsageError(f"model must contain {', '.join(sorted(missing))}, got none")
    values = {name: typed(value, hints[name], f"model.{name}") for name, value in values.items()}
    check_choice("model.family", values["family"], FAMILY_FACTS)
    return ModelConfig(**values)


def check_known(prefix: str, stored: Collection[str], known: set[str]) -> None:
    """Raise UsageError if there is a name that is not a setting of a trained model."""
    if unknown := set(stored) - known:
        raise UsageError(f"{prefix}{min(unknown)} is not a setting of a trained model")


def check_classes(num_classes: int, class_names: Sequence[str]) -> None:
    """Raise UsageError unless the number of classes is possible and all or none have names."""
    if not 1 <= num_classes <= MAX_CLASSES:
        raise UsageError(f"num_classes must be from 1 to {MAX_CLASSES:,}, got {num_classes}")
    if len(class_names) not in (0, num_classes):
        raise UsageError(
            f"class_names must name all {num_classes} classes or none, got {len(class_names)} names"
        )
    check_class_names("class_names", class_names)


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
