"""The checkpoint that trainings start from, train.initial_checkpoint: its digest, and its fit.

A plan uses this module, so it imports no torch. `with_initial` of model.commands.checkpoint_file
reads the weights.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from model.config import ModelConfig, TrainConfig, frozen_defaults
from model.data.file_digests import hash_file
from model.errors import MissingFileError, UsageError, decoding_json, reading, shown, user_path
from model.networks.size import Shape, unet2d_arguments

SHA256 = re.compile("[0-9a-f]{64}")
FIELD = "train.initial_checkpoint"
CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
"""Files of a folder that diffusers' save_pretrained writes."""
FREE = ("init", "label_dropout", "bn_momentum")
"""Settings of model.* that may differ from the checkpoint's: they only affect training."""
MOST_HEADER = 100_000_000
"""Maximum number of bytes of the header of a safetensors file, which is that of safetensors."""


def weights_file(train: TrainConfig) -> Path:
    """The file of weights that train.initial_checkpoint names.

    Raises:
        MissingFileError: It does not exist.
        UsageError: The path cannot be looked up, or is a folder of something else.
    """
    path = user_path(FIELD, train.initial_checkpoint or "")
    if not path.exists():
        raise MissingFileError(
            f"{FIELD} must be an existing file, or a folder of diffusers, got "
            f"{shown(train.initial_checkpoint)}"
        )
    if not path.is_dir():
        return path
    for name in (CONFIG, WEIGHTS):
        if not (path / name).is_file():
            raise UsageError(
                f"{FIELD} must be a file, or a folder with {CONFIG} and {WEIGHTS}, got "
                f"{shown(train.initial_checkpoint)} without {name}; save_pretrained of diffusers' "
                "UNet2DModel writes one"
            )
    return path / WEIGHTS


def weights_digest(train: TrainConfig) -> str:
    """SHA-256 (hex) of the file of weights; raises as `weights_file`."""
    file = weights_file(train)
    with reading(file):
        stat = file.stat()
    return hash_file(file, size=stat.st_size, mtime_ns=stat.st_mtime_ns)


def with_digest(train: TrainConfig, recorded: TrainConfig | None = None) -> TrainConfig:
    """The settings with an absolute path and train.initial_sha256, which is part of keys.

    Args:
        train: Settings of a command.
        recorded: Those with which a results folder was begun; if the same path is now missing, its
            digest is used.

    Raises:
        UsageError: The file does not have train.initial_sha256.
        MissingFileError: The file is missing, and its digest is unknown.
    """
    if train.initial_checkpoint is None:
        return train
    if train.initial_sha256 is not None and not SHA256.fullmatch(train.initial_sha256):
        raise UsageError(
            f"train.initial_sha256 must be 64 hex digits, got {shown(train.initial_sha256)}"
        )
    path = str(user_path(FIELD, train.initial_checkpoint).absolute())
    train = replace(train, initial_checkpoint=path)
    try:
        digest = weights_digest(train)
    except MissingFileError:
        digest = train.initial_sha256
        if recorded is not None and recorded.initial_checkpoint == path:
            digest = digest or recorded.initial_sha256
        if digest is None:
            raise
    check_digest(train, digest)
    return replace(train, initial_sha256=digest)


def check_digest(train: TrainConfig, digest: str) -> None:
    """Raise UsageError if train.initial_sha256 is set and another one than `digest`."""
    if train.initial_sha256 not in (None, digest):
        raise UsageError(
            f"{FIELD} must be the file with SHA-256 {train.initial_sha256}, got "
            f"{train.initial_checkpoint} with {digest}; restore it, or use another --out"
        )


def check_initial(
    train: TrainConfig, model: ModelConfig, shape: Shape, num_classes: int, names: Sequence[str]
) -> None:
    """Raise UsageError if the checkpoint is that of another network or of other images.

    It is not looked at if the file is missing or has changed, as records do not need it.

    Args:
        train: Settings, with a digest.
        model: Family and network of the models that start from it.
        shape: (C, H, W) of their images.
        num_classes: Number of the images' classes.
        names: Their names, or empty.
    """
    if train.initial_checkpoint is None:
        return
    try:
        if weights_digest(train) != train.initial_sha256:
            return
    except MissingFileError:
        return
    path = Path(train.initial_checkpoint)
    if path.expanduser().is_dir():
        check_folder(path.expanduser(), model, shape, num_classes)
    else:
        check_settings(stored_in(weights_file(train)), model, shape, num_classes, names)


def stored_in(file: Path) -> dict[str, Any]:
    """The settings in the header of a checkpoint of ours; its weights are not read."""
    rule = f"{FIELD} must be a checkpoint of ours, got {file}"
    with reading(file), file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        header = opened.read(length) if length <= MOST_HEADER else b""
    with decoding_json(rule):
        settings = json.loads(json.loads(header)["__metadata__"]["settings"])
        settings["model"]["family"], settings["shape"]
    return settings


def check_settings(
    stored: dict[str, Any],
    model: ModelConfig,
    shape: Shape,
    num_classes: int,
    names: Sequence[str],
) -> None:
    """Raise UsageError unless the settings of a checkpoint of ours are those of these models."""
    of_model = frozen_defaults(ModelConfig) | stored["model"]
    for name in (f.name for f in fields(ModelConfig) if f.name not in FREE):
        own, its = map(_as_list, (getattr(model, name), of_model.get(name)))
        if own != its:
            _refuse(f"model.{name}", its, own)
    if list(shape) != stored["shape"]:
        _refuse("the images' (C, H, W)", tuple(stored["shape"]), tuple(shape))
    if model.conditional:
        if stored.get("num_classes") != num_classes:
            _refuse("the number of classes", stored.get("num_classes"), num_classes)
        if names and stored.get("class_names") and stored["class_names"] != list(names):
            _refuse("the classes", stored["class_names"], list(names))


def check_folder(path: Path, model: ModelConfig, shape: Shape, num_classes: int) -> dict[str, Any]:
    """Return the config.json of diffusers, after checking it against a model of family unet2d.

    Raises:
        UsageError: It is the configuration of another network.
    """
    if model.family != "unet2d":
        _refuse("model.family", "unet2d", model.family)
    if model.normalization != "half":
        _refuse("model.normalization", "half", model.normalization)
    with reading(path / CONFIG):
        data = (path / CONFIG).read_bytes()
    with decoding_json(f"{FIELD} must have a valid {CONFIG}, got {path}"):
        config = dict(json.loads(data))
    arguments = unet2d_arguments(shape, model, num_classes if model.conditional else 0)
    for name, own in arguments.items():
        if config.get(name) != _as_list(own):
            _refuse(f"{name} of UNet2DModel", config.get(name), _as_list(own))
    return config


def _as_list(value: object) -> object:
    """A tuple as the list that JSON has of it."""
    return list(value) if isinstance(value, tuple) else value


def _refuse(what: str, its: object, own: object) -> None:
    raise UsageError(f"{what} must be {shown(its)} as in {FIELD}, got {shown(own)}")
