"""Candidates, real images and calls of filters, for the tests of filters."""

import numpy as np

from model.config import FilterConfig
from model.filters.candidates import Candidates, Selection
from model.filters.table import select


def draw(num_images: int, dimensions: int = 3, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num_images, dimensions))


def draw_real(num_images: int = 60, *, seed: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Two overlapping classes: (N, 3) features and (N,) labels."""
    labels = np.arange(num_images) % 2
    return draw(num_images, seed=seed) + 2 * labels[:, None], labels


def column(*numbers: float) -> np.ndarray:
    """Features of one dimension."""
    return np.array(numbers, np.float64)[:, None]


def keep(
    name: str,
    features: np.ndarray,
    count: int,
    real: np.ndarray | None = None,
    *,
    real_labels: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    class_names: tuple[str, ...] = ("a", "b"),
    seed: int = 0,
    candidates: float = 4.0,
    **settings,
) -> Selection:
    if real is None:
        real, real_labels = draw_real()
    return select(
        Candidates(
            features=features,
            keep=count,
            real=real,
            real_labels=real_labels,
            labels=labels,
            num_classes=2,
            class_names=class_names,
            rng=np.random.default_rng(seed),
            config=FilterConfig(name=name, candidates=candidates, **settings),
        )
    )


def distances(features: np.ndarray) -> np.ndarray:
    """(K, K) Euclidean distances of all pairs."""
    return np.linalg.norm(features[:, None] - features[None], axis=2)
