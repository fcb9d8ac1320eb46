"""The data sets of model.data.torchvision_table, loaded by torchvision's readers.

Each is downloaded on first use to the user's cache folder, or read from data.path in the layout of
its torchvision class. torchvision is imported by the functions that need it.
"""

import contextlib
import csv
import gzip
import pickle
import sys
import tarfile
import tempfile
import warnings
import zipfile
from collections.abc import Generator, Iterator
from dataclasses import replace
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np

from model.config import DataConfig
from model.data.own_images import IMAGE_SUFFIXES
from model.data.reading import (
    DAMAGE,
    Contents,
    cache_dir,
    check_regular_files,
    collect_pixels,
    decode_image,
    decoding,
    need_package,
    open_image,
    to_pixels,
)
from model.data.torchvision_table import CELEBA_ATTRIBUTES, TORCHVISION_SETS, Split, TorchvisionSet
from model.errors import (
    MissingFileError,
    UsageError,
    check_choice,
    check_regular,
    one_line,
    printable,
    shown,
    user_path,
)

PART_NAMES = ("train", "validation", "test")

ARCHIVES = (".gz", ".tgz", ".zip")
"""Suffixes of the archives that a download leaves next to the unpacked files."""

PACKAGED = Path("/usr/share/datasets")
"""Where Debian's packages keep data sets: dataset-fashion-mnist has the four .gz files of one."""
MOST_BYTES = 100_000_000
"""More than an unpacked file in MNIST's format has."""


def describe_torchvision(config: DataConfig) -> Contents:
    """Contents of a data set by its official sizes; data.path, if set, must hold its files.

    Raises:
        UsageError: data.attribute is not an attribute of the data set.
        MissingFileError: data.path lacks files of the data set.
    """
    entry = TORCHVISION_SETS[config.name]
    if config.attribute is not None:
        check_choice("data.attribute", config.attribute, CELEBA_ATTRIBUTES)
    if config.path is not None:
        _given_root(entry, config)
    names = entry.class_names if entry.num_classes else _attribute_names(config)
    sizes = [split.num_images for split in entry.splits]
    return Contents(
        num_images=sum(sizes),
        channels=entry.channels,
        class_names=names,
        unnamed_classes=entry.unnamed_classes,
        parts=np.repeat(entry.parts, sizes) if entry.parts else None,
    )


def load_torchvision(config: DataConfig) -> tuple[np.ndarray, Contents]:
    """Images of a data set, centre-cropped and resized, one official split after another.

    Raises:
        UsageError: The files are not the official ones.
        MissingFileError: The files are missing and cannot be downloaded.
    """
    need_package("torchvision", "torchvision", config)
    entry = TORCHVISION_SETS[config.name]
    root = _downloaded_root(entry, config) if config.path is None else _given_root(entry, config)
    with _unpacked(entry, root) as unpacked:
        return _load(entry, unpacked, config)


def _load(entry: TorchvisionSet, root: Path, config: DataConfig) -> tuple[np.ndarray, Contents]:
    described = describe_torchvision(config)
    _check_files(entry, root)
    loader = _Loader()
    readers = [_open(entry, split, root, config, loader) for split in entry.splits]
    labels: list[int] = []

    def decoded() -> Iterator[np.ndarray]:
        for reader in readers:
            for i in range(len(reader)):
                image, label = _read(reader, i, entry, root)
                labels.append(_attribute(reader, label, config) if not entry.num_classes else label)
                yield image

    images = collect_pixels(decoded(), described, config)
    loader.warn_of_others()
    names = described.class_names
    if entry.unnamed_classes:
        names = tuple(str(name) for name in readers[0].classes)
        if len(names) != entry.unnamed_classes:
            rule = f"hold the {entry.unnamed_classes} classes of {config.name}"
            raise UsageError(f"{root / entry.folder} must {rule}, got {len(names)}")
    if names and not (min(labels) >= 0 and max(labels) < len(names)):
        rule = f"number its classes from 0 to {len(names) - 1}"
        raise UsageError(f"{root / entry.folder} must {rule}, got {min(labels)} to {max(labels)}")
    classes = np.array(labels, np.int64) if names else None
    return images, replace(described, labels=classes, class_names=names, unnamed_classes=0)


