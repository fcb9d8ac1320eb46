"""Tables over seeds: metrics, composition of the pools, and contraction of the samples.

Rows are settings, and columns are generations.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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
from analysis.reading.labels import describe_seeds, format_value, list_settings, name_extractor
from analysis.reading.settings import BASE, SETTING, Usual, find_usual
from analysis.statistics.contraction import LEFT, NULL, with_contraction
from analysis.statistics.seeds import SUMMARY_COLUMNS, summarize_seeds
from analysis.tables.render import Table
from model.errors import check_choice

COMPOSITION = "composition"
"""Name of the table of pool sizes and real shares."""
CONTRACTION = "contraction"
"""Name of the table of the samples' standard deviation and the closed form of estimation noise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """The rows of the tidy table that become one table of results."""

    frame: pd.DataFrame
    by: list[str]
    """Settings that name the rows of the table of results."""
    split: dict[str, Any]
    """Settings that are constant in the table, which its title names: setting -> value."""
    confidence: float
    """Coverage of the intervals over seeds, in (0, 1)."""

    def summarize(self, column: str) -> pd.DataFrame:
        """Summarise a column over seeds."""
        return summarize_seeds(self.frame, column, by=self.by, confidence=self.confidence)

    def table(
        self, name: str, texts: list[str], caption: list[str], summaries: dict[str, pd.DataFrame]
    ) -> Table:
        """Arrange one text per setting and generation in rows and columns.

        Args:
            name: Start of the title.
            texts: One for each row of the summaries, which all have the same rows.
            caption: Parts of the caption, some of which may be empty.
            summaries: Column of the tidy table -> its summary over seeds.
        """
        summary = next(iter(summaries.values()))
        generations = sorted(set(summary["generation"]))
        rows = []
        for values, part in grouped(summary.assign(text=texts), self.by):
            cells = dict(zip(part["generation"], part["text"], strict=True))
            labels = [format_value(value) for value in values.values()]
            rows.append(labels + [cells.get(generation, "-") for generation in generations])
        sentence = "; ".join(filter(None, caption)) + "."
        return Table(
            title=", ".join(filter(None, [name, list_settings(self.split)])),
            header=[*self.by, *(f"V{generation}" for generation in generations)],
            rows=rows,
            caption=sentence[0].upper() + sentence[1:],
            summary=pd.concat([self._label(numbers, c) for c, numbers in summaries.items()]),
        )

    def _label(self, summary: pd.DataFrame, metric: str) -> pd.DataFrame:
        """Add columns to a summary, so that it can be concatenated with those of other columns."""
        labelled = summary.assign(**self.split, metric=metric, confidence=self.confidence)
        sizes = measured_sizes(self.frame, metric) or (pd.NA, pd.NA)
        labelled["num_generated"], labelled["num_reference"] = sizes
        first = ["metric", *self.by, *self.split, *SUMMARY_COLUMNS]
        return labelled[[*first, "num_generated", "num_reference", "confidence"]]


def build_tables(
    frame: pd.DataFrame, names: Sequence[str], *, by: Sequence[str], confidence: float
) -> list[Table]:
    """Build the named tables, each of them split by settings that vary and are not in `by`.

    Args:
        frame: A table of analysis.reading.results.load_results.
        names: Columns of numbers, COMPOSITION or CONTRACTION.
        by: Settings that name the rows. If empty, these are all settings that vary, which share
            one column if only a few change at a time (analysis.reading.settings). Other settings
            that vary split the table, so that a mean is only ever over seeds.
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
        build = SPECIAL_TABLES.get(name, _metric_table)
        rows = frame[frame["member"] != MIXTURE] if name in SPECIAL_TABLES else frame
        for split, group in grouped(rows, split_by):
            if not group.empty:
                part = Part(frame=group, by=rows_by, split=split, confidence=confidence)
                tables.append(build(part, name))
    return tables if usual is None else [_name_rows(t, rows_by, usual) for t in tables]


def format_interval(mean: float, half_width: float, n: int) -> str:
    """Format `mean +- half-width (n)`, both rounded to two significant digits of the half-width.

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


def _describe_measurement(frame: pd.DataFrame, metric: str) -> str:
    sizes = measured_sizes(frame, metric)
    if sizes is None:
        return ""
    extractor = name_extractor(metric)
    words = f"{sizes[0]} generated against {sizes[1]} reference images"
    return words + (f", feature extractor {extractor}" if extractor else "")


