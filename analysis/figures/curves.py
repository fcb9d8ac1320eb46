"""Curves of a metric by generation, one line per setting, with intervals over seeds."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis.figures.request import Drawing, FigureRequest
from analysis.figures.style import FAINT, LINE_STYLES, MARKERS, PALETTE
from analysis.figures.text import figure_text
from analysis.reading.columns import SETTING, grouped, measured_sizes, setting_axes, unit_columns
from analysis.reading.labels import Labels, Spelled, name_extractor, name_metric, short_names
from analysis.reading.settings import BASE, find_usual
from analysis.statistics.seeds import summarize_seeds
from model.errors import UsageError

SIZE = (6.6, 3.7)
"""Width and height of a figure of curves in inches."""
CROWDED = 12
"""With more lines, or only one generation, intervals are error bars, and seeds are not drawn."""
TITLE_WIDTH = 68
"""Characters in a line of the title."""
LEGEND_WIDTH = 34
"""Characters in a line of the legend."""
LINE_INCHES = 0.165
"""Height of a line of the legend in inches."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoding:
    """The settings shown by the colour (and marker) and by the dashes of a line."""

    colour_axis: str | None
    dash_axis: str | None
    colours: dict[str, tuple[str, str]]
    """Name of a value of the colour axis -> (colour, marker)."""
    dashes: dict[str, str]
    """Name of a value of the dash axis -> line style."""
    labels: Labels

    @property
    def is_crowded(self) -> bool:
        """Whether there are too many lines to distinguish their bands."""
        return len(self.colours) * len(self.dashes) > CROWDED

    def look(self, values: dict[str, Any]) -> tuple[str, str, str]:
        """Return (colour, marker, dashes) of a setting."""
        colour, dash = self.colour_axis, self.dash_axis
        colour_name = self.labels.name(colour, values[colour]) if colour else ""
        dash_name = self.labels.name(dash, values[dash]) if dash else ""
        return *self.colours[colour_name], self.dashes[dash_name]

    def handles(self) -> list[Line2D | Patch]:
        """Return the legend's entries: one for each colour and for each pattern of dashes."""
        handles: list[Line2D | Patch] = []
        names = short_names([axis for axis in (self.colour_axis, self.dash_axis) if axis])
        if self.colour_axis:
            name = names[self.colour_axis]
            for value, (colour, marker) in self.colours.items():
                line = Line2D([], [], color=colour, marker=marker, mec="white", mew=0.6)
                label = value if name == SETTING else f"{name} = {value}"
                line.set_label(figure_text(label, LEGEND_WIDTH))
                handles.append(line)
        if self.dash_axis:
            for value, dashes in self.dashes.items():
                label = figure_text(f"{names[self.dash_axis]} = {value}", LEGEND_WIDTH)
                handles.append(Line2D([], [], color=FAINT, ls=dashes, label=label))
        return handles


def plan_curves(request: FigureRequest) -> Iterator[Drawing]:
    """Plan figures of each metric by generation.

    Colour shows pool.alpha and dashes show train.epochs if they vary, or else the first two
    settings that vary. Each combination of further settings gets a separate figure, as does each
    value of the second setting if both have more values than there are patterns of dashes. If only
    a few settings change at a time (analysis.reading.settings), all combinations are lines of one
    figure.

    Raises:
        UsageError: A metric has no values, mixes different numbers of images, or has more settings
            than there are colours and markers.
    """
    if not request.metrics:
        request.note("no curves, because no generation has been measured yet")
    for metric in request.metrics:
        yield from _plan_metric(request, metric)


