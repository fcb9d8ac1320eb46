"""Draws the panels of curves: lines with bands or error bars, and their names."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, Locator, LogLocator, MaxNLocator, NullFormatter

from analysis.figures.drawing.end_labels import EndLabel
from analysis.figures.drawing.limits import Limits, Spread, fit_limits
from analysis.figures.drawing.lines import MAX_BANDS, Line, Panel, Real
from analysis.figures.drawing.pages import (
    AXIS_INCHES,
    LABEL_SHARE,
    LINE_INCHES,
    TICK_INCHES,
    lay_out,
    name_ends,
    num_columns,
    panel_inches,
)
from analysis.figures.drawing.style import FAINT
from analysis.figures.drawing.text import fit_text
from analysis.reading.columns import grouped, unit_columns

DODGE = 0.5
"""Range over which the error bars of one generation are moved apart, in generations."""
LINEAR_DECADES = 0.5
"""Shorter logarithmic axes have equal steps between their numbers."""
LOG_FACTORS = ((1.0, 2.0, 3.0, 5.0), (1.0, 2.0, 5.0), (1.0, 3.0), (1.0,))
"""Numbers of a logarithmic axis within a decade, most first."""
REAL_IMAGES = "real images"


@dataclass(frozen=True, kw_only=True, slots=True)
class Curves:
    """What the panels of one figure show."""

    rows: dict[tuple, pd.DataFrame]
    """Setting -> its rows of the table."""
    means: dict[tuple, pd.DataFrame]
    """Setting -> its rows of summarize_curves."""
    generations: Sequence[int]
    metric: str
    name: str
    """Name of the y axis, unescaped."""
    log: bool
    has_seeds: bool
    """Whether the intervals are over seeds."""
    are_shares: bool = False
    """Whether the values are shares of a whole, whose axis begins at 0 and shows all of them."""

    def has_place(self, real: Real) -> bool:
        """Whether the y axis may show numbers of real images: a logarithmic one may not show 0."""
        return real.low > 0 or not self.log

    def has_bands(self, panel: Panel) -> bool:
        """Whether the intervals of a panel are bands; otherwise they are error bars."""
        return len(panel.lines) <= MAX_BANDS and len(self.generations) > 1

    def shows_seeds(self, panel: Panel) -> bool:
        """Whether a panel has a thin line for each seed."""
        return self.has_seeds and self.has_bands(panel) and not panel.is_small

    def measured(self, line: Line) -> pd.DataFrame:
        """The generations of a line that have a mean."""
        means = self.means[line.key]
        return means[means["mean"].notna()]

    def diverged(self, line: Line) -> list[int]:
        """The generations in which lineages of a setting diverged, one for each lineage."""
        rows = self.rows[line.key]
        rows = rows[rows["status"] == "diverged"]
        return [int(part["generation"].min()) for _, part in grouped(rows, unit_columns(rows))]


def draw_panels(panels: Sequence[Panel], curves: Curves, *, width: float, note: str) -> Figure:
    """Draw panels with equal axes below a note, in a figure of some inches' width."""
    spreads = list(_spreads(panels, curves))
    limits = _fit_shares(spreads) if curves.are_shares else fit_limits(spreads, log=curves.log)
    columns = num_columns(panels, width)
    room = (width - AXIS_INCHES) / columns - 0.05
    titles = [_title(panel, curves, limits, room) for panel in panels]
    labels = [list(_end_labels(panel, curves, limits, width)) for panel in panels]
    height = max(panel_inches(named, room) for named in labels)
    is_named = panels[0].compared_with or not panels[0].is_small
    figure, used = lay_out(
        titles,
        columns=columns,
        width=width,
        height=height,
        note=note + ("; an interval is cut off" if limits.is_cut_off else ""),
        names=("generation", curves.name),
        key=() if is_named else max((panel.lines for panel in panels), key=len),
    )
    for axes, panel in zip(used, panels, strict=True):
        _prepare(axes, curves, limits, height=height)
        _draw_panel(axes, panel, curves, limits)
    name_ends(figure, used, labels)
    for axes in used:
        _thin_names(axes, curves.generations)
    return figure


