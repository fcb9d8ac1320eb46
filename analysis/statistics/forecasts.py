"""Reads what `sweep plan --forecast --format json` prints."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from model.errors import UsageError, reading

BANDS = ("head", "middle", "tail")
GAINS = ("gain_head", "gain_middle", "gain_tail")
"""Metrics that have a forecast: the gain of each band."""
Forecasts = dict[str, list[dict[str, Any]]]
"""Lineage -> for each generation, the forecast gain of each band, and a list `directions`."""


def load_forecasts(path: Path) -> Forecasts:
    """Read the forecasts of a file, by lineage.

    Raises:
        UsageError: The file cannot be read, or holds no forecast.
    """
    with reading(path):
        data = path.read_bytes()
    try:
        return {
            str(each["lineage"]): [
                {name: float(generation[name]) for name in BANDS}
                | {"directions": [float(x) for x in generation["directions"]]}
                for generation in each["generations"]
            ]
            for each in json.loads(data)["forecast"]
        }
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(
            f"--forecast must hold what `sweep plan --forecast --format json` prints, got {path}"
        ) from error


def check_forecast(
    forecasts: Forecasts | None, lineages: Iterable[str], *, all_of: bool = False
) -> None:
    """Raise UsageError unless forecasts, if there are any, are of these lineages.

    Args:
        forecasts: What load_forecasts returns; None needs no lineage.
        lineages: Ids of lineages.
        all_of: Whether each must have a forecast; otherwise one is enough.
    """
    if forecasts is None:
        return
    wanted = list(dict.fromkeys(lineages))
    missing = [lineage for lineage in wanted if lineage not in forecasts]
    if missing and (all_of or len(missing) == len(wanted)):
        raise UsageError(
            f"--forecast must have the lineages of DIR, got no {missing[0]}; "
            "`sweep plan DIR/sweep.json --out DIR --forecast --format json` prints their forecasts"
        )
