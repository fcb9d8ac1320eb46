"""The user's own images: a folder of image files, or the arrays of an .npz file.

For each, its contents without pixels, and its pixels (N, C, S, S) with them: uint8, or float32 in
[0, 1] for data.dtype=float32 (float arrays of an .npz stay unbounded). Must not know other
data sets.
"""

import io
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from model.config import DataConfig, check
from model.data.reading import (
    GREY_MODES,
    Contents,
    check_mode,
    collect_pixels,
    decode_image,
    labelled,
    reading,
)
from model.data.splits import SPLIT_NAMES, TRAIN, check_split
from model.errors import UsageError
from model.images import crop_square

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")


class _Scan(NamedTuple):
    """The image files of a folder data set, in order."""

    files: list[Path]
    labels: np.ndarray | None
    class_names: tuple[str, ...]
    parts: np.ndarray | None


def describe_folder(config: DataConfig) -> Contents:
    """Contents of a folder of images: sub-folders are classes; colour if any image has colour.

    A folder of train/ beside val/ or test/, each of class folders, comes with official splits.
    """
    files, labels, names, parts = _scan_folder(config)
    check_split(config, () if parts is None else np.unique(parts).tolist())
    grey = all(_is_grey(file) for file in files)
    channels = 1 if grey else 3
    if labels is None:
        return Contents(num_images=len(files), channels=channels)
    return replace(labelled(labels, names, channels=channels), parts=parts)


def load_folder(config: DataConfig) -> tuple[np.ndarray, Contents]:
    """Images of a folder, centre-cropped and resized; transparency is dropped."""
    contents = describe_folder(config)
    mode = "L" if contents.channels == 1 else "RGB"
    images = (crop_square(decode_image(file, mode)) for file in folder_files(config))
    return collect_pixels(images, contents, config), contents


def folder_files(config: DataConfig) -> list[Path]:
    """Image files of a folder data set, sorted by split, class and name."""
    return _scan_folder(config).files


def _scan_folder(config: DataConfig) -> _Scan:
    root = _given_path(config)
    if not root.is_dir():
        raise FileNotFoundError(f"data.path must be an existing folder, got {config.path!r}")
    loose, folders = _look_into(root, "data.path")
    if loose:
        return _Scan(loose, None, (), None)
    names = [folder.name.lower() for folder in folders]
    if "train" in names and len(names) > 1 and set(names) <= set(SPLIT_NAMES):
        return _scan_splits(folders)
    members = [_members(folder) for folder in folders]
    labels = np.repeat(np.arange(len(folders)), [len(files) for files in members])
    files = [file for files in members for file in files]
    return _Scan(files, labels, tuple(folder.name for folder in folders), None)


def _scan_splits(folders: list[Path]) -> _Scan:
    """The files of train/, val/ and test/, split after split; classes are those of train/."""
    by_part = {SPLIT_NAMES[folder.name.lower()]: folder for folder in folders}
    one = len(by_part) == len(folders)
    rule = "be one folder for each split"
    check(one, str(folders[0].parent), rule, [folder.name for folder in folders])
    files, labels, parts, names = [], [], [], []
    for part, folder in sorted(by_part.items()):
        loose, classes = _look_into(folder, str(folder))
        way_out = "move them into a folder of their class, or of one class for all"
        check(not loose, str(folder), "hold class folders, as a split", loose[:1], way_out)
        names = names or [member.name for member in classes]
        for member in classes:
            check(member.name in names, str(member), f"be a class of {by_part[TRAIN]} too", "none")
            found = _members(member)
            files += found
            labels += [names.index(member.name)] * len(found)
            parts += [part] * len(found)
    return _Scan(files, np.array(labels), tuple(names), np.array(parts))


def _look_into(folder: Path, what: str) -> tuple[list[Path], list[Path]]:
    """The images, or else the sub-folders, of a folder; both or none of them are an error."""
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    folders = [entry for entry in entries if entry.is_dir()]
    loose = _image_files(entries)
    check(
        not (loose and folders),
        what,
        "hold class folders or loose images, not both",
        str(folder),
        f"move {loose[0].name} into a class folder" if loose else "",
    )
    way_out = f"images end in {', '.join(IMAGE_SUFFIXES)}"
    check(bool(loose or folders), what, "hold images", str(folder), way_out)
    return loose, folders


def _members(folder: Path) -> list[Path]:
    """The images of a class folder."""
    files = _image_files(sorted(folder.iterdir()))
    way_out = "fill or delete it, or set data.path to the folder of the class folders"
    check(bool(files), str(folder), "hold images of its class", 0, way_out)
    return files


def _image_files(entries: list[Path]) -> list[Path]:
    return [
        entry
        for entry in entries
        if entry.suffix.lower() in IMAGE_SUFFIXES
        and not entry.name.startswith(".")
        and entry.is_file()
    ]


