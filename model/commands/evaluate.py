"""Images to measure and the real ones they are measured against, and the numbers as a table.

Images come from a data set, from folders or from .npz files. Nothing is resized, cropped or
reordered: images that differ from the reference in form are an error.
"""

import warnings
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from model.config import DataConfig
from model.data.datasets import load_dataset
from model.data.own_images import (
    ImageFolder,
    folder_channels,
    read_npz_head,
    read_npz_images,
    scan_folder,
)
from model.data.reading import decode_image
from model.errors import MissingFileError, UsageError
from model.metrics.table import METRICS, Evaluation, RealImages

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

    def check_shape(self, source: object, shape: tuple[int, ...]) -> None:
        """Raise UsageError, which tells both shapes, unless a file's images have this one."""
        if tuple(shape) != tuple(self.shape):
            wanted, got = ("x".join(map(str, (H, W, C))) for C, H, W in (self.shape, shape))
            raise UsageError(
                f"{source} must be {wanted} (height, width, channels) as {self.owner} is, "
                f"got {got}; {self.way_out}"
            )

    def check_dtype(self, source: object, dtype: np.dtype) -> None:
        """Raise UsageError unless images are of this type, or 8-bit ones that can be scaled."""
        if dtype != self.dtype and not (self.bounded and dtype == np.uint8):
            raise UsageError(
                f"{source} must be {self.dtype} as {self.owner} is, got {str(dtype)!r}; "
                f"give an .npz file of {self.dtype}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageSet:
    """All images of a folder or file, and their classes if it tells them."""

    images: np.ndarray
    """(N, C, H, W) uint8 or float32."""
    labels: np.ndarray | None
    """(N,) int64, or None."""
    class_names: tuple[str, ...]
    """Empty if labels are bare numbers, or there are none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """The real images of an evaluation, and the form that generated ones must have."""

    real: RealImages
    form: Form


def load_reference(config: DataConfig, *, with_train: bool) -> Reference:
    """The held-out images of a data set and, on request, its train pool.

    Raises:
        UsageError: As load_dataset, or the split leaves too small a reference.
    """
    data = load_dataset(config)
    if len(data.reference) < 2:
        raise UsageError(
            f"data.split must leave a reference, got {config.split!r}; use another split"
        )
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
        UsageError: As read_images, or the two differ in form or classes.
    """
    found = read_images(path, flag="--reference")
    dtype = found.images.dtype
    form = Form(shape=found.images.shape[1:], dtype=dtype, bounded=dtype == np.uint8)
    trained = None if train is None else read_images(train, flag="--train", form=form)
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
    """Images to measure, of the reference's form, and the classes that were requested.

    Args:
        path: As of read_images.
        reference: The real images.
        num_images: How many are measured; None takes as many as the reference has, or fewer.

    Returns:
        (N, C, H, W) images of the reference's type; (N,) int64 numbers of the reference's classes,
        or None if the images, or those of the reference, have no classes.

    Raises:
        UsageError: As read_images, there are fewer images than num_images, or a class is none of
            the reference's.
    """
    found = read_images(path, flag="--images", form=reference.form)
    names = reference.real.class_names
    labels = match_labels(found, names, flag="--images") if names else None
    total = len(found.images)
    if num_images is not None and num_images > total:
        raise UsageError(
            f"metrics.num_images must be at most the number of images ({total}), got {num_images}; "
            "give more images, or leave it out"
        )
    count = min(total, len(reference.real.reference)) if num_images is None else num_images
    if count == total:
        return found.images, labels
    first = f"the first {count:,}"
    if found.labels is not None:
        first = f"{count:,} (the first of each class, in proportion)"
    warnings.warn(f"only {first} of {total:,} images count", stacklevel=1)
    chosen = first_images(count, total, found.labels)
    return found.images[chosen], None if labels is None else labels[chosen]


def read_images(path: Path, *, flag: str, form: Form | None = None) -> ImageSet:
    """Images of a folder of image files, by name, or of the array `images` of an .npz file.

    They are found and decoded as those of the data sets folder and npz. Sub-folders are classes,
    as are the arrays `labels` and `class_names` of a file.

    Args:
        path: The folder or file.
        flag: Its name in errors.
        form: What the images must be; None takes the form of the first. 8-bit images become floats
            in [0, 1] for float32.

    Raises:
        UsageError: There is no such folder or file, there are fewer than two images, a file is
            damaged or no image, or an image differs.
    """
    path = path.expanduser()
    if path.suffix == ".npz" and path.is_file():
        head = read_npz_head(path)
        if form is not None:
            form.check_shape(path, head.shape[1:])
            form.check_dtype(f"images of {path}", head.dtype)
        images, labels, class_names = read_npz_images(path), head.labels, head.class_names
    elif path.is_dir():
        folder = scan_folder(path, flag)
        images = _decode_folder(folder, path, flag, form)
        labels, class_names = folder.labels, folder.class_names
    else:
        raise MissingFileError(f"{flag} must be an existing folder or .npz file, got {str(path)!r}")
    if len(images) < 2:
        raise UsageError(f"{flag} must hold at least 2 images, got {len(images)}")
    if form is not None and images.dtype != form.dtype:
        images = images.astype(np.float32) / np.float32(255)
    return ImageSet(images=images, labels=labels, class_names=class_names)


def _decode_folder(folder: ImageFolder, path: Path, flag: str, form: Form | None) -> np.ndarray:
    """(N, C, H, W) uint8; grey files among others in colour become RGB, as in training."""
    if folder.parts is not None:
        raise UsageError(
            f"{flag} must be the images of one split, got those of several in {str(path)!r}; "
            "name one of its folders"
        )
    channels = folder_channels(folder.files)
    if form is None:
        H, W, _ = decode_image(folder.files[0]).shape
        form = Form(shape=(channels, H, W), dtype=np.dtype(np.uint8), owner=folder.files[0].name)
    form.check_dtype(f"{flag} {path}", np.dtype(np.uint8))
    images = np.empty((len(folder.files), *form.shape), np.uint8)
    wanted = channels if channels == form.shape[0] else None
    for number, file in enumerate(folder.files):
        pixels = decode_image(file, wanted).transpose(2, 0, 1)
        form.check_shape(file, pixels.shape)
        images[number] = pixels
    return images


def _common_names(reference: ImageSet, train: ImageSet | None, where: str) -> tuple[str, ...]:
    """The class names of the real images, in the reference's order; empty if none has classes.

    Raises:
        UsageError: Both have names, and not the same.
    """
    labelled = [s for s in (reference, train) if s is not None and s.labels is not None]
    named = [s.class_names for s in labelled if s.class_names]
    if named:
        differing = sorted(set(named[0]) ^ set(named[-1]))
        if differing:
            raise UsageError(
                f"class names must be the same in {where}, got {differing[:LISTED_CLASSES]} "
                "in one of them only"
            )
        return named[0]
    numbers = [int(s.labels.max()) for s in labelled if s.labels is not None]
    return tuple(str(number) for number in range(max(numbers, default=-1) + 1))


def match_labels(found: ImageSet, names: tuple[str, ...], *, flag: str) -> np.ndarray | None:
    """A set's labels as (N,) int64 numbers of the classes `names`; None if it has none.

    Raises:
        UsageError: A class that has images is none of them.
    """
    if found.labels is None:
        return None
    used = np.unique(found.labels).tolist()
    if not found.class_names:
        if used[-1] >= len(names):
            rule = f"be below the number of the reference's classes ({len(names)})"
            raise UsageError(f"labels of {flag} must {rule}, got {used[-1]}")
        return found.labels
    for name in (found.class_names[number] for number in used):
        if name not in names:
            listed = ", ".join(names[:LISTED_CLASSES]) + (", ..." * (len(names) > LISTED_CLASSES))
            close = get_close_matches(name, names, 1, 0.5)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise UsageError(
                f"classes of {flag} must be among those of the reference ({listed}), "
                f"got {name!r}{hint}"
            )
    numbers = [names.index(name) if name in names else -1 for name in found.class_names]
    return np.asarray(numbers, np.int64)[found.labels]


def first_images(count: int, num_images: int, labels: np.ndarray | None = None) -> np.ndarray:
    """Ascending indices of the `count` images that are measured: the first ones.

    With labels the first ones of each class, so that each keeps its share: a folder is sorted by
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


def table_lines(found: Evaluation, class_names: tuple[str, ...] = ()) -> list[str]:
    """Each number beside its standard error and its numbers of images; below, those of classes.

    Args:
        found: The numbers.
        class_names: The order of the classes.
    """
    lines = columns(value_rows(found))
    if by_class := class_rows(found, class_names):
        lines += ["", *columns(by_class)]
    return lines


def value_rows(found: Evaluation) -> list[list[str]]:
    """A head, and a row for each number; `<metric>_se` is a column, without its metric a row."""
    rows = [["metric", "value", "se", "images", "reference"]]
    if found.num_train:
        rows[0].append("train")
    for key, value in found.values.items():
        metric, slash, label = key.partition("/")
        if metric.endswith("_se") and f"{metric[:-3]}{slash}{label}" in found.values:
            continue
        error = found.values.get(f"{metric}_se{slash}{label}")
        numbers = [f"{value:.5g}", "-" if error is None else f"{error:.2g}"]
        rows.append([key, *numbers, f"{found.num_images:,}", f"{found.num_reference:,}"])
        if found.num_train:
            rows[-1].append(f"{found.num_train:,}" if label and not without_train(metric) else "-")
    return rows


def without_train(metric: str) -> bool:
    """Whether a number has the name of a metric that needs no training images."""
    return metric in METRICS and "train" not in METRICS[metric].needs


def class_rows(found: Evaluation, class_names: tuple[str, ...]) -> list[list[str]]:
    """A head, and a row for each class that has numbers; empty if none has."""
    keys = [key for key, numbers in found.classes.items() if numbers]
    rows = []
    for name in class_names:
        numbers = [found.classes[key].get(name) for key in keys]
        if any(number is not None for number in numbers):
            rows.append([name, *("-" if n is None else f"{n:.5g}" for n in numbers)])
    return [["class", *keys], *rows] if rows else []


def columns(rows: list[list[str]]) -> list[str]:
    """Rows of words as lines, the first column flush left and the others flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *rest in rows:
        cells = [f"{word:>{width}}" for word, width in zip(rest, widths[1:], strict=True)]
        lines.append("  ".join([f"{first:{widths[0]}}", *cells]))
    return lines
