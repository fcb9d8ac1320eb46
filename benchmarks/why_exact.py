"""What samplers and pool rules do to the variance of exact scores, against the closed forms.

    uv run --extra all python benchmarks/why_exact.py            # prints the committed results
    uv run --extra all python benchmarks/why_exact.py --dir DIR --forecast FILE

The second line condenses a run of preset why-exact, whose thousands of models are too many for a
repository, into benchmarks/results/why_exact.json; FILE is what `sweep plan why-exact --axis seed=0
--out DIR --forecast --format json` prints. `--name why_mixture` is the same for preset why-mixture,
and `--name why_mnist_exact` for experiments/why-mnist-exact.toml. A gain here is the
variance of a model's samples in a band of the real images' principal directions, over that of the
lineage's real training images.
"""

import argparse
import json
import math
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from tabulate import tabulate

from analysis.figures.drawing.style import PALETTE, save_figure, styled
from analysis.reading.columns import DIRECTION
from analysis.reading.hypotheses import Tested, load_hypotheses
from analysis.reading.results import load_direction_results
from analysis.statistics.forecasts import BANDS, load_forecasts
from analysis.statistics.seeds import t_interval
from analysis.tables.verdicts import describe_verdicts
from model.errors import OneLineError
from model.features.principal import band_stops
from sweep.planning.rules import scaled_size
from sweep.records import HYPOTHESES, HypothesisRecord

RESULTS = Path(__file__).parent / "results"
ARM = ["process", "steps", "end", "rule", "alpha"]
"""Short names of the settings that vary."""
AXES = ["model.process", "sample.steps", "model.max_signal_rate", "pool.rule", "pool.alpha"]
CONFIDENCE = 0.95
PROCESSES = ("ddim", "flow", "edm")
PAPER = ("ddim", 20, 0.95)
"""The paper's sampler."""
RULES = ("replace", "accumulate", "grow", "mix")


def band_gains(rows: pd.DataFrame) -> dict[str, float]:
    """The gain of one model in each band, from its gains along every direction."""
    rows = rows.sort_values(DIRECTION)
    share = rows["variance_share"].to_numpy(float)
    stops = band_stops(share, share.sum())
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
    groups: Any = models.groupby(AXES, dropna=False, sort=False)
    arms = [
        {
            **dict(zip(ARM, map(_plain, values), strict=True)),
            "bands": {band: _band(rows, band, _forecast(rows, said, band)) for band in BANDS},
        }
        for values, rows in groups
    ]
    return sorted(arms, key=_order)


def _forecast(rows: pd.DataFrame, said: dict[str, Any], band: str) -> list[float] | None:
    for lineage in rows["lineage"]:
        if lineage in said:
            return [float(f"{generation[band]:.5g}") for generation in said[lineage]]
    return None


def _band(rows: pd.DataFrame, band: str, forecast: list[float] | None) -> dict[str, Any]:
    table = rows.pivot_table(index="seed", columns="generation", values=band)
    gains = [[float(f"{x:.5g}") for x in each] for each in table.to_numpy()]
    return {"gains": gains} if forecast is None else {"gains": gains, "forecast": forecast}


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


def gains_of(arm: dict[str, Any], band: str) -> np.ndarray:
    """(S, G) gains of an arm by seed and generation."""
    return np.array(arm["bands"][band]["gains"])


def last_gains(arms: Sequence[dict[str, Any]], band: str) -> str:
    """A table of the last generation's gain by sampler and rule, with the forecast."""

    def cell(arm: dict[str, Any]) -> str:
        mean, width, _ = t_interval(gains_of(arm, band)[:, -1].tolist(), CONFIDENCE)
        return f"{mean:.3f} +- {width:.3f}" + _said(arm, band, lambda said: f"{said[-1]:.3f}")

    def name(arm: dict[str, Any]) -> str:
        return f"{rule_of(arm)}, V{gains_of(arm, band).shape[1]}"

    return _table(arms, name, cell)


def exponents(arms: Sequence[dict[str, Any]]) -> str:
    """Slopes of log gain over log t under accumulate, measured and forecast."""

    def slopes(gains: np.ndarray) -> np.ndarray:
        times = np.log(np.arange(1, gains.shape[-1] + 1))
        return np.polyfit(times, np.log(gains).T, 1)[0]

    rows = []
    for arm in arms:
        if arm["rule"] == "accumulate":
            cells = []
            for band in BANDS:
                mean, width, _ = t_interval(slopes(gains_of(arm, band)).tolist(), CONFIDENCE)
                said = _said(arm, band, lambda gains: f"{slopes(np.array(gains)):+.3f}")
                cells.append(f"{mean:+.3f} +- {width:.3f}{said}")
            rows.append([sampler_of(arm), *cells])
    return tabulate(rows, ["sampler", *BANDS], tablefmt="pipe", disable_numparse=True)


def spreads(arms: Sequence[dict[str, Any]]) -> str:
    """Deviation over seeds of the head's log gain, last generation over first, beside theory."""

    def cell(arm: dict[str, Any]) -> str:
        deviations = np.log(gains_of(arm, "head")).std(axis=0, ddof=1)
        return f"{deviations[-1] / deviations[0]:.2f}"

    def theory(arm: dict[str, Any]) -> str:
        return f"{math.sqrt(spread_without_bias(arm, gains_of(arm, 'head').shape[1])):.2f}"

    first = [theory(arm) for arm in next(iter(by_sampler(arms).values())).values()]
    return _table(arms, rule_of, cell, ["one Gaussian without bias", *first])


