"""How each metric depends on the number of images, measured on real images against real ones.

    uv run --extra all python benchmarks/metric_bias.py [--seeds 5]

N images of flower-crops at 32x32 are compared with N others, for growing N, redrawn for every seed.
An unbiased metric has the same mean for every N. Writes benchmarks/results/metric_bias.json and
.png.
"""

import argparse
import json
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tabulate import tabulate

from analysis.figures.drawing.style import PALETTE, save_figure, styled
from analysis.statistics.seeds import t_interval
from model.config import DataConfig, MetricsConfig
from model.data.datasets import load_dataset
from model.features.extractors import extract_features
from model.metrics.comparison import Comparison, RealFeatures
from model.metrics.table import measure

RESULTS = Path(__file__).parent / "results"
DATA = DataConfig(name="flower-crops", image_size=32, num_images=6000, split="all")
METRICS = MetricsConfig(
    names=("kid", "fid", "precision", "recall", "density", "coverage", "vendi", "classes")
)
SHOWN = ("kid", "fid", "precision", "recall", "density", "coverage", "vendi", "class_tv")
SIZES = (64, 128, 256, 512, 1024, 2048)
NUM_TRAIN = 1500
"""Number of images on which the probe of `classes` is trained."""


def measure_sizes(num_seeds: int) -> dict[int, list[dict[str, float]]]:
    """Measure every metric at every size and seed."""
    data = load_dataset(DATA)
    assert data.labels is not None
    features = extract_features(data.images, METRICS)
    results: dict[int, list[dict[str, float]]] = {size: [] for size in SIZES}
    for size in SIZES:
        for seed in range(num_seeds):
            order = np.random.default_rng(seed).permutation(len(features))
            train, rest = order[:NUM_TRAIN], order[NUM_TRAIN:]
            generated, reference = rest[:size], rest[size : 2 * size]
            real = RealFeatures(
                reference=features[reference],
                reference_labels=data.labels[reference],
                train=features[train],
                train_labels=data.labels[train],
                class_names=data.class_names,
            )
            comparison = Comparison(generated=features[generated], real=real)
            values = measure(comparison, METRICS).values
            results[size].append({key.split("/")[0]: value for key, value in values.items()})
        print(f"N = {size}", flush=True)
    return results


def draw(results: dict[int, list[dict[str, float]]], path: Path) -> None:
    """Plot a panel for each metric: mean and t interval against N."""
    with styled():
        figure = Figure(figsize=(10, 4.8), layout="constrained")
        for axis, metric in zip(figure.subplots(2, 4, sharex=True).flat, SHOWN, strict=True):
            numbers = [t_interval([v[metric] for v in results[size]], 0.95) for size in SIZES]
            mean, half = [n[0] for n in numbers], [n[1] for n in numbers]
            axis.errorbar(SIZES, mean, yerr=half, fmt="o-", color=PALETTE[2], capsize=2)
            axis.set_title(metric.replace("_", " "))
            axis.set_xscale("log", base=2)
            axis.set_xticks(SIZES, [str(size) for size in SIZES])
        figure.supxlabel("images on either side, N", fontsize=9)
        figure.suptitle(
            "real against real: flower-crops at 32x32, efficientnet-lite0-64; mean and 95% t "
            f"interval of {len(results[SIZES[0]])} draws"
        )
        save_figure(figure, path)


def main() -> None:
    """Measure, print, draw and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=5, help="draws of the images")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    options = parser.parse_args()
    results = measure_sizes(options.seeds)
    rows = [
        [size, *(f"{np.mean([v[m] for v in values]):.4g}" for m in SHOWN)]
        for size, values in results.items()
    ]
    print(tabulate(rows, ["N", *SHOWN], disable_numparse=True))
    result = {
        "data": "flower-crops, 32x32, 6000 crops",
        "extractor": "efficientnet-lite0-64",
        "num_train": NUM_TRAIN,
        "nearest_k": METRICS.nearest_k,
        "values": results,
        "versions": {name: version(name) for name in ("torch", "numpy", "scipy", "scikit-learn")},
        "platform": platform.platform(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "metric_bias.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    draw(results, path.with_suffix(".png"))


if __name__ == "__main__":
    main()
