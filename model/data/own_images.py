"""The user's own images: a folder of image files, or the arrays of an .npz file.

Training and evaluation share scan_folder, folder_channels, read_npz_head and read_npz_images. The
other functions build data sets from them.
"""

import warnings
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from model.config import DataConfig
from model.data.reading import (
    Contents,
    collect_pixels,
    decode_image,
    decoding,
    num_channels,
    open_image,
)
from model.data.splits import SPLIT_NAMES, TRAIN, check_split
from model.errors import MissingFileError, UsageError

IMAGE_SUFFIXES = (
    *(".bmp", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"),
)
"""Lower-case suffixes of the files of a folder that are read as images."""

WHOLE_NPZ = "a whole .npz file without pickled objects"


class ImageFolder(NamedTuple):
    """The image files of a folder, sorted by split, class and name."""

    files: list[Path]
    labels: np.ndarray | None = None
    """(N,) int64, or None for a flat folder."""
    class_names: tuple[str, ...] = ()
    parts: np.ndarray | None = None
    """(N,) official split of each image; None if the folder has no splits."""


def scan_folder(root: Path, what: str) -> ImageFolder:
    """Find the images of a folder, either loose or in class folders.

    A folder with train/ and val/ or test/, each with class folders, has official splits; the
    classes are those of train/. Hidden files are ignored. Other files that are not images cause one
    warning.

    Args:
        root: An existing folder.
        what: The setting that names the folder, for errors.

    Raises:
        UsageError: There are no images, or some images belong to no class.
    """
    others: list[Path] = []
    files, folders = _look_into(root, what, others)
    splits = _split_folders(folders, what)
    classes = {part: _class_folders(split, what, others) for part, split in splits.items()}
    classes = classes or {TRAIN: folders}
    names = [folder.name for folder in classes[TRAIN]]
    labels, parts = [], []
    for part, class_folders in classes.items():
        for folder in class_folders:
            if folder.name not in names:
                raise UsageError(
                    f"{what} must have each class in {splits[TRAIN].name}/ too, got {str(folder)!r}"
                )
            members = _class_members(folder, what, others)
            files += members
            labels += [names.index(folder.name)] * len(members)
            parts += [part] * len(members)
    if others:
        warnings.warn(
            f"{what} has files that are not read: {len(others):,}, the first is "
            f"{others[0].relative_to(root)}; images end in {', '.join(IMAGE_SUFFIXES)}",
            stacklevel=1,
        )
    if not folders:
        return ImageFolder(files)
    return ImageFolder(files, np.array(labels), tuple(names), np.array(parts) if splits else None)


def _look_into(folder: Path, what: str, others: list[Path]) -> tuple[list[Path], list[Path]]:
    """Either the images or the sub-folders of a folder; other files are added to `others`."""
    images, folders = [], []
    with decoding(folder, "a folder"):
        for entry in sorted(path for path in folder.iterdir() if not path.name.startswith(".")):
            if entry.suffix.lower() in IMAGE_SUFFIXES and entry.is_file():
                images.append(entry)
            else:
                (folders if entry.is_dir() else others).append(entry)
    if images and folders:
        raise UsageError(
            f"{what} must hold class folders or loose images, not both, got "
            f"{images[0].name!r} beside {folders[0].name!r} in {str(folder)!r}"
        )
    if not (images or folders):
        raise UsageError(
            f"{what} must hold images, got none in {str(folder)!r}; "
            f"images end in {', '.join(IMAGE_SUFFIXES)}"
        )
    return images, folders


def _split_folders(folders: list[Path], what: str) -> dict[int, Path]:
    """The folders train/, val/ and test/, in this order; empty if the folder has no splits."""
    names = [folder.name.lower() for folder in folders]
    if "train" not in names or len(names) == 1 or not set(names) <= set(SPLIT_NAMES):
        return {}
    splits = {SPLIT_NAMES[name]: folder for name, folder in zip(names, folders, strict=True)}
    if len(splits) < len(names):
        raise UsageError(f"{what} must have one folder for each split, got {names}")
    return dict(sorted(splits.items()))


def _class_folders(split: Path, what: str, others: list[Path]) -> list[Path]:
    """The class folders of a split."""
    images, folders = _look_into(split, what, others)
    if images:
        raise UsageError(
            f"{what} must hold class folders in each split, got {str(images[0])!r}; "
            "move the images into a folder of their class, or of one class for all"
        )
    return folders


def _class_members(folder: Path, what: str, others: list[Path]) -> list[Path]:
    """The images of a class folder."""
    images, folders = _look_into(folder, what, others)
    if folders:
        raise UsageError(
            f"{what} must hold only images in its class folders, got {str(folders[0])!r}; "
            f"move them up, or set {what} to the folder of the class folders"
        )
    return images


def folder_channels(files: list[Path]) -> int:
    """Channels of the images of a folder: 3 if any has colour, else 1."""
    for file in files:
        with open_image(file) as picture:
            if num_channels(picture) == 3:
                return 3
    return 1


def describe_folder(config: DataConfig) -> Contents:
    """Contents of a folder of images: sub-folders are classes; one colour image makes it colour."""
    return _folder_contents(_scan(config), config)


def load_folder(config: DataConfig) -> tuple[np.ndarray, Contents]:
    """Images of a folder, centre-cropped and resized; transparency is dropped."""
    folder = _scan(config)
    contents = _folder_contents(folder, config)
    images = (decode_image(file, contents.channels) for file in folder.files)
    return collect_pixels(images, contents, config), contents


def folder_files(config: DataConfig) -> list[Path]:
    """Image files of a folder data set, sorted by split, class and name."""
    return _scan(config).files


def _scan(config: DataConfig) -> ImageFolder:
    root = _given_path(config)
    if not root.is_dir():
        raise MissingFileError(f"data.path must be an existing folder, got {config.path!r}")
    return scan_folder(root, "data.path")


def _folder_contents(folder: ImageFolder, config: DataConfig) -> Contents:
    check_split(config, () if folder.parts is None else np.unique(folder.parts).tolist())
    return Contents(
        num_images=len(folder.files),
        channels=folder_channels(folder.files),
        labels=folder.labels,
        class_names=folder.class_names,
        parts=folder.parts,
    )


class NpzHead(NamedTuple):
    """Contents of an .npz file without its pixels."""

    shape: tuple[int, ...]
    """(N, C, H, W), for any order of axes in the file."""
    dtype: np.dtype
    """uint8 or float32."""
    labels: np.ndarray | None
    """(N,) int64, at least 0, or None."""
    class_names: tuple[str, ...]
    """Empty if there are no labels, or they have no names."""


def read_npz_head(path: Path) -> NpzHead:
    """Read the shape, type, labels and class names of an .npz file, without its pixels.

    Raises:
        UsageError: The file is damaged, or its arrays are not valid images and classes.
    """
    with decoding(path, WHOLE_NPZ), zipfile.ZipFile(path) as file:
        names = [name.removesuffix(".npy") for name in file.namelist()]
        header = _array_header(file, "images") if "images" in names else None
        arrays = {name: _array(file, name) for name in ("labels", "class_names") if name in names}
    if header is None:
        raise UsageError(f"{path} must hold an array 'images', got {names}")
    shape, dtype = header
    if dtype not in (np.uint8, np.float32):
        raise UsageError(
            f"images of {path} must be uint8 or float32, got {str(dtype)!r}; "
            "save them as one of these"
        )
    shape = _channels_first(np.broadcast_to(np.uint8(0), shape), path).shape
    if "labels" not in arrays:
        return NpzHead(shape, dtype, None, ())
    return NpzHead(shape, dtype, *_npz_classes(path, shape[0], **arrays))


def read_npz_images(path: Path) -> np.ndarray:
    """Read the (N, C, H, W) images of an .npz file that read_npz_head accepts; checks for nan."""
    with decoding(path, WHOLE_NPZ), zipfile.ZipFile(path) as file:
        images = _array(file, "images")
    images = np.ascontiguousarray(_channels_first(images, path))
    if images.dtype != np.uint8:
        broken = int(np.count_nonzero(~np.isfinite(images).all(axis=(1, 2, 3))))
        if broken:
            raise UsageError(f"{path} must hold no image with nan or inf, got {broken}")
    return images


def _array(file: zipfile.ZipFile, name: str) -> np.ndarray:
    with file.open(f"{name}.npy") as member:
        return np.lib.format.read_array(member, allow_pickle=False)


def _array_header(file: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype]:
    with file.open(f"{name}.npy") as member:
        version = np.lib.format.read_magic(member)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(member)
        else:
            shape, _, dtype = np.lib.format.read_array_header_2_0(member)
    return shape, dtype


def _channels_first(images: np.ndarray, path: Path) -> np.ndarray:
    """Reorder an (N, C, H, W), (N, H, W, C) or (N, H, W) array to (N, C, H, W)."""
    full = images[:, None] if images.ndim == 3 else images
    if full.ndim == 4 and full.shape[1] not in (1, 3):
        full = full.transpose(0, 3, 1, 2)
    if full.ndim != 4 or full.shape[1] not in (1, 3) or 0 in full.shape:
        raise UsageError(
            f"images of {path} must be (N, C, H, W), (N, H, W, C) or (N, H, W) with N at least 1 "
            f"and C 1 or 3, got {images.shape}"
        )
    return full


def _npz_classes(
    path: Path, count: int, labels: np.ndarray, class_names: np.ndarray | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Check the labels and class names of a file; the labels become (count,) int64."""
    if labels.dtype.kind not in "iu" or labels.shape != (count,):
        got = f"{labels.dtype} of shape {labels.shape}"
        raise UsageError(f"labels of {path} must be {count} integers, got {got!r}")
    if labels.min() < 0:
        raise UsageError(f"labels of {path} must be at least 0, got {labels.min()}")
    if class_names is None:
        return labels.astype(np.int64), ()
    if class_names.dtype.kind != "U" or class_names.ndim != 1:
        got = str(class_names.dtype)
        raise UsageError(f"class_names of {path} must be strings, got {got!r}")
    names = tuple(class_names.tolist())
    if len(set(names)) < len(names):
        raise UsageError(f"class_names of {path} must differ, got {names}")
    if labels.max() >= len(names):
        rule = f"be below the number of class_names ({len(names)})"
        raise UsageError(f"labels of {path} must {rule}, got {labels.max()}")
    return labels.astype(np.int64), names


def describe_npz(config: DataConfig) -> Contents:
    """Contents of an .npz file: the header of `images`, and any `labels` and `class_names`."""
    path = npz_files(config)[0]
    head = read_npz_head(path)
    N, C, H, W = head.shape
    if H != W:
        raise UsageError(f"images of {path} must be square, got {H}x{W} (height, width)")
    if config.image_size != H:
        raise UsageError(
            f"data.image_size must be the size of the images of {path}, got {config.image_size}; "
            f"set --data.image-size {H}"
        )
    bounded = head.dtype == np.uint8
    if not bounded and config.dtype != "float32":
        raise UsageError(
            f"data.dtype must be float32 for the float images of {path}, got {config.dtype!r}; "
            "set --data.dtype float32"
        )
    present = [] if head.labels is None else np.unique(head.labels).tolist()
    names = head.class_names or tuple(map(str, range(max(present, default=-1) + 1)))
    if present != list(range(len(names))):
        raise UsageError(
            f"labels of {path} must use each of the classes 0 to {len(names) - 1}, got "
            f"{present[:12]}; number the classes from 0 without gaps"
        )
    return Contents(
        num_images=N, channels=C, labels=head.labels, class_names=names, bounded=bounded
    )


def load_npz(config: DataConfig) -> tuple[np.ndarray, Contents]:
    """Images of an .npz file, not resized; floats must be finite, and are not clipped."""
    contents = describe_npz(config)
    images = read_npz_images(npz_files(config)[0])
    if images.dtype == np.uint8 and config.dtype == "float32":
        images = images.astype(np.float32) / np.float32(255)
    return images, contents


def npz_files(config: DataConfig) -> list[Path]:
    """The one file of an npz data set."""
    path = _given_path(config)
    if not path.is_file():
        raise MissingFileError(f"data.path must be an existing .npz file, got {config.path!r}")
    return [path]


def _given_path(config: DataConfig) -> Path:
    if config.path is None:
        raise UsageError(f"data.path must be set for data.name={config.name}, got None")
    return Path(config.path).expanduser()
