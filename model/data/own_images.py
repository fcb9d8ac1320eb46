"""The user's own images: a folder of image files, or the arrays of an .npz file.

Training and evaluation share scan_folder and folder_channels, and the reader of .npz files in
model.data.npz. The other functions build data sets from them.
"""

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from model.config import DataConfig
from model.data.npz import read_npz_head, read_npz_images
from model.data.reading import (
    PARQUET,
    Contents,
    collect_pixels,
    decode_image,
    decoding,
    num_channels,
    open_image,
)
from model.data.splits import SPLIT_NAMES, TRAIN, check_split
from model.errors import (
    MissingFileError,
    UsageError,
    check_class_names,
    check_regular,
    class_key,
    printable,
    shown,
    user_path,
)

IMAGE_SUFFIXES = (
    *(".apng", ".avif", ".bmp", ".dib", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"),
    *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
)
"""Lower-case suffixes of the files of a folder that are read as images."""


MOST_NAMED = 10
"""Most files that an error names besides the first."""
T = TypeVar("T")


class ImageFolder(NamedTuple):
    """The image files of a folder, sorted by split, class and name."""

    files: list[Path]
    labels: np.ndarray | None = None
    """(N,) int64, or None for a flat folder."""
    class_names: tuple[str, ...] = ()
    parts: np.ndarray | None = None
    """(N,) official split of each image; None if the folder has no splits."""
    others: tuple[Path, ...] = ()
    """Everything that is not read, except hidden files that hold no images."""


def scan_folder(root: Path, what: str) -> ImageFolder:
    """Find the images of a folder, either loose or in class folders.

    A folder with train/ and val/ or test/, each with class folders, has official splits; the
    classes are those of train/. Hidden files without images are ignored. Everything else that is
    not read causes one warning.

    Args:
        root: An existing folder.
        what: The setting that names the folder, for errors.

    Raises:
        UsageError: There are no images, some belong to no class, a class has an unsuitable name,
            or an image is not a regular file.
    """
    others: list[Path] = []
    files, folders = _look_into(root, what, others)
    splits = _split_folders(folders, what)
    classes = {part: _class_folders(split, what, others) for part, split in splits.items()}
    classes = classes or {TRAIN: folders}
    names = [folder.name for folder in classes[TRAIN]]
    keys = [class_key(name) for name in names]
    labels, parts = [], []
    for part, class_folders in classes.items():
        check_class_names(f"class folders of {what}", [folder.name for folder in class_folders])
        for folder in class_folders:
            if class_key(folder.name) not in keys:
                raise UsageError(
                    f"{what} must have each class in {splits[TRAIN].name}/ too, got {str(folder)!r}"
                )
            members = _class_members(folder, what, others)
            files += members
            labels += [keys.index(class_key(folder.name))] * len(members)
            parts += [part] * len(members)
    if others:
        first = printable(str(others[0].relative_to(root)))
        warnings.warn(
            f"{what} has files that are not read: {len(others):,}, the first is {first}; "
            f"images end in {', '.join(IMAGE_SUFFIXES)}",
            stacklevel=1,
        )
    if not folders:
        return ImageFolder(files, others=tuple(others))
    official = np.array(parts) if splits else None
    return ImageFolder(files, np.array(labels), tuple(names), official, tuple(others))


def _look_into(folder: Path, what: str, others: list[Path]) -> tuple[list[Path], list[Path]]:
    """Either the images or the sub-folders of a folder; what is not read is added to `others`."""
    images, folders = [], []
    with decoding(folder, "a folder"):
        for entry in sorted(folder.iterdir()):
            if entry.name.startswith("."):
                others += [entry] if _has_images(entry) else []
            elif entry.is_dir():
                folders.append(entry)
            elif entry.suffix.lower() in IMAGE_SUFFIXES:
                check_regular(entry)
                (images if entry.is_file() else others).append(entry)
            else:
                others.append(entry)
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


def _has_images(entry: Path) -> bool:
    """Whether a hidden file is an image by its suffix, or a hidden folder contains one."""
    names = [entry.name] if not entry.is_dir() else [n for _, _, ns in os.walk(entry) for n in ns]
    return any(name.lower().endswith(IMAGE_SUFFIXES) for name in names)


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
    return 3 if 3 in each_file(files, _channels) else 1


def _channels(file: Path) -> int:
    with open_image(file) as picture:
        return num_channels(picture)


def each_file(files: list[Path], read: Callable[[Path], T]) -> Iterator[T]:
    """Yield what is read of each file; if one cannot be read, the error names the others too."""
    for i, file in enumerate(files):
        try:
            result = read(file)
        except UsageError as error:
            others = [other for other in files[i + 1 :] if not _can_read(other, read)]
            if not others:
                raise
            names = ", ".join(printable(str(other)) for other in others[:MOST_NAMED])
            rest = ", ..." if len(others) > MOST_NAMED else ""
            raise UsageError(
                f"{error}; {len(others):,} more cannot be used: {names}{rest}"
            ) from None
        yield result


def _can_read(file: Path, read: Callable[[Path], object]) -> bool:
    try:
        read(file)
    except UsageError:
        return False
    return True


def describe_folder(config: DataConfig) -> Contents:
    """Contents of a folder of images: sub-folders are classes; one colour image makes it colour."""
    return _folder_contents(_scan(config), config)


def load_folder(config: DataConfig) -> tuple[np.ndarray, Contents]:
    """Images of a folder, centre-cropped and resized; transparency is dropped."""
    folder = _scan(config)
    contents = _folder_contents(folder, config)
    seen = contents.seen
    images = each_file(folder.files, lambda file: decode_image(file, contents.channels, seen=seen))
    pixels = collect_pixels(images, contents, config)
    seen.warn("data.path")
    return pixels, contents


def folder_files(config: DataConfig) -> list[Path]:
    """Image files of a folder data set, sorted by split, class and name."""
    return _scan(config).files


def _scan(config: DataConfig) -> ImageFolder:
    root = _given_path(config)
    if not root.is_dir():
        raise MissingFileError(f"data.path must be an existing folder, got {shown(config.path)}")
    try:
        return scan_folder(root, "data.path")
    except UsageError:
        if any(root.rglob(f"*{PARQUET}")):
            raise UsageError(
                f"data.path must hold images for data.name=folder, got {PARQUET} files in "
                f"{shown(config.path)}; set --data.name parquet to read them"
            ) from None
        raise


def _folder_contents(folder: ImageFolder, config: DataConfig) -> Contents:
    check_split(config, () if folder.parts is None else np.unique(folder.parts).tolist())
    contents = Contents(
        num_images=len(folder.files),
        channels=folder_channels(folder.files),
        labels=folder.labels,
        class_names=folder.class_names,
        parts=folder.parts,
    )
    for file in folder.others:
        contents.seen.skip(_kind_of_other(file), str(file))
    return contents


def _kind_of_other(file: Path) -> str:
    """Why an entry of a folder is not read."""
    if file.name.startswith("."):
        return "hidden images"
    suffix = file.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return f"{suffix} that are links to nothing"
    return f"files ending in {suffix}" if suffix else "files without a suffix"


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
    names = head.class_names
    if head.labels is not None:
        present = np.unique(head.labels).tolist()
        num_classes = len(names) or present[-1] + 1
        if len(present) < num_classes:
            raise UsageError(
                f"labels of {path} must use each of the classes 0 to {num_classes - 1}, got "
                f"{present[:12]}; number the classes from 0 without gaps"
            )
        names = names or tuple(map(str, present))
    contents = Contents(
        num_images=N,
        channels=C,
        labels=head.labels,
        class_names=names,
        bounded=bounded or config.float_range == "unit",
    )
    contents.seen.sizes[H, W] = N
    for name in head.unread:
        contents.seen.skip("arrays", name)
    return contents


def load_npz(config: DataConfig) -> tuple[np.ndarray, Contents]:
    """Images of an .npz file, not resized; floats must be finite and in data.float_range."""
    contents = describe_npz(config)
    images = read_npz_images(npz_files(config)[0])
    if images.dtype == np.uint8 and config.dtype == "float32":
        images = images.astype(np.float32) / np.float32(255)
    if config.float_range == "unit" and images.dtype != np.uint8:
        low, high = float(images.min()), float(images.max())
        if low < 0 or high > 1:
            raise UsageError(
                f"images of {config.path} must be in [0, 1] with data.float_range=unit, got "
                f"{low:g} to {high:g}; rescale them, or leave data.float_range out"
            )
    return images, contents


def npz_files(config: DataConfig) -> list[Path]:
    """The one file of an npz data set."""
    path = _given_path(config)
    if not path.is_file():
        raise MissingFileError(f"data.path must be an existing .npz file, got {shown(config.path)}")
    return [path]


def _given_path(config: DataConfig) -> Path:
    if config.path is None:
        raise UsageError(f"data.path must be set for data.name={config.name}, got None")
    return user_path("data.path", config.path)
