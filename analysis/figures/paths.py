"""Paths of precision against recall: a point for each generation, and a line for each setting."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.drawing.end_labels import EndLabel
from analysis.figures.drawing.intervals import Source, summarize_curves
from analysis.figures.drawing.lines import Line, Panel, arrange_lines, figure_parts, name_units
from analysis.figures.drawing.pages import (
    AXIS_INCHES,
    LABEL_SHARE,
    lay_out,
    name_ends,
    num_columns,
    panel_inches,
    plan_pages,
)
from analysis.figures.drawing.text import fit_text
from analysis.figures.request import Drawing, FigureRequest
from analysis.reading.columns import grouped, measured_sizes, metric_columns
from model.errors import UsageError

METRICS = ("recall", "precision")
"""Metrics of the x axis and of the y axis."""
NUMBER_INCHES = 0.35
"""Room for a number of the x axis."""
Points = Mapping[tuple, pd.DataFrame]
"""Setting -> a row for each generation: mean and half_width of x and y."""


def plan_paths(request: FigureRequest) -> Iterator[Drawing]:
    """Plan figures of precision against recall, for each extractor and part of the settings.

    Raises:
        UsageError: Precision and recall were not measured.
    """
    columns = metric_columns(request.frame)
    extractors = [x.split("/", 1)[1] for x in columns if x.startswith(f"{METRICS[0]}/")]
    both = [x for x in extractors if f"{METRICS[1]}/{x}" in columns]
    if not both:
        raise UsageError(
            "--kind paths must have precision and recall, got runs without them; "
            "`sweep evaluate DIR --metrics.names precision recall` takes them"
        )
    for extractor in both:
        names = [f"{metric}/{extractor}" for metric in METRICS]
        for by, split, part in figure_parts(request.frame, request.labels):
            if not part[names].dropna().empty:
                yield from _plan_part(request, part, names, by, split)


def _plan_part(
    request: FigureRequest,
    frame: pd.DataFrame,
    names: Sequence[str],
    by: Sequence[str],
    split: dict[str, Any],
) -> Iterator[Drawing]:
    labels, extractor = request.labels, names[0].split("/", 1)[1]
    x, y = (summarize_curves(frame, n, by=by, confidence=request.confidence) for n in names)
    source = x[1] if x[1] == y[1] else Source.NONE
    both = x[0].assign(y=y[0]["mean"], half_y=y[0]["half_width"])
    points = {
        tuple(v.values()): p[p[["mean", "y"]].notna().all(axis=1)] for v, p in grouped(both, by)
    }
    yield from plan_pages(
        labels.file_name(f"paths-{extractor}", split),
        arrange_lines(frame, by, labels),
        remarks=lambda panels: _remarks(request, frame, names, split, panels, source),
        draw=partial(_draw_paths, points=points, width=request.width, bars=bool(source)),
    )


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
    yield names[0].split("/", 1)[1] + (f"; V1 (open) to V{last}" if last > 1 else "")
    if sizes := measured_sizes(frame, names[0]):
        yield f"N = {sizes[0]} generated, {sizes[1]} reference images"
    units = name_units(frame, request.labels)
    bars = f"bars at the end: {100 * request.confidence:g}% {source} "
    yield bars + units if source else units
    if panels[0].compared_with:
        yield f"black circles: {panels[0].compared_with}"


def _draw_paths(
    panels: Sequence[Panel], points: Points, *, width: float, note: str, bars: bool
) -> Figure:
    columns = num_columns(panels, width)
    room = (width - AXIS_INCHES) / columns
    labels = [list(_end_labels(panel, points, LABEL_SHARE * width)) for panel in panels]
    titles = [fit_text(panel.title, room - 0.05) if panel.title else "" for panel in panels]
    figure, used = lay_out(
        titles,
        columns=columns,
        width=width,
        height=max(panel_inches(named, 1.5 * room) for named in labels),
        note=note,
        names=METRICS,
    )
    for axes, panel in zip(used, panels, strict=True):
        axes.grid(visible=True, axis="both")
        axes.locator_params(axis="x", nbins=max(2, int(room / NUMBER_INCHES)))
        axes.locator_params(axis="y", nbins=4)
        for line in panel.lines:
            _draw_path(axes, line, points[line.key], bars=bars)
    name_ends(figure, used, labels)
    return figure


def _draw_path(axes: Axes, line: Line, points: pd.DataFrame, *, bars: bool) -> None:
    """Draw the path of a setting, with an open marker at its first generation."""
    x, y = points["mean"], points["y"]
    axes.plot(
        x, y, line.dashes, color=line.colour, marker=line.marker, mec="white", mew=0.4, lw=0.9
    )
    axes.plot(x[:1], y[:1], line.marker, mfc="white", mec=line.colour, mew=0.8)
    if bars:
        last = points[-1:]
        axes.errorbar(
            last["mean"],
            last["y"],
            xerr=last["half_width"].fillna(0),
            yerr=last["half_y"].fillna(0),
            color=line.colour,
            fmt="none",
            lw=0.6,
            alpha=0.7,
        )


def _end_labels(panel: Panel, points: Points, room: float) -> Iterator[EndLabel]:
    """Yield the names of a panel's lines at their last generations."""
    if panel.is_small:
        return
    for line in panel.lines:
        if not points[line.key].empty:
            x, y = points[line.key][["mean", "y"]].iloc[-1]
            yield EndLabel(
                text=fit_text(line.label, room),
                x=float(x),
                y=float(y),
                colour=line.colour,
                marker=line.marker,
            )
