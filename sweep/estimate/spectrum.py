"""Variances of real images along their principal directions, of all of them or class by class."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from model.data.datasets import Dataset
from model.features.principal import band_stops

MOST_IMAGES = 2000
"""Number of training images whose directions are found; evenly spaced if there are more."""
LEAST_VARIANCE = 1e-9
"""Directions with a smaller share of the total variance are left out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Moments:
    """What the images of a generation have of the real ones, by component."""

    variances: np.ndarray
    """(Q,) variances, standardised as in Spectrum."""
    of_mean: np.ndarray
    """(Q,) shares of the mean of the component's images."""

    @staticmethod
    def average(parts: Sequence["Moments"], weights: Sequence[float]) -> "Moments":
        """Those of a mixture, whose parts have nearly the same mean."""
        return Moments(
            variances=np.average([each.variances for each in parts], axis=0, weights=weights),
            of_mean=np.average([each.of_mean for each in parts], axis=0, weights=weights),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Classes:
    """Where the components of a Spectrum are those of C classes, what it knows of the classes."""

    owners: np.ndarray
    """(Q,) the class of each component."""
    shares: np.ndarray
    """(C,) of the images."""
    means: np.ndarray
    """(C, D) mean images, standardised."""
    directions: np.ndarray
    """(D, P) principal directions of all images."""


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """Variances of Q components of real training images, and what follows from them.

    The components are the principal directions of all images or, for a conditional model, those of
    each class about its mean. Pixels are standardised by channel.
    """

    variances: np.ndarray
    """(Q,); of all images, in descending order."""
    directions: np.ndarray
    """(D, Q) components in D = channels x height x width pixels; of length 1."""
    channel_variances: np.ndarray
    """(D,) variance of each pixel's channel in unit scale."""
    classes: Classes | None = None
    """None if the components are the principal directions of all images."""

    @cached_property
    def real(self) -> Moments:
        """Those of the real images."""
        return Moments(variances=self.variances, of_mean=np.ones(len(self.variances)))

    def by_direction(self, moments: Moments) -> np.ndarray:
        """(P,) variances along the principal directions of all images."""
        if self.classes is None:
            return moments.variances
        of_means = self._means(moments) @ self.classes.directions
        return self._squared_cosines @ self._weighted(moments) + self.classes.shares @ of_means**2

    def by_pixel(self, moments: Moments) -> np.ndarray:
        """(D,) variances of the standardised pixels."""
        within = self._squares @ self._weighted(moments)
        if self.classes is None:
            return within
        return within + self.classes.shares @ self._means(moments) ** 2

    def gains(self, moments: Moments) -> np.ndarray:
        """(P,) ratios of variances to the real ones, by principal direction of all images."""
        return self.by_direction(moments) / self._real_by_direction

    def bands(self, moments: Moments) -> tuple[float, float, float]:
        """Ratio of variances to the real ones in the head, the middle and the tail.

        These are the directions that explain the first half of the real variance, up to nine
        tenths, and the rest.
        """
        own, real = self.by_direction(moments), self._real_by_direction
        stops = band_stops(real, real.sum())
        pairs = zip(np.split(own, stops), np.split(real, stops), strict=True)
        head, middle, tail = (x.sum() / y.sum() if len(y) else np.nan for x, y in pairs)
        return float(head), float(middle), float(tail)

    def pixel_std(self, moments: Moments) -> float:
        """Standard deviation over images, averaged over pixels, over that of the real images."""
        own, real = (
            np.sqrt(self.by_pixel(each) * self.channel_variances).mean()
            for each in (moments, self.real)
        )
        return float(own / real)

    def total(self, moments: Moments) -> float:
        """Mean square of all standardised pixels, whose mean image stays: 1 for real images."""
        lost = self._sum(self.real) - self._sum(moments)
        return float(1 - lost / len(self.directions))

    def _sum(self, moments: Moments) -> float:
        """The sum of `by_pixel`, because the components' directions have length 1."""
        within = self._weighted(moments).sum()
        if self.classes is None:
            return within
        return within + self.classes.shares @ (self._means(moments) ** 2).sum(axis=1)

    def _weighted(self, moments: Moments) -> np.ndarray:
        """(Q,) variances of the components, by the share of the images that have them."""
        if self.classes is None:
            return moments.variances
        return moments.variances * self.classes.shares[self.classes.owners]

    def _means(self, moments: Moments) -> np.ndarray:
        """(C, D) means of the classes minus that of all images."""
        assert self.classes is not None
        means, owners = self.classes.means.copy(), self.classes.owners
        along = (self.directions.T * means[owners]).sum(axis=1)
        np.add.at(means, owners, ((moments.of_mean - 1) * along * self.directions).T)
        return means - self.classes.shares @ means

    @cached_property
    def _real_by_direction(self) -> np.ndarray:
        return self.by_direction(self.real)

    @cached_property
    def _squares(self) -> np.ndarray:
        """(D, Q) share of each component's variance that is each pixel's."""
        return self.directions**2

    @cached_property
    def _squared_cosines(self) -> np.ndarray:
        """(P, Q) share of each component's variance that is along each principal direction."""
        assert self.classes is not None
        return (self.classes.directions.T @ self.directions) ** 2


def find_spectrum(data: Dataset, *, by_class: bool = False) -> Spectrum:
    """Find the principal variances of a data set's training images, of all or class by class.

    Args:
        data: The data set, with labels if `by_class` is set.
        by_class: Whether the components are those of each class.
    """
    count = len(data.train)
    chosen = data.train[np.arange(min(count, MOST_IMAGES)) * count // min(count, MOST_IMAGES)]
    images = data.images[chosen].astype(np.float64)
    if data.images.dtype == np.uint8:
        images /= 255
    mean = images.mean(axis=0)
    deviations = images.std(axis=(0, 2, 3), keepdims=True)
    deviations[deviations == 0] = 1
    rows = ((images - mean) / deviations).reshape(len(images), -1)
    channels = np.broadcast_to(deviations[0] ** 2, data.images.shape[1:]).reshape(-1)
    variances, directions = principal_components(rows)
    if not by_class:
        return Spectrum(variances=variances, directions=directions, channel_variances=channels)
    assert data.labels is not None
    labels = data.labels[chosen]
    own = [rows[labels == label] for label in np.unique(labels)]
    # What a sampler keeps of a mean counts from that of the channel, which is 0 in its units.
    mean_image = (mean - mean.mean(axis=(1, 2), keepdims=True)) / deviations[0]
    parts = [principal_components(each) for each in own]
    classes = Classes(
        owners=np.repeat(np.arange(len(own)), [len(values) for values, _ in parts]),
        shares=np.array([len(each) / len(rows) for each in own]),
        means=np.array([each.mean(axis=0) for each in own]) + mean_image.ravel(),
        directions=directions,
    )
    return Spectrum(
        variances=np.concatenate([values for values, _ in parts]),
        directions=np.hstack([vectors for _, vectors in parts]),
        channel_variances=channels,
        classes=classes,
    )


def principal_components(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The (P,) variances of (K, D) rows in descending order, and their (D, P) directions.

    The smaller of the covariance matrix and the matrix of inner products is decomposed.
    """
    from scipy.linalg import eigh

    K, D = rows.shape
    rows = rows - rows.mean(axis=0)
    values, vectors = eigh(rows.T @ rows if K > D else rows @ rows.T)
    variances = np.maximum(values[::-1] / K, 0)
    P = int((variances > LEAST_VARIANCE * variances.sum()).sum())
    variances, directions = variances[:P], vectors[:, ::-1][:, :P]
    if K <= D:  # those of the images; the pixels' follow from them
        directions = rows.T @ directions / np.sqrt(K * variances)
    return variances, directions
