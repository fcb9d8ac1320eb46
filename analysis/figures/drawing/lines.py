"""Lines of curves: which settings share a panel, and what each line looks like and is called."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Any, NamedTuple

import pandas as pd

from analysis.figures.drawing.style import LINE_STYLES, MARKERS, PALETTE
from analysis.reading.columns import SETTING, SPLIT, grouped, setting_axes
from analysis.reading.labels import Labels, Spelled, exact_name
from analysis.reading.settings import BASE, find_usual

MAX_BANDS = 3
"""Most lines of a panel whose intervals are bands; those of more lines are error bars."""
MAX_LINES = 7
"""Most lines of a panel; with more settings, each has a panel of its own."""
MAX_PANELS = 24
"""Most panels of a figure; further ones are in figures of their own."""
COMPARED = (PALETTE[0], PALETTE[2])
"""Colours of a setting that others are compared with, and of each other one."""
UNCHANGED = (BASE, "none")
"""Names of settings that others are compared with: the base, and the filter that keeps all."""


class Real(NamedTuple):
    """The smallest and the largest number of real images, which are equal for equal data."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One setting's line in a panel."""

    values: dict[str, Any]
    """The setting: axis -> cell."""
    label: str
    """Name of the setting, unescaped; in its panel no other line has it."""
    colour: str
    marker: str
    dashes: str

    @property
    def key(self) -> tuple:
        """The cells of its setting."""
        return tuple(self.values.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """Lines in one pair of axes."""

    lines: tuple[Line, ...]
    title: str = ""
    compared_with: str = ""
    """In a panel that compares its last line with its first: the name of the first."""
    is_small: bool = False
    """Whether its lines are not named at their ends."""
    real: Real | None = None
    """The same number of real images, if it is known."""


def figure_parts(
    frame: pd.DataFrame, labels: Labels
) -> Iterator[tuple[Sequence[str], dict[str, Any], pd.DataFrame]]:
    """Split a table into the parts that have figures of their own.

    Yields:
        The axes of a figure's lines, the settings that all of them share, and their rows. The axes
        are pool.alpha and train.epochs if they vary, or else the first two settings that vary, or
        SETTING if only a few settings change at a time (analysis.reading.settings). Members are
        never lines of one figure, unless nothing else varies.
    """
    axes = setting_axes(frame)
    if (usual := find_usual(frame, axes, labels)) is not None:
        axes = [axis for axis in axes if axis not in usual.axes]
        rows = frame[list(usual.axes)].to_dict("records")
        names = [Spelled(usual.title(row) or BASE) for row in rows]
        frame = frame.assign(**{SETTING: pd.Series(names, frame.index, dtype=object)})
        axes = [SETTING, *axes]
    ordered = sorted(axes, key=lambda axis: (axis != "pool.alpha", axis != "train.epochs"))
    if len(ordered) > 1 and "member" in ordered:
        ordered.remove("member")
    by = ordered[:2]
    sizes = [len(labels.names(axis, frame[axis])) for axis in by]
    if len(by) == 2 and min(sizes) > len(LINE_STYLES):
        by = by[:1]
    others = [axis for axis in ordered + axes if axis not in by]
    for split, part in grouped(frame, list(dict.fromkeys(others))):
        yield by, split, part


def name_units(frame: pd.DataFrame, labels: Labels) -> str:
    """Name the seeds, and the splits of the data if there are several."""
    units = labels.describe_seeds(frame)
    if SPLIT in frame and len(labels.names(SPLIT, frame[SPLIT])) > 1:
        units += f"; {labels.describe_splits(frame)}"
    return units


def arrange_lines(frame: pd.DataFrame, by: Sequence[str], labels: Labels) -> list[list[Panel]]:
    """Arrange the settings of a part of the table in the panels of one or several figures.

    Up to MAX_LINES settings are in one panel, or in a panel for each value of the second axis if
    its intervals can then be bands. With more settings, each one has a panel, where it is compared
    with the base (see UNCHANGED) or else with the first setting.
    """
    settings = [values for values, _ in grouped(frame, by)]
    axes = naming_axes(settings, by, labels)
    if len(settings) > MAX_LINES:
        return _compare(settings, axes, by, labels)
    lines = _lines(settings, axes, by, labels)
    if len(axes) == 2 and len(lines) > MAX_BANDS:
        names = _names(settings, axes[1], labels)
        parts = [[x for x in lines if _name(x.values, axes[1], labels) == n] for n in names]
        if all(1 < len(part) <= MAX_BANDS for part in parts):
            return [[_panel(part, axes, by, labels) for part in parts]]
    return [[Panel(lines=tuple(lines))]]


def _panel(lines: Sequence[Line], axes: Sequence[str], by: Sequence[str], labels: Labels) -> Panel:
    """The panel of one value of the second axis, whose lines are named by the first one."""
    title = _describe(lines[0].values, axes[1:], by, labels)
    named = (
        replace(line, label=_describe(line.values, axes[:1], by, labels), dashes="-")
        for line in lines
    )
    return Panel(title=title, lines=tuple(named))


def _compare(
    settings: Sequence[dict], axes: Sequence[str], by: Sequence[str], labels: Labels
) -> list[list[Panel]]:
    """A panel for each setting but one, which all of them show in black."""
    is_unchanged = [any(labels.name(a, x[a]) in UNCHANGED for a in axes) for x in settings]
    control = settings[is_unchanged.index(True) if any(is_unchanged) else 0]
    panels = []
    for other in settings:
        if other is not control:
            names = [_describe(x, axes, by, labels) for x in (control, other)]
            lines = tuple(
                Line(values=x, label=name, colour=colour, marker=marker, dashes="-")
                for x, name, colour, marker in zip(
                    (control, other), names, COMPARED, MARKERS, strict=False
                )
            )
            panels.append(Panel(lines=lines, title=names[1], compared_with=names[0], is_small=True))
    return [panels[i : i + MAX_PANELS] for i in range(0, len(panels), MAX_PANELS)]


def _lines(
    settings: Sequence[dict], axes: Sequence[str], by: Sequence[str], labels: Labels
) -> list[Line]:
    """Lines with colours and markers for one axis, and dashes for the other one."""
    colour_axis, dash_axis = [*axes, None, None][:2]
    if len(_names(settings, dash_axis, labels)) > len(LINE_STYLES):  # there are more colours
        colour_axis, dash_axis = dash_axis, colour_axis
    names = sorted(_names(settings, colour_axis, labels), key=lambda name: name not in UNCHANGED)
    looks = dict(zip(names, zip(PALETTE, cycle(MARKERS), strict=False), strict=False))
    dashes = dict(zip(_names(settings, dash_axis, labels), LINE_STYLES, strict=False))
    lines = []
    for values in settings:
        colour, marker = looks[_name(values, colour_axis, labels)]
        lines.append(
            Line(
                values=values,
                label=_describe(values, axes, by, labels),
                colour=colour,
                marker=marker,
                dashes=dashes[_name(values, dash_axis, labels)],
            )
        )
    return lines


def naming_axes(settings: Sequence[dict], by: Sequence[str], labels: Labels) -> Sequence[str]:
    """One axis that tells the settings apart, or else all of them."""
    num_settings = len({tuple(labels.name(a, x[a]) for a in by) for x in settings})
    for axis in by:
        if len(_names(settings, axis, labels)) == num_settings:
            return [axis]
    return by


def _names(settings: Sequence[dict], axis: str | None, labels: Labels) -> list[str]:
    """Names of an axis' values in order; one empty name without an axis."""
    return list(dict.fromkeys(_name(values, axis, labels) for values in settings))


def _name(values: dict[str, Any], axis: str | None, labels: Labels) -> str:
    return labels.name(axis, values[axis]) if axis else ""


def _describe(
    values: dict[str, Any], axes: Sequence[str], by: Sequence[str], labels: Labels
) -> str:
    """Name a setting: words by themselves (`grow`), numbers with their axis (`alpha = 1`)."""
    words = []
    for axis in axes:
        value, name = values[axis], labels.name(axis, values[axis])
        is_word = isinstance(value, str) and name == exact_name(value) and name[:1].isalpha()
        alone = axis == SETTING or (is_word and not isinstance(value, Spelled))
        words.append(name if alone else labels.describe_setting({axis: value}, by))
    return ", ".join(words)
