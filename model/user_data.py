"""The user's own images: a folder of image files, or the arrays of an .npz file.

For each, its contents without pixels, and its pixels (N, C, S, S) with them: uint8, or float32 in
[0, 1] for data.dtype=float32 (float arrays of an .npz stay unbounded). Must not know other
data sets.
"""

import io
import zipfile
from pathlib import Path

import numpy as np

from model.config import DataConfig, check
from model.contents import Contents, collect_pixels, decode_image, labelled, reading
from model.images import crop_square

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
GREY_MODES = ("1", "L", "LA")
DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")


def describe_folder(config: DataConfig) -> Contents:
    """Contents of a folder of images: sub-folders are classes; colour if any image has colour."""
    files, labels, names = _scan_folder(config)
    grey = all(_is_grey(file) for file in files)
    channels = 1 if grey else 3
    if labels is None:
        return Contents(num_images=len(files), channels=channels)
    return labelled(labels, names, channels=channels)


def load_folder(config: DataConfig) -> tuple[np.ndarray, Contents]:
    """Images of a folder, centre-cropped and resized; transparency is dropped."""
    contents = describe_folder(config)
    mode = "L" if contents.channels == 1 else "RGB"
    images = (crop_square(decode_image(file, mode)) for file in folder_files(config))
    return collect_pixels(images, contents, config), contents


def folder_files(config: DataConfig) -> list[Path]:
    """Image files of a folder data set, sorted by class and name."""
    return _scan_folder(config)[0]


def _scan_folder(config: DataConfig) -> tuple[list[Path], np.ndarray | None, tuple[str, ...]]:
    """Files, their labels (None for a flat folder) and class names."""
    root = _given_path(config)
    if not root.is_dir():
        raise FileNotFoundError(f"data.path must be an existing folder, got {config.path!r}")
    entries = sorted(entry for entry in root.iterdir() if not entry.name.startswith("."))
    folders = [entry for entry in entries if entry.is_dir()]
    loose = _image_files(entries)
    check(
        not (loose and folders),
        "data.path",
        "hold class folders or loose images, not both",
        config.path,
        f"move {loose[0].name} into a class folder" if loose else "",
    )
    way_out = f"images end in {', '.join(IMAGE_SUFFIXES)}"
    check(bool(loose or folders), "data.path", "hold images", config.path, way_out)
    if loose:
        return loose, None, ()
    members = [_image_files(sorted(folder.iterdir())) for folder in folders]
    for folder, files in zip(folders, members, strict=True):
        check(bool(files), str(folder), "hold images of its class", 0, "fill or delete it")
    labels = np.repeat(np.arange(len(folders)), [len(files) for files in members])
    names = tuple(folder.name for folder in folders)
    return [file for files in members for file in files], labels, names


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
        raise ValueError(f"{path} must hold an array 'images', got {[n[:-4] for n in names]}")
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
    """Raise ValueError where one of a file's (N, C, H, W) images has a nan or inf."""
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
    check(mode not in DEEP_MODES, str(path), "be an 8-bit image", mode, "convert it")
    return mode in GREY_MODES