def torchvision_files(config: DataConfig) -> list[Path]:
    """Files of a data set in a folder that the user gives."""
    entry = TORCHVISION_SETS[config.name]
    root = _given_root(entry, config)
    if _lacking(entry, root):
        return sorted(_loose_files(entry, root))
    folder = root / entry.folder
    places = [folder / name for name in entry.files]
    files = [[place] if place.is_file() else place.rglob("*") for place in places]
    return sorted(file for found in files for file in found if file.is_file())


def must_download(config: DataConfig) -> bool:
    """Whether a data set of TORCHVISION_SETS is neither given, nor cached, nor packaged here."""
    entry = TORCHVISION_SETS[config.name]
    cached = not _lacking(entry, cache_dir() / config.name)
    return config.path is None and not (cached or _loose_files(entry, PACKAGED / config.name))


def _attribute_names(config: DataConfig) -> tuple[str, ...]:
    """The two classes of data.attribute; empty if it is unset."""
    return () if config.attribute is None else (f"not {config.attribute}", config.attribute)


def _attribute(reader: Any, label: Any, config: DataConfig) -> int:
    """The class of an image with 40 binary attributes."""
    if config.attribute is None:
        return 0
    return int(label[reader.attr_names.index(config.attribute)])


class _Loader:
    """Reads image files for torchvision, and remembers which."""

    def __init__(self) -> None:
        self._read: set[Path] = set()

    def __call__(self, path: str | Path) -> np.ndarray:
        """Read a file as (H, W, 3) uint8."""
        self._read.add(Path(path))
        return decode_image(path, 3)

    def warn_of_others(self) -> None:
        """Give one warning if there are images beside those that were read."""
        folders = {path.parent for path in self._read}
        files = {file for folder in folders for file in folder.iterdir()}
        others = [f for f in files - self._read if f.suffix.lower() in IMAGE_SUFFIXES]
        if others:
            first = printable(str(min(others)))
            warnings.warn(
                f"data.path has images that are not read: {len(others):,}, the first is {first}; "
                "only the official ones are read",
                stacklevel=1,
            )


def _check_files(entry: TorchvisionSet, root: Path) -> None:
    """Raise UsageError for a file that torchvision would wait for, or read with loss."""
    paths = [root / entry.folder / name for name in entry.files]
    for path in paths:
        check_regular_files(path)
    if entry.takes_loader:
        return
    for image in paths[0].rglob("[!.]*"):
        if image.suffix.lower() in IMAGE_SUFFIXES:
            with open_image(image):
                pass


def _open(
    entry: TorchvisionSet, split: Split, root: Path, config: DataConfig, loader: _Loader
) -> Any:
    """A split's torchvision reader.

    torchvision compares MD5 sums, if the data set has any, before it reads (and, for CIFAR,
    unpickles) the files. The number of images must be the official one.
    """
    from torchvision import datasets

    own = {"loader": loader} if entry.takes_loader else {}
    folder, way_out = root / entry.folder, "leave data.path out to download them"
    if config.path is None:
        way_out = "delete it to download them again"
    try:
        reader = getattr(datasets, entry.reader)(root, **split.arguments, **own)
    except (*DAMAGE, csv.Error, pickle.UnpicklingError) as error:
        reason = printable(one_line(error))[:200] or type(error).__name__
        raise UsageError(
            f"{folder} must hold the official files of {config.name}, got others ({reason}); "
            f"{way_out}"
        ) from None
    if len(reader) != split.num_images:
        named = f"{PART_NAMES[split.part]} images" if entry.parts else "images"
        rule = f"hold the {split.num_images} {named} of {config.name}"
        raise UsageError(f"{folder} must {rule}, got {len(reader)}; {way_out}")
    return reader


