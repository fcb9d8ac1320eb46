"""Are the standard errors over images right? True over printed, on features that are drawn anew.

    python benchmarks/standard_errors.py [--images N ...] [--kinds KIND ...] [--draws N] [--sets N]

Real features are of ten Gaussian classes in 16 dimensions; the training images, and so the probe,
are fixed, and the reference has equally many images of each class, as after a stratified split.
Generated features are of the same distribution, moved, narrowed, or without three of the classes;
either as many of each class are requested, or each image is of a random class.
For each metric, the deviation over fresh draws of both sets is compared with the printed errors:
`ratio` is the deviation divided by the root of the mean squared error, and `coverage` how often
1.96 errors around a normally distributed value contain its mean.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm

from model.config import MetricsConfig
from model.metrics.comparison import Comparison, RealFeatures
from model.metrics.table import measure

RESULTS = Path(__file__).parent / "results" / "standard_errors.json"
NUM_CLASSES, DIMENSIONS = 10, 16
KINDS = ("equal", "moved", "narrowed", "three classes lost")
METRICS = (
    *("precision", "recall", "density", "coverage", "fid", "vendi", "kid"),
    *("memorization", "classes"),
)
OF_REQUESTED = ("conditional_accuracy", "cas")
NUM_SUBSETS = 50


def features_of(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N, DIMENSIONS) features of images of the given classes."""
    centres = np.random.default_rng(0).normal(size=(NUM_CLASSES, DIMENSIONS))
    scale = np.linspace(1, 0.3, DIMENSIONS)
    return centres[labels] + scale * rng.normal(size=(len(labels), DIMENSIONS))


def comparisons(kind: str, num_images: int, *, requested: bool) -> Iterator[Comparison]:
    """Yield comparisons of fresh draws."""
    rng = np.random.default_rng([num_images, KINDS.index(kind), requested])
    in_turn = np.arange(num_images) % NUM_CLASSES
    train_labels = np.arange(2 * num_images) % NUM_CLASSES
    train = features_of(train_labels, np.random.default_rng(1))
    num_generated = 7 if kind == "three classes lost" else NUM_CLASSES
    while True:
        labels = np.arange(num_images) % num_generated
        if not requested:
            labels = rng.integers(num_generated, size=num_images)
        generated = features_of(labels, rng)
        if kind == "moved":
            generated += 0.3
        if kind == "narrowed":
            generated *= 0.8
        real = RealFeatures(
            reference=features_of(in_turn, rng),
            reference_labels=in_turn,
            train=train,
            train_labels=train_labels,
            class_names=tuple(map(str, range(NUM_CLASSES))),
        )
        yield Comparison(
            generated=generated, real=real, generated_labels=labels if requested else None
        )


def numbers(
    comparison: Comparison, names: tuple[str, ...] = METRICS, **settings: Any
) -> dict[str, float]:
    """The numbers of a comparison by name."""
    if comparison.generated_labels is not None and names == METRICS:
        names += OF_REQUESTED
    config = MetricsConfig(names=names, extractor="pixels", **settings)
    values = measure(comparison, config).values
    return {key.removesuffix("/pixels"): value for key, value in values.items()}


def compare(
    kind: str,
    num_images: int,
    *,
    requested: bool,
    num_draws: int,
    num_sets: int,
    metrics: tuple[str, ...] = METRICS,
) -> list[dict[str, Any]]:
    """Rows of the true deviation of each number and its printed errors."""
    draws = comparisons(kind, num_images, requested=requested)
    sets = [next(draws) for _ in range(num_sets)]
    printed = {
        name: [numbers(one, metrics, **{name: NUM_SUBSETS}) for one in sets]
        for name in ("error_subsets", "bootstrap")
    }
    values = [numbers(next(draws), metrics) for _ in range(num_draws)]
    rows = []
    for name in [name for name in values[0] if f"{name}_se" in printed["error_subsets"][0]]:
        found = np.array([one[name] for one in values])
        deviation = found.std(ddof=1)
        if deviation == 0:
            continue
        row: dict[str, Any] = {"kind": kind, "classes requested": requested, "images": num_images}
        row |= {"metric": name, "mean": float(found.mean()), "deviation": float(deviation)}
        for estimator, those in printed.items():
            errors = np.array([one[f"{name}_se"] for one in those])
            covered = 2 * norm.cdf(1.96 * errors / deviation) - 1
            ratio = deviation / max(np.sqrt(np.mean(errors**2)), 1e-12)
            row |= {f"{estimator} ratio": float(ratio)}
            row |= {f"{estimator} coverage": float(covered.mean())}
        rows.append({key: x if type(x) is not float else round(x, 4) for key, x in row.items()})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def main(argv: list[str]) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[300, 2000])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--metrics", nargs="+", default=METRICS)
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--sets", type=int, default=10)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parsed = parser.parse_args(argv)
    rows = [
        row
        for num_images in parsed.images
        for kind in parsed.kinds
        for requested in (True, False)
        for row in compare(
            kind,
            num_images,
            requested=requested,
            metrics=tuple(parsed.metrics),
            num_draws=parsed.draws,
            num_sets=parsed.sets,
        )
    ]
    lines = ",\n".join(map(json.dumps, rows))
    parsed.out.write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main(sys.argv[1:])
