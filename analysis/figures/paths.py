"""Paths of one metric against another: a point for each generation, a line for each setting."""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pandas as pd

from analysis.figures.drawing.lines import Panel, arrange_lines, figure_parts, name_units
from analysis.figures.drawing.pages import plan_pages
from analysis.figures.drawing.points import draw_paths
from analysis.figures.request import Drawing, FigureRequest
from analysis.reading.columns import describe_sizes, grouped, metric_columns, split_name
from analysis.statistics.intervals import Source
from analysis.statistics.paths import METRICS, extractors_of, path_pairs, summarize_path
from model.errors import UsageError


def plan_paths(request: FigureRequest) -> Iterator[Drawing]:
    """Plan figures of the second metric asked for against the first, for each extractor.

    If there are not two, they are of precision against recall.

    Raises:
        UsageError: Precision and recall were not measured.
    """
    pairs = path_pairs(request.metrics, metric_columns(request.frame))
    if not pairs:
        raise UsageError(
            "--kind paths must have precision and recall, got runs without them; "
            "`sweep evaluate DIR --metrics.names precision recall` takes them"
        )
    for pair in pairs:
        for by, split, part in figure_parts(request.frame, request.labels):
            if not part[pair].dropna().empty:
                yield from _plan_part(request, part, pair, by, split)


def _plan_part(
    request: FigureRequest,
    frame: pd.DataFrame,
    names: Sequence[str],
    by: Sequence[str],
    split: dict[str, Any],
) -> Iterator[Drawing]:
    labels = request.labels
    shown = split_name(names[0])[0], split_name(names[1])[0]
    own = () if shown == METRICS else shown
    both, source = summarize_path(frame, names, by=by, confidence=request.confidence)
    points = {
        tuple(values.values()): _with_last_bars(part[part[["x", "y"]].notna().all(axis=1)], source)
        for values, part in grouped(both, by)
    }
    yield from plan_pages(
        labels.file_name("-".join(["paths", *own, *extractors_of(names)]), split),
        arrange_lines(frame, by, labels),
        remarks=lambda panels: _remarks(request, frame, names, split, panels, source),
        draw=partial(draw_paths, points=points, width=request.width, names=shown),
    )


def _with_last_bars(points: pd.DataFrame, source: Source) -> pd.DataFrame:
    """Keep the intervals of the last generation alone, and none without a source."""
    last = points["generation"] == points["generation"].max()
    halves = ["half_x", "half_y"]
    return points.assign(**points[halves].where(last & bool(source), math.nan).to_dict("series"))


def _remarks(
    request: FigureRequest,
    frame: pd.DataFrame,
    names: Sequence[str],
    split: dict[str, Any],
    panels: Sequence[Panel],
    source: Source,
) -> Iterator[str]:
    if split:
        yield request.labels.describe_setting(split)
    last = frame["generation"].max()
    yield from extractors_of(names)
    if last > 1:
        yield f"V1 (open) to V{last}"
    if sizes := describe_sizes(frame, names[0]):
        yield f"N = {sizes}"
    units = name_units(frame, request.labels)
    bars = f"bars at the end: {100 * request.confidence:g}% {source} "
    yield bars + units if source else units
    if panels[0].compared_with:
        yield f"black circles: {panels[0].compared_with}"
