"""Settings that vary a few at a time: named by what differs from the usual.

A grid's rows are told apart by all of its axes. Where each of many settings is changed by itself,
most cells of such a table would repeat each other, and a row is named by its changes alone.
Must not know files, nor how a table or a figure is laid out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.reading.columns import CLASS
from analysis.reading.labels import format_value

SETTING = "setting"
"""Heading of the changes, in the place of the axes."""
BASE = "base"
"""Name of what changes nothing."""
APART = ("member", CLASS)
"""Axes of several values in every setting."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Usual:
    """The values that settings have unless they are said to differ."""

    axes: tuple[str, ...]
    """All axes that vary, but for members and classes."""
    values: Mapping[str, Any]
    """Of those axes that have a commonest value."""

    def changes(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What a setting has other than usual, and what has no usual value."""
        return {
            axis: value
            for axis, value in values.items()
            if axis not in self.values or format_value(value) != format_value(self.values[axis])
        }

    def name(self, values: Mapping[str, Any]) -> str:
        """A setting by its changes, with full names: `sample.steps = 5`."""
        return _listed(self.changes({axis: values[axis] for axis in self.axes})) or BASE

    def describe(self) -> str:
        """What the base is: `base: model.family = ddim, sample.steps = 20`."""
        return f"{BASE}: {_listed(self.values)}"


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{axis} = {format_value(value)}" for axis, value in values.items())


def find_usual(frame: pd.DataFrame, axes: Sequence[str]) -> Usual | None:
    """The usual values where settings vary a few at a time; None where they make up a grid.

    Axes whose values always change together (as those of two joined runs do) are one factor. There
    must be three factors or more, no more settings than a base and one for each other value of each
    factor, and at most one axis without a value that more settings have than any other. Members and
    classes stay apart.
    """
    varying = [axis for axis in axes if axis not in APART]
    settings = frame[varying].map(format_value).drop_duplicates()
    factors = {tuple(pd.factorize(settings[axis])[0]) for axis in varying}
    if len(factors) < 3 or len(settings) > 1 + sum(max(codes) for codes in factors):
        return None
    values: dict[str, Any] = {}
    for axis in varying:
        counts = settings[axis].value_counts()
        if len(counts) == 1 or counts.iloc[0] > counts.iloc[1]:
            is_usual = frame[axis].map(format_value) == counts.index[0]
            values[axis] = frame.loc[is_usual, axis].iloc[0]
    return Usual(axes=tuple(varying), values=values) if len(values) >= len(varying) - 1 else None
