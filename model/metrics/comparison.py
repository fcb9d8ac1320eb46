"""What a metric compares: the features of generated images and of real images.

Intermediate results that several metrics need are computed once and kept here. Those that depend
only on the real images are shared by all generated sets that are compared with them. A cached
function holds no reference to its object, so that the object is freed as soon as it is unused.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, partial

import numpy as np

from model.errors import UsageError
from model.features.closest import Closest, find_closest
from model.features.extractors import check_finite_features, check_images
from model.features.neighbours import Neighbours, find_neighbours, nearest_two, squared_radii
from model.features.principal import Directions
from model.features.probe import Probe, fit_probe
from model.features.products import Centred, Pairs, centre_features, pair_features
from model.metrics.distances import (
    GaussianStatistics,
    KernelStatistics,
    gaussian_statistics,
    reference_statistics,
)
from model.metrics.standard_errors import draw_members
from model.metrics.subset_neighbours import SubsetNeighbours, find_subset_neighbours

Numbers = dict[str, float | np.ndarray]
"""A metric's numbers by name; a (C,) float array has one number per class, nan if undefined.
The arrays of metrics on pixels have one number per principal direction."""


@dataclass(frozen=True, kw_only=True)
class RealFeatures:
    """Features of real images from one extractor, a row per image, and their classes if known.

    Do not modify the arrays, because derived results are cached.
    """

    reference: np.ndarray
    """(M, D) features of held-out real images."""
    train: np.ndarray | None = None
    """(K, D) features of the real training images."""
    reference_labels: np.ndarray | None = None
    """(M,) int64."""
    train_labels: np.ndarray | None = None
    """(K,) int64."""
    class_names: tuple[str, ...] = ()
    """Empty if the real images have no labels."""
    train_digests: frozenset[bytes] | None = None
    """Digests of the training images' pixels; None if the pixels are unknown."""

    @cached_property
    def centred(self) -> Centred:
        """The reference minus its mean, and the products within it."""
        return centre_features(self.reference)

    @cached_property
    def kernel_statistics(self) -> KernelStatistics:
        """Statistics of the reference for KID."""
        return reference_statistics(self.centred)

    @cached_property
    def gaussian_statistics(self) -> GaussianStatistics:
        """Statistics of the reference for FID."""
        return gaussian_statistics(self.reference)

    @cached_property
    def squared_radii(self) -> Callable[[int], np.ndarray]:
        """(M,) squared radii of the reference's neighbourhoods, as a function of nearest_k."""
        return cache(partial(squared_radii, self.centred.within))

    @cached_property
    def train_distances(self) -> Callable[[int | None], np.ndarray]:
        """(M, 2) distances of each reference image to two training images (see nearest_two).

        A function of num_seen: only the first num_seen training images count; None means all.
        """
        reference, train = self.reference, self.train
        assert train is not None
        return cache(lambda num_seen: nearest_two(reference, train[:num_seen]))

    @cached_property
    def probe(self) -> Probe:
        """Classifier fitted to the training images; raises UsageError if a class has none."""
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
        """(M,) int64 classes of the reference, as predicted by the probe."""
        return self.probe.predict(self.reference)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedOn:
    """Features of images that a model was trained on, and of others of the same distributions."""

    features: np.ndarray
    """(K, D)."""
    strata: np.ndarray
    """(K,) int64 origins and classes: those of one stratum are of one distribution."""
    held_out: np.ndarray
    """(M, D)."""
    held_out_strata: np.ndarray
    """(M,) int64."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Features of generated and of real images from the same extractor."""

    generated: np.ndarray
    """(N, D) features of the evaluated images."""
    real: RealFeatures
    """Shared by all comparisons with these real images."""
    generated_labels: np.ndarray | None = None
    """(N,) int64 classes requested from the generator; None if none were requested."""
    exact_copies: np.ndarray | None = None
    """(N,) bool, whether each image equals a training image in every pixel; None if unknown."""
    pool: TrainedOn | None = None
    """The pool that the model was trained on; None if it is unknown."""
    num_seen: int | None = None
    """The models have seen only the first num_seen training images; None means all."""
    pixels: np.ndarray | None = None
    """(N, D) pixels of the evaluated images; None if they are unknown."""
    directions: Directions | None = None
    """Principal directions of the pixels of the real images; None if they are unknown."""

    @property
    def num_train(self) -> int:
        """Number of real training images that are compared with; 0 if there are none."""
        if self.real.train is not None:
            return len(self.real.train[: self.num_seen])
        return self.directions.num_train if self.directions else 0

    @cached_property
    def closest(self) -> Closest:
        """The training images that are nearest to some of the generated ones."""
        assert self.real.train is not None
        return find_closest(self.generated, self.real.train[: self.num_seen])

    @cached_property
    def pairs(self) -> Pairs:
        """The products of generated and reference features."""
        return pair_features(self.generated, self.real.centred)

    @property
    def strata(self) -> tuple[np.ndarray, np.ndarray]:
        """Classes by which generated and reference images are divided; all 0 if there are none."""
        sets = (
            (self.generated, self.generated_labels),
            (self.real.reference, self.real.reference_labels),
        )
        generated, reference = (
            np.zeros(len(features), np.int64) if labels is None else labels
            for features, labels in sets
        )
        return generated, reference

    @cached_property
    def subset_neighbours(self) -> Callable[[int, int], SubsetNeighbours]:
        """Neighbours with subsets of one set, as a function of nearest_k and their number."""
        pairs, radii_of, strata = self.pairs, self.real.squared_radii, self.strata
        return cache(
            lambda nearest_k, num_subsets: find_subset_neighbours(
                pairs,
                nearest_k,
                subsets=(
                    draw_members(strata[0], num_subsets),
                    draw_members(strata[1], num_subsets),
                ),
                reference_radii=radii_of(nearest_k),
            )
        )

    @cached_property
    def neighbours(self) -> Callable[[int], Neighbours]:
        """Which images lie in which neighbourhoods, as a function of nearest_k."""
        pairs, reference_radii = self.pairs, self.real.squared_radii
        return cache(
            lambda nearest_k: find_neighbours(
                pairs,
                squared_radii(pairs.within_generated, nearest_k),
                reference_radii=reference_radii(nearest_k),
            )
        )


def check_features(comparison: Comparison) -> None:
    """Raise UsageError unless all features are finite (N >= 2, D) matrices with the same D."""
    real = comparison.real
    D = real.reference.shape[-1]
    sets = {"generated": comparison.generated, "reference": real.reference, "train": real.train}
    for name, features in sets.items():
        if features is None:
            continue
        if features.ndim != 2 or len(features) < 2:
            raise UsageError(
                f"{name} features must be (N, D) with N at least 2, got {features.shape}"
            )
        check_finite_features(name, features)
        if features.shape[1] != D:
            raise UsageError(
                f"{name} features must have the reference's {D} dimensions, got "
                f"{features.shape[1]}; do both come from one extractor?"
            )


def check_comparable(name: str, images: np.ndarray, reference: np.ndarray) -> None:
    """Raise UsageError unless there are at least two images of the reference's shape and type."""
    if len(images) < 2:
        raise UsageError(f"{name} images must be at least 2, got {len(images)}")
    check_images(images)
    if images.shape[1:] != reference.shape[1:] or images.dtype != reference.dtype:
        raise UsageError(
            f"{name} images must be {reference.dtype} of shape {reference.shape[1:]} like "
            f"the reference, got {images.dtype} of shape {images.shape[1:]}"
        )
