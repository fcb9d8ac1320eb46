"""What a metric compares: features of generated images beside those of real ones.

Holds the matrices and what several metrics compute from them, each once. Must not know images,
extractors, settings or names of metrics.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from model.neighbours import Neighbours, find_neighbours
from model.probe import Probe, fit_probe
from model.products import Pairs, pair_features

Numbers = dict[str, float | np.ndarray]
"""A metric's numbers by name; an array of (C,) floats is one number per class, nan where none."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Features of one extractor, a row per image, and the classes where they are known."""

    generated: np.ndarray
    """(N, D) features of the images that are judged."""
    reference: np.ndarray
    """(M, D) features of held-out real images."""
    train: np.ndarray | None = None
    """(K, D) features of the real images that were trained on."""
    generated_labels: np.ndarray | None = None
    """(N,) int64 classes that the generator was asked for; None where it was asked for none."""
    reference_labels: np.ndarray | None = None
    """(M,) int64."""
    train_labels: np.ndarray | None = None
    """(K,) int64."""
    class_names: tuple[str, ...] = ()
    """Empty where the real images have no labels."""
    exact_copies: np.ndarray | None = None
    """(N,) bool: whether an image equals a training image in every pixel; None without train."""

    @cached_property
    def pairs(self) -> Pairs:
        """The products of generated and reference features."""
        return pair_features(self.generated, self.reference)

    def neighbours(self, nearest_k: int) -> Neighbours:
        """Who lies within whose neighbourhood, found once per `nearest_k`."""
        if nearest_k not in self._neighbours:
            self._neighbours[nearest_k] = find_neighbours(self.pairs, nearest_k)
        return self._neighbours[nearest_k]

    @cached_property
    def _neighbours(self) -> dict[int, Neighbours]:
        return {}

    @cached_property
    def probe(self) -> Probe:
        """Classifier of the training images; ValueError where a class has none."""
        assert self.train is not None
        assert self.train_labels is not None
        return fit_probe(
            self.train,
            self.train_labels,
            num_classes=len(self.class_names),
            class_names=self.class_names,
        )
