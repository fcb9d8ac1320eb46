"""Names settings by their changes from a base, if each one changes only a few values.

The rows of a grid are named by all of its axes. If a sweep changes one of many settings at a time
instead, most axes would repeat the same value, so a row is named by its changes only.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import pandas as pd

from analysis.reading.columns import CLASS
from analysis.reading.labels import Labels
from sweep.files import Json

BASE = "base"
"""Name of the setting without changes."""
APART = ("member", CLASS)
"""Axes that have several values within a setting."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Usual:
    """The usual values, which settings have unless their name says otherwise."""

    axes: tuple[str, ...]
    """All axes that vary, except members and classes."""
    values: Mapping[str, Any]
    """Axis -> its most common value, for axes that have one."""
    labels: Labels
    """Names of the axes' values."""

    def changes(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values that differ from the usual ones, or that have no usual value."""
        return {
            axis: value
            for axis, value in values.items()
            if axis not in self.values
            or self.labels.name(axis, value) != self.labels.name(axis, self.values[axis])
        }

    def name(self, values: Mapping[str, Any]) -> str:
        """Name a setting by its changes, with full names: `sample.steps = 5`."""
        changes = self.changes({axis: values[axis] for axis in self.axes})
        return self.labels.list_settings(changes) or BASE

    def title(self, values: Mapping[str, Any]) -> str:
        """Name a setting by its changes in a figure, with short names; empty without changes."""
        return self.labels.describe_setting(self.changes(values), self.axes)

    def file_name(self, first: str, values: Mapping[str, Any]) -> list[str]:
        """Return the parts of a file's name: a first part, and the changes."""
        return self.labels.file_name(first, self.changes(values), self.axes)

    def describe(self) -> str:
        """Describe the base: `base: model.family = ddim, sample.steps = 20`."""
        return f"{BASE}: {self.labels.list_settings(self.values)}"


def find_usual(frame: pd.DataFrame, axes: Sequence[str], labels: Labels) -> Usual | None:
    """Return the usual values if settings change a few values at a time, or None for a grid.

    Axes whose values always change together (e.g. in two joined runs) count as one factor. Usual
    values exist if there are at least three factors, at most one setting per further value of each
    factor besides the base, and at most one axis without a unique most common value. Members and
    classes are not considered.
    """
    varying = [axis for axis in axes if axis not in APART]
    names = {axis: [labels.name(axis, value) for value in frame[axis]] for axis in varying}
    settings = pd.DataFrame(names, dtype=object).drop_duplicates()
    factors = {tuple(pd.factorize(settings[axis])[0]) for axis in varying}
    if len(factors) < 3 or len(settings) > 1 + sum(max(codes) for codes in factors):
        return None
    values: dict[str, Any] = {}
    for axis in varying:
        most_common = settings[axis].mode()
        if len(most_common) == 1:
            values[axis] = frame[axis].iloc[names[axis].index(most_common[0])]
    if len(values) < len(varying) - 1:
        return None
    return Usual(axes=tuple(varying), values=values, labels=labels)


def flatten(config: Mapping[str, Any]) -> Json:
    """Return nested settings as dotted ones."""
    flat: Json = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= _flatten_table(name, msgspec.json.encode(value))
        else:
            flat[name] = value
    return flat


@functools.lru_cache(maxsize=1000)
def _flatten_table(name: str, table: bytes) -> Json:
    """As flatten, of a table in JSON: the lineages of a sweep have few different tables."""
    settings = flatten(msgspec.json.decode(table))
    return {f"{name}.{setting}": value for setting, value in settings.items()}
