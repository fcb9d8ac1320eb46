"""Tables of results over seeds: of metrics, of the pools, and of the standard deviation left.

Rows are settings, and columns are generations.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from analysis.reading.columns import (
    METRIC_COLUMNS,
    MIXTURE,
    axis_columns,
    grouped,
    measured_sizes,
    setting_axes,
    varying_axes,
)
from analysis.reading.labels import describe_seeds, format_value, name_extractor
from analysis.reading.settings import BASE, SETTING, Usual, find_usual
from analysis.statistics.contraction import LEFT, NULL, with_contraction
from analysis.statistics.seeds import summarize_seeds
from analysis.tables.render import Table
from model.errors import check_choice

COMPOSITION = "composition"
"""Name of the table of pool sizes and real shares."""
CONTRACTION = "contraction"
"""Name of the table of the samples' standard deviation and the closed form of estimation noise."""

SUMMARY_COLUMNS = ("generation", "mean", "half_width", "n", "num_diverged", "num_lineages")


def build_tables(
    frame: pd.DataFrame, names: Sequence[str], *, by: Sequence[str], confidence: float
) -> list[Table]:
    """Build one table for each metric.

    Args:
        frame: A table of analysis.reading.results.load_results.
        names: Columns of numbers, COMPOSITION or CONTRACTION.
        by: Settings of the rows. If empty, all settings that vary, in one column if only a few
            change at a time (analysis.reading.settings). Other settings that vary split the
            table, so that only seeds are ever averaged.
        confidence: Coverage of the intervals over seeds, in (0, 1).

    Returns:
        The tables in the order of `names`.

    Raises:
        UsageError: A name in `by` is not a setting, or a table would mix numbers of images.
    """
    rows_by, split_by = _choose_axes(frame, by)
    usual = None if by else find_usual(frame, rows_by)
    tables: list[Table] = []
    for name in names:
        for split, part in grouped(frame, split_by):
            if name == CONTRACTION:
                same = [*axis_columns(frame), "seed", "member"]
                pools = with_contraction(part[part["member"] != MIXTURE], by=same)
                tables.append(_contraction_table(pools, name, rows_by, split, confidence))
            elif name != COMPOSITION:
                tables.append(_metric_table(part, name, rows_by, split, confidence))
            elif len(pools := part[part["member"] != MIXTURE]):
                tables.append(_composition_table(pools, name, rows_by, split, confidence))
    return tables if usual is None else [_name_rows(t, rows_by, usual) for t in tables]


def format_interval(mean: float, half_width: float, n: int) -> str:
    """Format `mean +- half-width (n)`, with two digits of the half-width and as many places.

    One seed gives only the mean, and no seed gives a dash.
    """
    if n == 0:
        return "-"
    if n == 1:
        return f"{mean:.4g}"
    if half_width == 0:
        return f"{mean:.4g} +- 0 ({n})"
    places = min(max(0, 1 - math.floor(math.log10(half_width))), 8)
    return f"{mean:.{places}f} +- {half_width:.{places}f} ({n})"


def _describe_measurement(metric: str, sizes: tuple[int, int] | None) -> str:
    if sizes is None:
        return ""
    extractor = name_extractor(metric)
    words = f"{sizes[0]} generated against {sizes[1]} reference images"
    return words + (f", feature extractor {extractor}" if extractor else "")


