"""Columns of the tidy table: settings, metrics, and grouping of rows by value.

The order of the columns is: RUN_COLUMNS, the axes (dotted settings that vary, and pool.alpha,
train.epochs and data.split_seed if the settings have them), NODE_COLUMNS, the metrics,
METRIC_COLUMNS, floors. Cells of axes are those of analysis.reading.labels.spell.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pandas as pd

from model.errors import UsageError, check_choice, shown, suggestion

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
METRIC_COLUMNS = (
    "metric_num_images",
    "metric_num_reference",
    "metric_warnings",
    "environments",
)
AT = "@"
"""Separates a metric's name and its number of images, if that differs from the row's."""
FLOOR = "_floor"
"""End of the name of a metric of real training images in place of generated ones."""
FLOOR_IMAGES = "floor_images"
"""Name, before the extractor, of the number of these images."""
MIXTURE = "mixture"
"""Value of `member` in rows about the images of all members together."""
CLASS = "class"
"""Axis of the table of metrics per class."""
DIRECTION = "direction"
"""Axis of the table of metrics per principal direction."""
SPLIT = "data.split_seed"
"""Axis of the split into training and reference images: a source of randomness, as the seed is."""

SEPARATE = ("data.", "metrics.")
"""How settings begin that always split tables: numbers for several of their values do not compare.
"""
SETTING = "setting"
"""Column of the names of settings that change a few values at a time; it replaces the axes."""
SUMMARY_COLUMNS = (
    "generation",
    "mean",
    "half_width",
    "n",
    "num_seeds",
    "num_splits",
    "num_diverged",
    "num_lineages",
)
"""Columns of a summary over seeds, after those of the settings."""
MEASURED_COLUMNS = ("num_generated", "num_reference", "seeds", "environment")
"""Columns of every summary that say what was measured, and where."""
SUMMARY_INPUTS = ("metric", *MEASURED_COLUMNS, "confidence")
"""Further columns of a table's summary: what it summarises, and how."""
COMPARISON_COLUMNS = (
    "control",
    "generation",
    "difference",
    "half_width",
    "n",
    "p",
    "p_holm",
    "p_rank",
    "least_p_rank",
    "p_equivalence",
    "margin",
    "seeds_needed",
    *MEASURED_COLUMNS,
    "confidence",
)
"""Columns of a summary of comparisons, after `metric` and those of the settings."""
RESERVED = frozenset(
    (
        *RUN_COLUMNS,
        *NODE_COLUMNS,
        *METRIC_COLUMNS,
        CLASS,
        DIRECTION,
        SETTING,
        *SUMMARY_COLUMNS,
        *SUMMARY_INPUTS,
        *COMPARISON_COLUMNS,
    )
)
"""Names that no setting or metric may have."""


def axis_columns(frame: pd.DataFrame) -> list[str]:
    """Return the columns of a loaded table that are settings (varying or always shown)."""
    return list(frame.loc[:, RUN_COLUMNS[-1] : NODE_COLUMNS[0]].columns[1:-1])


def varying_axes(frame: pd.DataFrame) -> list[str]:
    """Return the settings with several values in a loaded table, and `member` if it varies.

    The split of the data is not among them: like seeds, splits are averaged over.
    """
    columns = [*(axis for axis in axis_columns(frame) if axis != SPLIT), "member"]
    return [column for column in columns if frame[column].nunique(dropna=False) > 1]


def unit_columns(frame: pd.DataFrame) -> list[str]:
    """Return the columns of the sources of randomness: the seed, and the split if it is known."""
    return ["seed", *(column for column in (SPLIT,) if column in frame)]


def setting_axes(frame: pd.DataFrame) -> list[str]:
    """Return the settings that name rows and figures: those that vary, or else pool.alpha."""
    return varying_axes(frame) or [a for a in axis_columns(frame) if a == "pool.alpha"]


