"""What a metric compares: features of generated images beside those of real ones.

Holds the matrices and what several metrics compute from them, each once: what real images alone
determine is kept with them, for all the generated images that are compared with them. Must not know
images, extractors, settings or names of metrics.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from model.features.neighbours import Neighbours, find_neighbours, nearest_two, squared_radii
from model.features.probe import Probe, fit_probe
from model.features.products import Centred, Pairs, centre_features, pair_features
from model.metrics.distances import KernelStatistics, reference_statistics

Numbers = dict[str, float | np.ndarray]
"""A metric's numbers by name; an array of (C,) floats is one number per class, nan where none."""


@dataclass(frozen=True, kw_only=True)
class RealFeatures:
    """Features of real images by one extractor, a row per image, and their classes where known.

    Not to be written to: what is computed from them is kept.
    """

    reference: np.ndarray
    """(M, D) features of held-out real images."""
    train: np.ndarray | None = None
    """(K, D) features of the real images that were trained on."""
    reference_labels: np.ndarray | None = None
    """(M,) int64."""
    train_labels: np.ndarray | None = None
    """(K,) int64."""
    class_names: tuple[str, ...] = ()
    """Empty where the real images have no labels."""
    train_digests: frozenset[bytes] | None = None
    """Digests of the training images' pixels; None where the pixels are unknown."""

    @cached_property
    def centred(self) -> Centred:
        """The reference less its mean, and the products within it."""
        return centre_features(self.reference)

    @cached_property
    def kernel_statistics(self) -> KernelStatistics:
        """What KID needs of the reference."""
        return reference_statistics(self.centred)

    def squared_radii(self, nearest_k: int) -> np.ndarray:
        """(M,) squared radii of the reference's neighbourhoods, found once per `nearest_k`."""
        if nearest_k not in self._radii:
            self._radii[nearest_k] = squared_radii(self.centred.within, nearest_k)
        return self._radii[nearest_k]

    @cached_property
    def _radii(self) -> dict[int, np.ndarray]:
        return {}

    def train_distances(self, num_seen: int | None = None) -> np.ndarray:
        """(M, 2) distances of the reference to its nearest two training images (nearest_two).

        Of all of them or the first `num_seen`; found once for each number.
        """
        assert self.train is not None
        if num_seen not in self._train_distances:
            self._train_distances[num_seen] = nearest_two(self.reference, self.train[:num_seen])
        return self._train_distances[num_seen]

    @cached_property
    def _train_distances(self) -> dict[int | None, np.ndarray]:
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

    @cached_property
    def probed_reference(self) -> np.ndarray:
        """(M,) int64 classes of the reference, as the probe sees them."""
        return self.probe.predict(self.reference)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Features of generated images beside real ones of the same extractor."""

    generated: np.ndarray
    """(N, D) features of the images that are judged."""
    real: RealFeatures
    """Shared by all that is compared with it."""
    generated_labels: np.ndarray | None = None
    """(N,) int64 classes that the generator was asked for; None where it was asked for none."""
    exact_copies: np.ndarray | None = None
    """(N,) bool: whether an image equals a training image in every pixel; None where unknown."""
    num_seen: int | None = None
    """The first so many training images are those that there were to copy; None for all."""

    @cached_property
    def pairs(self) -> Pairs:
        """The products of generated and reference features."""
        return pair_features(self.generated, self.real.centred)

    def neighbours(self, nearest_k: int) -> Neighbours:
        """Who lies within whose neighbourhood, found once per `nearest_k`."""
        if nearest_k not in self._neighbours:
            self._neighbours[nearest_k] = find_neighbours(
                self.pairs,
                squared_radii(self.pairs.within_generated, nearest_k),
                reference_radii=self.real.squared_radii(nearest_k),
            )
        return self._neighbours[nearest_k]

    @cached_property
    def _neighbours(self) -> dict[int, Neighbours]:
        return {}
