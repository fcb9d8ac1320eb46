"""Settings that vary a few at a time: named by what differs from the usual.

A grid's rows are told apart by all of its axes. Where each of many settings is changed by itself,
most cells of such a table would repeat each other, and a row is named by its changes alone.
Must not know files, nor how a table or a figure is laid out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.labels import format_value

SETTING = "setting"
"""Heading of the changes, in the place of the axes."""
BASE = "base"
"""Name of what changes nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Usual:
    """The values that settings have unless they are said to differ."""

    axes: tuple[str, ...]
    """All axes that vary, members apart."""
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

    They do where three axes or more vary (members apart) and there are no more settings than a
    base and one for each other value of each axis. A value is usual that more settings have than
    any other value.
    """
    varying = [axis for axis in axes if axis != "member"]
    settings = frame[varying].map(format_value).drop_duplicates()
    if len(varying) < 3 or len(settings) > 1 + sum(settings[a].nunique() - 1 for a in varying):
        return None
    values: dict[str, Any] = {}
    for axis in varying:
        counts = settings[axis].value_counts()
        if len(counts) == 1 or counts.iloc[0] > counts.iloc[1]:
            is_usual = frame[axis].map(format_value) == counts.index[0]
            values[axis] = frame.loc[is_usual, axis].iloc[0]
    return Usual(axes=tuple(varying), values=values)
