"""`model evaluate`: reads generated and real images, and formats the metrics as a table.

Images come from a data set, from folders or from .npz files. They are not resized, cropped or
reordered: it is an error if their shape or type differs from the reference.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from model.config import DataConfig, MetricsConfig
from model.data.datasets import DATASETS, load_dataset
from model.data.npz import read_npz_head, read_npz_images
from model.data.own_images import ImageFolder, each_file, folder_channels, scan_folder
from model.data.reading import Seen, decode_image, new_array
from model.data.torchvision_table import TORCHVISION_SETS
from model.errors import MissingFileError, UsageError, class_key, shown, suggestion, user_path
from model.metrics.table import METRICS, Evaluation, RealImages, needed

LISTED_CLASSES = 12
"""Maximum number of class names in an error."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """Shape and type that all images of a comparison share, and texts for errors."""

    shape: tuple[int, ...]
    """(C, H, W)."""
    dtype: np.dtype
    """uint8 or float32."""
    bounded: bool = True
    """Whether pixels are confined to [0, 1] (in unit scale)."""
    owner: str = "the reference"
    way_out: str = "images are compared as they are, never resized"

    def check_shape(self, source: object, shape: tuple[int, ...]) -> None:
        """Raise UsageError, which names both shapes, unless a file's images have this shape."""
        if tuple(shape) != tuple(self.shape):
            wanted, got = ("x".join(map(str, (H, W, C))) for C, H, W in (self.shape, shape))
            raise UsageError(
                f"{source} must be {wanted} (height, width, channels) like {self.owner}, "
                f"got {got}; {self.way_out}"
            )

    def check_dtype(self, source: object, dtype: np.dtype) -> None:
        """Raise UsageError unless images have this type, or are 8-bit and can be scaled to it."""
        if dtype != self.dtype and not (self.bounded and dtype == np.uint8):
            raise UsageError(
                f"{source} must be {self.dtype} like {self.owner}, got {str(dtype)!r}; "
                f"give an .npz file of {self.dtype}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageSet:
    """All images of a folder or file, and their classes if known."""

    images: np.ndarray
    """(N, C, H, W) uint8 or float32."""
    labels: np.ndarray | None
    """(N,) int64, or None."""
    class_names: tuple[str, ...]
    """Empty if there are no labels, or they have no names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """The real images of an evaluation, and the form that generated images must have."""

    real: RealImages
    form: Form


def load_reference(config: DataConfig, *, with_train: bool) -> Reference:
    """Load the held-out images of a data set and, with `with_train`, its training images.

    Raises:
        UsageError: As load_dataset, or the reference has fewer than two images.
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
    """Read the reference from a folder or .npz file, and training images from another.

    Raises:
        UsageError: As read_images, or the two differ in form or classes.
    """
    held_out = read_images(path, flag="--reference")
    dtype = held_out.images.dtype
    form = Form(shape=held_out.images.shape[1:], dtype=dtype, bounded=dtype == np.uint8)
    trained = None if train is None else read_images(train, flag="--train", form=form)
    names = _common_names(held_out, trained, f"{path} and {train}")
    real = RealImages(
        reference=held_out.images,
        reference_labels=match_labels(held_out, names, flag="--reference"),
        train=None if trained is None else trained.images,
        train_labels=None if trained is None else match_labels(trained, names, flag="--train"),
        class_names=names,
    )
    return Reference(real=real, form=form)


def read_generated(
    path: Path, reference: Reference, *, num_images: int | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Read the images to measure, which must have the reference's form, and their classes.

    Args:
        path: As for read_images.
        reference: The real images.
        num_images: Number of images to measure; None takes at most as many as the reference has.

    Returns:
        (N, C, H, W) images of the reference's type; (N,) int64 indices of the reference's classes,
        or None if the images or the reference have no classes.

    Raises:
        UsageError: As read_images, there are fewer images than num_images, or a class is not among
            the reference's.
    """
    generated = read_images(path, flag="--images", form=reference.form)
    names = reference.real.class_names
    labels = match_labels(generated, names, flag="--images") if names else None
    total = len(generated.images)
    if num_images is not None and num_images > total:
        raise UsageError(
            f"metrics.num_images must be at most the number of images ({total}), got {num_images}; "
            "give more images, or leave it out"
        )
    count = min(total, len(reference.real.reference)) if num_images is None else num_images
    if count == total:
        return generated.images, labels
    first = f"the first {count:,}"
    if generated.labels is not None:
        first = f"{count:,} (the first of each class, in proportion)"
    warnings.warn(f"only {first} of {total:,} images are measured", stacklevel=1)
    chosen = first_images(count, total, generated.labels)
    return generated.images[chosen], None if labels is None else labels[chosen]


def read_images(path: Path, *, flag: str, form: Form | None = None) -> ImageSet:
    """Read the images of a folder, sorted by name, or of the array `images` of an .npz file.

    Files are read as for the data sets folder and npz. Classes are sub-folders, or the arrays
    `labels` and `class_names` of an .npz file.

    Args:
        path: The folder or file.
        flag: The flag that names the path, for errors.
        form: The form that images must have; None takes that of the first image. For float32,
            8-bit images become floats in [0, 1].

    Raises:
        UsageError: The folder or file does not exist, there are fewer than two images, a file is
            damaged or not an image, or an image has another form.
    """
    path = user_path(flag, str(path))
    if path.suffix.lower() == ".npz" and path.is_file():
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
        raise MissingFileError(
            f"{flag} must be an existing folder or .npz file, got {shown(str(path))}"
        )
    if len(images) < 2:
        raise UsageError(f"{flag} must hold at least 2 images, got {len(images)}")
    if form is not None and images.dtype != form.dtype:
        images = images.astype(np.float32) / np.float32(255)
    return ImageSet(images=images, labels=labels, class_names=class_names)


def _decode_folder(folder: ImageFolder, path: Path, flag: str, form: Form | None) -> np.ndarray:
    """Decode to (N, C, H, W) uint8; if any file has colour, grey ones become RGB as in training."""
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
    shape = (len(folder.files), *form.shape)
    images = new_array(shape, np.dtype(np.uint8), f"the images of {flag}")
    wanted = channels if channels == form.shape[0] else None
    seen = Seen()
    decoded = each_file(folder.files, lambda file: decode_image(file, wanted, seen=seen))
    for number, (file, image) in enumerate(zip(folder.files, decoded, strict=True)):
        pixels = image.transpose(2, 0, 1)
        form.check_shape(file, pixels.shape)
        images[number] = pixels
    seen.warn(flag)
    return images


def _common_names(reference: ImageSet, train: ImageSet | None, where: str) -> tuple[str, ...]:
    """The class names of the real images, in the reference's order; empty if there are no classes.

    Raises:
        UsageError: Both have class names, and they differ.
    """
    labelled = [s for s in (reference, train) if s is not None and s.labels is not None]
    named = [s.class_names for s in labelled if s.class_names]
    if named:
        first, last = ({class_key(name): name for name in names} for names in (named[0], named[-1]))
        if differing := sorted((first | last)[key] for key in first.keys() ^ last.keys()):
            raise UsageError(
                f"class names must be the same in {where}, got {differing[:LISTED_CLASSES]} "
                "in one of them only"
            )
        return named[0]
    numbers = [int(s.labels.max()) for s in labelled if s.labels is not None]
    return tuple(str(number) for number in range(max(numbers, default=-1) + 1))


def match_labels(images: ImageSet, names: tuple[str, ...], *, flag: str) -> np.ndarray | None:
    """A set's labels as (N,) int64 indices into the class names `names`; None if it has none.

    Raises:
        UsageError: A class with images is not among `names`.
    """
    if images.labels is None:
        return None
    used = np.unique(images.labels).tolist()
    if not images.class_names:
        if used[-1] >= len(names):
            rule = f"be below the number of the reference's classes ({len(names)})"
            raise UsageError(f"labels of {flag} must {rule}, got {used[-1]}")
        return images.labels
    keys = {class_key(name): number for number, name in enumerate(names)}
    for name in (images.class_names[number] for number in used):
        if class_key(name) not in keys:
            listed = ", ".join(names[:LISTED_CLASSES]) + (", ..." * (len(names) > LISTED_CLASSES))
            raise UsageError(
                f"classes of {flag} must be among those of the reference ({listed}), "
                f"got {name!r}{suggestion(name, names)}"
            )
    numbers = [keys.get(class_key(name), -1) for name in images.class_names]
    return np.asarray(numbers, np.int64)[images.labels]


def first_images(count: int, num_images: int, labels: np.ndarray | None = None) -> np.ndarray:
    """Ascending indices of the first `count` images.

    With labels, these are the first images of each class in proportion to its share: a folder is
    sorted by class, so its first images would all be of its first classes.

    Args:
        count: At most num_images.
        num_images: Number of images to choose from.
        labels: (num_images,) int64, or None.
    """
    if labels is None:
        return np.arange(count)
    position = np.empty(num_images)  # of an image within its class, in (0, 1)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        position[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.sort(np.argsort(position, kind="stable")[:count])


def table_lines(measured: Evaluation, class_names: tuple[str, ...] = ()) -> list[str]:
    """Lines of a table of metrics and standard errors, then of one by class if there is any.

    Args:
        measured: The metrics.
        class_names: Classes in the order of their rows.
    """
    lines = columns(value_rows(measured))
    if by_class := class_rows(measured, class_names):
        lines += ["", *columns(by_class)]
    return lines


def value_rows(measured: Evaluation) -> list[list[str]]:
    """A header, and a row per number; `<metric>_se` is a column, or a row without its metric."""
    rows = [["metric", "value", "se", "images", "reference"]]
    if measured.num_train:
        rows[0].append("train")
    for key, value in measured.values.items():
        metric, slash, label = key.partition("/")
        if metric.endswith("_se") and f"{metric[:-3]}{slash}{label}" in measured.values:
            continue
        error = measured.values.get(f"{metric}_se{slash}{label}")
        numbers = [f"{value:.5g}", "-" if error is None else f"{error:.2g}"]
        rows.append([key, *numbers, f"{measured.num_images:,}", f"{measured.num_reference:,}"])
        if measured.num_train:
            of_train = label or metric.startswith("gain_")
            trained = of_train and not without_train(metric)
            rows[-1].append(f"{measured.num_train:,}" if trained else "-")
    return rows


def without_train(metric: str) -> bool:
    """Whether `metric` is a metric that needs no training images."""
    return metric in METRICS and "train" not in METRICS[metric].needs


def class_rows(measured: Evaluation, class_names: tuple[str, ...]) -> list[list[str]]:
    """A header, and a row for each class that has numbers; empty if no class has any."""
    keys = [key for key, numbers in measured.classes.items() if numbers]
    rows = []
    for name in class_names:
        numbers = [measured.classes[key].get(name) for key in keys]
        if any(number is not None for number in numbers):
            rows.append([name, *("-" if n is None else f"{n:.5g}" for n in numbers)])
    return [["class", *keys], *rows] if rows else []


def columns(rows: list[list[str]]) -> list[str]:
    """Format rows as lines, the first column left-aligned and the others right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *rest in rows:
        cells = [f"{word:>{width}}" for word, width in zip(rest, widths[1:], strict=True)]
        lines.append("  ".join([f"{first:{widths[0]}}", *cells]))
    return lines


def find_reference(
    name: str | None,
    train: Path | None,
    data: DataConfig,
    metrics: MetricsConfig,
    words: Sequence[str],
) -> Reference:
    """The real images that --reference, --train and --data.* name.

    Args:
        name: --reference.
        train: --train.
        data: --data.*.
        metrics: What is measured.
        words: The command line, which tells whether a --data.* was given.

    Raises:
        UsageError: The options contradict each other, or the images do not exist.
    """
    with_train = not needed(metrics).isdisjoint({"train", "train_labels"})
    given = [word for word in words if word.startswith("--data.")]
    named = any(word.split("=")[0] == "--data.name" for word in given)
    if named and name not in (None, data.name):
        raise UsageError(
            f"--reference must be the data set of --data.name ({data.name}), got {name!r}; "
            "leave one of them out"
        )
    if name is None or name in DATASETS:
        if train is not None:
            raise UsageError(
                "--train must be left out if the reference is a data set, which has its own "
                f"training images, got {str(train)!r}"
            )
        chosen = data if name is None else replace(data, name=name)
        return load_reference(chosen, with_train=with_train)
    if not user_path("--reference", name).exists():
        own = [k for k, x in DATASETS.items() if x.files is None or k in TORCHVISION_SETS]
        raise UsageError(
            f"--reference must be an existing folder or .npz file, or a data set "
            f"({', '.join(own)}), got {shown(name)}{suggestion(name, own)}"
        )
    if given:
        warnings.warn(f"--data.* has no effect with --reference {name}", stacklevel=1)
    if train is not None and not with_train:
        warnings.warn("--train has no effect on these metrics.names", stacklevel=1)
    return read_reference(Path(name), train if with_train else None)
