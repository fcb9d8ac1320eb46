"""Data sets of the Hugging Face hub by name, or as its package `datasets` saved them to a folder.

The package (an extra of its own) is imported by the functions that need it. Must not know other
data sets, nor how images are split.
"""

import importlib
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from model.config import DataConfig, check
from model.data.reading import (
    GREY_MODES,
    Contents,
    check_mode,
    collect_pixels,
    labelled,
    need_package,
    one_line,
    reading,
)
from model.data.splits import SPLIT_NAMES, check_split
from model.errors import UsageError
from model.images import crop_square

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")

INSTALL = "install it with: pip install 'collapse-sweep[huggingface]'"


class _Source(NamedTuple):
    """A data set opened: its splits by name, in the order of their parts, and its columns."""

    splits: dict[str, Any]
    parts: list[int] | None
    """Official split of each; None where there is but one."""
    image: str
    label: str | None


def describe_huggingface(config: DataConfig) -> Contents:
    """Contents of a data set, which is downloaded first where it is a hub's and not here yet.

    It is grey if its first image is.

    Raises:
        UsageError: A column cannot be found, or labels do not number classes.
        FileNotFoundError: There is no such data set, or it cannot be downloaded.
    """
    return _contents(_open(config), config)


def load_huggingface(config: DataConfig) -> tuple[np.ndarray, Contents]:
    """Images of a data set, centre-cropped and resized; transparency is dropped.

    Raises:
        ValueError, FileNotFoundError: As describe_huggingface; or an image is damaged, or of more
            than 8 bits, or in colour where the first is grey.
    """
    source = _open(config)
    contents = _contents(source, config)

    def crops() -> Iterator[np.ndarray]:
        for name in source.splits:
            for i, row in enumerate(_encoded(source, name)):
                what = f"image {i} (from 0) of {config.path} {name}".rstrip()
                pixels, mode = _decode(row[source.image], what, contents.channels)
                rule = "be grey, as the first image is"
                check(contents.channels == 3 or mode in GREY_MODES, what, rule, mode, "convert it")
                yield crop_square(pixels)

    return collect_pixels(crops(), contents, config), contents


def huggingface_files(config: DataConfig) -> list[Path]:
    """Files of a data set saved to a folder; none of one on the hub."""
    folder = Path(config.path or "").expanduser()
    return sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []


def _open(config: DataConfig) -> _Source:
    rule = "be set for data.name=huggingface"
    check(config.path is not None, "data.path", rule, None, "set it to owner/name, or to a folder")
    need_package("datasets", "datasets", config, install=INSTALL)
    found = _read(config.path or "")
    splits: dict[str, Any] = dict(found) if isinstance(found, dict) else {"": found}
    splits = {str(name): split for name, split in splits.items()}
    parts = None
    if len(splits) > 1:
        known = [name for name in splits if name in SPLIT_NAMES]
        rule = f"have no splits but {', '.join(SPLIT_NAMES)}"
        check(len(known) == len(splits), "data.path", rule, list(splits), "save those you want")
        splits = dict(sorted(splits.items(), key=lambda item: SPLIT_NAMES[item[0]]))
        parts = [SPLIT_NAMES[name] for name in splits]
        check(len(set(parts)) == len(parts), "data.path", "have each split once", list(splits))
    check_split(config, parts or ())
    features = [split.features for split in splits.values()]
    image, label = _image_column(features[0], config), _label_column(features[0], config)
    for other in features[1:]:
        for column in (image, *([] if label is None else [label])):
            same = other.get(column) == features[0][column]
            check(same, "data.path", f"have one type of {column} in all splits", other.get(column))
    return _Source(splits, parts, image, label)


def _package() -> Any:
    """The package `datasets`, which is there: whoever opens a data set has asked for it."""
    return importlib.import_module("datasets")


