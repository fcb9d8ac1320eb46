"""Reads what `sweep plan --forecast --format json` prints."""

import json
from pathlib import Path
from typing import Any

from model.errors import UsageError, reading

BANDS = ("head", "middle", "tail")
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
