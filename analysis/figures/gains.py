"""Variance gain by principal direction: a panel per setting, and a line per generation."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from analysis.figures.drawing.limits import Limits
from analysis.figures.drawing.lines import MAX_PANELS, Line, Panel, figure_parts, name_units
from analysis.figures.drawing.pages import (
    AXIS_INCHES,
    HEIGHT,
    lay_out,
    num_columns,
    plan_pages,
)
from analysis.figures.drawing.panels import log_locator
from analysis.figures.drawing.style import FAINT
from analysis.figures.drawing.text import fit_text
from analysis.figures.request import Drawing, FigureRequest
from analysis.reading.columns import (
    DIRECTION,
    SETTING,
    describe_sizes,
    grouped,
)
from analysis.reading.labels import Labels
from analysis.reading.results import load_direction_results
from analysis.reading.rows import keep_rows
from analysis.statistics.forecasts import check_forecast
from analysis.statistics.gains import Gains, gain_columns, summarize_gains

COLOURS, DARKEST, LIGHTEST = "viridis", 0.0, 0.85
"""Colours of generations, dark to light, and the part of them that is used."""
SMALL = 1.1
"""Height in inches of one of several panels."""


def plan_gain(request: FigureRequest) -> Iterator[Drawing]:
    """Plan figures of the variance gain of every generation along the principal directions.

    Raises:
        UsageError: The gain was not measured, or no lineage has a forecast.
    """
    frame = load_direction_results(request.dirs)
    if request.where:
        frame = keep_rows(frame, request.where)
    check_forecast(request.forecasts, frame["lineage"])
    labels = Labels(frame)
    for column in gain_columns(frame):
        measured = frame[frame[column].notna()]
        for by, split, part in figure_parts(measured.drop(columns=DIRECTION), labels):
            rows = part.assign(**{DIRECTION: measured.loc[part.index, DIRECTION]})
            yield from _plan_part(request, rows, column, by, split, labels)


def _plan_part(
    request: FigureRequest,
    frame: pd.DataFrame,
    column: str,
    by: Sequence[str],
    split: dict[str, Any],
    labels: Labels,
) -> Iterator[Drawing]:
    gains = summarize_gains(
        frame, column, by=by, confidence=request.confidence, forecasts=request.forecasts
    )
    settings = [values for values, _ in grouped(frame, by)]
    panels = [_panel(values, gains, by, labels, len(settings)) for values in settings]
    yield from plan_pages(
        labels.file_name(column, split),
        [panels[i : i + MAX_PANELS] for i in range(0, len(panels), MAX_PANELS)],
        remarks=lambda page: _remarks(request, frame, column, split, page, gains, labels),
        draw=partial(_draw, gains=gains, width=request.width),
    )


def _panel(
    values: dict[str, Any], gains: Gains, by: Sequence[str], labels: Labels, num_settings: int
) -> Panel:
    """The panel of a setting, with a line for each of its generations."""
    generations = sorted(key[0] for key in gains.means if key[1:] == tuple(values.values()))
    last = max(key[0] for key in gains.means)
    colours = mpl.colormaps[COLOURS]
    title = str(values[SETTING]) if SETTING in values else labels.describe_setting(values, by)
    return Panel(
        title=title if num_settings > 1 else "",
        is_small=True,
        lines=tuple(
            Line(
                values={"generation": n, **values},
                label=f"V{n}",
                colour=to_hex(colours(DARKEST + (LIGHTEST - DARKEST) * (n - 1) / max(1, last - 1))),
                marker="",
                dashes="-",
            )
            for n in generations
        ),
    )


def _remarks(
    request: FigureRequest,
    frame: pd.DataFrame,
    column: str,
    split: dict[str, Any],
    panels: Sequence[Panel],
    gains: Gains,
    labels: Labels,
) -> Iterator[str]:
    if split:
        yield labels.describe_setting(split)
    if sizes := describe_sizes(frame, column):
        yield f"N = {sizes}"
    units = name_units(frame, labels)
    band = f"band of the last generation: {100 * request.confidence:g}% {gains.source} "
    yield band + units if gains.source else units
    if gains.said:
        yield "dashed: forecast"
    yield "dotted: training images"
    yield "vertical lines: head | middle | tail"


def _draw(
    panels: Sequence[Panel],
    *,
    gains: Gains,
    width: float,
    note: str,
) -> Figure:
    columns = num_columns(panels, width)
    room = (width - AXIS_INCHES) / columns
    longest = max(panels, key=lambda panel: len(panel.lines))
    height = HEIGHT if len(panels) == 1 else SMALL
    limits = _limits(panels, gains)
    figure, used = lay_out(
        [fit_text(panel.title, room - 0.05) if panel.title else "" for panel in panels],
        columns=columns,
        width=width,
        height=height,
        note=note + ("; an interval is cut off" if limits.is_cut_off else ""),
        names=("principal direction", "variance gain"),
        key=longest.lines,
    )
    for axes, panel in zip(used, panels, strict=True):
        _prepare(axes, gains, _setting(panel), limits, height)
        for line in panel.lines:
            _draw_line(axes, line, gains.means[line.key], has_band=line == panel.lines[-1])
            if line.key in gains.said:
                expected = gains.said[line.key]
                axes.plot(expected.index, expected, "--", color=line.colour, lw=0.7)
    return figure


def _setting(panel: Panel) -> tuple:
    """The setting of a panel, whose lines are its generations."""
    return panel.lines[0].key[1:]


def _limits(panels: Sequence[Panel], gains: Gains) -> Limits:
    """Limits around all mean gains above 0 and forecasts, which intervals do not extend."""
    lasts = [gains.means[panel.lines[-1].key] for panel in panels]
    drawn = [gains.means[line.key]["mean"] for panel in panels for line in panel.lines]
    train = [gains.train[_setting(panel)] for panel in panels]
    values = pd.concat([*drawn, *gains.said.values(), *train, pd.Series([1.0])])
    values = values[values > 0]
    bottom, top = float(values.min()) / 1.15, float(values.max()) * 1.15
    is_cut_off = any(
        (last["mean"] + last["half_width"] > top).any()
        or (last["mean"] - last["half_width"] < bottom).any()
        for last in lasts
    )
    return Limits(bottom, top, is_cut_off=is_cut_off)


def _prepare(axes: Axes, gains: Gains, setting: tuple, limits: Limits, height: float) -> None:
    """Set the scales, and draw what a setting's generations share: 1, training images and bands."""
    gain_train = gains.train[setting]
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_locator(log_locator(limits, height))
    axes.set_ylim(limits.bottom, limits.top)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_locator(NullLocator())
    axes.axhline(1, color=FAINT, lw=0.6)
    axes.plot(gain_train.index, gain_train, ":", color=FAINT, lw=0.8)
    for end in gains.ends[setting]:
        axes.axvline(end, color=FAINT, lw=0.4)


def _draw_line(axes: Axes, line: Line, means: pd.DataFrame, *, has_band: bool) -> None:
    x, mean = means[DIRECTION].astype(float), means["mean"].where(means["mean"] > 0)
    axes.plot(x, mean, line.dashes, color=line.colour, lw=0.9)
    if has_band:
        half = means["half_width"].fillna(0.0)
        low = (mean - half).clip(lower=mean / 10)
        axes.fill_between(x, low, mean + half, color=line.colour, alpha=0.18, lw=0)
