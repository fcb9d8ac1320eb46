"""Tables over seeds: metrics, composition of the pools, and contraction of the samples.

Rows are settings, and columns are generations.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.reading.columns import (
    MEASURED_COLUMNS,
    METRIC_COLUMNS,
    MIXTURE,
    SETTING,
    SPLIT,
    SUMMARY_COLUMNS,
    SUMMARY_INPUTS,
    axis_columns,
    chosen_axes,
    group_positions,
    grouped,
    is_missing,
    measured_sizes,
)
from analysis.reading.floors import Floor, floor_column, floor_counts, floors_of
from analysis.reading.labels import Labels, name_extractor
from analysis.reading.results import status_rank
from analysis.reading.settings import BASE, Usual, find_usual
from analysis.statistics.contraction import LEFT, NULL, with_contraction
from analysis.statistics.seeds import summarize_seeds, t_interval
from analysis.tables.table import Table
from sweep.environment import common_facts, differing_facts

COMPOSITION = "composition"
"""Name of the table of pool sizes and real shares."""
CONTRACTION = "contraction"
"""Name of the table of the samples' standard deviation and the closed form of estimation noise."""


MAX_PLACES = 8
"""Most digits before and after the decimal point of an interval without exponents."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """The rows of the tidy table that become one table of results."""

    frame: pd.DataFrame
    by: list[str]
    """Settings that name the rows of the table of results, and those that follow from them."""
    implied: Sequence[str] = ()
    """Those of `by` that follow from the others and name no row: the caption says their values."""
    usual: Usual | None
    """Usual values, if one column names each row by its differences from them."""
    split: dict[str, Any]
    """Settings that are constant in the table, which its title names: setting -> value."""
    labels: Labels
    """Names of the values in all tables."""
    confidence: float
    """Coverage of the intervals over seeds, in (0, 1)."""

    @property
    def num_splits(self) -> int:
        """Number of splits of the data."""
        return len(self.labels.names(SPLIT, self.frame[SPLIT])) if SPLIT in self.frame else 1

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
        rows, of_rows = [], summary["generation"].tolist()
        for values, positions in group_positions(summary, self.by):
            cells = {of_rows[i]: texts[i] for i in positions}
            rows.append(self.name(values) + [cells.get(n, "-") for n in generations])
        if self.usual:
            rows.sort(key=lambda row: row[0] != BASE)
            caption = [*caption, self.usual.describe()]
        own = self.own_columns()
        caption += [self.labels.describe_implied(self.frame, x, own) for x in self.implied]
        return Table(
            title=", ".join(filter(None, [name, self.labels.list_settings(self.split)])),
            header=[*self.names, *(f"V{generation}" for generation in generations)],
            rows=rows,
            num_names=len(self.names),
            caption=as_sentence(caption),
            summary=pd.concat([self._label(numbers, c) for c, numbers in summaries.items()]),
            runs=self.runs,
        )

    @property
    def runs(self) -> tuple[str, ...]:
        """Names of the runs."""
        return tuple(self.labels.names("run", self.frame["run"]))

    @property
    def names(self) -> list[str]:
        """Header of the columns that name a row."""
        return [*([SETTING] if self.usual else []), *self.own_columns()]

    def own_columns(self) -> list[str]:
        """The settings that have a column beside the one for the others."""
        hidden = self.usual.axes if self.usual else self.implied
        return [axis for axis in self.by if axis not in hidden]

    def name(self, values: dict[str, Any]) -> list[str]:
        """Name a row: the text of the columns before its numbers."""
        own = [self.labels.name(axis, values[axis]) for axis in self.own_columns()]
        return [self.usual.name(values), *own] if self.usual else own

    def describe(self, values: dict[str, Any]) -> str:
        """Name a row in a sentence: `pool.alpha = 2, train.epochs = 40`."""
        own = {axis: values[axis] for axis in self.own_columns()}
        shared = [self.usual.name(values)] if self.usual else []
        return ", ".join([*shared, *([self.labels.list_settings(own)] if own else [])])

    def _label(self, summary: pd.DataFrame, metric: str) -> pd.DataFrame:
        """Add columns to a summary, so that it can be concatenated with those of other columns."""
        inputs = {"metric": metric, "confidence": self.confidence, **self.measured(metric)}
        labelled = summary.assign(**self.split, **inputs)
        metric_column, *inputs = SUMMARY_INPUTS
        return labelled[[metric_column, *self.by, *self.split, *SUMMARY_COLUMNS, *inputs]]

    def measured(self, metric: str) -> dict[str, Any]:
        """The MEASURED_COLUMNS of a summary of a column."""
        sizes = measured_sizes(self.frame, metric) or (pd.NA, pd.NA)
        seeds = ", ".join(self.labels.list_seeds(self.frame))
        environment = describe_environments(self.frame)
        return dict(zip(MEASURED_COLUMNS, (*sizes, seeds, environment), strict=True))


def build_tables(
    frame: pd.DataFrame, names: Sequence[str], *, by: Sequence[str], confidence: float
) -> list[Table]:
    """Build the named tables, each of them split by settings that vary and do not name rows.

    Args:
        frame: A table of analysis.reading.results.load_results.
        names: Columns of numbers, COMPOSITION or CONTRACTION.
        by: Settings that name the rows. If empty, these are all settings that vary, which share
            one column if only a few change at a time (analysis.reading.settings). Other settings
            that vary split the table, unless they follow from `by` (chosen_axes), so that a mean is
            only ever over seeds.
        confidence: Coverage of the intervals over seeds, in (0, 1).

    Returns:
        The tables in the order of `names`.

    Raises:
        UsageError: A name in `by` is not a setting, or a table would mix numbers of images.
    """
    rows_by, implied, split_by = chosen_axes(frame, by)
    whole = part_of(frame, [*rows_by, *implied], confidence, may_have_usual=not by)
    whole = replace(whole, implied=implied)
    tables: list[Table] = []
    for name in names:
        build = SPECIAL_TABLES.get(name, _metric_table)
        rows = frame[frame["member"] != MIXTURE] if name in SPECIAL_TABLES else frame
        for split, group in grouped(rows, split_by):
            if not group.empty:
                tables.append(build(replace(whole, frame=group, split=split), name))
    return tables


def part_of(
    frame: pd.DataFrame, by: list[str], confidence: float, *, may_have_usual: bool = True
) -> Part:
    """The whole tidy table as one part, whose rows are named by some settings."""
    labels = Labels(frame)
    usual = find_usual(frame, by, labels) if may_have_usual else None
    return Part(frame=frame, by=by, usual=usual, split={}, labels=labels, confidence=confidence)


def as_sentence(parts: Sequence[str]) -> str:
    """Join the parts of a caption that are not empty."""
    sentence = "; ".join(filter(None, parts)) + "."
    return sentence[0].upper() + sentence[1:]


def format_interval(mean: float, half_width: float, n: int, count: str | None = None) -> str:
    """Format `mean +- half-width (n)`, both rounded to two significant digits of the half-width.

    One value gives only the mean, and no value gives a dash. `count` is written instead of n.
    """
    if n == 0:
        return "-"
    if n == 1:
        return f"{mean:.4g}"
    number = count or str(n)
    if half_width == 0:
        return f"{mean:.4g} +- 0 ({number})"
    places = max(0, 1 - math.floor(math.log10(half_width)))
    if places > MAX_PLACES or max(abs(mean), half_width) >= 10**MAX_PLACES:
        return f"{mean:.4g} +- {half_width:.2g} ({number})"
    return f"{mean:.{places}f} +- {half_width:.{places}f} ({number})"


def describe_measurement(frame: pd.DataFrame, metric: str) -> str:
    """Say how many images a metric compares, and with which features."""
    sizes = measured_sizes(frame, metric)
    if sizes is None:
        return ""
    extractor = name_extractor(metric)
    words = f"{sizes[0]} generated against {sizes[1]} reference images"
    return words + (f", feature extractor {extractor}" if extractor else "")


def describe_floor(part: Part, metric: str) -> str:
    """Say which value of a metric real training images reach; empty if it was not measured.

    Settings are named only if their floors differ, and then by one axis if that is possible.
    """
    measured = part.frame[part.frame[metric].notna()]
    if (column := floor_column(metric)) not in measured:
        return ""
    has_gaps = bool(measured[column].isna().any())
    floors: list[tuple[dict[str, Any], str]] = []
    for axes in ([], *([axis] for axis in part.by), part.by):
        groups = [(values, floors_of(rows, metric)) for values, rows in grouped(measured, axes)]
        if axes == part.by or not (has_gaps or any(splits is None for _, splits in groups)):
            floors = [(values, _format_floor(splits, part)) for values, splits in groups if splits]
            break
    if not floors:
        return ""
    texts = [f"{part.labels.describe_setting(v)}: {t}" if v else t for v, t in floors]
    counts, sizes = floor_counts(measured, metric), measured_sizes(measured, metric)
    words = f"{' or '.join(map(str, counts))} real training images"
    words += ", not as many as generated" if sizes and counts != [sizes[0]] else ""
    return f"floor ({words}): {', '.join(texts)}"


def _format_floor(splits: Mapping[Any, Floor], part: Part) -> str:
    """Format a floor, with its interval over splits of the data, or from images for one split."""
    value, half_width, n = t_interval([floor.value for floor in splits.values()], part.confidence)
    error = next(iter(splits.values())).error
    if n == 1 and error is not None:
        return format_interval(value, error, 2, "standard error over images")
    return format_interval(value, half_width, n, f"{n} splits")


def _metric_table(part: Part, metric: str) -> Table:
    caption = [describe_measurement(part.frame, metric)]
    summary = part.summarize(metric)
    caption += [describe_floor(part, metric), _describe_cells(summary, part)]
    caption += [describe_lineages(part)]
    caption += ["means exclude diverged lineages"] if summary["num_diverged"].any() else []
    caption += _find_warnings(part.frame, metric)
    return part.table(metric, _format_cells(summary), caption, {metric: summary})


def _composition_table(part: Part, name: str) -> Table:
    sizes, shares = (part.frame[name].tolist() for name in ("num_images", "real_share"))
    texts = [
        _format_pool([sizes[i] for i in positions], [shares[i] for i in positions])
        for _, positions in group_positions(part.frame, [*part.by, "generation"])
    ]
    caption = [
        "images in pool D_n, on which V_n was trained, and the share of real images among them",
        describe_lineages(part),
    ]
    summaries = {column: part.summarize(column) for column in ("num_images", "real_share")}
    return part.table(name, texts, caption, summaries)


def _contraction_table(part: Part, name: str) -> Table:
    lineage = [*axis_columns(part.frame), "seed", "member"]
    part = replace(part, frame=with_contraction(part.frame, by=lineage))
    left, null = part.summarize(LEFT), part.summarize(NULL)
    texts = [
        text + (f"; {mean:.5g}" if mean == mean else "")
        for text, mean in zip(_format_cells(left), null["mean"], strict=True)
    ]
    caption = [
        "standard deviation of pixels over images, of V_n's samples divided by V_1's; after the "
        "semicolon, the expectation under estimation noise only (Gaussian fits), if known, which "
        "ignores the clipping of samples to the range of pixels that affects Gaussian fits most",
        describe_measurement(part.frame, "pixel_std"),
        _describe_cells(left, part),
        describe_lineages(part),
    ]
    return part.table(name, texts, caption, {LEFT: left, NULL: null})


def _format_cells(summary: pd.DataFrame) -> list[str]:
    by_split = bool((summary["num_splits"] > 1).any())
    return [_format_cell(row, by_split) for row in summary.to_dict("records")]


def _format_cell(row: dict[Any, Any], by_split: bool) -> str:
    count = _count_units(row) if by_split else None
    text = format_interval(row["mean"], row["half_width"], row["n"], count)
    if not row["num_diverged"]:
        return text
    diverged = f"diverged {row['num_diverged']}/{row['num_lineages']}"
    return f"{text}; {diverged}" if row["n"] else diverged


def _count_units(row: dict[Any, Any]) -> str:
    """Format the numbers of seeds and splits: `3 x 4`, or `5 of 3 x 4` if some are missing."""
    full = row["num_seeds"] * row["num_splits"]
    missing = "" if row["n"] == full else f"{row['n']} of "
    return f"{missing}{row['num_seeds']} x {row['num_splits']}"


def _format_pool(sizes: Sequence[Any], shares: Sequence[Any]) -> str:
    sizes = [size for size in sizes if not is_missing(size)]
    shares = [share for share in shares if not is_missing(share)]
    if not sizes:
        return "-"
    low, high = int(min(sizes)), int(max(sizes))
    size = str(low) if low == high else f"{low} to {high}"
    share = float(np.mean(shares)) if shares else math.nan
    return f"{size} ({100 * share:.3g}% real)"


def _describe_cells(summary: pd.DataFrame, part: Part) -> str:
    """Say what an interval is over, and what it holds fixed."""
    if int(summary["n"].max()) <= 1:
        return "n = 1 seed in every cell, so no interval"
    interval = f"mean +- half-width of the {100 * part.confidence:g}% t interval over"
    single = "; a number without an interval has n = 1" if (summary["n"] == 1).any() else ""
    splits = part.labels.describe_splits(part.frame)
    if not (summary["num_splits"] > 1).any():
        row = " in each row" if part.num_splits > 1 else ""
        known = f" ({splits})" if splits else ""
        return f"{interval} seeds (n seeds), for one split of the data{row}{known}{single}"
    over = "seeds and splits" if (summary["num_seeds"] > 1).any() else "splits"
    held = "" if (summary["num_seeds"] > 1).any() else ", for one seed"
    return f"{interval} {over} of the data (seeds x splits){held}; {splits}{single}"


def describe_lineages(part: Part) -> str:
    """Describe seeds and runs, and count the lineages that are not done by status."""
    seeds = part.labels.describe_seeds(part.frame)
    words = [seeds, f"run{'s' if len(part.runs) > 1 else ''} {', '.join(part.runs)}"]
    statuses = set(part.frame[["run", "lineage", "status"]].itertuples(index=False, name=None))
    lineages = {(run, lineage) for run, lineage, _ in statuses}
    for status in sorted({status for _, _, status in statuses} - {"done"}, key=status_rank):
        n = sum(status == each for _, _, each in statuses)
        words.append(f"{n} of {len(lineages)} lineages {status}")
    environment = describe_environments(part.frame)
    return "; ".join([*words, *([f"environment: {environment}"] if environment else [])])


def describe_environments(frame: pd.DataFrame) -> str:
    """The environment of the models of a table, and what differs if there are several."""
    lines = _environments(frame)
    differing = differing_facts(lines)
    words = [f"different environments (models): {differing}"] if differing else []
    return "; ".join(filter(None, [common_facts(lines), *words]))


def mixed_environments(frame: pd.DataFrame) -> str:
    """What differs between the environments of the models of a table; empty if nothing does."""
    return differing_facts(_environments(frame))


def _environments(frame: pd.DataFrame) -> list[str]:
    cells = frame.drop_duplicates(["node", "member"])["environments"].dropna()
    return [line for cell in cells for line in cell]


def _find_warnings(frame: pd.DataFrame, metric: str) -> list[str]:
    """Return the warnings of the evaluation about this metric."""
    warnings = {text for cell in frame[METRIC_COLUMNS[2]].dropna() for text in cell}
    name = metric.split("/")[0]
    of_metric = [text for text in warnings if text.split("/")[0].removesuffix("_se") == name]
    return [f"warning: {text}" for text in sorted(of_metric)]


SPECIAL_TABLES: dict[str, Callable[[Part, str], Table]] = {
    COMPOSITION: _composition_table,
    CONTRACTION: _contraction_table,
}
"""Name of a table that is not a single column -> the function that builds it."""
