"""Inner products of all pairs of features, the one costly thing that KID and neighbours share.

Holds them in blocks of rows, so that memory stays bounded whatever the number of images, and keeps
a whole matrix where it is small. Must not know what is computed of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

KEPT_BYTES = 2**28
"""A larger matrix is not kept but computed block by block each time (5,792 images squared fit)."""
BLOCK_ELEMENTS = 2**21


@dataclass(frozen=True, kw_only=True)
class Products:
    """Inner products of each row of one matrix with each row of another."""

    left: np.ndarray
    """(N, D) float64."""
    right: np.ndarray
    """(M, D) float64; the very array `left` for the products within one set."""

    @cached_property
    def kept(self) -> np.ndarray | None:
        """(N, M) float64, not to be written to; None where it is larger than KEPT_BYTES."""
        if len(self.left) * len(self.right) * 8 > KEPT_BYTES:
            return None
        # numpy gives an array times its own transpose to BLAS syrk, at half the work.
        products = self.left @ self.right.T
        products.setflags(write=False)
        return products

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield (rows, (R, M) products of these rows), not to be written to, in order of rows."""
        for rows in split_rows(len(self.left), len(self.right)):
            yield rows, self.left[rows] @ self.right.T if self.kept is None else self.kept[rows]


@dataclass(frozen=True, kw_only=True)
class Centred:
    """The features of a reference, less their mean: distances stay exact far from zero."""

    features: np.ndarray
    """(M, D) float64, less the centre."""
    centre: np.ndarray
    """(D,) float64, their mean."""

    @cached_property
    def within(self) -> Products:
        """Of (M, M) pairs."""
        return Products(left=self.features, right=self.features)


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """The products of generated images, and of these with reference images."""

    generated: np.ndarray
    """(N, D) float64, less the reference's centre."""
    reference: Centred
    """Made once for all that are paired with it."""

    @cached_property
    def within_generated(self) -> Products:
        """Of (N, N) pairs."""
        return Products(left=self.generated, right=self.generated)

    @cached_property
    def across(self) -> Products:
        """Of (N, M) pairs."""
        return Products(left=self.generated, right=self.reference.features)


def centre_features(reference: np.ndarray) -> Centred:
    """Centre (M, D) features of any float type; computes no product yet."""
    centre = reference.mean(axis=0, dtype=np.float64)
    return Centred(features=reference - centre, centre=centre)


def pair_features(generated: np.ndarray, reference: Centred) -> Pairs:
    """Pair (N, D) features of any float type with a reference; computes no product yet."""
    return Pairs(generated=generated - reference.centre, reference=reference)


def split_rows(num_rows: int, row_length: int) -> Iterator[slice]:
    """Cut rows into blocks of at most BLOCK_ELEMENTS numbers, or of one row."""
    step = max(1, BLOCK_ELEMENTS // row_length)
    for start in range(0, num_rows, step):
        yield slice(start, min(start + step, num_rows))


def squared_norms(features: np.ndarray) -> np.ndarray:
    """(N,) squared lengths of (N, D) rows."""
    return np.einsum("nd,nd->n", features, features)
