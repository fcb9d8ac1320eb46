"""Results folders with variance gains, and forecasts of them, for tests."""

import json
from pathlib import Path

import numpy as np
from results_folder import rewrite, write_folder

NOISE = {0: 0.9, 1: 1.0, 2: 1.1}
BANDS = ("head", "middle", "tail")


def write_gains(folder: Path, num_directions: int = 40, **settings) -> Path:
    """A results folder whose gains are seed noise x (direction / 10)^(n / 4).

    Those of the bands are seed noise x (1 + 0.1 n), 2 and 3 times as much. Training images have a
    gain of 1 + 0.1 / direction, and shares of the variance fall by a fifth with each direction.
    """
    write_folder(folder, **settings)
    for path in folder.glob("generations/*/metrics/*.json"):
        node = json.loads((path.parent.parent / "record.json").read_text())
        directions = np.arange(1, num_directions + 1)
        noise, n = NOISE[node["seed"]], node["generation"]
        gain = noise * (directions / 10) ** (n / 4)
        share = 0.8**directions
        values = json.loads(path.read_text())["values"]
        of_bands = {f"gain_{band}": noise * (1 + 0.1 * n) * k for k, band in enumerate(BANDS, 1)}
        rewrite(
            path,
            values=values | of_bands,
            directions={
                "gain": gain.tolist(),
                "gain_se": (gain / 10).tolist(),
                "gain_train": (1 + 0.1 / directions).tolist(),
                "variance_share": (share / (0.8 / 0.2)).tolist(),
            },
        )
    return folder


def write_forecast(path: Path, lineages, generations: int, num_directions: int = 30) -> Path:
    """What `sweep plan --forecast --format json` prints: 0.9^n along every direction."""
    forecast = [
        {
            "lineage": lineage,
            "generations": [
                dict.fromkeys(BANDS, 0.9**n) | {"directions": [0.9**n] * num_directions}
                for n in range(1, generations + 1)
            ],
        }
        for lineage in lineages
    ]
    path.write_text(json.dumps({"forecast": forecast}))
    return path
