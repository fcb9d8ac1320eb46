"""Reading the file of a trained model, whose settings and tensors are checked once, here.

A file may come from a stranger, so nothing in it is trusted: every setting has its type and range,
and every tensor the name, type and size that the settings imply.
"""

import json
import math
import typing
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from model.checkpoint import Checkpoint
from model.commands.values import typed
from model.config import (
    DataConfig,
    ModelConfig,
    TrainConfig,
    frozen_defaults,
    restored_model,
    stored_settings,
)
from model.data.reading import MAX_CLASSES
from model.errors import MissingFileError, UsageError, check_choice, check_class_names, reading
from model.family_facts import FAMILY_FACTS, check_together, model_size

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
MAX_SIDE = 4096
"""Largest side of an image in pixels. A file must not claim memory that no machine has."""


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
        check_tensors(checkpoint)
    except UsageError as error:
        raise UsageError(f"{rule}: {error}") from None
    return checkpoint


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
    if len(shape) != 3 or not all(1 <= side <= MAX_SIDE for side in shape):
        raise UsageError(f"shape must be three numbers from 1 to {MAX_SIDE}, got {shape}")
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


def check_tensors(checkpoint: Checkpoint) -> None:
    """Raise UsageError unless the tensors have the names, types and shapes of the settings.

    A network's weights are compared with its size here, before it is built, and by name and shape
    when they are loaded into it.
    """
    model = restored_model(checkpoint.settings["model"])
    is_network = FAMILY_FACTS[model.family].iterative
    shapes = network_shapes(checkpoint) if is_network else gaussian_shapes(checkpoint)
    dtype = torch.float32 if is_network else torch.float64
    found = {name: (t.dtype, tuple(t.shape)) for name, t in checkpoint.tensors.items()}
    expected = {name: (dtype, shape) for name, shape in shapes.items()}
    if found != expected:
        wrong = min(k for k in found.keys() | expected.keys() if found.get(k) != expected.get(k))
        rule, got = (texts.get(wrong, "no such tensor") for texts in (expected, found))
        raise UsageError(f"{wrong} must be {rule}, got {got}")
    if is_network:
        check_size(checkpoint, model)


def network_shapes(checkpoint: Checkpoint) -> dict[str, tuple[int, ...]]:
    """Shapes of a network's tensors; the raw weights are those of the averaged ones."""
    statistics = dict.fromkeys(("mean", "std"), checkpoint.shape[:1])
    averaged = {name: tuple(t.shape) for name, t in checkpoint.part("ema.").items()}
    return statistics | {
        f"{part}.{name}": shape for part in ("ema", "raw") for name, shape in averaged.items()
    }


def gaussian_shapes(checkpoint: Checkpoint) -> dict[str, tuple[int, ...]]:
    """Shapes of a Gaussian's tensors: a mean and a factor, or those of each class with images."""
    dim, shapes = math.prod(checkpoint.shape), {}
    classes = range(checkpoint.settings.get("num_classes", 0))
    names = [f".{k}" for k in classes if f"ema.mean.{k}" in checkpoint.tensors]
    for name in names if classes else [""]:
        factor = checkpoint.tensors.get(f"ema.factor{name}", torch.empty(0))
        shapes[f"ema.mean{name}"] = (dim,)
        shapes[f"ema.factor{name}"] = (min(len(factor) if factor.ndim else 0, dim), dim)
    return shapes


def check_size(checkpoint: Checkpoint, model: ModelConfig) -> None:
    """Raise UsageError unless there are as many averaged weights as the network has."""
    averaged = checkpoint.part("ema.")
    found = sum(tensor.numel() for tensor in averaged.values())
    expected = math.inf
    with suppress(OverflowError):  # a size beyond all numbers
        if model.block_depth * len(model.widths) <= len(averaged):  # a block has several tensors
            num_classes = checkpoint.settings.get("num_classes", 0)
            size = model_size(model, checkpoint.shape, 0, num_classes)
            expected = size.num_parameters + size.num_buffers
    if found != expected:
        raise UsageError(f"the model must have the weights of its settings, got {found:,} numbers")


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
