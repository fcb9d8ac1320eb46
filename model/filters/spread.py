"""Greedy selection of rows of features that lie far apart.

Distances are computed in blocks, for the rows that are likely to be selected next. Features are
assumed to be finite.
"""

import math

import numpy as np

from model.features.neighbours import TIE
from model.features.products import BLOCK_ELEMENTS, squared_norms

LOOK_AHEAD = 64
"""Maximum number of rows whose distances are computed by one matrix product."""


class Spread:
    """Rows accepted one by one, and the distance of each row to the nearest other accepted row.

    Squared distances below `rounding` (see neighbours.TIE) count as zero, and those that differ by
    less are ties.
    """

    squares: np.ndarray
    """(K,) float64 squared distance to the nearest other accepted row; infinite if none is."""
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
        """Number of accepted rows."""
        return len(self._accepted)

    @property
    def indices(self) -> np.ndarray:
        """(num_accepted,) int64 accepted rows, ascending."""
        return np.sort(np.array(self._accepted, np.int64))

    @property
    def distances(self) -> np.ndarray:
        """(K,) float64 distance of each row to the nearest other accepted row; 0 if none is."""
        return np.sqrt(np.where(np.isinf(self.squares), 0, self.squares))

    def most_central(self) -> int:
        """The row nearest to the mean of all rows; ties go to the first."""
        return int(np.argmax(self._norms <= self._norms.min() + self.rounding))

    def farthest(self) -> int:
        """The free row farthest from the accepted ones; ties go to the first."""
        reach = np.where(self.is_free, self.squares, -np.inf)
        return int(np.argmax(reach >= reach.max() - self.rounding))

    def reach(self) -> float:
        """Largest squared distance of a free row to the accepted ones; 0 if no row is free."""
        return float(self.squares[self.is_free].max(initial=0))

    def is_known(self, index: int) -> bool:
        """Whether the distances of a row are computed, which `accept` requires."""
        return index in self._known

    def look_ahead(self, rows: np.ndarray) -> None:
        """Compute the distances of the first of `rows`, as many as fit in one block."""
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
        """Accept free rows in order until `keep` rows are accepted.

        Args:
            limit: Squared distance to the nearest accepted row that a row must exceed.
            keep: Maximum number of accepted rows, including those accepted before.
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
    """Accept the row nearest to the mean, then repeatedly the row farthest from all accepted ones.

    The greedy algorithm for k centres (Gonzalez, "Clustering to minimize the maximum intercluster
    distance", 1985). For any first row, the largest distance of a row to its nearest accepted row
    is at most twice the optimum for `keep` rows. Ties go to the first row.

    Args:
        features: (K, D) of any float type.
        keep: Number of rows to accept, from 1 to K.
    """
    spread = Spread(features)
    index = spread.most_central()
    for _ in range(keep):
        if not spread.is_known(index):
            # Distances only shrink, so rows that are far now are likely to be the farthest soon.
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
    """Accept rows that are farther apart than a threshold, which shrinks from pass to pass.

    The first row is accepted. Each pass goes through all other rows in order and accepts those
    that are farther than the threshold from every row accepted so far; the threshold of pass
    p = 0, 1, ... is start x decay^p. The passes end when `keep` rows are accepted, or when every
    other row equals an accepted one.

    Args:
        features: (K, D) of any float type.
        keep: Number of rows to accept, from 1 to K.
        start: First threshold. None is the largest distance of a row to the first one, so that
            every accepted row is at least `decay` times as far from the earlier ones as the
            farthest row is.
        decay: In (0, 1).

    Returns:
        Fewer than `keep` accepted rows if fewer are distinct.
    """
    spread = Spread(features)
    spread.accept_in_order(0, 1)
    start = math.sqrt(spread.reach()) if start is None else start
    passes = 0
    while spread.num_accepted < keep and spread.reach() > spread.rounding:
        # Skip passes that would accept nothing.
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
        keep: Number of rows to accept, from 1 to K.
        distance: Above 0.
        excluded: (K,) bool, rows that must not be accepted.

    Returns:
        Fewer than `keep` accepted rows if fewer are this far apart.
    """
    spread = Spread(features)
    spread.is_free = ~excluded
    spread.accept_in_order(max(distance * distance - spread.rounding, 0), keep)
    return spread
