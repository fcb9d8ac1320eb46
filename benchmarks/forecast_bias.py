"""How far real lineages are from their forecast, direction by direction, for growing pools.

    uv run --extra all python benchmarks/forecast_bias.py [--seeds 3]

The forecast (sweep plan --forecast) is the limit of many images. Lineages of the family
exact-gaussian start from N images of a known density (data.name=synthetic, 8x8) and grow their
pools; the variance of V_n's samples along each principal direction is compared with the recursion
on the true variances. Writes benchmarks/results/forecast_bias.json and .png.
"""

import argparse
import json
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from matplotlib.figure import Figure
from tabulate import tabulate

from analysis.figures.drawing.style import PALETTE, save_figure, styled
from model.data.public import synthetic_density
from model.exact.family import sample_exact
from sweep.config import LineageConfig, SweepConfig, updated
from sweep.estimate.forecast import forecast_moments
from sweep.estimate.spectrum import Spectrum
from sweep.lineage.datasets import load_prepared, prepare_dataset
from sweep.lineage.run import LineageRun
from sweep.lineage.sample_streams import read_weights
from sweep.planning.lineages import plan_sweep
from sweep.store.store import open_store

RESULTS = Path(__file__).parent / "results"
SIZES = (200, 1000, 5000, 50_000)
GENERATIONS = 4
SIDE = 8
SAMPLED = 50_000
"""Number of samples whose variance is measured."""
LARGE = 0.1
"""Smallest forecast gain of the directions that are compared one by one."""
HEADER = ("N", "", "directions above", "largest error", "mean error", "others, sum of gains")


def settings(num_images: int, seed: int) -> LineageConfig:
    """A lineage that starts from a number of synthetic images."""
    data = {
        "name": "synthetic",
        "dtype": "float32",
        "image_size": SIDE,
        "spectrum": 2.0,
        "num_images": num_images,
        "split": "all",
        "split_seed": seed,
    }
    changes = {
        "data": data,
        "model": {"family": "exact-gaussian"},
        "pool": {"rule": "grow", "alpha": 1.0},
        "metrics": {"names": []},
        "generations": GENERATIONS,
        "seed": seed,
    }
    return updated(LineageConfig(), changes)


def true_spectrum(config: LineageConfig) -> tuple[Spectrum, np.ndarray]:
    """The density's own spectrum, and its (P, D) principal directions."""
    _, factor = synthetic_density(config.data)
    variances = (factor**2).sum(axis=1)
    directions = factor / np.sqrt(variances)[:, None]
    spectrum = Spectrum(
        variances=variances,
        directions=directions.T,
        channel_variances=np.ones(SIDE * SIDE),
    )
    return spectrum, directions


def measure(config: LineageConfig) -> tuple[np.ndarray, np.ndarray]:
    """(G, P) variances of the samples along the true directions, measured and forecast."""
    spectrum, directions = true_spectrum(config)
    with TemporaryDirectory() as folder:
        store = open_store(Path(folder))
        sweep = SweepConfig(name="forecast", description="", base=config)
        (lineage,) = plan_sweep(sweep, lambda data: prepare_dataset(data, store))
        data = load_prepared(lineage.card, store)
        run = LineageRun(config=config, card=lineage.card, data=data, store=store)
        noise = np.random.default_rng(config.seed).standard_normal(
            (SAMPLED, *lineage.card.shape), np.float32
        )
        measured = []
        for node, _ in zip(run.nodes, run.generations(), strict=True):
            images = sample_exact(read_weights(store, node), noise, node.settings.sample)
            rows = images.reshape(SAMPLED, -1).astype(np.float64)
            measured.append((rows @ directions.T).var(axis=0))
        expected = [each.variances for each, _ in forecast_moments(lineage, spectrum)]
    return np.array(measured), np.array(expected)


def measure_sizes(num_seeds: int) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """(G, P) gains along the true directions at every N: the mean over seeds, and the forecast."""
    results = {}
    for size in SIZES:
        pairs = [measure(settings(size, seed)) for seed in range(num_seeds)]
        spectrum, _ = true_spectrum(settings(size, 0))
        measured = np.mean([own for own, _ in pairs], axis=0) / spectrum.variances
        results[size] = measured, pairs[0][1] / spectrum.variances
        print(f"N = {size}", flush=True)
    return results


def draw(results: dict[int, tuple[np.ndarray, np.ndarray]], path: Path, num_seeds: int) -> None:
    """Plot a panel for each N: gains by direction, with the forecast as lines."""
    with styled():
        figure = Figure(figsize=(10, 3.2), layout="constrained")
        axes = figure.subplots(1, len(SIZES), sharey=True)
        for axis, (size, (measured, expected)) in zip(axes, results.items(), strict=True):
            for generation in (0, GENERATIONS - 1):
                color, name = PALETTE[generation], f"V{generation + 1}"
                axis.plot(expected[generation], color=color, linewidth=1, label=f"{name} forecast")
                axis.plot(
                    measured[generation], ".", color=color, markersize=4, label=f"{name} samples"
                )
            axis.set_title(f"N = {size:,}")
        axes[-1].legend(fontsize=7)
        axes[0].set_ylabel("variance gain")
        figure.supxlabel("principal direction of the true density", fontsize=9)
        figure.suptitle(
            f"samples of exact-gaussian against the forecast; grow, alpha 1; {num_seeds} seeds"
        )
        save_figure(figure, path)


def main() -> None:
    """Measure, print, draw and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=3, help="lineages of each N")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    options = parser.parse_args()
    torch.set_num_threads(1)  # two wait longer for each other than such products take
    results = measure_sizes(options.seeds)
    rows, values = [], {}
    for size, (measured, expected) in results.items():
        error = measured / expected - 1
        large = expected > LARGE
        for generation in range(GENERATIONS):
            kept = large[generation]
            rows.append(
                [
                    f"{size:,}",
                    f"V{generation + 1}",
                    f"{kept.sum()}",
                    f"{100 * np.abs(error[generation][kept]).max():.1f} %",
                    f"{100 * error[generation][kept].mean():+.2f} %",
                    f"{measured[generation][~kept].sum() - expected[generation][~kept].sum():+.3f}",
                ]
            )
        values[size] = {"measured": measured.tolist(), "forecast": expected.tolist()}
    print(tabulate(rows, HEADER, disable_numparse=True))
    result = {
        "density": f"Gaussian, {SIDE}x{SIDE}, variances k^-2",
        "seeds": options.seeds,
        "sampled": SAMPLED,
        "gains": values,
        "versions": {name: version(name) for name in ("torch", "numpy", "scipy")},
        "platform": platform.platform(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "forecast_bias.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    draw(results, path.with_suffix(".png"), options.seeds)


if __name__ == "__main__":
    main()