def _fit_shares(spreads: Sequence[Spread]) -> Limits:
    """Limits of an axis of shares: from 0 to a little above the largest one."""
    top = max(max(spread.high, spread.interval_high) for spread in spreads)
    return Limits(0.0, min(1.05 * top, 1.0) or 1.0, is_cut_off=False)


def _spreads(panels: Sequence[Panel], curves: Curves) -> Iterator[Spread]:
    """Yield what each setting draws, and the numbers of real images."""
    lines = {line.key: (panel, line) for panel in panels for line in panel.lines}
    for panel, line in lines.values():
        means = curves.measured(line)
        if means.empty:
            continue
        values = means["mean"]
        if curves.shows_seeds(panel):
            rows = curves.rows[line.key]
            values = pd.concat([values, rows.loc[rows["status"] != "diverged", curves.metric]])
        half = means["half_width"].fillna(0.0)
        ends = (means["mean"] - half).min(), (means["mean"] + half).max()
        yield Spread(float(values.min()), float(values.max()), *map(float, ends))
    for real in dict.fromkeys(panel.real for panel in panels):
        if real and curves.has_place(real):
            yield Spread(*real, *real)


def _title(panel: Panel, curves: Curves, limits: Limits, inches: float) -> str:
    """The title of a panel, with the values outside the axes if its lines have no labels."""
    if not panel.title:
        return ""
    outside = _outside(panel.lines[-1], curves, limits) if panel.compared_with else ""
    return fit_text(panel.title + outside, inches)


def _outside(line: Line, curves: Curves, limits: Limits) -> str:
    """Name the farthest mean of a line outside the axes: ` (up to 25 at V4)`."""
    words = []
    means = curves.measured(line)
    for sign, word in ((1, "up"), (-1, "down")):
        values = {
            int(n): mean
            for n, mean in zip(means["generation"], means["mean"], strict=True)
            if limits.excess(mean) == sign
        }
        if values:
            n = max(values, key=lambda n: sign * values[n])
            words.append(f"{word} to {values[n]:.3g} at V{n}")
    return f" ({', '.join(words)})" if words else ""


def _end_labels(panel: Panel, curves: Curves, limits: Limits, width: float) -> Iterator[EndLabel]:
    """Yield the names of a panel's lines at their last points, and of the real images."""
    if panel.is_small:
        return
    room = LABEL_SHARE * width
    for index, line in enumerate(panel.lines):
        means, diverged = curves.measured(line), curves.diverged(line)
        if means.empty and not diverged:
            continue
        x, y = (diverged[0], limits.top) if means.empty else _last(means)
        shift = 0.0 if curves.has_bands(panel) else _shift(index, len(panel.lines))
        yield EndLabel(
            text=fit_text(line.label + _outside(line, curves, limits), room),
            x=x + shift,
            y=min(max(y, limits.bottom), limits.top),
            colour=line.colour,
            marker=line.marker,
        )
    if panel.real:
        text = REAL_IMAGES
        if limits.excess(panel.real.low):
            text += f" ({panel.real.low:.3g}, outside)"
        y = min(max(panel.real.high, limits.bottom), limits.top)
        x = curves.generations[-1] + _margin(curves, panel)
        yield EndLabel(text=fit_text(text, room), x=x, y=y, colour=FAINT, marker="")


def _last(means: pd.DataFrame) -> tuple[float, float]:
    generation, mean = means[["generation", "mean"]].iloc[-1]
    return float(generation), float(mean)


def _shift(index: int, count: int) -> float:
    """The place of a line's error bars beside those of the other lines."""
    return DODGE * ((index + 0.5) / count - 0.5)


def _margin(curves: Curves, panel: Panel) -> float:
    return 0.15 if curves.has_bands(panel) else DODGE / 2


def _prepare(axes: Axes, curves: Curves, limits: Limits, *, height: float) -> None:
    """Set the scales, limits and ticks of axes of some inches' height."""
    if curves.log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(log_locator(limits, height))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(limits.bottom, limits.top)
    axes.set_xticks(curves.generations, [f"$V_{{{n}}}$" for n in curves.generations])


