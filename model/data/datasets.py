"""Data sets of real images: loaded and split, or described without loading them.

A plan must not wait for pixels, so each data set is a pair of functions: one returns what is known
without its pixels, and one loads the pixels.
"""

import hashlib
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.config import DataConfig, stored_settings
from model.data import huggingface, own_images, parquet, public, torchvision
from model.data.file_digests import content_digest
from model.data.reading import Contents
from model.data.splits import check_split, split_images
from model.data.torchvision_table import TORCHVISION_SETS
from model.errors import check_choice, check_class_names, later_version, user_path

SYNTHETIC = ("num_images", "spectrum", "num_classes", "separation")
OPTIONAL_FIELDS = ("path", "attribute", "image_column", "label_column", *SYNTHETIC)
"""Settings that have no effect for some data sets."""

DATASETS_VERSION = 1
"""Part of dataset_key. Raise it whenever the same settings produce other arrays, for example by
other splits or another resizing. If that is true of one data set only, raise its own version."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """A data set in memory: all its images, and disjoint indices of its splits."""

    name: str
    images: np.ndarray
    """(N, C, H, W) uint8 or float32: all images, including those that are in no split."""
    labels: np.ndarray | None
    """(N,) int64 classes, or None."""
    class_names: tuple[str, ...]
    """Empty if the data have no labels, or if the names are known only after loading."""
    train: np.ndarray
    """int64 indices of the training images, in the order of a seeded permutation."""
    reference: np.ndarray
    """int64 indices of the held-out images that metrics compare with."""
    validation: np.ndarray
    """int64 indices of the images that may select a checkpoint."""
    bounded: bool
    """Whether pixels are confined to [0, 1] (in unit scale); not for synthetic or float npz."""
    unnamed_classes: int = 0
    """Number of classes whose names are known only after loading; 0 for loaded data."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of an image."""
        return self.images.shape[1:]

    @property
    def num_classes(self) -> int:
        """0 if the data have no labels."""
        return self.unnamed_classes or len(self.class_names)

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of everything except the name; recomputed on every access."""
        digest = hashlib.sha256()
        arrays = [self.images, self.labels, self.train, self.reference, self.validation]
        head = {
            "arrays": [None if a is None else [a.dtype.str, list(a.shape)] for a in arrays],
            "class_names": self.class_names,
            "bounded": self.bounded,
        }
        digest.update(json.dumps(head, sort_keys=True).encode() + b"\n")
        for array in arrays:
            if array is not None:
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def class_counts(self, indices: np.ndarray) -> tuple[int, ...] | None:
        """Images of each class among `indices`, or None if the data have no labels."""
        if self.labels is None:
            return None
        counts = np.bincount(self.labels[indices], minlength=len(self.class_names))
        return tuple(counts.tolist())


@dataclass(frozen=True, kw_only=True, slots=True)
class Loader:
    """A kind of data set: how to describe it, and how to load its (N, C, S, S) pixels."""

    describe: Callable[[DataConfig], Contents]
    load: Callable[[DataConfig], tuple[np.ndarray, Contents]]
    version: int | str
    """Part of keys if above 1. Raise it whenever the same settings give other results, so that no
    old result is taken for a new one. A plug-in's version is text, and always part of keys."""
    takes: tuple[str, ...] = ()
    """Which of OPTIONAL_FIELDS have an effect."""
    parts: tuple[int, ...] | None = ()
    """Its official splits; None if they depend on files: its functions check data.split then."""
    files: Callable[[DataConfig], list[Path]] | None = None
    """The user's files under data.path, whose contents are part of the key."""
    on_hub: bool = False
    """Whether a data.path that is not a folder is a name on the Hugging Face hub."""


def load_dataset(config: DataConfig) -> Dataset:
    """Load, resize and split a data set.

    Raises:
        UsageError: A setting or file is not valid; the message names the field or file.
        FileNotFoundError: data.path does not exist, or the data cannot be downloaded.
    """
    return read_dataset(config)[0]


def read_dataset(config: DataConfig) -> tuple[Dataset, Contents]:
    """The data set that load_dataset returns, and what its files contain."""
    images, contents = _loader(config).load(config)
    return _split(config, images, contents), contents