def _said(arm: dict[str, Any], band: str, text: Callable[[list[float]], str]) -> str:
    """What the forecast says, in brackets, if there is one."""
    forecast = arm["bands"][band].get("forecast")
    return "" if forecast is None else f" ({text(forecast)})"


def _table(
    arms: Sequence[dict[str, Any]],
    name: Callable[[dict[str, Any]], str],
    cell: Callable[[dict[str, Any]], str],
    *more: list[str],
) -> str:
    """A cell of each arm: a row for each sampler, a column for each rule."""
    table = by_sampler(arms)
    header = ["sampler", *map(name, next(iter(table.values())).values())]
    rows = [[sampler, *map(cell, row.values())] for sampler, row in table.items()]
    return tabulate([*rows, *more], header, tablefmt="pipe", disable_numparse=True)


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
    has_forecast = "forecast" in arms[0]["bands"]["head"]
    said = " (forecast)" if has_forecast else ""
    yield f"{result['name']}: {len(arms)} arms, {len(gains_of(arms[0], 'head'))} seeds"
    for band in ("head", "tail"):
        yield f"Gain of the {band}, mean +- half-width of the 95 % t interval{said}:"
        yield last_gains(arms, band)
    yield f"Exponent of t under accumulate, V1 to V8{said}:"
    yield exponents(arms)
    yield "Deviation of the head's log gain over seeds, last generation over V1:"
    yield spreads(arms)
    if result["hypotheses"]:
        yield describe_verdicts([_tested(result["name"], x) for x in result["hypotheses"]])


def _tested(name: str, measured: dict[str, Any]) -> Tested:
    """A hypothesis of the run, with its differences by seed."""
    folder = RESULTS.parent.parent / "experiments" / name / HYPOTHESES
    record = HypothesisRecord.load(folder / f"{measured['name']}.json")
    pairs = zip(record.pairs, measured["differences"], strict=True)
    return Tested(
        record=record,
        differences={(pair.seed, pair.split_seed): x for pair, x in pairs},
        missing=[],
        is_complete=True,
    )


def differences(folder: Path) -> list[dict[str, Any]]:
    """The differences that decide the hypotheses of a run, in the order of their pairs."""
    if not (folder / HYPOTHESES).is_dir():
        return []
    return [
        {
            "name": each.record.name,
            "differences": [
                float(f"{each.differences[pair.seed, pair.split_seed]:.5g}")
                for pair in each.record.pairs
            ],
        }
        for each in load_hypotheses(folder)
    ]


def draw(arms: Sequence[dict[str, Any]], path: Path) -> None:
    """Plot the head's gain by generation: every rule with one sampler, and accumulate with all."""
    with styled():
        figure = Figure(figsize=(6.75, 3), layout="constrained")
        left, right = figure.subplots(1, 2)
        chosen = [arm for arm in arms if (arm["process"], arm["steps"], arm["end"]) == PAPER]
        for panel, kept, name in (
            (left, chosen, rule_of),
            (right, [arm for arm in arms if arm["rule"] == "accumulate"], sampler_of),
        ):
            for arm, color in zip(kept, PALETTE, strict=False):
                intervals = [t_interval(x, CONFIDENCE) for x in gains_of(arm, "head").T.tolist()]
                mean, widths, _ = zip(*intervals, strict=True)
                times = np.arange(1, len(mean) + 1)
                style = {"color": color, "markersize": 4, "label": name(arm)}
                panel.errorbar(times, mean, widths, fmt=".", **style)
                if "forecast" in arm["bands"]["head"]:
                    panel.plot(times, arm["bands"]["head"]["forecast"], color=color, linewidth=1)
            panel.set_yscale("log")
            panel.set_ylim(bottom=0.4 * panel.get_ylim()[0])  # room for the legend
            panel.legend(fontsize=6, loc="lower left")
        right.set_xscale("log")
        for axis in (right.xaxis, left.yaxis, right.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        left.set_title(sampler_of(chosen[0]))
        right.set_title("accumulate")
        left.set_ylabel("gain of the head")
        figure.supxlabel("generation", fontsize=9)
        save_figure(figure, path)


def main() -> None:
    """Condense a run if one is given, and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--name", default="why_exact", help="results file: NAME.json")
    parser.add_argument("--dir", type=Path, help="results folder of the run")
    parser.add_argument("--forecast", type=Path, help="forecasts of one seed's lineages")
    options = parser.parse_args()
    path = RESULTS / f"{options.name}.json"
    if options.dir is None and not path.exists():
        parser.error(f"--name must be that of a file in {RESULTS}, got {options.name!r}")
    if options.dir is not None:
        try:
            hypotheses = differences(options.dir)
            arms = condense(options.dir, options.forecast)
        except OneLineError as error:
            parser.error(str(error))
        result = {
            "name": options.name.replace("_", "-"),
            "hypotheses": hypotheses,
            "arms": arms,
            "versions": {name: version(name) for name in ("torch", "numpy", "scipy")},
            "platform": platform.platform(),
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        }
        path.write_text(json.dumps(result) + "\n")
        draw(result["arms"], path.with_suffix(".png"))
    print("\n\n".join(tables(json.loads(path.read_text()))))


if __name__ == "__main__":
    main()
