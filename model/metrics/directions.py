"""The variance of generated images along the principal directions of the real training images.

The directions come from the training images, and both variances of a ratio from other images: the
generated ones and the reference. So the ratio is about 1 for fresh real images, in every direction.
The variance of the training images along their own directions is not that of fresh images: with K
images and variances l_1, l_2, ..., it is about 1 + (2 / K) sum_{j != k} l_j / (l_k - l_j) times as
large in direction k (from the expansions of Lawley, Biometrika 43, 1956, and of Anderson, Ann.
Math. Stat. 34, 1963): too large in the head of the spectrum, and too small in its tail.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from model.config import MetricsConfig
from model.metrics.comparison import Comparison, Numbers
from model.metrics.standard_errors import average_error

HEAD_SHARE, MIDDLE_SHARE = 0.5, 0.9
"""Shares of the training images' variance that the head, and head and middle, explain."""
MOST_DIRECTIONS = 64
"""Most directions whose gains are listed."""
LEAST_SHARE = 1e-4
"""Directions and bands with a smaller share of the real variance have no gain."""
CHUNK = 1024


@dataclass(frozen=True, kw_only=True)
class Directions:
    """Principal directions of training images, and the reference's variance along them."""

    basis: np.ndarray
    """(D, P) orthonormal float64, in order of explained variance."""
    variances: np.ndarray
    """(P,) variance of the training images along each."""
    total: float
    """Variance of the training images, summed over all D dimensions."""
    num_head: int
    num_middle: int
    """Numbers of directions in the head and in the middle; the tail is all others."""
    reference: np.ndarray
    """(M, D) pixels of the reference."""

    @cached_property
    def reference_squares(self) -> "Squares":
        """The reference's squared coordinates."""
        return self.squares(self.reference)

    @property
    def of_train(self) -> np.ndarray:
        """(3,) variances of the training images in head, middle and tail."""
        stops = self.num_head, self.num_head + self.num_middle
        head, middle = (part.sum() for part in np.split(self.variances, stops)[:2])
        return np.array([head, middle, self.total - head - middle])

    def squares(self, pixels: np.ndarray) -> "Squares":
        """Squared coordinates of (N, D) pixels about their mean."""
        centre = pixels.mean(axis=0, dtype=np.float64)
        along, lengths = [], []
        for part in _chunks(pixels):
            centred = part - centre
            along.append((centred @ self.basis) ** 2)
            lengths.append((centred**2).sum(axis=1))
        by_direction = np.concatenate(along)
        head = by_direction[:, : self.num_head].sum(axis=1)
        middle = by_direction[:, self.num_head : self.num_head + self.num_middle].sum(axis=1)
        tail = np.maximum(np.concatenate(lengths) - head - middle, 0)
        return Squares(by_direction=by_direction, by_band=np.stack([head, middle, tail], axis=1))


@dataclass(frozen=True, kw_only=True, slots=True)
class Squares:
    """Squared coordinates of images about their mean; a variance is a sum of them over N - 1."""

    by_direction: np.ndarray
    """(N, P)."""
    by_band: np.ndarray
    """(N, 3) sums over head, middle and tail."""