def _choose_axes(frame: pd.DataFrame, by: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the settings of the rows, and those that split a metric into several tables."""
    if not by:
        return setting_axes(frame), []
    choices = [*axis_columns(frame), "seed", "member"]
    for name in by:
        check_choice("--by", name, choices)
    return list(dict.fromkeys(by)), [axis for axis in varying_axes(frame) if axis not in by]


def _metric_table(part: Part, metric: str) -> Table:
    caption = [_describe_measurement(part.frame, metric)]
    summary = part.summarize(metric)
    texts = [_format_cell(row) for row in summary.to_dict("records")]
    caption += [_describe_cells(summary, part.confidence), _describe_lineages(part.frame)]
    caption += ["means exclude diverged lineages"] if summary["num_diverged"].any() else []
    caption += _find_warnings(part.frame, metric)
    return part.table(metric, texts, caption, {metric: summary})


def _composition_table(part: Part, name: str) -> Table:
    texts = [_format_pool(pools) for _, pools in grouped(part.frame, [*part.by, "generation"])]
    caption = [
        "images in pool D_n, on which V_n was trained, and the share of real images among them",
        _describe_lineages(part.frame),
    ]
    summaries = {column: part.summarize(column) for column in ("num_images", "real_share")}
    return part.table(name, texts, caption, summaries)


def _contraction_table(part: Part, name: str) -> Table:
    lineage = [*axis_columns(part.frame), "seed", "member"]
    part = replace(part, frame=with_contraction(part.frame, by=lineage))
    left, null = part.summarize(LEFT), part.summarize(NULL)
    texts = [
        _format_cell(row) + (f"; {mean:.5g}" if mean == mean else "")
        for row, mean in zip(left.to_dict("records"), null["mean"], strict=True)
    ]
    caption = [
        "standard deviation of pixels over images, of V_n's samples divided by V_1's; after the "
        "semicolon, the expectation under estimation noise only (Gaussian fits), if known, which "
        "ignores the clipping of samples to the range of pixels that affects Gaussian fits most",
        _describe_cells(left, part.confidence),
        _describe_lineages(part.frame),
    ]
    return part.table(name, texts, caption, {LEFT: left, NULL: null})


def _name_rows(table: Table, by: list[str], usual: Usual) -> Table:
    """Name rows by their changes in one column, base first; the summary keeps every setting."""
    others = [by.index(axis) for axis in by if axis not in usual.axes]
    rows = []
    for row in table.rows:
        name = usual.name(dict(zip(by, row[: len(by)], strict=True)))
        rows.append([name, *(row[i] for i in others), *row[len(by) :]])
    return replace(
        table,
        header=[SETTING, *(by[i] for i in others), *table.header[len(by) :]],
        rows=sorted(rows, key=lambda row: row[0] != BASE),
        caption=f"{table.caption[:-1]}; {usual.describe()}.",
    )


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
    max_n = int(summary["n"].max())
    if max_n <= 1:
        return "n = 1 seed in every cell, so no interval"
    words = f"mean +- half-width of the {100 * confidence:g}% t interval over seeds (n seeds)"
    return words + ("; a number without an interval has n = 1" if (summary["n"] == 1).any() else "")


def _describe_lineages(frame: pd.DataFrame) -> str:
    """Describe seeds and runs, and count the lineages that are not done by status."""
    runs = frame["run"].unique()
    words = [describe_seeds(frame), f"run{'s' if len(runs) > 1 else ''} {', '.join(runs)}"]
    lineages = [set(part["status"]) for _, part in grouped(frame, ["run", "lineage"])]
    for status in ("diverged", "failed", "running", "pending", "missing"):
        n = sum(status in statuses for statuses in lineages)
        if n:
            words.append(f"{n} of {len(lineages)} lineages {status}")
    return "; ".join(words)


def _find_warnings(frame: pd.DataFrame, metric: str) -> list[str]:
    """Return the warnings of the evaluation about this metric."""
    warnings = {text for cell in frame[METRIC_COLUMNS[2]].dropna() for text in cell.split("; ")}
    name = metric.split("/")[0]
    of_metric = [text for text in warnings if text.split("/")[0].removesuffix("_se") == name]
    return [f"warning: {text}" for text in sorted(of_metric)]


SPECIAL_TABLES: dict[str, Callable[[Part, str], Table]] = {
    COMPOSITION: _composition_table,
    CONTRACTION: _contraction_table,
}
"""Name of a table that is not a single column -> the function that builds it."""
