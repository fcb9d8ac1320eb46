"""Rows of features that lie far apart: greedy choices, one row at a time.

Holds the choices and the distances they need, computed in blocks of the rows likely to be chosen
next. Must not know images, settings or names of filters; trusts its input to be finite.
"""

import math

import numpy as np

from model.features.neighbours import TIE
from model.features.products import BLOCK_ELEMENTS, squared_norms

LOOK_AHEAD = 64
"""Rows at most whose distances are computed at once: one product of matrices instead of many."""


class Spread:
    """Rows accepted one by one, and how far each row is from the nearest of the others accepted.

    Squared distances below `rounding` (see neighbours.TIE) are equal to zero, and those that differ
    by less are ties.
    """

    squares: np.ndarray
    """(K,) float64 squared distance to the nearest other accepted row; infinite before there is."""
    is_free: np.ndarray
    """(K,) bool, which rows may still be accepted."""

    def __init__(self, features: np.ndarray) -> None:
        self._features = features - features.mean(axis=0, dtype=np.float64)
        self._norms = squared_norms(self._features)
        self._known: dict[int, np.ndarray] = {}
        self._accepted: list[int] = []
        self.rounding = 2 * TIE * float(self._norms.max())
        self.squares = np.full(len(features), np.inf)
        self.is_free = np.ones(len(features), bool)

    @property
    def num_accepted(self) -> int:
        """How many rows are accepted."""
        return len(self._accepted)

    @property
    def indices(self) -> np.ndarray:
        """(num_accepted,) int64 accepted rows, ascending."""
        return np.sort(np.array(self._accepted, np.int64))

    @property
    def distances(self) -> np.ndarray:
        """(K,) float64 distance of each row to the nearest other accepted one; 0 where none is."""
        return np.sqrt(np.where(np.isinf(self.squares), 0, self.squares))

    def most_central(self) -> int:
        """The row nearest to the mean of all, the first of ties."""
        return int(np.argmax(self._norms <= self._norms.min() + self.rounding))

    def farthest(self) -> int:
        """The free row farthest from the accepted ones, the first of ties."""
        reach = np.where(self.is_free, self.squares, -np.inf)
        return int(np.argmax(reach >= reach.max() - self.rounding))

    def reach(self) -> float:
        """Largest squared distance of a free row to the accepted ones; 0 where none is free."""
        return float(self.squares[self.is_free].max(initial=0))

    def is_known(self, index: int) -> bool:
        """Whether `accept` finds the distances of a row computed."""
        return index in self._known

    def look_ahead(self, rows: np.ndarray) -> None:
        """Compute the distances of as many of the first of `rows` as one block holds."""
        rows = rows[: max(1, min(LOOK_AHEAD, BLOCK_ELEMENTS // len(self._norms)))]
        scale = self._norms[rows, None] + self._norms
        squares = scale - 2 * (self._features[rows] @ self._features.T)
        squares[squares <= TIE * scale] = 0
        squares[np.arange(len(rows)), rows] = np.inf
        self._known = dict(zip(rows.tolist(), squares, strict=True))

    def accept(self, index: int) -> None:
        """Accept a free row whose distances are known."""
        self._accepted.append(index)
        self.is_free[index] = False
        np.minimum(self.squares, self._known[index], out=self.squares)

    def accept_in_order(self, limit: float, keep: int) -> None:
        """Accept free rows in order of rows, until `keep` are.

        Args:
            limit: Squared distance to the nearest accepted row that a row must exceed.
            keep: Rows accepted at most, those before included.
        """
        position = 0
        while self.num_accepted < keep:
            is_far = self.is_free[position:] & (self.squares[position:] > limit)
            ahead = position + np.flatnonzero(is_far)
            if not len(ahead):
                return
            index = int(ahead[0])
            if not self.is_known(index):
                self.look_ahead(ahead)
            self.accept(index)
            position = index + 1


def farthest_points(features: np.ndarray, keep: int) -> Spread:
    """Accept the row nearest to the mean, then again and again the one farthest from all accepted.

    The greedy rule for k centres (Gonzalez, "Clustering to minimize the maximum intercluster
    distance", 1985): whatever the first row is, the largest distance of a row to its nearest
    accepted one is at most twice the smallest that `keep` rows can reach. Ties go to the first row.

    Args:
        features: (K, D) of any float type.
        keep: How many rows, from 1 to K.
    """
    spread = Spread(features)
    index = spread.most_central()
    for _ in range(keep):
        if not spread.is_known(index):
            # What is far now is likely to be the farthest soon: distances only shrink.
            reach = np.where(spread.is_free, spread.squares, -np.inf)
            count = min(LOOK_AHEAD, len(reach))
            likely = np.argpartition(-reach, count - 1)[:count]
            spread.look_ahead(np.concatenate([[index], likely[likely != index]]))
        spread.accept(index)
        index = spread.farthest()
    return spread


def decaying_threshold(
    features: np.ndarray, keep: int, *, start: float | None, decay: float
) -> Spread:
    """Accept rows in order that are farther than a threshold, which shrinks from pass to pass.

    The first row is accepted. A pass goes through all rows not accepted yet, in order, and accepts
    each one that is farther than the threshold from every row accepted so far; the threshold of
    pass p = 0, 1, ... is start x decay^p. It ends when `keep` rows are accepted, or when every
    other row equals an accepted one.

    Args:
        features: (K, D) of any float type.
        keep: How many rows, from 1 to K.
        start: First threshold; None is the largest distance of a row to the first one, so that
            every row accepted is at least `decay` times as far from those before it as the
            farthest there is.
        decay: In (0, 1).

    Returns:
        Fewer than `keep` rows where not so many are different.
    """
    spread = Spread(features)
    spread.accept_in_order(0, 1)
    start = math.sqrt(spread.reach()) if start is None else start
    passes = 0
    while spread.num_accepted < keep and spread.reach() > spread.rounding:
        # Passes that would accept nothing are left out.
        shrinkage = math.log(spread.reach()) / 2 - math.log(start)
        passes = max(passes, math.floor(shrinkage / math.log(decay)))
        threshold = start * decay**passes
        spread.accept_in_order(threshold * threshold + spread.rounding, keep)
        passes += 1
    return spread


def separate(features: np.ndarray, keep: int, *, distance: float, excluded: np.ndarray) -> Spread:
    """Accept rows in order that are at least `distance` from every row accepted before.

    Args:
        features: (K, D) of any float type.
        keep: How many rows, from 1 to K.
        distance: Above 0.
        excluded: (K,) bool, rows that are not accepted.

    Returns:
        Fewer than `keep` rows where not so many are so far apart.
    """
    spread = Spread(features)
    spread.is_free = ~excluded
    spread.accept_in_order(max(distance * distance - spread.rounding, 0), keep)
    return spread