def principal_directions(train: np.ndarray, reference: np.ndarray) -> Directions:
    """Principal directions of (K, C, H, W) training images, K at least 2.

    The smaller of the covariance matrix and the matrix of inner products is decomposed, so this
    takes time that grows with the cube of min(K, C H W).
    """
    from scipy.linalg import eigh

    pixels = train.reshape(len(train), -1)
    K, D = pixels.shape
    centre = pixels.mean(axis=0, dtype=np.float64)
    if K > D:
        covariance = sum((part - centre).T @ (part - centre) for part in _chunks(pixels)) / (K - 1)
        values, vectors = eigh(covariance)
    else:
        centred = pixels - centre
        values, vectors = eigh(centred @ centred.T / (K - 1))
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    total = float(values.sum())
    explained = np.cumsum(values) / (total or 1.0)
    # A share that is reached up to rounding counts as reached.
    num_head, num_both = (
        int(np.searchsorted(explained, share - 1e-12)) + 1 for share in (HEAD_SHARE, MIDDLE_SHARE)
    )
    listed = int(np.sum(values[:MOST_DIRECTIONS] > LEAST_SHARE * total))
    kept = min(max(listed, num_both), len(values)) if total else 0
    basis, variances = vectors[:, :kept], values[:kept]
    if K <= D:
        basis = centred.T @ basis / np.sqrt(np.maximum(variances, 1e-300) * (K - 1))
    return Directions(
        basis=basis,
        variances=variances,
        total=total,
        num_head=min(num_head, kept),
        num_middle=max(min(num_both, kept) - num_head, 0),
        reference=reference.reshape(len(reference), -1),
    )


def compute_gain(comparison: Comparison, config: MetricsConfig) -> Numbers:
    """Variance gain: variance of the generated images divided by that of the reference.

    Both are taken along the principal directions of the pixels of the real training images.

    Returns:
        gain_head, gain_middle, gain_tail: Ratio of the variances that are summed over a band of
            directions. The head is the fewest leading directions with half of the training images'
            variance, the middle the next ones up to 90%, and the tail all other dimensions. A band
            with less than 1e-4 of the real variance is left out.
        gain_head_se and so on: Standard errors over draws of both sets, with the directions held
            fixed.
        gain_train_head and so on: The same ratios for the training images, on average that of a
            model that reproduces their distribution exactly. They differ from 1 because the
            directions were fitted to these images, and as two sets of images differ.
        gain, gain_se, gain_train: (P,) numbers of each direction, at most 64. Directions are left
            out from the first one on that has less than 1e-4 of the training images' or the
            reference's variance.
        variance_share: (P,) share of the training images' variance.
    """
    directions, pixels = comparison.directions, comparison.pixels
    assert directions is not None
    assert pixels is not None
    generated, real = directions.squares(pixels), directions.reference_squares
    numbers: Numbers = {}
    of_bands = _ratios(generated.by_band, real.by_band, comparison.strata)
    known = _variances(real.by_band)
    for band, ratio, error, train, variance in zip(
        ("head", "middle", "tail"), *of_bands, directions.of_train, known, strict=True
    ):
        if variance > LEAST_SHARE * known.sum():
            numbers |= {f"gain_{band}": ratio, f"gain_{band}_se": error}
            numbers[f"gain_train_{band}"] = train / variance
    known, shares = _variances(real.by_direction), directions.variances / (directions.total or 1.0)
    total = _variances(real.by_band).sum()
    is_zero = (shares <= LEAST_SHARE) | (known <= LEAST_SHARE * total)
    P = min(int(np.argmax(is_zero)) if is_zero.any() else len(known), MOST_DIRECTIONS)
    if P:
        ratios, errors = _ratios(
            generated.by_direction[:, :P], real.by_direction[:, :P], comparison.strata
        )
        numbers |= {"gain": ratios, "gain_se": errors}
        numbers["gain_train"] = directions.variances[:P] / known[:P]
        numbers["variance_share"] = shares[:P]
    return numbers


def _variances(squares: np.ndarray) -> np.ndarray:
    return squares.sum(axis=0) / (len(squares) - 1)


def _ratios(
    generated: np.ndarray, real: np.ndarray, strata: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Ratios of the variances in (N, P) and (M, P) squares, and their errors (delta method)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = _variances(generated) / _variances(real)
        relative = [
            np.array([average_error(column, rows) for column in squares.T]) / squares.mean(axis=0)
            for squares, rows in zip((generated, real), strata, strict=True)
        ]
        return ratios, ratios * np.hypot(*relative)


def _chunks(pixels: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(pixels), CHUNK):
        yield pixels[start : start + CHUNK].astype(np.float64)