def _plan_metric(request: FigureRequest, metric: str) -> Iterator[Drawing]:
    frame, labels = request.frame, request.labels
    if frame[metric].dropna().empty:
        raise UsageError(
            f"{metric} must have a value to be drawn, got none; finish a generation first"
        )
    axes = setting_axes(frame)
    if (usual := find_usual(frame, axes, labels)) is not None:
        axes = [axis for axis in axes if axis not in usual.axes]
        rows = frame[list(usual.axes)].to_dict("records")
        names = [Spelled(usual.title(row) or BASE) for row in rows]
        frame = frame.assign(**{SETTING: pd.Series(names, frame.index, dtype=object)})
        axes = [SETTING, *axes]
    ordered = sorted(axes, key=lambda axis: (axis != "pool.alpha", axis != "train.epochs"))
    by, others = ordered[:2], ordered[2:]
    sizes = [len(_values(frame, axis, labels)) for axis in by]
    if len(by) == 2 and min(sizes) > len(LINE_STYLES):
        by, others = by[:1], [by[1], *others]
    for split, part in grouped(frame, others):
        if not part[metric].dropna().empty:
            encoding = _encode(part, by, labels)
            yield Drawing(
                name=labels.file_name(f"curves-{metric}", split),
                draw=partial(_draw_figure, part, metric, by, split, encoding, request.confidence),
            )


def _draw_figure(
    frame: pd.DataFrame,
    metric: str,
    by: Sequence[str],
    split: dict[str, Any],
    encoding: Encoding,
    confidence: float,
) -> Figure:
    """Draw a line for each setting; lines differ in `by`, and all have the settings `split`."""
    summary = summarize_seeds(frame, metric, by=by, confidence=confidence)
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    bars = encoding.is_crowded or frame["generation"].nunique() == 1
    if not bars:
        for values, part in grouped(frame, by):
            _draw_seeds(axes, part, metric, encoding.look(values))
    lines = list(grouped(summary, by))
    for index, (values, part) in enumerate(lines):
        shift = 0.36 * (index / len(lines) - 0.5) if bars else None
        _draw_mean(axes, part, encoding.look(values), shift)
    is_cut_off = _limit_y(axes, frame, metric, summary)
    _mark_diverged(axes, frame, by, encoding)
    remarks = ["a band is cut off"] if is_cut_off else []
    _label(axes, frame, metric, split, encoding.labels, remarks)
    handles = encoding.handles()
    if (summary["n"] > 1).any():
        handles += _interval_handles(confidence, bars=bars)
    if (frame["status"] == "diverged").any():
        handles.append(Line2D([], [], color=FAINT, marker="x", mew=1.6, ls="", label="diverged"))
    num_lines = sum(1.4 + str(handle.get_label()).count("\n") for handle in handles)
    figure.set_figheight(max(SIZE[1], LINE_INCHES * num_lines))
    figure.legend(handles=handles, loc="outside right upper", handlelength=2.4, labelspacing=0.45)
    return figure


def _encode(frame: pd.DataFrame, by: Sequence[str], labels: Labels) -> Encoding:
    colour_axis, dash_axis = [*by, None, None][:2]
    if len(_values(frame, dash_axis, labels)) > len(LINE_STYLES):  # there are more colours
        colour_axis, dash_axis = dash_axis, colour_axis
    colours, dashes = _values(frame, colour_axis, labels), _values(frame, dash_axis, labels)
    colormap = matplotlib.colormaps["viridis"].resampled(max(2, len(colours)))
    shades = [matplotlib.colors.to_hex(colormap(i)) for i in range(len(colours))]
    hues = PALETTE if len(colours) <= len(PALETTE) else shades
    looks = list(zip(hues, cycle(MARKERS), strict=False))[: len(colours)]
    if len(set(looks)) < len(colours):
        raise UsageError(
            f"{colour_axis} must have at most as many values as there are colours to be drawn as "
            f"curves, got {len(colours)}; use analysis table"
        )
    return Encoding(
        colour_axis=colour_axis,
        dash_axis=dash_axis,
        colours=dict(zip(colours, looks, strict=True)),
        dashes=dict(zip(dashes, LINE_STYLES, strict=False)),
        labels=labels,
    )


def _values(frame: pd.DataFrame, axis: str | None, labels: Labels) -> list[str]:
    """Return the names of an axis' values in order, or one empty string without an axis."""
    if axis is None:
        return [""]
    return [labels.name(axis, values[axis]) for values, _ in grouped(frame, [axis])]


def _draw_seeds(axes: Axes, part: pd.DataFrame, metric: str, look: tuple[str, str, str]) -> None:
    colour, _, dashes = look
    measured = part[part["status"] != "diverged"]
    for _, line in grouped(measured, unit_columns(measured)):
        axes.plot(line["generation"], line[metric], dashes, color=colour, lw=0.6, alpha=0.55)


