"""Which metric detects which damage: damaged real images are measured as if they were generated.

    uv run --extra all python benchmarks/damage.py [--data digits flower-crops] [--seeds 5]

Fresh real images, which are in neither the reference nor the training images, stand in for
generated ones: unchanged, with Gaussian noise, blurred, without half of the classes, and with half
of the images from one class; noisy copies of training images are another set. Every set has the
same number of images. Seeds choose the images; the split is fixed. Prints a table, and writes
benchmarks/results/damage_<data>.json and .png.
"""

import argparse
import json
import platform
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter
from tabulate import tabulate

from analysis.figures.drawing.style import PALETTE, save_figure, styled
from analysis.statistics.seeds import t_interval
from model.config import DataConfig, MetricsConfig
from model.data.datasets import load_dataset
from model.metrics.table import RealImages, compare_images, extract_real, measure

RESULTS = Path(__file__).parent / "results"
DATA = {
    "digits": DataConfig(
        name="digits", image_size=8, reference_fraction=0.2, validation_fraction=0.7
    ),
    "flower-crops": DataConfig(
        name="flower-crops",
        image_size=32,
        num_images=3000,
        reference_fraction=0.1,
        validation_fraction=0.6,
    ),
}
METRICS = MetricsConfig(
    names=(
        *("kid", "fid", "precision", "recall", "density", "coverage", "vendi"),
        *("memorization", "classes", "class_kid", "class_recall"),
    )
)
SHOWN = (
    *("kid", "fid", "precision", "recall", "density", "coverage", "vendi", "class_tv"),
    *("lost_classes", "worst_class_recall", "memorized", "copying_z"),
)
NUM_IMAGES = 200
"""Images in every damaged set; one class of the fresh images must have at least half as many."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fresh:
    """Real images that are neither training nor reference images, and training images to copy."""

    images: np.ndarray
    """(N, C, H, W) uint8."""
    labels: np.ndarray
    train: np.ndarray
    """(K, C, H, W) uint8."""
    num_classes: int


Damage = Callable[[Fresh, np.random.Generator], np.ndarray]


def pick(fresh: Fresh, rng: np.random.Generator, allowed: np.ndarray | None = None) -> np.ndarray:
    """Choose NUM_IMAGES different fresh images, among those that the mask allows."""
    indices = np.arange(len(fresh.images)) if allowed is None else np.flatnonzero(allowed)
    return fresh.images[rng.choice(indices, NUM_IMAGES, replace=False)]


def add_noise(images: np.ndarray, sd: float, rng: np.random.Generator) -> np.ndarray:
    """Add Gaussian noise of standard deviation `sd` in grey levels; round and clip."""
    noisy = images + rng.normal(0, sd, images.shape)
    return np.rint(noisy).clip(0, 255).astype(np.uint8)


def noise(sd: float) -> Damage:
    """Fresh images with noise."""
    return lambda fresh, rng: add_noise(pick(fresh, rng), sd, rng)


def blur(sigma: float) -> Damage:
    """Fresh images, blurred with a standard deviation in pixels."""

    def damage(fresh: Fresh, rng: np.random.Generator) -> np.ndarray:
        blurred = gaussian_filter(pick(fresh, rng).astype(np.float64), (0, 0, sigma, sigma))
        return np.rint(blurred).clip(0, 255).astype(np.uint8)

    return damage


def half_of_the_classes(fresh: Fresh, rng: np.random.Generator) -> np.ndarray:
    """Fresh images of only the lower half of the classes."""
    return pick(fresh, rng, fresh.labels < (fresh.num_classes + 1) // 2)


def one_heavy_class(fresh: Fresh, rng: np.random.Generator) -> np.ndarray:
    """Half of the images from class 0, the rest from the other classes."""
    heavy = pick(fresh, rng, fresh.labels != 0)
    of_class = np.flatnonzero(fresh.labels == 0)
    count = min(NUM_IMAGES // 2, len(of_class))
    heavy[:count] = fresh.images[rng.choice(of_class, count, replace=False)]
    return heavy


def copies(fresh: Fresh, rng: np.random.Generator) -> np.ndarray:
    """Training images with a little noise."""
    chosen = rng.choice(len(fresh.train), NUM_IMAGES, replace=False)
    return add_noise(fresh.train[chosen], 4, rng)


DAMAGES: dict[str, Damage] = {
    "none": pick,
    "noise 4": noise(4),
    "noise 10": noise(10),
    "noise 40": noise(40),
    "blur 0.7": blur(0.7),
    "blur 2": blur(2),
    "half the classes": half_of_the_classes,
    "one heavy class": one_heavy_class,
    "copies": copies,
}


def measure_damages(config: DataConfig, num_seeds: int) -> dict:
    """Measure every metric for every damage and seed."""
    data = load_dataset(config)
    assert data.labels is not None
    train, reference = data.images[data.train], data.images[data.reference]
    fresh = Fresh(
        images=data.images[data.validation],
        labels=data.labels[data.validation],
        train=train,
        num_classes=len(data.class_names),
    )
    real = RealImages(
        reference=reference,
        reference_labels=data.labels[data.reference],
        train=train,
        train_labels=data.labels[data.train],
        class_names=data.class_names,
    )
    known = extract_real(real, METRICS)
    results: dict[str, list[dict[str, float]]] = {name: [] for name in DAMAGES}
    for name, damage in DAMAGES.items():
        for seed in range(num_seeds):
            images = damage(fresh, np.random.default_rng(seed))
            values = measure(compare_images(images, known, METRICS), METRICS).values
            results[name].append({key.split("/")[0]: value for key, value in values.items()})
        print(f"{config.name}: {name}", flush=True)
    return {
        "data": config.name,
        "num_images": NUM_IMAGES,
        "num_reference": len(reference),
        "num_train": len(train),
        "num_fresh": len(fresh.images),
        "extractor": "efficientnet-lite0-64",
        "nearest_k": METRICS.nearest_k,
        "seeds": num_seeds,
        "values": results,
        "versions": {name: version(name) for name in ("torch", "numpy", "scipy", "scikit-learn")},
        "platform": platform.platform(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def print_table(results: dict) -> None:
    """Print the mean over seeds of every metric and damage."""
    rows = [
        [name, *(f"{np.mean([v[m] for v in values if m in v]):.4g}" for m in SHOWN)]
        for name, values in results["values"].items()
    ]
    print(f"\n{results['data']}: {results['num_images']} images against {results['num_reference']}")
    print(tabulate(rows, ["damage", *SHOWN], disable_numparse=True))


def draw(results: dict, path: Path) -> None:
    """Plot a panel for each metric: a dot per seed, mean and t interval for each damage."""
    with styled():
        figure = Figure(figsize=(11, 7), layout="constrained")
        axes = figure.subplots(3, 4, sharex=True)
        for axis, metric in zip(axes.flat, SHOWN, strict=True):
            for place, values in enumerate(results["values"].values()):
                numbers = [v[metric] for v in values if metric in v]
                mean, half, _ = t_interval(numbers, 0.95)
                axis.plot([place] * len(numbers), numbers, ".", color="0.6", markersize=4)
                axis.errorbar(place, mean, yerr=half, fmt="o", color=PALETTE[2], capsize=2)
            undamaged = np.mean([v[metric] for v in results["values"]["none"] if metric in v])
            axis.axhline(undamaged, color="0.8", linewidth=0.8, zorder=0)
            axis.set_title(metric.replace("_", " "))
            axis.set_xticks(range(len(DAMAGES)), list(DAMAGES), rotation=60, ha="right")
        figure.suptitle(
            f"{results['data']}: {results['num_images']} damaged real images against "
            f"{results['num_reference']}; {results['extractor']}; mean and 95% t interval of "
            f"{results['seeds']} draws"
        )
        save_figure(figure, path)


def main() -> None:
    """Measure, print, draw and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--data", nargs="+", choices=list(DATA), default=list(DATA))
    parser.add_argument("--seeds", type=int, default=5, help="draws of the damaged images")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.data:
        results = measure_damages(DATA[name], options.seeds)
        print_table(results)
        path = options.out / f"damage_{name}.json"
        path.write_text(json.dumps(results, indent=1) + "\n")
        draw(results, path.with_suffix(".png"))


if __name__ == "__main__":
    main()
