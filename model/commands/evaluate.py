"""Images that are measured and the real ones they are measured against: a data set, folders, .npz.

Nothing is resized, cropped or reordered here: images that differ from the reference are an error.
Must not know metrics' names, extractors, or how a model is trained.
"""

import warnings
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from zipfile import is_zipfile

import numpy as np

from model.config import DataConfig, check
from model.data.datasets import load_dataset
from model.data.own_images import (
    check_finite_images,
    read_names,
    whole_labels,
)
from model.data.reading import GREY_MODES, check_mode, reading
from model.errors import UsageError
from model.metrics import RealImages

IMAGE_KINDS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
LISTED_CLASSES = 12
"""Class names that an error lists at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """What all images of a comparison share, and whose it is."""

    shape: tuple[int, ...]
    """(C, H, W)."""
    dtype: np.dtype
    """uint8 or float32."""
    bounded: bool = True
    """Pixels lie in [0, 1] (in unit scale) by their nature."""
    owner: str = "the reference"
    way_out: str = "images are compared as they are, never resized"


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageSet:
    """The images of a folder or file, and their classes where it tells them."""

    images: np.ndarray
    """(N, C, H, W) uint8 or float32."""
    labels: np.ndarray | None = None
    """(N,) int64, or None."""
    class_names: tuple[str, ...] | None = None
    """None where labels are bare numbers, or there are none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """The real images of an evaluation, and the form that generated ones must have."""

    real: RealImages
    form: Form


def load_reference(config: DataConfig, *, with_train: bool) -> Reference:
    """The held-out images of a data set and, if asked for, its train pool.

    Raises:
        ValueError, FileNotFoundError: As load_dataset, or the split leaves too small a reference.
    """
    data = load_dataset(config)
    few = len(data.reference) < 2
    check(not few, "data.split", "leave a reference", config.split, "use another split")
    labels = data.labels
    real = RealImages(
        reference=data.images[data.reference],
        reference_labels=None if labels is None else labels[data.reference],
        train=data.images[data.train] if with_train else None,
        train_labels=labels[data.train] if with_train and labels is not None else None,
        class_names=data.class_names,
    )
    way_out = "set --data.name and --data.image-size to what its model was trained on"
    form = Form(shape=data.shape, dtype=data.images.dtype, bounded=data.bounded, way_out=way_out)
    return Reference(real=real, form=form)


def read_reference(path: Path, train: Path | None) -> Reference:
    """All images of a folder or .npz file as the reference, and of another as training images.

    Raises:
        ValueError, FileNotFoundError: As read_images, or the two differ in form or classes.
    """
    found = read_images(path, flag="--reference")
    check_number(found, "--reference")
    dtype = found.images.dtype
    form = Form(shape=found.images.shape[1:], dtype=dtype, bounded=dtype == np.uint8)
    trained = None if train is None else read_images(train, flag="--train", form=form)
    if trained is not None:
        check_number(trained, "--train")
    names = _common_names(found, trained, f"{path} and {train}")
    real = RealImages(
        reference=found.images,
        reference_labels=match_labels(found, names, flag="--reference"),
        train=None if trained is None else trained.images,
        train_labels=None if trained is None else match_labels(trained, names, flag="--train"),
        class_names=names,
    )
    return Reference(real=real, form=form)


