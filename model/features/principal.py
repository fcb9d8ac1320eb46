"""Principal directions of the pixels of training images, and squared coordinates along them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

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
    num_train: int
    """Number K of training images."""
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


def band_stops(variances: np.ndarray, total: float) -> list[int]:
    """Number of directions in the head, and in head and middle together.

    Args:
        variances: (P,) along the directions, in descending order, or shares of the variance.
        total: Their sum over all directions.
    """
    explained = np.cumsum(variances) / (total or 1.0)
    # A share that is reached up to rounding counts as reached.
    return [int(np.searchsorted(explained, x - 1e-12)) + 1 for x in (HEAD_SHARE, MIDDLE_SHARE)]


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
    num_head, num_both = band_stops(values, total)
    listed = int(np.sum(values[:MOST_DIRECTIONS] > LEAST_SHARE * total))
    kept = min(max(listed, num_both), len(values)) if total else 0
    basis, variances = vectors[:, :kept], values[:kept]
    if K <= D:
        basis = centred.T @ basis / np.sqrt(np.maximum(variances, 1e-300) * (K - 1))
    return Directions(
        basis=basis,
        variances=variances,
        total=total,
        num_train=K,
        num_head=min(num_head, kept),
        num_middle=max(min(num_both, kept) - num_head, 0),
        reference=reference.reshape(len(reference), -1),
    )


def _chunks(pixels: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(pixels), CHUNK):
        yield pixels[start : start + CHUNK].astype(np.float64)
