"""A comparison whose classes are known: clouds of features, as far apart as a test needs them."""

from dataclasses import replace

import numpy as np

from model.config import MetricsConfig
from model.metrics.comparison import Comparison, RealFeatures
from model.metrics.table import Evaluation, measure

NAMES = ("ant", "bee", "cat", "dog", "elk", "fox")
CLASSES = ("classes", "class_kid", "class_recall")
ASKED = ("conditional_accuracy", "cas")


def draw_features(labels: np.ndarray, *, distance: float = 20, seed: int = 0) -> np.ndarray:
    """(N, 6) float64 unit normal clouds, the corners of a simplex in their middles."""
    noise = np.random.default_rng(seed).normal(size=(len(labels), len(NAMES)))
    return noise + distance * np.eye(len(NAMES))[labels]


def repeat_classes(counts: list[int]) -> np.ndarray:
    """(N,) labels with so many images of each class."""
    return np.repeat(np.arange(len(counts)), counts)


def compare(
    generated: np.ndarray, *, asked: np.ndarray | None = None, distance: float = 20
) -> Comparison:
    """Images of the classes `generated` against 12 real ones of each, and 20 trained on."""
    reference, train = repeat_classes([12] * 6), repeat_classes([20] * 6)
    real = RealFeatures(
        reference=draw_features(reference, distance=distance, seed=2),
        train=draw_features(train, distance=distance, seed=3),
        reference_labels=reference,
        train_labels=train,
        class_names=NAMES,
    )
    features = draw_features(generated, distance=distance, seed=1)
    return Comparison(generated=features, real=real, generated_labels=asked)


def exchange(comparison: Comparison, **parts: np.ndarray | None) -> Comparison:
    """The comparison with other parts, its own or those of its real side."""
    own = {k: v for k, v in parts.items() if k in Comparison.__annotations__}
    real = {k: v for k, v in parts.items() if k not in own}
    return replace(comparison, real=replace(comparison.real, **real), **own)


def evaluate(comparison: Comparison, *names: str, bootstrap: int = 0) -> Evaluation:
    """The numbers, without the extractor's label."""
    config = MetricsConfig(names=names, extractor="pixels", bootstrap=bootstrap)
    found = measure(comparison, config)
    return replace(
        found,
        values={key.removesuffix("/pixels"): value for key, value in found.values.items()},
        classes={key.removesuffix("/pixels"): value for key, value in found.classes.items()},
    )


def in_order(numbers: dict[str, float]) -> list[float]:
    assert list(numbers) == list(NAMES)
    return list(numbers.values())