def read_generated(
    path: Path, reference: Reference, *, num_images: int | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Images to be measured, of the reference's form, and the classes that were asked for.

    Args:
        path: As of read_images.
        reference: The real images.
        num_images: How many are measured; None takes as many as the reference has, or fewer.

    Returns:
        (N, C, H, W) images of the reference's type; (N,) int64 numbers of the reference's classes,
        or None where the images, or those of the reference, have no classes.

    Raises:
        ValueError, FileNotFoundError: As read_images, there are fewer images than asked for, or a
            class is none of the reference's.
    """
    found = read_images(path, flag="--images", form=reference.form)
    check_number(found, "--images")
    names = reference.real.class_names
    labels = match_labels(found, names, flag="--images") if names else None
    total = len(found.images)
    count = num_measured(total, len(reference.real.reference), num_images)
    if count == total:
        return found.images, labels
    first = f"the first {count:,}"
    if found.labels is not None:
        first = f"{count:,} (the first of each class, in proportion)"
    warnings.warn(f"only {first} of {total:,} images count", stacklevel=1)
    chosen = first_images(count, total, found.labels)
    return found.images[chosen], None if labels is None else labels[chosen]


def read_images(path: Path, *, flag: str, form: Form | None = None) -> ImageSet:
    """Images of a folder of PNG and JPEG files, by name, or of the array `images` of an .npz file.

    Sub-folders are classes, as are the arrays `labels` and, beside it, `class_names` of a file.
    Transparency is dropped; grey images have one channel.

    Args:
        path: The folder or file.
        flag: Its name in errors.
        form: What the images must be; None takes the form of the first. 8-bit images become floats
            in [0, 1] for float32.

    Raises:
        FileNotFoundError: There is no such folder or file.
        UsageError: There are no images, a file is damaged or no image, or an image differs.
    """
    if path.suffix == ".npz" and path.is_file():
        return _read_npz(path, form)
    if not path.is_dir():
        raise FileNotFoundError(
            f"{flag} must be an existing folder or .npz file, got {str(path)!r}"
        )
    bounded = form is None or form.bounded
    check(bounded, flag, "be an .npz file for data of any range", str(path))
    return _read_folder(path, flag, form)


def _read_folder(root: Path, flag: str, form: Form | None) -> ImageSet:
    files, labels, class_names = _find_files(root, flag)
    first = _decode(files[0])
    if form is None:
        form = Form(shape=first.shape, dtype=first.dtype, owner=files[0].name)
    images = np.empty((len(files), *form.shape), np.uint8)
    for number, file in enumerate(files):
        pixels = _decode(file) if number else first
        check_shape(file, pixels.shape, form)
        images[number] = pixels
    return ImageSet(images=_as_type(images, form), labels=labels, class_names=class_names)


def _find_files(
    root: Path, flag: str
) -> tuple[list[Path], np.ndarray | None, tuple[str, ...] | None]:
    """Image files by class and name, their labels and class names (None for a flat folder)."""
    entries = _visible(root)
    folders = [entry for entry in entries if entry.is_dir()]
    loose = [entry for entry in entries if not entry.is_dir()]
    if folders and loose:
        rule = "hold class folders or loose images, not both"
        check(False, flag, rule, str(root), f"move {loose[0].name} away")
    way_out = "model sample --out DIR writes some" if flag == "--images" else ""
    check(bool(entries), flag, "hold PNG or JPEG files", str(root), way_out)
    members = [_visible(folder) for folder in folders]
    for folder, files in zip(folders, members, strict=True):
        check(bool(files), str(folder), "hold images of its class", 0, "fill or delete it")
    files = loose or [file for files in members for file in files]
    for file in files:
        image = file.suffix.lower() in IMAGE_KINDS and not file.is_dir()
        got = "a folder" if file.is_dir() else file.suffix
        check(image, str(file), "be a PNG or JPEG file", got, "keep nothing else in the folder")
    if loose:
        return files, None, None
    labels = np.repeat(np.arange(len(folders)), [len(files) for files in members])
    return files, labels.astype(np.int64), tuple(folder.name for folder in folders)


def _visible(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _decode(file: Path) -> np.ndarray:
    """(C, H, W) uint8 of a PNG or JPEG file: C is 1 for grey ones, else 3."""
    from PIL import Image

    what = f"a readable {IMAGE_KINDS[file.suffix.lower()]} image"
    with reading(file, what):
        try:
            with Image.open(file, formats=("PNG", "JPEG")) as picture:
                mode = picture.mode
                pixels = np.asarray(picture.convert("L" if mode in GREY_MODES else "RGB"))
        except Image.DecompressionBombError as error:  # of no kind that reading() knows
            raise UsageError(error) from None
    check_mode(file, mode)
    return pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1)


def _read_npz(path: Path, form: Form | None) -> ImageSet:
    with reading(path, "a whole .npz file without pickled objects"):
        check(is_zipfile(path), "its content", "be an archive", "another")
        with np.load(path, allow_pickle=False) as file:
            names = list(file.files)
            arrays = {n: file[n] for n in ("images", "labels", "class_names") if n in names}
    if "images" not in arrays:
        raise UsageError(f"{path} must hold an array 'images', got {names}")
    images = _channels_first(path, arrays["images"])
    if form is not None:
        check_shape(path, images.shape[1:], form)
        same = images.dtype == form.dtype or (form.bounded and images.dtype == np.uint8)
        rule = f"be {form.dtype} as {form.owner} is"
        check(same, f"images of {path}", rule, str(images.dtype), f"save them as {form.dtype}")
    check_finite_images(path, images)
    labels, class_names = _npz_classes(path, len(images), arrays)
    return ImageSet(images=_as_type(images, form), labels=labels, class_names=class_names)


def _channels_first(path: Path, images: np.ndarray) -> np.ndarray:
    """(N, C, H, W) of an array (N, C, H, W), (N, H, W, C) or (N, H, W)."""
    known = images.dtype in (np.uint8, np.float32)
    rule, way_out = "be uint8 or float32", "save them as one of these"
    check(known, f"images of {path}", rule, str(images.dtype), way_out)
    full = images[:, None] if images.ndim == 3 else images
    if full.ndim == 4 and full.shape[1] not in (1, 3):
        full = full.transpose(0, 3, 1, 2)
    check(
        full.ndim == 4 and full.shape[1] in (1, 3) and 0 not in full.shape,
        f"images of {path}",
        "be (N, C, H, W), (N, H, W, C) or (N, H, W) with N at least 1 and C 1 or 3",
        images.shape,
    )
    return np.ascontiguousarray(full)


def _npz_classes(
    path: Path, count: int, arrays: dict[str, np.ndarray]
) -> tuple[np.ndarray | None, tuple[str, ...] | None]:
    """Labels and class names of a file, None where it has none."""
    if "labels" not in arrays:
        return None, None
    labels = whole_labels(path, count, labels=arrays["labels"])
    lowest, highest = int(labels.min()), int(labels.max())
    check(lowest >= 0, f"labels of {path}", "be at least 0", lowest)
    if "class_names" not in arrays:
        return labels, None
    names = read_names(path, arrays["class_names"])
    check(len(set(names)) == len(names), f"class_names of {path}", "differ", names)
    rule = f"be below the number of class_names ({len(names)})"
    check(highest < len(names), f"labels of {path}", rule, highest)
    return labels, names


def _as_type(images: np.ndarray, form: Form | None) -> np.ndarray:
    """8-bit images as floats in [0, 1] where the others are floats."""
    if form is None or images.dtype == form.dtype:
        return images
    return images.astype(np.float32) / np.float32(255)


def check_shape(path: Path, shape: tuple[int, ...], form: Form) -> None:
    """Raise UsageError, which tells both, unless a file's images have the form's shape."""
    if tuple(shape) != tuple(form.shape):
        wanted, got = ("x".join(map(str, (H, W, C))) for C, H, W in (form.shape, shape))
        raise UsageError(
            f"{path} must be {wanted} (height, width, channels) as {form.owner} is, got {got}; "
            f"{form.way_out}"
        )


def check_number(found: ImageSet, flag: str) -> None:
    """Raise UsageError unless there are two images, the fewest that can be measured."""
    count = len(found.images)
    check(count >= 2, flag, "hold at least 2 images", count)


def _common_names(reference: ImageSet, train: ImageSet | None, where: str) -> tuple[str, ...]:
    """The class names of the real images, in the reference's order; empty where none has classes.

    Raises:
        UsageError: Both have names, and not the same.
    """
    labelled = [s for s in (reference, train) if s is not None and s.labels is not None]
    named = [s.class_names for s in labelled if s.class_names is not None]
    if named:
        differing = sorted(set(named[0]) ^ set(named[-1]))
        rule = f"be the same in {where}"
        check(not differing, "class names", rule, differing[:LISTED_CLASSES], "in one only")
        return named[0]
    numbers = [int(s.labels.max()) for s in labelled if s.labels is not None]
    return tuple(str(number) for number in range(max(numbers, default=-1) + 1))


def match_labels(found: ImageSet, names: tuple[str, ...], *, flag: str) -> np.ndarray | None:
    """A set's labels as (N,) int64 numbers of the classes `names`; None where it has none.

    Raises:
        UsageError: A class that has images is none of them.
    """
    if found.labels is None:
        return None
    if found.class_names is None:
        highest = int(found.labels.max())
        rule = f"be below the number of the reference's classes ({len(names)})"
        check(highest < len(names), f"labels of {flag}", rule, highest)
        return found.labels
    used = set(found.labels.tolist())
    for number, name in enumerate(found.class_names):
        if number in used and name not in names:
            listed = ", ".join(names[:LISTED_CLASSES])
            more = ", ..." if len(names) > LISTED_CLASSES else ""
            close = get_close_matches(name, names, 1, 0.5)
            way_out = f"did you mean {close[0]!r}?" if close else ""
            rule = f"be among those of the reference ({listed}{more})"
            check(False, f"classes of {flag}", rule, name, way_out)
    numbers = [names.index(name) if name in names else -1 for name in found.class_names]
    return np.asarray(numbers, np.int64)[found.labels]


def num_measured(num_images: int, num_reference: int, asked: int | None) -> int:
    """How many of the images are measured: as many as asked for, or as the reference has.

    Raises:
        UsageError: More are asked for than there are.
    """
    if asked is not None:
        rule = f"be at most the number of images ({num_images})"
        way_out = "give more images, or leave it out"
        check(asked <= num_images, "metrics.num_images", rule, asked, way_out)
        return asked
    return min(num_images, num_reference)


def first_images(count: int, num_images: int, labels: np.ndarray | None = None) -> np.ndarray:
    """Ascending indices of the `count` images that are measured: the first ones.

    With labels the first ones of each class, so that each keeps its share: a folder stands class by
    class, and its first images would be of its first classes only.

    Args:
        count: At most num_images.
        num_images: How many there are.
        labels: (num_images,) int64, or None.
    """
    if labels is None:
        return np.arange(count)
    place = np.empty(num_images)  # of an image within its class, in (0, 1)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.sort(np.argsort(place, kind="stable")[:count])
