"""Data sets of the Hugging Face hub, by name or from a folder saved by the package `datasets`.

The package (extra `huggingface`) is imported by the functions that need it.
"""

import importlib
import io
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from model.config import DataConfig
from model.data.columns import chosen_image_column, chosen_label_column, classes_of
from model.data.reading import (
    DAMAGE,
    PARQUET,
    Contents,
    Seen,
    check_regular_files,
    collect_pixels,
    decode_image,
    decoding,
    need_package,
)
from model.data.splits import SPLIT_NAMES, check_split
from model.errors import (
    MissingFileError,
    OneLineError,
    UsageError,
    one_line,
    printable,
    shown,
    user_path,
)

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")

INSTALL = "install it with: pip install 'collapse-sweep[huggingface]'"

WHOLE = "a whole data set"
OWN_FILES = re.compile(r"(dataset_dict|dataset_info|state)\.json|cache-.*\.arrow|\..*")
"""Files that `datasets` writes beside the data, and hidden ones."""


class _Source(NamedTuple):
    """An opened data set: its splits by name, in the order of `parts`, and its columns."""

    path: str
    """Its folder, or its name on the hub."""
    splits: dict[str, Any]
    parts: list[int] | None
    """The official split of each; None if there is only one split."""
    image: str
    label: str | None


def describe_huggingface(config: DataConfig) -> Contents:
    """Contents of a data set, which is first downloaded if it is on the hub and not yet cached.

    The data set is grey if its first image is.

    Raises:
        UsageError: A column is missing, or labels do not number classes.
        MissingFileError: The data set does not exist, or cannot be downloaded.
    """
    return _contents(_open(config), config)


def load_huggingface(config: DataConfig) -> tuple[np.ndarray, Contents]:
    """Images of a data set, centre-cropped and resized; transparency is dropped.

    Raises:
        UsageError: As describe_huggingface; also if an image is damaged, has more than 8 bits, or
            is in colour although the first one is grey.
    """
    source = _open(config)
    contents = _contents(source, config)

    def images() -> Iterator[np.ndarray]:
        for name in source.splits:
            for i, file in enumerate(_encoded(source, name)):
                what = f"image {i} (from 0) of {config.path} {name}".rstrip()
                yield _decode(file, what, contents.channels, contents.seen)

    pixels = collect_pixels(images(), contents, config)
    contents.seen.warn("data.path")
    return pixels, contents


def huggingface_files(config: DataConfig) -> list[Path]:
    """Files of a data set saved to a folder; empty for one on the hub."""
    folder = user_path("data.path", config.path or "")
    return sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []


def _open(config: DataConfig) -> _Source:
    if config.path is None:
        raise UsageError(
            "data.path must be set for data.name=huggingface, got None; "
            "set it to owner/name, or to a folder"
        )
    need_package("datasets", "datasets", config, install=INSTALL)
    source = _read(config.path)
    splits: dict[str, Any] = dict(source) if isinstance(source, dict) else {"": source}
    splits = {str(name): split for name, split in splits.items()}
    if not splits:
        raise UsageError(
            f"data.path must hold at least one split, got none in {shown(config.path)}"
        )
    _warn_of_others(config.path, splits)
    parts = None
    if len(splits) > 1:
        if not set(splits) <= set(SPLIT_NAMES):
            raise UsageError(
                f"data.path must have only splits called {', '.join(SPLIT_NAMES)}, "
                f"got {list(splits)}; save only the splits you want"
            )
        splits = dict(sorted(splits.items(), key=lambda item: SPLIT_NAMES[item[0]]))
        parts = [SPLIT_NAMES[name] for name in splits]
        if len(set(parts)) < len(parts):
            raise UsageError(f"data.path must have each split once, got {list(splits)}")
    check_split(config, parts or ())
    features = [split.features for split in splits.values()]
    image, label = _columns(features[0], config)
    for other in features[1:]:
        for column in (image, *([] if label is None else [label])):
            if other.get(column) != features[0][column]:
                rule = f"have one type of {column} in all splits"
                raise UsageError(f"data.path must {rule}, got {other.get(column)!r}")
    return _Source(config.path, splits, parts, image, label)


def _package() -> Any:
    """The package `datasets`; _open checks that it is installed."""
    return importlib.import_module("datasets")


