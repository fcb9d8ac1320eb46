"""Paths of two numbers: a point for each generation of a setting, connected by lines."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.drawing.end_labels import EndLabel
from analysis.figures.drawing.lines import Line, Panel
from analysis.figures.drawing.pages import (
    AXIS_INCHES,
    LABEL_SHARE,
    lay_out,
    name_ends,
    num_columns,
    panel_inches,
)
from analysis.figures.drawing.text import fit_text

NUMBER_INCHES = 0.35
"""Room for a number of the x axis."""
Points = Mapping[tuple, pd.DataFrame]
"""Setting -> a row for each generation: x and y, and half_x and half_y, nan without an interval."""


def draw_paths(
    panels: Sequence[Panel],
    points: Points,
    *,
    width: float,
    note: str,
    names: tuple[str, str],
    prepare: Callable[[Axes], object] = lambda axes: None,
) -> Figure:
    """Draw panels of paths with equal axes below a note, in a figure of some inches' width.

    Args:
        panels: The panels.
        points: The points of each of their lines.
        width: Width in inches.
        note: Text above the panels.
        names: Names of the x axis and of the y axis.
        prepare: Called with the axes of each panel before anything is drawn.
    """
    columns = num_columns(panels, width)
    room = (width - AXIS_INCHES) / columns
    labels = [list(_end_labels(panel, points, LABEL_SHARE * width)) for panel in panels]
    figure, used = lay_out(
        [fit_text(panel.title, room - 0.05) if panel.title else "" for panel in panels],
        columns=columns,
        width=width,
        height=max(panel_inches(named, 1.5 * room) for named in labels),
        note=note,
        names=names,
    )
    for axes, panel in zip(used, panels, strict=True):
        axes.grid(visible=True, axis="both")
        axes.locator_params(axis="x", nbins=max(2, int(room / NUMBER_INCHES)))
        axes.locator_params(axis="y", nbins=4)
        prepare(axes)
        for line in panel.lines:
            _draw_path(axes, line, points[line.key])
    ends = [
        [replace(label, y=min(max(label.y, low), high)) for label in named]
        for named, (low, high) in zip(labels, (axes.get_ylim() for axes in used), strict=True)
    ]
    name_ends(figure, used, ends)
    return figure


def _draw_path(axes: Axes, line: Line, points: pd.DataFrame) -> None:
    """Draw the path of a setting, with an open marker at its first generation."""
    x, y = points["x"], points["y"]
    axes.plot(
        x, y, line.dashes, color=line.colour, marker=line.marker, mec="white", mew=0.4, lw=0.9
    )
    axes.plot(x[:1], y[:1], line.marker, mfc="white", mec=line.colour, mew=0.8)
    known = points[points[["half_x", "half_y"]].notna().any(axis=1)]
    axes.errorbar(
        known["x"],
        known["y"],
        xerr=known["half_x"].fillna(0),
        yerr=known["half_y"].fillna(0),
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
            x, y = points[line.key][["x", "y"]].iloc[-1]
            yield EndLabel(
                text=fit_text(line.label, room),
                x=float(x),
                y=float(y),
                colour=line.colour,
                marker=line.marker,
            )
