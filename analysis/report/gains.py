"""Numbers behind the page's variance gains by principal direction, for each setting."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.reading.columns import (
    DIRECTION,
    describe_sizes,
    group_positions,
    grouped,
    metric_columns,
    split_name,
)
from analysis.reading.results import load_direction_results
from analysis.report.curves import name_setting, numbers, title_of
from analysis.statistics.forecasts import GAINS, Forecasts, check_forecast
from analysis.statistics.gains import Gains, gain_columns, summarize_gains
from analysis.tables.build import Part, part_of
from model.errors import UsageError, printable

MOST_MODELS = 2_000
"""Most models whose gains are read; the settings of others are left out."""
NOTHING = {"columns": [], "left": ""}
"""What is drawn without gains."""


def read_gains(
    part: Part, dirs: Sequence[Path], forecasts: Forecasts | None
) -> tuple[dict[str, Any], list[str]]:
    """Return what can be drawn as JSON, and sentences about gains that cannot be drawn.

    Args:
        part: The whole table, by the settings that vary.
        dirs: The results folders.
        forecasts: The forecast of each lineage; None if none was given.

    Raises:
        UsageError: There are forecasts, but no gains, or none of these lineages.
        RecordError: A record is damaged.
    """
    bands = [c for c in metric_columns(part.frame) if split_name(c)[0] in GAINS]
    with_gains = part.frame[part.frame[bands].notna().any(axis=1)]
    if with_gains.empty and forecasts is None:
        return NOTHING, []
    chosen, total, without = _choose(with_gains, part.by)
    try:
        frame = load_direction_results(dirs, without=without)
    except UsageError:  # none is known by direction; the folders were read before
        if forecasts is not None:
            raise
        return NOTHING, []
    check_forecast(forecasts, with_gains["lineage"])
    columns, notes = [], []
    for column in gain_columns(frame):
        try:
            sizes = describe_sizes(frame, column)
        except UsageError as error:
            notes.append(f"{column} is not drawn by direction: {error}")
            continue
        measured = frame[frame[column].notna()]
        named = part_of(measured[measured[DIRECTION] == 1], part.by, part.confidence)
        gains = summarize_gains(
            measured, column, by=part.by, confidence=part.confidence, forecasts=forecasts
        )
        settings = [values for values, _ in grouped(named.frame, part.by)][:chosen]
        columns.append(
            {
                "name": printable(title_of(column)),
                "images": sizes,
                "source": printable(_describe_source(gains, named)),
                "settings": [
                    _setting(gains, tuple(values.values()), name_setting(named, values))
                    for values in settings
                ],
            }
        )
    left = ""
    if chosen < total:
        left = (
            f"The first {chosen} of {total} settings are shown; "
            "analysis figure --kind gain --where AXIS=VALUE draws others."
        )
    return {"columns": columns, "left": left}, notes


def _choose(frame: pd.DataFrame, by: Sequence[str]) -> tuple[int, int, set[str]]:
    """How many settings are shown, how many there are, and the lineages of the others."""
    lineages = frame["lineage"].tolist()
    chosen = total = models = 0
    without: set[str] = set()
    for _, positions in group_positions(frame, by):
        total += 1
        models += len(positions)
        if models <= MOST_MODELS or total == 1:
            chosen += 1
        else:
            without |= {lineages[i] for i in positions}
    return chosen, total, without


def _describe_source(gains: Gains, named: Part) -> str:
    """Say what the intervals are: `95% t interval over seeds 0, 1`, or nothing without them."""
    if not gains.source:
        return ""
    splits = named.labels.describe_splits(named.frame) if named.num_splits > 1 else ""
    units = "; ".join(filter(None, [named.labels.describe_seeds(named.frame), splits]))
    return f"{100 * named.confidence:g}% {gains.source} {units}"


def _setting(gains: Gains, setting: tuple, name: str) -> dict[str, Any]:
    """The gains of a setting, of directions 1, 2, 3 and so on."""
    of_generations = {key[0]: rows for key, rows in gains.means.items() if key[1:] == setting}
    last = max(rows[DIRECTION].max() for rows in of_generations.values())
    directions = range(1, last + 1)

    def of(column: pd.Series) -> list[float | None]:
        return numbers(column.reindex(directions))

    return {
        "name": printable(name),
        "ends": gains.ends[setting],
        "train": of(gains.train[setting]),
        "generations": [
            {
                "generation": generation,
                "mean": of(rows.set_index(DIRECTION)["mean"]),
                "half": of(rows.set_index(DIRECTION)["half_width"]),
                "said": of(said)
                if (said := gains.said.get((generation, *setting))) is not None
                else None,
            }
            for generation, rows in of_generations.items()
        ],
    }