def chosen_axes(frame: pd.DataFrame, by: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Divide the settings of a table of results.

    Args:
        frame: A loaded table.
        by: The settings that a user names. If empty, all that vary.

    Returns:
        The settings that name the rows; those that vary and follow from them, so that a row has one
        value; and the others that vary, which split the table.

    Raises:
        UsageError: A name in `by` is not a setting.
    """
    if not by:
        return setting_axes(frame), [], []
    for name in by:
        check_choice("--by", name, [*axis_columns(frame), "seed", "member"])
    rows = list(dict.fromkeys(by))
    rest = [axis for axis in varying_axes(frame) if axis not in rows]
    implied = [x for x in rest if not x.startswith(SEPARATE) and is_implied(frame, x, rows)]
    return rows, implied, [axis for axis in rest if axis not in implied]


def is_implied(frame: pd.DataFrame, axis: str, by: Sequence[str]) -> bool:
    """Whether rows with the same values of some settings have the same value of another one."""
    return len(list(group_positions(frame, by))) == len(list(group_positions(frame, [*by, axis])))


def metric_columns(frame: pd.DataFrame) -> list[str]:
    """Return the columns of a loaded table that are metrics, e.g. kid/<extractor>, pixel_std."""
    return list(frame.loc[:, NODE_COLUMNS[-1] : METRIC_COLUMNS[0]].columns[1:-1])


def split_name(metric: str) -> tuple[str, str]:
    """Split a column into a metric's name and the rest: its extractor and number of images."""
    name = re.split(f"[/{AT}]", metric, maxsplit=1)[0]
    return name, metric.removeprefix(name)


def resolve_metrics(frame: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Return the columns of the metrics that a user names.

    Args:
        frame: A loaded table.
        names: Columns (kid/pixels, final_loss), or metrics without an extractor (kid) or without a
            number of images (kid/pixels for kid/pixels@500), which stand for all. If empty, kid is
            used, or else the first metric.

    Returns:
        Unique columns, each of one extractor; empty if nothing was measured and `names` is empty.

    Raises:
        UsageError: No column has that name.
    """
    metrics = metric_columns(frame)
    if not names:
        return [column for column in metrics if column.startswith("kid/")] or metrics[:1]
    choices = [*metrics, *NODE_COLUMNS]
    columns: list[str] = []
    for name in names:
        shorter = [m for m in metrics if name in (m.split("/")[0], m.split(AT)[0])]
        matches = [name] if name in choices else shorter
        if not matches:
            known = list(dict.fromkeys(choice.split("/")[0] for choice in choices))
            raise UsageError(
                f"--metric must be one of {', '.join(known)}, got {shown(name)}; `sweep evaluate "
                "DIR --metrics.names NAME` measures more"
                f"{suggestion(name, choices if '/' in name else known)}"
            )
        columns += matches
    return list(dict.fromkeys(columns))


def measured_sizes(frame: pd.DataFrame, metric: str) -> tuple[int, int] | None:
    """Return the numbers of generated and reference images that a metric was computed from.

    FID and biased KID depend on both numbers, so one table or figure must not mix them.

    Returns:
        (generated, reference), or None if the column is not a metric or has no values.

    Raises:
        UsageError: The rows differ in one of the numbers.
    """
    if metric not in metric_columns(frame):
        return None
    sizes = frame.loc[frame[metric].notna(), list(METRIC_COLUMNS[:2])].drop_duplicates()
    if AT in metric:
        count = int(metric.rsplit(AT, 1)[1])
        sizes = sizes.assign(**{METRIC_COLUMNS[0]: count}).drop_duplicates()
    if len(sizes) > 1:
        got = " and ".join(f"{int(n)}/{int(m)}" for n, m in sizes.itertuples(index=False))
        raise UsageError(
            f"{metric} must have the same numbers of generated/reference images in one table or "
            f"figure, got {got}; show the runs separately, or omit the differing setting in --by"
        )
    return next(((int(n), int(m)) for n, m in sizes.itertuples(index=False)), None)


def describe_sizes(frame: pd.DataFrame, metric: str) -> str:
    """Name the images of measured_sizes: `359 generated, 359 reference images`, or nothing."""
    sizes = measured_sizes(frame, metric)
    return f"{sizes[0]} generated, {sizes[1]} reference images" if sizes else ""


def grouped(
    frame: pd.DataFrame, by: Sequence[str]
) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Split a table by the values of some columns, in order; None counts as a value.

    A part of a table takes milliseconds: use group_positions for many groups.
    """
    if not by:
        yield {}, frame
        return
    for values, positions in group_positions(frame, by):
        yield values, frame.iloc[positions]


def group_positions(
    frame: pd.DataFrame, by: Sequence[str]
) -> Iterator[tuple[dict[str, Any], list[int]]]:
    """Yield the values and the positions of the rows of each group of `grouped`."""
    if not by:
        yield {}, list(range(len(frame)))
        return
    positions: dict[tuple, list[int]] = {}
    columns = [[None if is_missing(v) else v for v in frame[column].tolist()] for column in by]
    for position, values in enumerate(zip(*columns, strict=True)):
        positions.setdefault(values, []).append(position)
    for values in sorted(positions, key=sort_key):
        yield dict(zip(by, values, strict=True)), positions[values]


def sort_key(values: Iterable[Any]) -> tuple:
    """Return a sort key for rows of mixed values: numbers, then strings, then missing values."""
    return tuple(_rank(value) for value in values)


def is_missing(value: object) -> bool:
    """Whether a cell of the table holds no value (None, nan or NA)."""
    return value is None or value is pd.NA or value != value


def _rank(value: Any) -> tuple:
    if is_missing(value):
        return (2, "")
    return (0, value) if isinstance(value, (int, float)) else (1, str(value))