def describe(config: DataConfig) -> Dataset:
    """What load_dataset would return, without loading pixels, torch or sklearn.

    Its images are zeros that take no memory. Its labels may have another order, so that only their
    counts are right, or be None if they are known only after loading.

    Raises:
        UsageError, FileNotFoundError: As load_dataset, for what is known without pixels.
    """
    contents = _loader(config).describe(config)
    shape = (contents.num_images, contents.channels, config.image_size, config.image_size)
    return _split(config, np.broadcast_to(np.zeros((), config.dtype), shape), contents)


def _split(config: DataConfig, images: np.ndarray, contents: Contents) -> Dataset:
    check_class_names(f"class names of data.name={config.name}", contents.class_names)
    splits = split_images(config, len(images), labels=contents.labels, parts=contents.parts)
    return Dataset(
        name=config.name,
        images=images,
        labels=contents.labels,
        class_names=contents.class_names,
        train=splits.train,
        reference=splits.reference,
        validation=splits.validation,
        bounded=contents.bounded,
        unnamed_classes=contents.unnamed_classes,
    )


def dataset_key(config: DataConfig) -> str:
    """Name of the prepared arrays: 16 hex digits of the SHA-256 of the settings that produce them.

    The contents of the user's own files are included in place of their path, so that a copy is the
    same data set, and another content under the same path is another one.

    Raises:
        UsageError, MissingFileError: As load_dataset, for files that are missing or unreadable.
    """
    loader = _loader(config)
    settings: dict[str, Any] = {"version": DATASETS_VERSION, **stored_settings(config)}
    settings |= later_version("data.name", config.name, loader, key="loader_version")
    if (own := own_files(config)) is not None:
        settings |= {"path": None, "contents": content_digest(*own)}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def own_files(config: DataConfig) -> tuple[Path, list[Path]] | None:
    """The user's data.path and the files that are read below it; None for other data."""
    loader = _loader(config)
    root = None if config.path is None else user_path("data.path", config.path)
    if root is None or (loader.on_hub and not root.exists()):
        return None
    return root, loader.files(config) if loader.files else []


def _loader(config: DataConfig) -> Loader:
    """The data set's entry in DATASETS, after checking that the settings are valid for it."""
    check_choice("data.name", config.name, DATASETS, extensible=True)
    loader = DATASETS[config.name]
    if loader.parts is not None:
        check_split(config, loader.parts)
    for name in OPTIONAL_FIELDS:
        if getattr(config, name) is not None and name not in loader.takes:
            warnings.warn(f"data.{name} has no effect for data.name={config.name}", stacklevel=1)
    return loader


DATASETS: dict[str, Loader] = {
    "digits": Loader(describe=public.describe_digits, load=public.load_digits, version=1),
    "flower-crops": Loader(
        describe=public.describe_flower_crops,
        load=public.load_flower_crops,
        version=1,
        takes=("num_images",),
    ),
    "synthetic": Loader(
        describe=public.describe_synthetic,
        load=public.load_synthetic,
        version=1,
        takes=SYNTHETIC,
    ),
    **{
        name: Loader(
            describe=torchvision.describe_torchvision,
            load=torchvision.load_torchvision,
            version=1,
            takes=("path", "attribute") if entry.num_classes == 0 else ("path",),
            parts=entry.parts,
            files=torchvision.torchvision_files,
        )
        for name, entry in TORCHVISION_SETS.items()
    },
    "huggingface": Loader(
        describe=huggingface.describe_huggingface,
        load=huggingface.load_huggingface,
        version=1,
        takes=("path", "image_column", "label_column"),
        parts=None,
        files=huggingface.huggingface_files,
        on_hub=True,
    ),
    "parquet": Loader(
        describe=parquet.describe_parquet,
        load=parquet.load_parquet,
        version=1,
        takes=("path", "image_column", "label_column"),
        parts=None,
        files=parquet.parquet_files,
    ),
    "folder": Loader(
        describe=own_images.describe_folder,
        load=own_images.load_folder,
        version=1,
        takes=("path",),
        parts=None,
        files=own_images.folder_files,
    ),
    "npz": Loader(
        describe=own_images.describe_npz,
        load=own_images.load_npz,
        version=1,
        takes=("path",),
        files=own_images.npz_files,
    ),
}
"""Data sets by data.name. To add one, write a pair of functions and add them here."""
