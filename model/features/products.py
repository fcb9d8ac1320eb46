"""Inner products of all pairs of features, which KID and nearest neighbours share.

The products take most of the time of both. They are computed in blocks of rows, so that memory
stays bounded for any number of images; a small matrix is kept whole.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

KEPT_BYTES = 2**28
"""A matrix larger than this is computed again, block by block, on each use (5,792 x 5,792 fits)."""
BLOCK_ELEMENTS = 2**21


@dataclass(frozen=True, kw_only=True)
class Products:
    """Inner products of each row of one matrix with each row of another."""

    left: np.ndarray
    """(N, D) float64."""
    right: np.ndarray
    """(M, D) float64; the same object as `left` for the products within one set."""

    @cached_property
    def kept(self) -> np.ndarray | None:
        """(N, M) float64, read-only; None if it is larger than KEPT_BYTES."""
        if not is_kept(self.left, self.right):
            return None
        # For an array times its transpose numpy calls BLAS syrk, which halves the work.
        products = self.left @ self.right.T
        products.setflags(write=False)
        return products

    @property
    def computed(self) -> np.ndarray | None:
        """`kept` if it has been computed, or else None."""
        return self.__dict__.get("kept")

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield (rows, (R, M) products of these rows), read-only, in order of rows."""
        for rows in split_rows(len(self.left), len(self.right)):
            yield rows, self.left[rows] @ self.right.T if self.kept is None else self.kept[rows]


@dataclass(frozen=True, kw_only=True)
class Centred:
    """Reference features minus their mean, so that distances are accurate for any mean."""

    features: np.ndarray
    """(M, D) float64, minus the centre."""
    centre: np.ndarray
    """(D,) float64 mean of the original features."""

    @cached_property
    def within(self) -> Products:
        """The (M, M) products within the reference."""
        return Products(left=self.features, right=self.features)


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Products among generated images, and between generated and reference images."""

    generated: np.ndarray
    """(N, D) float64, minus the reference's centre."""
    reference: Centred
    """Shared by all generated sets that are paired with it."""

    @cached_property
    def within_generated(self) -> Products:
        """The (N, N) products within the generated images."""
        return Products(left=self.generated, right=self.generated)

    @cached_property
    def across(self) -> Products:
        """The (N, M) products of generated with reference images."""
        return Products(left=self.generated, right=self.reference.features)


def centre_features(reference: np.ndarray) -> Centred:
    """Centre (M, D) features of any float type; products are computed on demand."""
    centre = reference.mean(axis=0, dtype=np.float64)
    return Centred(features=reference - centre, centre=centre)


def pair_features(generated: np.ndarray, reference: Centred) -> Pairs:
    """Pair (N, D) features of any float type with a reference; products are computed on demand."""
    return Pairs(generated=generated - reference.centre, reference=reference)


def multiply(left: np.ndarray, right: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield (rows, (R, M) products of these rows of (N, D) `left` with (M, D) `right`).

    Products within one set (`right` is `left`) are computed at once if they are small enough to
    keep, because symmetry then halves the work.
    """
    whole = left @ right.T if right is left and is_kept(left, right) else None
    for rows in split_rows(len(left), len(right)):
        yield rows, left[rows] @ right.T if whole is None else whole[rows]


def is_kept(left: np.ndarray, right: np.ndarray) -> bool:
    """Whether the matrix of products takes at most KEPT_BYTES."""
    return len(left) * len(right) * left.itemsize <= KEPT_BYTES


def split_rows(num_rows: int, row_length: int, *, elements: int | None = None) -> Iterator[slice]:
    """Yield slices of rows, at least one row each.

    A slice has at most `elements` numbers (None: BLOCK_ELEMENTS) if it has several rows.
    """
    step = max(1, (BLOCK_ELEMENTS if elements is None else elements) // row_length)
    for start in range(0, num_rows, step):
        yield slice(start, min(start + step, num_rows))


def squared_norms(features: np.ndarray) -> np.ndarray:
    """(N,) squared lengths of (N, D) rows."""
    return np.einsum("nd,nd->n", features, features)