def log_locator(limits: Limits, height: float) -> Locator:
    """The most numbers that a logarithmic axis of some inches' height has room for."""
    decades = math.log10(limits.top / limits.bottom)
    if decades < LINEAR_DECADES:
        return MaxNLocator(nbins=max(1, min(4, int(height / LINE_INCHES / 2))))
    for factors in LOG_FACTORS:
        steps = [math.log10(b / a) for a, b in pairwise((*factors, 10.0))]
        if min(steps) / decades * height >= LINE_INCHES:
            return LogLocator(subs=factors)
    return LogLocator(numticks=max(2, int(height / LINE_INCHES / 2)))


def _draw_panel(axes: Axes, panel: Panel, curves: Curves, limits: Limits) -> None:
    bands, first, last = curves.has_bands(panel), curves.generations[0], curves.generations[-1]
    axes.set_xlim(first - _margin(curves, panel), last + _margin(curves, panel))
    if panel.real and curves.has_place(panel.real):
        axes.axhspan(*panel.real, color=FAINT, alpha=0.3, lw=0)
        axes.axhline(panel.real.high, color=FAINT, ls=":", lw=1)
    for index, line in enumerate(panel.lines):
        shift = 0.0 if bands else _shift(index, len(panel.lines))
        if curves.shows_seeds(panel):
            _draw_seeds(axes, line, curves)
        _draw_line(axes, line, curves.means[line.key], shift=shift, bands=bands)
        _mark_outside(axes, line, curves, limits, shift)
    _mark_diverged(axes, panel, curves)


def _draw_seeds(axes: Axes, line: Line, curves: Curves) -> None:
    rows = curves.rows[line.key]
    rows = rows[rows["status"] != "diverged"]
    for _, seed in grouped(rows, unit_columns(rows)):
        axes.plot(
            seed["generation"],
            seed[curves.metric],
            line.dashes,
            color=line.colour,
            lw=0.4,
            alpha=0.55,
        )


def _draw_line(axes: Axes, line: Line, means: pd.DataFrame, *, shift: float, bands: bool) -> None:
    """Draw means with a band, or with error bars."""
    x, mean, half = means["generation"].astype(float) + shift, means["mean"], means["half_width"]
    if bands:
        axes.fill_between(x, mean - half, mean + half, color=line.colour, alpha=0.13, lw=0)
    else:
        axes.errorbar(x, mean, half.fillna(0), color=line.colour, fmt="none", lw=0.7, alpha=0.7)
    axes.plot(x, mean, line.dashes, color=line.colour, marker=line.marker, mec="white", mew=0.4)


def _mark_outside(axes: Axes, line: Line, curves: Curves, limits: Limits, shift: float) -> None:
    """Draw an arrow at the edge of the axes for each mean outside."""
    means = curves.measured(line)
    for generation, mean in zip(means["generation"], means["mean"], strict=True):
        if sign := limits.excess(mean):
            axes.plot(
                generation + shift,
                1 if sign > 0 else 0,
                "^" if sign > 0 else "v",
                color=line.colour,
                transform=axes.get_xaxis_transform(),
                clip_on=False,
            )


def _mark_diverged(axes: Axes, panel: Panel, curves: Curves) -> None:
    """Draw a cross at the top, above the generation in which a lineage diverged."""
    counts: Counter[int] = Counter()
    for line in panel.lines:
        for generation in curves.diverged(line):
            x = generation + 0.08 * counts[generation]
            counts[generation] += 1
            axes.plot(
                x, 0.96, "x", color=line.colour, mew=1.2, transform=axes.get_xaxis_transform()
            )


def _thin_names(axes: Axes, generations: Sequence[int]) -> None:
    """Name every generation, or every second, third ... if there is little room."""
    figure = axes.get_figure()
    assert figure is not None
    low, high = axes.get_xlim()
    inches = axes.get_window_extent().width / figure.dpi / (high - low)
    step = math.ceil(TICK_INCHES / inches)
    names = [f"$V_{{{n}}}$" if i % step == 0 else "" for i, n in enumerate(generations)]
    axes.set_xticks(generations, names)