def _choose_axes(frame: pd.DataFrame, by: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the settings of the rows, and those that split a metric into several tables."""
    varying = varying_axes(frame)
    if not by:
        return setting_axes(frame), []
    choices = [*axis_columns(frame), "seed", "member"]
    for name in by:
        check_choice("--by", name, choices)
    return list(dict.fromkeys(by)), [axis for axis in varying if axis not in by]


def _metric_table(
    frame: pd.DataFrame, metric: str, by: list[str], split: dict[str, Any], confidence: float
) -> Table:
    sizes = measured_sizes(frame, metric)
    summary = summarize_seeds(frame, metric, by=by, confidence=confidence)
    texts = [_format_cell(row) for row in summary.to_dict("records")]
    caption = [_describe_measurement(metric, sizes), _describe_cells(summary, confidence)]
    caption += [_describe_lineages(frame)]
    caption += ["means exclude diverged lineages"] if summary["num_diverged"].any() else []
    caption += _find_warnings(frame, metric)
    numbers = _label_summary(summary, metric, split, sizes, confidence)
    return _pivot(_title(metric, split), by, summary, texts, caption, numbers)


def _composition_table(
    frame: pd.DataFrame, name: str, by: list[str], split: dict[str, Any], confidence: float
) -> Table:
    sizes = summarize_seeds(frame, "num_images", by=by, confidence=confidence)
    shares = summarize_seeds(frame, "real_share", by=by, confidence=confidence)
    texts = [_format_pool(part) for _, part in grouped(frame, [*by, "generation"])]
    caption = [
        "images in pool D_n, on which V_n was trained, and the share of real images among them",
        _describe_lineages(frame),
    ]
    numbers = [
        _label_summary(sizes, "num_images", split, None, confidence),
        _label_summary(shares, "real_share", split, None, confidence),
    ]
    return _pivot(_title(name, split), by, sizes, texts, caption, pd.concat(numbers))


def _contraction_table(
    frame: pd.DataFrame, name: str, by: list[str], split: dict[str, Any], confidence: float
) -> Table:
    left = summarize_seeds(frame, LEFT, by=by, confidence=confidence)
    null = summarize_seeds(frame, NULL, by=by, confidence=confidence)
    texts = [
        _format_cell(row) + (f"; {mean:.5g}" if mean == mean else "")
        for row, mean in zip(left.to_dict("records"), null["mean"], strict=True)
    ]
    caption = [
        "standard deviation of pixels over images, of V_n's samples divided by V_1's; after the "
        "semicolon, the expectation under estimation noise only (Gaussian fits), if known, which "
        "ignores the clipping of samples to the range of pixels that affects Gaussian fits most",
        _describe_cells(left, confidence),
        _describe_lineages(frame),
    ]
    numbers = [
        _label_summary(left, LEFT, split, None, confidence),
        _label_summary(null, NULL, split, None, confidence),
    ]
    return _pivot(_title(name, split), by, left, texts, caption, pd.concat(numbers))


def _pivot(
    title: str,
    by: list[str],
    summary: pd.DataFrame,
    texts: list[str],
    caption: list[str],
    numbers: pd.DataFrame,
) -> Table:
    """Arrange one text per setting and generation in rows and columns."""
    generations = sorted(set(summary["generation"]))
    rows = []
    for values, part in grouped(summary.assign(text=texts), by):
        cells = dict(zip(part["generation"], part["text"], strict=True))
        labels = [format_value(value) for value in values.values()]
        rows.append(labels + [cells.get(generation, "-") for generation in generations])
    header = [*by, *(f"V{generation}" for generation in generations)]
    sentence = "; ".join(part for part in caption if part) + "."
    caption_text = sentence[0].upper() + sentence[1:]
    return Table(title=title, header=header, rows=rows, caption=caption_text, summary=numbers)


def _name_rows(table: Table, by: list[str], usual: Usual) -> Table:
    """Name the rows by their changes, base first; the summary keeps every setting."""
    kept = [by.index(axis) for axis in by if axis not in usual.axes]
    rows = []
    for row in table.rows:
        name = usual.name(dict(zip(by, row[: len(by)], strict=True)))
        rows.append([name, *(row[i] for i in kept), *row[len(by) :]])
    return replace(
        table,
        header=[SETTING, *(by[i] for i in kept), *table.header[len(by) :]],
        rows=sorted(rows, key=lambda row: row[0] != BASE),
        caption=f"{table.caption[:-1]}; {usual.describe()}.",
    )


def _title(name: str, split: dict[str, Any]) -> str:
    return ", ".join([name, *(f"{axis} = {format_value(value)}" for axis, value in split.items())])


def _format_cell(row: dict[Any, Any]) -> str:
    text = format_interval(row["mean"], row["half_width"], row["n"])
    if not row["num_diverged"]:
        return text
    diverged = f"diverged {row['num_diverged']}/{row['num_lineages']}"
    return f"{text}; {diverged}" if row["n"] else diverged


def _format_pool(part: pd.DataFrame) -> str:
    sizes, shares = part["num_images"].dropna(), part["real_share"].dropna()
    if sizes.empty:
        return "-"
    low, high = int(sizes.min()), int(sizes.max())
    size = str(low) if low == high else f"{low} to {high}"
    return f"{size} ({100 * float(shares.mean()):.3g}% real)"


def _describe_cells(summary: pd.DataFrame, confidence: float) -> str:
    most = int(summary["n"].max())
    if most <= 1:
        return "n = 1 seed in every cell, so no interval"
    words = f"mean +- half-width of the {100 * confidence:g}% t interval over seeds (n seeds)"
    return words + ("; a number without interval has n = 1" if (summary["n"] == 1).any() else "")


def _describe_lineages(frame: pd.DataFrame) -> str:
    """Describe seeds, runs, and the number of lineages that are not complete."""
    runs = list(dict.fromkeys(frame["run"]))
    words = [describe_seeds(frame), f"run{'s' if len(runs) > 1 else ''} {', '.join(runs)}"]
    lineages = [set(part["status"]) for _, part in grouped(frame, ["run", "lineage"])]
    for status in ("diverged", "failed", "running", "pending", "missing"):
        count = sum(status in statuses for statuses in lineages)
        if count:
            words.append(f"{count} of {len(lineages)} lineages {status}")
    return "; ".join(words)


def _find_warnings(frame: pd.DataFrame, metric: str) -> list[str]:
    """Return the warnings of the evaluation about this metric."""
    warnings = {text for cell in frame[METRIC_COLUMNS[2]].dropna() for text in cell.split("; ")}
    name = metric.split("/")[0]
    of_metric = [text for text in warnings if text.split("/")[0].removesuffix("_se") == name]
    return [f"warning: {text}" for text in sorted(of_metric)]


def _label_summary(
    summary: pd.DataFrame,
    metric: str,
    split: dict[str, Any],
    sizes: tuple[int, int] | None,
    confidence: float,
) -> pd.DataFrame:
    """Add columns to a summary, so that it can be concatenated with those of other tables."""
    labelled = summary.assign(**split, metric=metric, confidence=confidence)
    labelled["num_generated"], labelled["num_reference"] = sizes or (pd.NA, pd.NA)
    axes = [c for c in labelled if c not in (*SUMMARY_COLUMNS, "metric", *_SIZE_COLUMNS)]
    return labelled[["metric", *axes, *SUMMARY_COLUMNS, *_SIZE_COLUMNS]]


_SIZE_COLUMNS = ("num_generated", "num_reference", "confidence")