def _read(reader: Any, i: int, entry: TorchvisionSet, root: Path) -> tuple[np.ndarray, Any]:
    """Read an image as (H, W, C) uint8, and its label."""
    if entry.takes_loader:
        return reader[i]
    with decoding(f"image {i} (from 0) of {root / entry.folder}", "a readable image"):
        picture, label = reader[i]
        return to_pixels(picture, entry.channels), label


def _given_root(entry: TorchvisionSet, config: DataConfig) -> Path:
    root = user_path("data.path", config.path or "")
    lacking = _lacking(entry, root)
    if lacking and not _loose_files(entry, root):
        raise MissingFileError(
            f"data.path must be a folder that holds {entry.contents} for data.name={config.name}, "
            f"got {shown(config.path)} without {lacking[0]}; leave data.path out on a connected "
            "machine to download it"
        )
    return root


def _lacking(entry: TorchvisionSet, root: Path) -> list[str]:
    return [name for name in entry.files if not (root / entry.folder / name).exists()]


def _loose_files(entry: TorchvisionSet, root: Path) -> list[Path]:
    """The files of a data set in MNIST's format, as they are distributed: loose, each maybe a .gz.

    Empty if one is missing, or the data set has another format.
    """
    names = entry.files if entry.is_idx else ()
    found = [[p for p in (root / name, root / f"{name}.gz") if p.exists()] for name in names]
    return [paths[0] for paths in found] if all(found) else []


@contextlib.contextmanager
def _unpacked(entry: TorchvisionSet, root: Path) -> Generator[Path]:
    """A root with the files where torchvision expects them."""
    if not _lacking(entry, root):
        yield root
        return
    with tempfile.TemporaryDirectory() as scratch:
        _unpack(entry, root, Path(scratch))
        yield Path(scratch)


def _unpack(entry: TorchvisionSet, root: Path, scratch: Path) -> None:
    """Write the loose files of a root where torchvision expects them below another one."""
    folder = scratch / entry.folder
    folder.mkdir(parents=True)
    for name, path in zip(entry.files, _loose_files(entry, root), strict=True):
        check_regular(path)
        opener = gzip.open if path.suffix == ".gz" else open
        with decoding(path, "a whole file of the data set"), opener(path, "rb") as file:
            content = file.read(MOST_BYTES)
        (folder / name).write_bytes(content)


def _downloaded_root(entry: TorchvisionSet, config: DataConfig) -> Path:
    """Root of the cached download; unpacked files are renamed into place only when complete."""
    from torchvision import datasets

    root = cache_dir() / config.name
    if not _lacking(entry, root):
        return root
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix="download-") as scratch:
        if _loose_files(entry, PACKAGED / config.name):
            _unpack(entry, PACKAGED / config.name, Path(scratch))
            _move_unpacked(Path(scratch), root)
            return root
        try:
            with contextlib.redirect_stdout(sys.stderr):
                for split in entry.splits:
                    getattr(datasets, entry.reader)(scratch, **split.arguments, download=True)
        except (
            OSError,
            RuntimeError,
            HTTPException,
            tarfile.TarError,
            zipfile.BadZipFile,
        ) as error:
            holds = entry.folder or entry.contents
            raise MissingFileError(
                f"data.path must be a folder that holds {holds} if it cannot be downloaded, "
                f"got None and {type(error).__name__} ({one_line(error)}); run once on a connected "
                f"machine, or pass --data.path DIR, with {holds} in DIR"
            ) from None
        _move_unpacked(Path(scratch), root)
    return root


def _move_unpacked(scratch: Path, root: Path) -> None:
    """Move a download into place without its archives; keep what another process moved first."""
    for archive in [path for path in scratch.rglob("*") if path.suffix in ARCHIVES]:
        archive.unlink()
    for part in scratch.iterdir():
        try:
            part.rename(root / part.name)
        except OSError:
            if not (root / part.name).exists():
                raise