def _read(path: str) -> Any:
    """The data set of a folder or of the hub, memory-mapped by its package."""
    datasets = _package()
    failure: type[Exception] = importlib.import_module("datasets.exceptions").DatasetsError
    folder = Path(path).expanduser()
    what = "be owner/name of a data set of the Hugging Face hub, or a folder saved by save_to_disk"
    if not folder.is_dir() and not HUB_NAME.fullmatch(path):
        raise FileNotFoundError(f"data.path must {what}, got {path!r}")
    try:
        if folder.is_dir():
            return datasets.load_from_disk(folder)
        return datasets.load_dataset(path)
    except (OSError, ValueError, RuntimeError, LookupError, TypeError, failure) as error:
        raise FileNotFoundError(
            f"data.path must {what}, got {path!r} and {type(error).__name__} ({one_line(error)}); "
            "run once on a connected machine, or pass --data.path DIR"
        ) from None


def _image_column(features: Any, config: DataConfig) -> str:
    datasets = _package()
    columns = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    check(bool(columns), "data.path", "have a column of images", list(features))
    if config.image_column is None:
        rule = f"be set for a data set with {len(columns)} columns of images"
        check(len(columns) == 1, "data.image_column", rule, None, f"it has {', '.join(features)}")
        return columns[0]
    rule = f"be a column of images ({', '.join(columns)})"
    check(config.image_column in columns, "data.image_column", rule, config.image_column)
    return config.image_column


def _label_column(features: Any, config: DataConfig) -> str | None:
    """The column of classes; None where there is none of that type and none is named."""
    datasets = _package()
    named = [n for n, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    if config.label_column is None:
        rule = "be set for a data set with several columns of classes"
        check(len(named) <= 1, "data.label_column", rule, None, f"it has {', '.join(named)}")
        return named[0] if named else None
    plain = [
        name
        for name, feature in features.items()
        if isinstance(feature, datasets.Value) and re.match("u?int|string|bool", feature.dtype)
    ]
    rule = f"be a column of classes ({', '.join([*named, *plain]) or 'there are none'})"
    known = config.label_column in (*named, *plain)
    check(known, "data.label_column", rule, config.label_column)
    return config.label_column


def _contents(source: _Source, config: DataConfig) -> Contents:
    sizes = [split.num_rows for split in source.splits.values()]
    check(sum(sizes) >= 1, "data.path", "hold images", sizes)
    name = next(name for name, size in zip(source.splits, sizes, strict=True) if size)
    first = next(iter(_encoded(source, name)))
    _, mode = _decode(first[source.image], f"the first image of {config.path}", 3)
    channels = 1 if mode in GREY_MODES else 3
    parts = None if source.parts is None else np.repeat(source.parts, sizes)
    if source.label is None:
        return Contents(num_images=sum(sizes), channels=channels, parts=parts)
    labels, names = _labels(source, source.label, config)
    return replace(labelled(labels, names, channels=channels), parts=parts)


def _labels(source: _Source, column: str, config: DataConfig) -> tuple[np.ndarray, tuple[str, ...]]:
    """(N,) int64 classes and their names: the column's own, or its values in sorted order."""
    values = [value for split in source.splits.values() for value in split[column][:]]
    what, missing = f"{column} of {config.path}", sum(value is None for value in values)
    check(missing == 0, what, "name a class for every image", f"{missing} without one")
    names = getattr(next(iter(source.splits.values())).features[column], "names", None)
    if names is None:
        names = sorted(set(values))
        values = np.unique(values, return_inverse=True)[1]
    labels = np.asarray(values, np.int64)
    present = sorted(set(labels.tolist()))
    every = present == list(range(len(names)))
    rule = f"use each of its {len(names)} classes, and no others"
    check(every, what, rule, present[:12], "save it with the classes that it has")
    return labels, tuple(str(name) for name in names)


def _encoded(source: _Source, name: str) -> Any:
    """A split's images as the files they are: decoding is our own, so that nothing is lost."""
    datasets = _package()
    split = source.splits[name].select_columns([source.image])
    return split.cast_column(source.image, datasets.Image(decode=False))


def _decode(file: dict[str, Any] | None, what: str, channels: int) -> tuple[np.ndarray, str]:
    """(H, W, channels) uint8 of an image file, and its Pillow mode."""
    from PIL import Image

    if file is None:
        raise UsageError(f"{what} must be an image, got none; save the data set without it")
    content = io.BytesIO(file["bytes"]) if file["bytes"] is not None else file["path"]
    with reading(what, "a readable image"), Image.open(content) as picture:
        mode = picture.mode
        pixels = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
    check_mode(what, mode)
    return pixels.reshape(*pixels.shape[:2], -1), mode
