"""Columns of the tidy table: which are settings, which are metrics, and rows grouped by values.

The columns are, in this order: RUN_COLUMNS, the axes (dotted settings that vary, and pool.alpha and
train.epochs if the settings have them), NODE_COLUMNS, the metrics, METRIC_COLUMNS.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import pandas as pd

from model.errors import UsageError, check_choice

RUN_COLUMNS = ("run", "lineage", "generation", "member", "seed", "status", "node", "closed_form")
NODE_COLUMNS = (
    "num_images",
    "real_share",
    "num_steps",
    "images_seen",
    "views_per_image",
    "final_loss",
    "seconds",
    "images_per_second",
)
NODE_IDENTITY = ("generation", "member", "node")
METRIC_COLUMNS = ("metric_num_images", "metric_num_reference", "metric_warnings")
AT = "@"
"""Between a metric's name and its number of images, where that is not the row's."""
MIXTURE = "mixture"
"""Member in the rows of all images that enter the next pool together."""
CLASS = "class"
"""Axis of the table of numbers per class."""


def axis_columns(frame: pd.DataFrame) -> list[str]:
    """Columns of a loaded table that are settings (varying or shown always)."""
    columns = list(frame.columns)
    return columns[columns.index(RUN_COLUMNS[-1]) + 1 : columns.index(NODE_COLUMNS[0])]


def varying_axes(frame: pd.DataFrame) -> list[str]:
    """Settings of several values in a loaded table, and `member` where there are several."""
    columns = [*axis_columns(frame), "member"]
    return [column for column in columns if frame[column].nunique(dropna=False) > 1]


def setting_axes(frame: pd.DataFrame) -> list[str]:
    """Settings that name a row or a figure: those that vary, else pool.alpha where there is one."""
    return varying_axes(frame) or [a for a in axis_columns(frame) if a == "pool.alpha"]


def metric_columns(frame: pd.DataFrame) -> list[str]:
    """Columns of a loaded table that are metrics, such as kid/<extractor> and pixel_std."""
    columns = list(frame.columns)
    return columns[columns.index(NODE_COLUMNS[-1]) + 1 : columns.index(METRIC_COLUMNS[0])]


def resolve_metrics(frame: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Turn what a user calls a metric into columns.

    Args:
        frame: A loaded table.
        names: A column (kid/pixels, final_loss), or a metric without its extractor (kid), which
            means that metric of every extractor there is. None at all means kid, or else the first
            metric.

    Returns:
        Columns, each once, never two extractors in one; empty where nothing was measured yet and
        `names` is empty.

    Raises:
        UsageError: No column has that name.
    """
    found = metric_columns(frame)
    if not names:
        return [column for column in found if column.startswith("kid/")] or found[:1]
    choices = [*found, *NODE_COLUMNS]
    columns: list[str] = []
    for name in names:
        matches = [c for c in choices if c == name] or [c for c in found if c.split("/")[0] == name]
        if not matches:
            check_choice("--metric", name, choices)
        columns += matches
    return list(dict.fromkeys(columns))


def measured_sizes(frame: pd.DataFrame, metric: str) -> tuple[int, int] | None:
    """Return how many generated and reference images stand behind a metric's column.

    FID and biased KID depend on both numbers, so that one table or figure must not mix them.

    Returns:
        (generated, reference), or None for a column that is no metric or has no value.

    Raises:
        UsageError: The rows differ in one of the numbers.
    """
    if metric not in metric_columns(frame):
        return None
    sizes = frame.loc[frame[metric].notna(), list(METRIC_COLUMNS[:2])].drop_duplicates()
    if AT in metric:
        sizes = sizes.assign(**{METRIC_COLUMNS[0]: int(metric.split(AT)[1])}).drop_duplicates()
    if len(sizes) > 1:
        got = " and ".join(f"{int(n)}/{int(m)}" for n, m in sizes.itertuples(index=False))
        raise UsageError(
            f"{metric} must have the same numbers of generated/reference images in one table or "
            f"figure, got {got}; show the runs apart, or leave the setting that differs out of --by"
        )
    return next(((int(n), int(m)) for n, m in sizes.itertuples(index=False)), None)


def grouped(
    frame: pd.DataFrame, by: Sequence[str]
) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Split a table by the values of some columns, in the order of the values; None is a value."""
    if not by:
        yield {}, frame
        return
    groups = frame.groupby(list(by), dropna=False, sort=False)
    parts = [(tuple(cast("tuple", values)), part) for values, part in groups]
    for values, part in sorted(parts, key=lambda item: sort_key(item[0])):
        yield dict(zip(by, values, strict=True)), part


def sort_key(values: Iterable[Any]) -> tuple:
    """Order rows of mixed values: numbers by size, then words, then what is missing."""
    return tuple(_rank(value) for value in values)


def is_missing(value: object) -> bool:
    """Whether a cell of the table holds no value (None, nan or NA)."""
    return value is None or value is pd.NA or value != value


def _rank(value: Any) -> tuple:
    if is_missing(value):
        return (2, "")
    return (0, value) if isinstance(value, (int, float)) else (1, str(value))
