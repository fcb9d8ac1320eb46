"""Tables with a column of encoded images and one of classes: which columns, and their values."""

import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from model.config import DataConfig
from model.data.reading import Seen, decode_image
from model.errors import UsageError


def chosen_image_column(columns: Sequence[str], names: Iterable[str], config: DataConfig) -> str:
    """The column of images that data.image_column names, or the only one.

    Args:
        columns: The columns of images.
        names: All columns, for errors.
        config: The data settings.
    """
    if not columns:
        raise UsageError(f"data.path must have a column of images, got {list(names)}")
    if config.image_column is None and len(columns) > 1:
        raise UsageError(
            f"data.image_column must be set for a data set with {len(columns)} columns of images, "
            f"got None; it has {', '.join(names)}"
        )
    if config.image_column not in (None, *columns):
        rule = f"be a column of images ({', '.join(columns)})"
        raise UsageError(f"data.image_column must {rule}, got {config.image_column!r}")
    return config.image_column or columns[0]


def chosen_label_column(
    named: Sequence[str], plain: Sequence[str], config: DataConfig
) -> str | None:
    """The column of classes that data.label_column names, or the only one whose type is classes.

    Args:
        named: The columns whose type has the names of classes.
        plain: The columns of other types whose values may be classes.
        config: The data settings.
    """
    if config.label_column is None:
        if len(named) > 1:
            rule = "be set for a data set with several columns of classes"
            raise UsageError(f"data.label_column must {rule}, got None; it has {', '.join(named)}")
        return named[0] if named else None
    if config.label_column not in (*named, *plain):
        allowed = ", ".join(dict.fromkeys((*named, *plain)))
        rule = f"be a column of classes ({allowed or 'there are none'})"
        raise UsageError(f"data.label_column must {rule}, got {config.label_column!r}")
    return config.label_column


def classes_of(
    values: Sequence[Any], names: Sequence[str] | None, what: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """(N,) int64 classes and their names.

    Args:
        values: The class of each image.
        names: Names of the classes that the values number; None to sort the values.
        what: The column, for errors.
    """
    if missing := sum(value is None for value in values):
        raise UsageError(f"{what} must name a class for every image, got {missing} without one")
    numbers = values
    if names is None:
        names, numbers = sorted(set(values)), np.unique(values, return_inverse=True)[1]
    labels = np.asarray(numbers, np.int64)
    present = sorted(set(labels.tolist()))
    if present != list(range(len(names))):
        raise UsageError(
            f"{what} must use each of its {len(names)} classes, and no others, got {present[:12]}; "
            "save it with only the classes that it uses"
        )
    return labels, tuple(str(name) for name in names)


def decode_cell(
    cell: Any, what: str, channels: int | None = None, seen: Seen | None = None
) -> np.ndarray:
    """Decode an image to (H, W, C) uint8; see decode_image.

    Args:
        cell: The bytes of an image file, or a dict of its `bytes` and `path`, or None.
        what: Name of the image in errors.
        channels: As for decode_image.
        seen: As for decode_image.
    """
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    if data is None:
        path = cell.get("path") if isinstance(cell, dict) else None
        got = "none; save the data set without it"
        if path is not None:
            got = f"only the path {path!r}; save the data set with its images"
        raise UsageError(f"{what} must be an image, got {got}")
    return decode_image(io.BytesIO(data), channels, name=what, seen=seen)
