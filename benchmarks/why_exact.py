"""What samplers and pool rules do to the variance of exact scores, against the closed forms.

    uv run --extra all python benchmarks/why_exact.py            # prints the committed results
    uv run --extra all python benchmarks/why_exact.py --dir DIR --forecast FILE

The second line condenses a run of preset why-exact (or why-mixture, without a forecast), whose
thousands of models are too many for a repository, into benchmarks/results/<name>.json; FILE is what
`sweep plan why-exact --axis seed=0 --out DIR --forecast --format json` prints. A gain here is the
variance of a model's samples in a band of the real images' principal directions, over that of the
lineage's real training images.
"""

import argparse
import json
import math
import platform
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student
from tabulate import tabulate

from analysis.reading.columns import DIRECTION
from analysis.reading.results import load_direction_results
from analysis.statistics.forecasts import BANDS, load_forecasts
from sweep.planning.rules import scaled_size

RESULTS = Path(__file__).parent / "results"
BAND_ENDS = (0.5, 0.9)
"""Shares of the variance at which the head and the middle end (docs/metrics.md)."""
ARM = ["process", "steps", "end", "rule", "alpha"]
"""Short names of the settings that vary."""
AXES = ["model.process", "sample.steps", "model.max_signal_rate", "pool.rule", "pool.alpha"]
PROCESSES = ("ddim", "flow", "edm")
RULES = ("replace", "accumulate", "grow", "mix")


def band_gains(rows: pd.DataFrame) -> dict[str, float]:
    """The gain of one model in each band, from its gains along every direction.

    A band begins with the first direction that is not in the one before, and ends with the first
    direction that reaches its end.
    """
    rows = rows.sort_values(DIRECTION)
    share = rows["variance_share"].to_numpy(float)
    stops = np.searchsorted(np.cumsum(share) / share.sum(), np.array(BAND_ENDS) - 1e-12) + 1
    own, real = (rows[name].to_numpy(float) * share for name in ("gain", "gain_train"))
    pairs = zip(np.split(own, stops), np.split(real, stops), strict=True)
    return dict(zip(BANDS, (x.sum() / y.sum() for x, y in pairs), strict=True))


def condense(folder: Path, forecast: Path | None) -> list[dict[str, Any]]:
    """Mean and deviation over seeds by arm, band and generation, and how gains depend on time."""
    frame = load_direction_results([folder])
    frame = frame[frame["status"] == "done"].assign(**{axis: frame.get(axis) for axis in AXES})
    frame.columns = [name.split("/")[0] for name in frame.columns]
    said = {} if forecast is None else load_forecasts(forecast)
    keys = [*AXES, "seed", "lineage", "generation"]
    models = pd.DataFrame(
        [
            {**dict(zip(keys, values, strict=True)), **band_gains(rows)}
            for values, rows in frame.groupby(keys, dropna=False, sort=False)
        ]
    )
    arms = [
        {
            **dict(zip(ARM, map(_plain, values), strict=True)),
            "seeds": int(rows["seed"].nunique()),
            "bands": {band: _band(rows, band, _forecast(rows, said, band)) for band in BANDS},
        }
        for values, rows in models.groupby(AXES, dropna=False, sort=False)
    ]
    return sorted(arms, key=_order)


def _forecast(rows: pd.DataFrame, said: dict[str, Any], band: str) -> list[float] | None:
    for lineage in rows["lineage"]:
        if lineage in said:
            return [float(f"{generation[band]:.5g}") for generation in said[lineage]]
    return None


def _band(rows: pd.DataFrame, band: str, forecast: list[float] | None) -> dict[str, Any]:
    table = rows.pivot_table(index="seed", columns="generation", values=band)
    values = table.to_numpy()
    times = np.log(table.columns.to_numpy(float))
    slopes = np.polyfit(times, np.log(values).T, 1)[0]
    numbers = {
        "mean": values.mean(axis=0),
        "std": values.std(axis=0, ddof=1),
        "std_log": np.log(values).std(axis=0, ddof=1),
        "exponent": [slopes.mean(), slopes.std(ddof=1)],
    }
    rounded = {name: [float(f"{x:.5g}") for x in each] for name, each in numbers.items()}
    return rounded if forecast is None else {**rounded, "forecast": forecast}


def _plain(value: Any) -> Any:
    return None if pd.isna(value) else getattr(value, "item", lambda: value)()


def _order(arm: dict[str, Any]) -> tuple:
    """Samplers from coarse to fine, ddim first; rules in the order of RULES."""
    numbers = arm["steps"], arm["end"]
    return PROCESSES.index(arm["process"]), *numbers, RULES.index(arm["rule"]), arm["alpha"] or 0


def sampler_of(arm: dict[str, Any]) -> str:
    """The sampler of an arm, in words."""
    end = f" ending at {arm['end']:g}" if arm["process"] == "ddim" else ""
    return f"{arm['process']}, {arm['steps']} steps{end}"


def rule_of(arm: dict[str, Any]) -> str:
    """The pool rule of an arm, with alpha."""
    return arm["rule"] + ("" if arm["alpha"] is None else f" {arm['alpha']:g}")