def _read(path: str) -> Any:
    """Open a data set of a folder or of the hub; the package memory-maps it."""
    datasets = _package()
    failure: type[Exception] = importlib.import_module("datasets.exceptions").DatasetsError
    folder = user_path("data.path", path)
    what = "be owner/name of a data set of the Hugging Face hub, or a folder saved by save_to_disk"
    way_out = "run once on a connected machine, or pass --data.path DIR"
    if not folder.is_dir() and not HUB_NAME.fullmatch(path):
        raise MissingFileError(f"data.path must {what}, got {shown(path)}")
    try:
        if not folder.is_dir():
            return datasets.load_dataset(path)
        way_out = "save it again"
        if any(folder.rglob(f"*{PARQUET}")):
            way_out = f"set --data.name parquet to read its {PARQUET} files"
        check_regular_files(folder)
        found = datasets.load_from_disk(folder, keep_in_memory=False)
        for split in found.values() if isinstance(found, dict) else [found]:
            split.data.validate(full=True)  # damaged offsets of rows would crash the process
        return found
    except OneLineError:
        raise
    except (*DAMAGE, failure) as error:
        reason = printable(one_line(error))[:200]
        raise MissingFileError(
            f"data.path must {what}, got {shown(path)} and {type(error).__name__} ({reason}); "
            f"{way_out}"
        ) from None


def _warn_of_others(path: str, splits: dict[str, Any]) -> None:
    """Give one warning if a saved folder holds files that belong to none of its splits."""
    folder = user_path("data.path", path)
    if not folder.is_dir():
        return
    read = {Path(file["filename"]).resolve() for s in splits.values() for file in s.cache_files}
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    others = [f for f in files if not OWN_FILES.fullmatch(f.name) and f.resolve() not in read]
    if others:
        first = printable(str(others[0].relative_to(folder)))
        warnings.warn(
            f"data.path has files that are not read: {len(others):,}, the first is {first}; "
            "those of the splits are read",
            stacklevel=1,
        )


def _columns(features: Any, config: DataConfig) -> tuple[str, str | None]:
    """The column of images, and that of classes or None."""
    datasets = _package()
    images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    named = [n for n, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    plain = [
        name
        for name, feature in features.items()
        if isinstance(feature, datasets.Value) and re.match("u?int|string|bool", feature.dtype)
    ]
    image = chosen_image_column(images, features, config)
    return image, chosen_label_column(named, plain, config)


def _contents(source: _Source, config: DataConfig) -> Contents:
    sizes = [split.num_rows for split in source.splits.values()]
    if sum(sizes) == 0:
        raise UsageError(f"data.path must hold images, got {sizes}")
    name = next(name for name, size in zip(source.splits, sizes, strict=True) if size)
    first = next(_encoded(source, name))
    channels = _decode(first, f"the first image of {config.path}").shape[2]
    parts = None if source.parts is None else np.repeat(source.parts, sizes)
    labels, names = None, ()
    if source.label is not None:
        labels, names = _labels(source, source.label, config)
    contents = Contents(
        num_images=sum(sizes), channels=channels, labels=labels, class_names=names, parts=parts
    )
    for column in source.splits[name].column_names:
        if column not in (source.image, source.label):
            contents.seen.skip("columns", column)
    return contents


def _labels(source: _Source, column: str, config: DataConfig) -> tuple[np.ndarray, tuple[str, ...]]:
    """(N,) int64 classes and their names: the column's own, or its values in sorted order."""
    with decoding(source.path, WHOLE):
        values = [value for split in source.splits.values() for value in split[column][:]]
    names = getattr(next(iter(source.splits.values())).features[column], "names", None)
    return classes_of(values, names, f"{column} of {config.path}")


def _encoded(source: _Source, name: str) -> Iterator[dict[str, Any] | None]:
    """A split's images as undecoded files, so that decode_image decodes them."""
    datasets = _package()
    with decoding(source.path, WHOLE):
        split = source.splits[name].select_columns([source.image])
        for row in split.cast_column(source.image, datasets.Image(decode=False)):
            yield row[source.image]


def _decode(
    file: dict[str, Any] | None,
    what: str,
    channels: int | None = None,
    seen: Seen | None = None,
) -> np.ndarray:
    """Decode an image to (H, W, C) uint8; see decode_image."""
    content = None
    if file is not None:
        content = file["path"] if file["bytes"] is None else io.BytesIO(file["bytes"])
    if content is None:
        raise UsageError(f"{what} must be an image, got none; save the data set without it")
    return decode_image(content, channels, name=what, seen=seen)
