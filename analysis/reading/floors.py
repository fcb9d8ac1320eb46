"""Floors in the tidy table: the numbers of real training images in place of generated ones."""

from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from analysis.reading.checks import check_metrics
from analysis.reading.columns import FLOOR, FLOOR_IMAGES, SPLIT, is_missing, split_name
from sweep.records import MetricsRecord, load_floor
from sweep.specifications import floor_name

ERROR = "_se"
"""End of the name of a standard error over images."""


class Floor(NamedTuple):
    """The floor of a metric on one split of the data."""

    value: float
    error: float | None
    """Standard error over images; None if it was not measured."""


class FloorReader:
    """Reads the floors of results folders, each of them once."""

    def __init__(self) -> None:
        self._columns: dict[tuple[Path, str, str, str], dict[str, float]] = {}

    def columns(
        self, folder: Path, dataset: str, measured: MetricsRecord, suffix: str
    ) -> dict[str, float]:
        """The floor of a metric record, whose columns have a suffix; empty if there is none."""
        place = folder, dataset, floor_name(measured.spec), suffix
        if place not in self._columns:
            self._columns[place] = _columns(read_floor(*place[:3]), suffix)
        return self._columns[place]


def read_floor(folder: Path, key: str, spec: str) -> MetricsRecord | None:
    """Read a floor of a data set, or return None if it was not measured.

    Raises:
        RecordError: It is damaged, or a name or number in it cannot be that of a metric.
    """
    record = load_floor(folder, key, spec)
    if record is not None:
        check_metrics(f"{folder}/datasets/{key}/metrics/{spec}.json", record)
    return record


def _columns(floor: MetricsRecord | None, suffix: str) -> dict[str, float]:
    if floor is None:
        return {}
    numbers = {floor_column(name + suffix): number for name, number in floor.values.items()}
    images = {images_column(name + suffix): float(floor.num_images) for name in floor.values}
    return numbers | images


def is_floor(column: str) -> bool:
    """Whether a column belongs to a floor."""
    name = split_name(column)[0]
    return name == FLOOR_IMAGES or name.removesuffix(ERROR).endswith(FLOOR)


def floor_column(metric: str) -> str:
    """Name of the column of a metric's floor; a standard error's is `<metric>_floor_se`."""
    name, rest = split_name(metric)
    end = FLOOR + ERROR if name.endswith(ERROR) else FLOOR
    return name.removesuffix(ERROR) + end + rest


def images_column(metric: str) -> str:
    """Name of the column of the number of images of a metric's floor."""
    return FLOOR_IMAGES + split_name(metric)[1]


def floor_counts(frame: pd.DataFrame, metric: str) -> list[int]:
    """Numbers of images of a metric's floors; none if it has no floor."""
    measured = frame[frame[metric].notna()]
    column = images_column(metric)
    counts = measured[column].dropna() if floor_column(metric) in measured else ()
    return sorted({int(count) for count in counts})


def floor_range(frame: pd.DataFrame, metric: str) -> list[float]:
    """The smallest and largest floor of a metric, once if they are equal; empty without a floor."""
    column = floor_column(metric)
    values = frame[column].dropna().tolist() if column in frame else []
    return sorted({min(values), max(values)}) if values else []


def floors_of(frame: pd.DataFrame, metric: str) -> dict[Any, Floor] | None:
    """The floor of a metric for each split of the data; None if a split has several.

    Rows without a floor are ignored.
    """
    column, unknown = floor_column(metric), [None] * len(frame)
    if column not in frame:
        return {}
    name, rest = split_name(metric)
    errors = floor_column(name + ERROR + rest)
    cells = zip(
        frame[SPLIT].tolist() if SPLIT in frame else unknown,
        frame[column].tolist(),
        frame[errors].tolist() if errors in frame else unknown,
        strict=True,
    )
    found = {
        (None if is_missing(split) else split, Floor(value, None if is_missing(error) else error))
        for split, value, error in cells
        if not is_missing(value)
    }
    by_split = dict(found)
    return by_split if len(by_split) == len(found) else None
