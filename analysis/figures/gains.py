"""Variance gain by principal direction: a panel per setting, and a line per generation."""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from analysis.figures.drawing.intervals import Source, summarize_curves
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
    AT,
    DIRECTION,
    SETTING,
    describe_sizes,
    grouped,
    metric_columns,
)
from analysis.reading.labels import Labels
from analysis.reading.results import load_direction_results
from analysis.reading.rows import keep_rows
from analysis.statistics.forecasts import check_forecast

GAIN = "gain"
BANDS = (0.5, 0.9)
"""Shares of variance at which the head and the middle end, as in docs/metrics.md."""
COLOURS, DARKEST, LIGHTEST = "viridis", 0.0, 0.85
"""Colours of generations, dark to light, and the part of them that is used."""
SMALL = 1.1
"""Height in inches of one of several panels."""
Means = Mapping[tuple, pd.DataFrame]
"""Generation and setting -> mean, half_width and direction."""


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
    for column in metric_columns(frame):
        if column.split(AT)[0] != GAIN:
            continue
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
    summary, source = summarize_curves(
        frame, column, by=[*by, DIRECTION], confidence=request.confidence
    )
    means = {tuple(v.values()): rows for v, rows in grouped(summary, ["generation", *by])}
    said = _forecast(request, frame, column, by)
    settings = [values for values, _ in grouped(frame, by)]
    panels = [_panel(values, means, by, labels, len(settings)) for values in settings]
    suffix = column.removeprefix(GAIN)
    columns = [f"gain_train{suffix}", f"variance_share{suffix}"]
    of_data = frame.reindex(columns=[DIRECTION, *columns]).groupby(DIRECTION)[columns].mean()
    yield from plan_pages(
        labels.file_name(column, split),
        [panels[i : i + MAX_PANELS] for i in range(0, len(panels), MAX_PANELS)],
        remarks=lambda page: _remarks(
            request, frame, column, split, page, source, labels, is_forecast=bool(said)
        ),
        draw=partial(_draw, means=means, said=said, of_data=of_data, width=request.width),
    )


def _forecast(
    request: FigureRequest, frame: pd.DataFrame, column: str, by: Sequence[str]
) -> dict[tuple, pd.Series]:
    """Generation and setting -> the forecast gain of each direction, where lineages have one.

    A forecast is relative to the training images, and gains to the reference.
    """
    if request.forecasts is None:
        return {}
    of_train = frame[f"gain_train{column.removeprefix(GAIN)}"]
    said = [
        _said(request.forecasts.get(lineage), generation, direction) * train
        for lineage, generation, direction, train in zip(
            frame["lineage"], frame["generation"], frame[DIRECTION], of_train, strict=True
        )
    ]
    known = frame.assign(said=said).dropna(subset=["said"])
    return {
        tuple(values.values()): rows.groupby(DIRECTION)["said"].mean()
        for values, rows in grouped(known, ["generation", *by])
    }


def _said(generations: Sequence[Mapping[str, Any]] | None, number: int, direction: int) -> float:
    """The forecast of a generation along a direction; nan if there is none."""
    if generations is None or number > len(generations):
        return math.nan
    directions = generations[number - 1]["directions"]
    return directions[direction - 1] if direction <= len(directions) else math.nan


def _panel(
    values: dict[str, Any], means: Means, by: Sequence[str], labels: Labels, num_settings: int
) -> Panel:
    """The panel of a setting, with a line for each of its generations."""
    generations = sorted(key[0] for key in means if key[1:] == tuple(values.values()))
    last = max(key[0] for key in means)
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
    source: Source,
    labels: Labels,
    *,
    is_forecast: bool,
) -> Iterator[str]:
    if split:
        yield labels.describe_setting(split)
    if sizes := describe_sizes(frame, column):
        yield f"N = {sizes}"
    units = name_units(frame, labels)
    band = f"band of the last generation: {100 * request.confidence:g}% {source} "
    yield band + units if source else units
    if is_forecast:
        yield "dashed: forecast"
    yield "dotted: training images"
    yield "vertical lines: head | middle | tail"


def _draw(
    panels: Sequence[Panel],
    *,
    means: Means,
    said: Mapping[tuple, pd.Series],
    of_data: pd.DataFrame,
    width: float,
    note: str,
) -> Figure:
    columns = num_columns(panels, width)
    room = (width - AXIS_INCHES) / columns
    longest = max(panels, key=lambda panel: len(panel.lines))
    height = HEIGHT if len(panels) == 1 else SMALL
    limits = _limits(panels, means, said, of_data)
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
        _prepare(axes, of_data, limits, height)
        for line in panel.lines:
            _draw_line(axes, line, means[line.key], has_band=line == panel.lines[-1])
            if line.key in said:
                expected = said[line.key]
                axes.plot(expected.index, expected, "--", color=line.colour, lw=0.7)
    return figure


def _limits(
    panels: Sequence[Panel],
    means: Means,
    said: Mapping[tuple, pd.Series],
    of_data: pd.DataFrame,
) -> Limits:
    """Limits around all mean gains above 0 and forecasts, which intervals do not extend."""
    lasts = [means[panel.lines[-1].key] for panel in panels]
    drawn = [means[line.key]["mean"] for panel in panels for line in panel.lines]
    values = pd.concat([*drawn, *said.values(), of_data.iloc[:, 0], pd.Series([1.0])])
    values = values[values > 0]
    bottom, top = float(values.min()) / 1.15, float(values.max()) * 1.15
    is_cut_off = any(
        (last["mean"] + last["half_width"] > top).any()
        or (last["mean"] - last["half_width"] < bottom).any()
        for last in lasts
    )
    return Limits(bottom, top, is_cut_off=is_cut_off)


def _prepare(axes: Axes, of_data: pd.DataFrame, limits: Limits, height: float) -> None:
    """Set the scales, and draw what is the same in all panels: 1, training images and bands."""
    gain_train, share = (of_data.iloc[:, i] for i in (0, 1))
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
    for limit in BANDS:
        explained = share.cumsum() >= limit - 1e-12
        if explained.any():
            axes.axvline(float(explained.idxmax()) + 0.5, color=FAINT, lw=0.4)


def _draw_line(axes: Axes, line: Line, means: pd.DataFrame, *, has_band: bool) -> None:
    x, mean = means[DIRECTION].astype(float), means["mean"].where(means["mean"] > 0)
    axes.plot(x, mean, line.dashes, color=line.colour, lw=0.9)
    if has_band:
        half = means["half_width"].fillna(0.0)
        low = (mean - half).clip(lower=mean / 10)
        axes.fill_between(x, low, mean + half, color=line.colour, alpha=0.18, lw=0)
