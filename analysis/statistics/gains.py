"""Variance gain along the principal directions: means over seeds, and forecasts."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.reading.columns import AT, DIRECTION, grouped, metric_columns
from analysis.statistics.forecasts import Forecasts
from analysis.statistics.intervals import Source, summarize_curves
from model.features.principal import band_stops

GAIN = "gain"


@dataclass(frozen=True, kw_only=True, slots=True)
class Gains:
    """The gain of each setting and generation, and what is beside it; all by direction."""

    means: dict[tuple, pd.DataFrame]
    """Generation and setting -> direction, mean and half_width."""
    source: Source
    """What all half-widths come from."""
    said: dict[tuple, pd.Series]
    """Generation and setting -> the forecast, where lineages have one."""
    train: dict[tuple, pd.Series]
    """Setting -> the gain of its training images."""
    ends: dict[tuple, list[float]]
    """Setting -> where the head and the middle end, between two directions."""


def gain_columns(frame: pd.DataFrame) -> list[str]:
    """The columns of gains, of which there are several if numbers of images differ."""
    return [column for column in metric_columns(frame) if column.split(AT)[0] == GAIN]


def summarize_gains(
    frame: pd.DataFrame,
    column: str,
    *,
    by: Sequence[str],
    confidence: float,
    forecasts: Forecasts | None = None,
) -> Gains:
    """Summarise a column of gains over seeds.

    Args:
        frame: Rows of analysis.reading.results.load_direction_results that have the gain.
        column: The column.
        by: The axes of a setting.
        confidence: Coverage of the intervals, in (0, 1).
        forecasts: The forecast of each lineage; None if there is none.
    """
    summary, source = summarize_curves(frame, column, by=[*by, DIRECTION], confidence=confidence)
    suffix = column.removeprefix(GAIN)
    train, share = f"gain_train{suffix}", f"variance_share{suffix}"
    numbers = frame.reindex(columns=[*by, DIRECTION, train, share])
    of_data = {
        tuple(values.values()): rows.groupby(DIRECTION)[[train, share]].mean()
        for values, rows in grouped(numbers, by)
    }
    return Gains(
        means={tuple(v.values()): rows for v, rows in grouped(summary, ["generation", *by])},
        source=source,
        said=_forecast(frame, train, by, forecasts) if forecasts is not None else {},
        train={setting: rows[train] for setting, rows in of_data.items()},
        ends={setting: _ends(rows[share]) for setting, rows in of_data.items()},
    )


def _forecast(
    frame: pd.DataFrame, train: str, by: Sequence[str], forecasts: Forecasts
) -> dict[tuple, pd.Series]:
    """The forecast gain, which is relative to the training images, relative to the reference."""
    said = [
        _said(forecasts.get(lineage), generation, direction) * of_train
        for lineage, generation, direction, of_train in zip(
            frame["lineage"], frame["generation"], frame[DIRECTION], frame[train], strict=True
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


def _ends(share: pd.Series) -> list[float]:
    """Where the head and the middle end, of those that end among the listed directions."""
    stops = band_stops(share.to_numpy(float), 1.0)
    return [float(share.index[stop - 1]) + 0.5 for stop in stops if stop <= len(share)]
