"""Selects rows of the tidy table by settings that a user writes as AXIS=VALUE."""

from collections import defaultdict
from collections.abc import Sequence

import pandas as pd

from analysis.reading.columns import axis_columns
from analysis.reading.labels import Labels
from model.errors import UsageError, check_choice, shortened, split_setting

MORE_AXES = ("generation", "member", "seed", "run")
"""Columns other than settings by which rows can be selected."""


def keep_rows(
    frame: pd.DataFrame, settings: Sequence[str], *, option: str = "--where"
) -> pd.DataFrame:
    """Return the rows with the given values: one of them, for an axis that is named repeatedly.

    Args:
        frame: A table of analysis.reading.results.load_results.
        settings: AXIS=VALUE, with the names that tables print.
        option: The option, for messages.

    Raises:
        UsageError: There is no such axis or value, or no row has all of the values.
    """
    labels = Labels(frame)
    wanted: dict[str, set[str]] = defaultdict(set)
    for text in settings:
        axis, value = parse_setting(
            option, text, axes=[*axis_columns(frame), *MORE_AXES], frame=frame, labels=labels
        )
        wanted[axis].add(value)
    kept = pd.Series(True, frame.index)
    for axis, values in wanted.items():
        kept &= frame[axis].map(lambda cell, a=axis, v=values: labels.name(a, cell) in v)
    if not kept.any():
        raise UsageError(
            f"{option} must leave at least one row, got none with {shortened(', '.join(settings))}"
        )
    return frame[kept].reset_index(drop=True)


def parse_setting(
    option: str, text: str, *, axes: Sequence[str], frame: pd.DataFrame, labels: Labels
) -> tuple[str, str]:
    """Return the axis and the name of its value that AXIS=VALUE stands for.

    Args:
        option: The option, for messages.
        text: An axis, or the last part of its name, and a value as tables print it.
        axes: The axes that may be named.
        frame: The tidy table.
        labels: The names of its values.

    Raises:
        UsageError: It is not AXIS=VALUE, there is no such axis or value, or two axes end in the
            name.
    """
    name, value = split_setting(option, text)
    matches = [name] if name in axes else [a for a in axes if a.rsplit(".", 1)[-1] == name]
    if not matches:
        check_choice(option, name, axes)
    if len(matches) > 1:
        raise UsageError(f"{option} must name one of {', '.join(matches)} in full, got {name!r}")
    (axis,) = matches
    names = labels.names(axis, frame[axis])
    if value not in names and value in ("true", "false"):  # as sweep run reads them too
        value = value.capitalize()
    check_choice(f"the value of {option} {axis}", value, names)
    return axis, value