def describe_npz(config: DataConfig) -> Contents:
    """Contents of an .npz file: the header of `images`, and `labels` and `class_names` if there."""
    path = npz_files(config)[0]
    with reading(path, "a whole .npz file without pickled objects"), zipfile.ZipFile(path) as file:
        names = file.namelist()
        header = _npy_header(file, "images.npy") if "images.npy" in names else None
        small = {
            name: np.load(io.BytesIO(file.read(f"{name}.npy")), allow_pickle=False)
            for name in ("labels", "class_names")
            if f"{name}.npy" in names
        }
    if header is None:
        raise UsageError(f"{path} must hold an array 'images', got {[n[:-4] for n in names]}")
    shape, dtype = header
    count, channels, _ = _npz_layout(path, shape, config)
    _check_npz_dtype(path, dtype, config)
    bounded = dtype == np.uint8
    if "labels" not in small:
        return Contents(num_images=count, channels=channels, bounded=bounded)
    labels, class_names = _npz_labels(path, count, **small)
    return labelled(labels, class_names, channels=channels, bounded=bounded)


def load_npz(config: DataConfig) -> tuple[np.ndarray, Contents]:
    """The arrays of an .npz file, of their own size; floats must be finite, and stay unbounded."""
    contents = describe_npz(config)
    path = npz_files(config)[0]
    with (
        reading(path, "a whole .npz file without pickled objects"),
        np.load(path, allow_pickle=False) as file,
    ):
        images = file["images"]
    _, _, channels_last = _npz_layout(path, images.shape, config)
    if images.ndim == 3:
        images = images[:, None]
    elif channels_last:
        images = images.transpose(0, 3, 1, 2)
    check_finite_images(path, images)
    if images.dtype == np.uint8 and config.dtype == "float32":
        images = images.astype(np.float32) / np.float32(255)
    return np.ascontiguousarray(images), contents


def npz_files(config: DataConfig) -> list[Path]:
    """The one file of an npz data set."""
    path = _given_path(config)
    if not path.is_file():
        raise FileNotFoundError(f"data.path must be an existing .npz file, got {config.path!r}")
    return [path]


def _npy_header(file: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype]:
    with file.open(name) as member:
        version = np.lib.format.read_magic(member)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(member)
        else:
            shape, _, dtype = np.lib.format.read_array_header_2_0(member)
    return shape, dtype


def _npz_layout(path: Path, shape: tuple[int, ...], config: DataConfig) -> tuple[int, int, bool]:
    """(N, C, whether channels come last) of the shape (N, C, S, S), (N, S, S, C) or (N, S, S)."""
    full = (shape[0], 1, *shape[1:]) if len(shape) == 3 else shape
    channels_last = len(full) == 4 and full[1] not in (1, 3)
    if channels_last:
        full = (full[0], full[3], full[1], full[2])
    check(
        len(full) == 4 and full[0] >= 1 and full[1] in (1, 3) and full[2] == full[3],
        f"images of {path}",
        "be (N, C, S, S), (N, S, S, C) or (N, S, S) with N at least 1 and C 1 or 3",
        shape,
    )
    way_out = f"set --data.image-size {full[2]}"
    rule = f"be the size of the images of {path}"
    check(config.image_size == full[2], "data.image_size", rule, config.image_size, way_out)
    return full[0], full[1], channels_last


def _check_npz_dtype(path: Path, dtype: np.dtype, config: DataConfig) -> None:
    known = dtype in (np.dtype(np.uint8), np.dtype(np.float32))
    check(known, f"images of {path}", "be uint8 or float32", str(dtype))
    check(
        dtype == np.uint8 or config.dtype == "float32",
        "data.dtype",
        f"be float32 for the float images of {path}",
        config.dtype,
        "set --data.dtype float32",
    )


def _npz_labels(
    path: Path, count: int, *, labels: np.ndarray, class_names: np.ndarray | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    labels = whole_labels(path, count, labels=labels)
    if class_names is None:
        names = tuple(str(label) for label in range(int(labels.max()) + 1))
    else:
        names = read_names(path, class_names)
    present = sorted(set(labels.tolist()))
    every = present == list(range(len(names)))
    rule = f"use each of the classes 0 to {len(names) - 1}"
    check(every, f"labels of {path}", rule, present[:12], "number the classes from 0 without gaps")
    return labels, names


def check_finite_images(path: Path, images: np.ndarray) -> None:
    """Raise UsageError where one of a file's (N, C, H, W) images has a nan or inf."""
    if images.dtype == np.uint8:
        return
    broken = int(np.count_nonzero(~np.isfinite(images).all(axis=(1, 2, 3))))
    check(broken == 0, str(path), "hold no image with nan or inf", broken)


def whole_labels(path: Path, count: int, *, labels: np.ndarray) -> np.ndarray:
    """A file's labels as (count,) int64; ValueError unless they are so many integers."""
    got = f"{labels.dtype} of shape {labels.shape}"
    whole = labels.dtype.kind in "iu" and labels.shape == (count,)
    check(whole, f"labels of {path}", f"be {count} integers", got)
    return labels.astype(np.int64)


def read_names(path: Path, class_names: np.ndarray) -> tuple[str, ...]:
    """A file's class names; ValueError unless they are an array of strings."""
    named = class_names.dtype.kind == "U" and class_names.ndim == 1
    check(named, f"class_names of {path}", "be strings", str(class_names.dtype))
    return tuple(str(name) for name in class_names)


def _given_path(config: DataConfig) -> Path:
    check(config.path is not None, "data.path", f"be set for data.name={config.name}", config.path)
    return Path(config.path or "").expanduser()


def _is_grey(path: Path) -> bool:
    from PIL import Image

    with reading(path, "a readable image"), Image.open(path) as picture:
        mode = picture.mode
    check_mode(path, mode)
    return mode in GREY_MODES
