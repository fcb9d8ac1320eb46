"""The share of real images in a pool against the damage to the model that is trained on it."""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from analysis.figures.drawing.limits import Limits, Spread, fit_limits
from analysis.figures.drawing.lines import Panel, arrange_lines, figure_parts, name_units
from analysis.figures.drawing.pages import plan_pages
from analysis.figures.drawing.points import Points, draw_paths
from analysis.figures.drawing.style import FAINT
from analysis.figures.request import Drawing, FigureRequest
from analysis.reading.columns import (
    axis_columns,
    describe_sizes,
    group_positions,
    grouped,
    unit_columns,
)
from analysis.reading.labels import METRIC_NAMES, name_extractor, name_metric
from analysis.statistics.intervals import Source, summarize_curves
from model.errors import UsageError

REAL_SHARE = "real_share"
DAMAGE = "damage"
"""Column of a metric's differences from V_1 of the same lineage."""


def plan_real_share(request: FigureRequest) -> Iterator[Drawing]:
    """Plan figures of real shares against damage, for each metric and part of the settings.

    Raises:
        UsageError: No metric was measured, or none of a model after V_1.
    """
    if not request.metrics:
        raise UsageError(
            "--kind real-share must have a metric, got runs without one; "
            "`sweep evaluate DIR --metrics.names kid` takes it"
        )
    for metric in request.metrics:
        frame = request.frame.assign(**{DAMAGE: from_first(request.frame, metric)})
        used = frame[frame[[DAMAGE, REAL_SHARE]].notna().all(axis=1)]
        if not (used["generation"] > 1).any():
            raise UsageError(
                f"--kind real-share must have {metric} of V1 and of a later model with the origins "
                "of its pool, got none; finish a second generation first"
            )
        for by, split, part in figure_parts(frame, request.labels):
            if (part.index.isin(used.index) & (part["generation"] > 1)).any():
                yield from _plan_part(request, part, metric, by, split)


def from_first(frame: pd.DataFrame, metric: str) -> pd.Series:
    """Return the differences of a column from its number of V_1 of the same lineage and member."""
    by = [*dict.fromkeys([*axis_columns(frame), *unit_columns(frame), "member"])]
    numbers = frame[metric].astype(float).where(frame["status"] != "diverged").tolist()
    generations, found = frame["generation"].tolist(), [math.nan] * len(frame)
    for _, positions in group_positions(frame, by):
        first = next((numbers[i] for i in positions if generations[i] == 1), math.nan)
        for i in positions:
            found[i] = numbers[i] - first
    return pd.Series(found, frame.index)


def _plan_part(
    request: FigureRequest,
    frame: pd.DataFrame,
    metric: str,
    by: Sequence[str],
    split: dict[str, Any],
) -> Iterator[Drawing]:
    labels = request.labels
    damage, source = summarize_curves(frame, DAMAGE, by=by, confidence=request.confidence)
    shares, _ = summarize_curves(frame, REAL_SHARE, by=by, confidence=request.confidence)
    both = damage.assign(x=shares["mean"], y=damage["mean"], half_x=math.nan)
    both = both.assign(half_y=damage["half_width"].where(damage["generation"] > 1))
    points = {
        tuple(values.values()): part[part[["x", "y"]].notna().all(axis=1)]
        for values, part in grouped(both, by)
    }
    limits = fit_limits([_spread(part) for part in points.values() if len(part)], log=False)
    extractor = name_extractor(metric)
    y_name = f"{name_metric(metric)} minus that of V1" + (f" ({extractor})" if extractor else "")
    yield from plan_pages(
        labels.file_name(f"real-share-{metric}", split),
        arrange_lines(frame, by, labels),
        remarks=lambda panels: [
            *_remarks(request, frame, metric, split, panels, source),
            *_outside(panels, points, limits),
        ],
        draw=partial(
            draw_paths,
            points=points,
            width=request.width,
            names=(METRIC_NAMES[REAL_SHARE], y_name),
            prepare=partial(_prepare, limits=limits),
        ),
    )


def _spread(points: pd.DataFrame) -> Spread:
    y, half = points["y"], points["half_y"].fillna(0)
    return Spread(*map(float, (y.min(), y.max(), (y - half).min(), (y + half).max())))


def _outside(panels: Sequence[Panel], points: Points, limits: Limits) -> Iterator[str]:
    """Name the farthest point of each line outside the axes, and say if intervals are cut off."""
    for line in {line.key: line for panel in panels for line in panel.lines}.values():
        values = points[line.key]["y"].tolist() or [0.0]
        for value, sign, word in ((max(values), 1, "up"), (min(values), -1, "down")):
            if limits.excess(value) == sign:
                yield f"{line.label}: {word} to {value:.3g}, outside"
    if limits.is_cut_off:
        yield "an interval is cut off"


def _prepare(axes: Axes, limits: Limits) -> None:
    """Let shares fall from left to right, as they do in a lineage, and mark the level of V_1."""
    axes.set_xlim(1.04, -0.04)
    axes.set_ylim(limits.bottom, limits.top)
    axes.axhline(0, color=FAINT, ls=":", lw=1)


def _remarks(
    request: FigureRequest,
    frame: pd.DataFrame,
    metric: str,
    split: dict[str, Any],
    panels: Sequence[Panel],
    source: Source,
) -> Iterator[str]:
    if split:
        yield request.labels.describe_setting(split)
    yield f"V1 (open) to V{frame['generation'].max()}"
    if sizes := describe_sizes(frame, metric):
        yield f"N = {sizes}"
    units = name_units(frame, request.labels)
    yield f"bars: {100 * request.confidence:g}% {source} {units}" if source else units
    yield "differences within a seed"
    if panels[0].compared_with:
        yield f"black circles: {panels[0].compared_with}"