def _draw_mean(
    axes: Axes, part: pd.DataFrame, look: tuple[str, str, str], shift: float | None
) -> None:
    """Draw means with a band, or with error bars moved by `shift` if it is given."""
    colour, marker, dashes = look
    x, mean, half = part["generation"], part["mean"], part["half_width"]
    if shift is not None:
        x = x.astype(float) + shift
        axes.errorbar(x, mean, half.fillna(0), color=colour, fmt="none", lw=0.8, alpha=0.6)
        axes.plot(x, mean, dashes, color=colour, marker=marker, ms=4, lw=1, mec="white", mew=0.5)
        return
    axes.fill_between(x, mean - half, mean + half, color=colour, alpha=0.13, lw=0)
    axes.plot(x, mean, dashes, color=colour, marker=marker, markeredgecolor="white", mew=0.6)


def _limit_y(axes: Axes, frame: pd.DataFrame, metric: str, summary: pd.DataFrame) -> bool:
    """Fit the y axis to the values of all seeds, extended by at most 40% of their range for bands.

    Returns:
        Whether a band is cut off.
    """
    low, high = float(frame[metric].min()), float(frame[metric].max())
    extent = (high - low) or abs(high) or 1.0
    half_width = summary["half_width"].fillna(0.0)
    band_low = float((summary["mean"] - half_width).min())
    band_high = float((summary["mean"] + half_width).max())
    bottom = max(min(low, band_low), low - 0.4 * extent)
    top = min(max(high, band_high), high + 0.4 * extent)
    axes.set_ylim(bottom - 0.05 * extent, top + 0.09 * extent)
    return band_low < bottom or band_high > top


def _mark_diverged(axes: Axes, frame: pd.DataFrame, by: Sequence[str], encoding: Encoding) -> None:
    """Draw a cross at the top, above the generation in which a lineage diverged."""
    diverged = frame[frame["status"] == "diverged"]
    counts: Counter[int] = Counter()
    transform = axes.get_xaxis_transform()  # x in data, y as a fraction of the height
    for values, part in grouped(diverged, [*by, *unit_columns(frame)]):
        generation = int(part["generation"].min())
        x = generation + 0.05 * counts[generation]
        counts[generation] += 1
        colour, _, _ = encoding.look(values)
        axes.plot(x, 0.97, "x", color=colour, mew=1.6, ms=6, transform=transform, zorder=5)


def _label(
    axes: Axes,
    frame: pd.DataFrame,
    metric: str,
    split: dict[str, Any],
    labels: Labels,
    remarks: list[str],
) -> None:
    generations = sorted(set(frame["generation"]))
    axes.set_xticks(generations, [f"$V_{{{n}}}$" for n in generations])
    axes.set_xlim(generations[0] - 0.2, generations[-1] + 0.2)
    units = filter(None, [labels.describe_seeds(frame), labels.describe_splits(frame)])
    axes.set_xlabel(figure_text(f"generation ({'; '.join(units)})", TITLE_WIDTH))
    extractor, sizes = name_extractor(metric), measured_sizes(frame, metric)
    name = name_metric(metric) + (f" ({extractor})" if extractor else "")
    axes.set_ylabel(figure_text(name, TITLE_WIDTH))
    words = [labels.describe_setting(split)] if split else []
    words += [f"N = {sizes[0]} generated, {sizes[1]} reference images"] if sizes else []
    title = figure_text("; ".join([*words, *remarks]), TITLE_WIDTH)  # leaves room for the legend
    axes.set_title(title, loc="left", color=FAINT, fontsize=8)


def _interval_handles(confidence: float, *, bars: bool) -> list[Line2D | Patch]:
    label = f"{100 * confidence:g}% t interval"
    if bars:
        return [Line2D([], [], color=FAINT, ls="", marker="|", ms=9, label=label)]
    seed = Line2D([], [], color=FAINT, lw=0.6, label="one seed")
    return [seed, Patch(color=FAINT, alpha=0.2, lw=0, label=label)]