def by_sampler(arms: Iterable[dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Arms by sampler and rule."""
    table: dict[str, dict[str, dict[str, Any]]] = {}
    for arm in arms:
        table.setdefault(sampler_of(arm), {})[rule_of(arm)] = arm
    return table


def half_width(deviation: float, count: int) -> float:
    """Half-width of the 95 % t interval of a mean."""
    return float(student.ppf(0.975, count - 1)) * deviation / math.sqrt(count)


def last_gains(arms: Sequence[dict[str, Any]], band: str) -> str:
    """A table of the last generation's gain by sampler and rule, with the forecast."""
    table = by_sampler(arms)
    rules = list(next(iter(table.values())))
    rows = []
    for sampler, row in table.items():
        cells = []
        for rule in rules:
            own = row[rule]["bands"][band]
            width = half_width(own["std"][-1], row[rule]["seeds"])
            said = f" ({own['forecast'][-1]:.3f})" if "forecast" in own else ""
            cells.append(f"{own['mean'][-1]:.3f} +- {width:.3f}{said}")
        rows.append([sampler, *cells])
    last = {rule: len(row[rule]["bands"][band]["mean"]) for row in table.values() for rule in rules}
    header = ["sampler", *(f"{rule}, V{last[rule]}" for rule in rules)]
    return tabulate(rows, header, tablefmt="pipe", disable_numparse=True)


def exponents(arms: Sequence[dict[str, Any]]) -> str:
    """Slopes of log gain over log t under accumulate, measured and forecast."""
    rows = []
    for sampler, row in by_sampler(arms).items():
        arm = row["accumulate"]
        cells = []
        for band in BANDS:
            own = arm["bands"][band]
            mean, deviation = own["exponent"]
            said = ""
            if "forecast" in own:
                times = np.log(np.arange(1, len(own["forecast"]) + 1))
                said = f" ({np.polyfit(times, np.log(own['forecast']), 1)[0]:+.3f})"
            cells.append(f"{mean:+.3f} +- {half_width(deviation, arm['seeds']):.3f}{said}")
        rows.append([sampler, *cells])
    return tabulate(rows, ["sampler", *BANDS], tablefmt="pipe", disable_numparse=True)


def spreads(arms: Sequence[dict[str, Any]]) -> str:
    """Deviation over seeds of the head's log gain, last generation over first, beside theory."""
    table = by_sampler(arms)
    rules = list(next(iter(table.values())))
    rows = [
        [
            sampler,
            *(
                f"{own['std_log'][-1] / own['std_log'][0]:.2f}"
                for own in (row[rule]["bands"]["head"] for rule in rules)
            ),
        ]
        for sampler, row in table.items()
    ]
    arms_of = next(iter(table.values()))
    theory = [
        f"{math.sqrt(spread_without_bias(arms_of[rule], len(own['mean']))):.2f}"
        for rule, own in ((rule, arms_of[rule]["bands"]["head"]) for rule in rules)
    ]
    rows.append(["closed form without bias", *theory])
    return tabulate(rows, ["sampler", *rules], tablefmt="pipe", disable_numparse=True)


def spread_without_bias(arm: dict[str, Any], generations: int, first: int = 200) -> float:
    """Variance of the last generation's measured variance over that of the first.

    A measured variance of n images has a relative variance in proportion to 1 / n. The pool's is an
    average of its parts, and the expectation of new images' is the pool's. All generations are
    measured on as many images as D_1 has, which is the same for all seeds.
    """
    alpha, size, of_pool = arm["alpha"] or 1.0, first, 0.0
    for _ in range(generations - 1):
        new = scaled_size(alpha, size) if arm["rule"] == "grow" else first
        kept = {"replace": 0, "mix": first}.get(arm["rule"], size)
        share = new / (new + kept)
        # D_1, which mix keeps, does not vary; in a growing pool the rest does, with the new images.
        follows = share if arm["rule"] == "mix" else 1.0
        of_pool = follows**2 * of_pool + share**2 * first / new
        size = new + kept
    return 1.0 + of_pool


def tables(result: dict[str, Any]) -> Iterator[str]:
    """Everything that is printed."""
    arms = result["arms"]
    seeds = sorted({arm["seeds"] for arm in arms})
    has_forecast = "forecast" in arms[0]["bands"]["head"]
    said = " (forecast)" if has_forecast else ""
    yield f"{result['name']}: {len(arms)} arms, {'-'.join(map(str, seeds))} seeds"
    for band in ("head", "tail"):
        yield f"Gain of the {band}, mean +- half-width of the 95 % t interval{said}:"
        yield last_gains(arms, band)
    yield f"Exponent of t under accumulate, V1 to V8{said}:"
    yield exponents(arms)
    yield "Deviation of the head's log gain over seeds, last generation over V1:"
    yield spreads(arms)


def main() -> None:
    """Condense a run if one is given, and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--name", default="why_exact", help="name of the results file")
    parser.add_argument("--dir", type=Path, help="results folder of the run")
    parser.add_argument("--forecast", type=Path, help="forecasts of one seed's lineages")
    options = parser.parse_args()
    path = RESULTS / f"{options.name}.json"
    if options.dir is not None:
        result = {
            "name": options.name.replace("_", "-"),
            "arms": condense(options.dir, options.forecast),
            "versions": {name: version(name) for name in ("torch", "numpy", "scipy")},
            "platform": platform.platform(),
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        }
        path.write_text(json.dumps(result, indent=1) + "\n")
    print("\n\n".join(tables(json.loads(path.read_text()))))


if __name__ == "__main__":
    main()
