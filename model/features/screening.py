"""Comparisons of distances in float32, which takes half the time. float64 decides the close ones.

A product in float32 has a known largest error. A comparison whose two sides differ by more than
that is certain. The products of the others are computed again in float64, so the result is that of
float64 for any features.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from model.features.products import Products, multiply, split_rows, squared_norms

SINGLE = np.finfo(np.float32)
ROUNDING = float(SINGLE.eps) / 2
"""Largest relative error of one float32 operation."""
DENSE = 32
"""If float64 must decide more than one of this many pairs of a block, all products are computed in
float64, which is then faster than gathering the features of each pair."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Screened:
    """Approximate products of some rows with all columns."""

    products: Products
    rows: slice
    values: np.ndarray
    """(R, M) products x.y in float32 or float64; those of float64 count as exact."""
    error: np.ndarray
    """(R,) float64, largest error of the products of each row."""

    def nearness(self, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """x.y - offsets[y] for (M,) float64 offsets, in the type of the products.

        Returns:
            (R, M) values, and their largest errors in each row, (R,) float64.
        """
        values = self.values - offsets.astype(self.values.dtype)
        if values.dtype == np.float64:
            return values, self.error
        # The offsets and the differences are rounded. `error` has a reserve for the products' part.
        return values, self.error + 3 * ROUNDING * np.abs(offsets).max()

    def exact(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """(P,) products in float64, of the pairs of rows i (of this block) and columns j."""
        if self.values.dtype == np.float64:
            return self.values[i, j]
        left, right = self.products.left[self.rows], self.products.right
        if len(i) * DENSE > self.values.size:
            kept = self.products.kept
            return (left @ right.T if kept is None else kept[self.rows])[i, j]
        found = np.empty(len(i))
        for part in split_rows(len(i), left.shape[1]):
            found[part] = np.einsum("nd,nd->n", left[i[part]], right[j[part]])
        return found

    def pairs_above(self, offsets: np.ndarray, least: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the pairs with x.y - offsets[y] > least[x].

        Args:
            offsets: (M,) float64.
            least: (R,) float64.
        """
        values, error = self.nearness(offsets)
        i, j = find_true(values > round_down(least - error, values.dtype)[:, None])
        if values.dtype == np.float64:
            return i, j
        unsure = np.flatnonzero(values[i, j] <= least[i] + error[i])
        inside = np.ones(len(i), bool)
        a, b = i[unsure], j[unsure]
        inside[unsure] = self.exact(a, b) - offsets[b] > least[a]
        return i[inside], j[inside]

    def kth_largest(self, offsets: np.ndarray, k: int) -> np.ndarray:
        """(R,) float64 k-th largest x.y - offsets[y] of each row x among the other rows y.

        The products must be within one set of more than k rows.

        A value in the ordered list of approximate values is as near to the exact value of the same
        rank as each approximate value is to its own. So values that are more than twice the error
        above the k-th approximate value are above the exact k-th, too.
        """
        values, error = self._of_others(offsets)
        kth = np.partition(values, -k, axis=1)[:, -k].astype(np.float64)
        if values.dtype == np.float64:
            return kth
        i, j = find_true(values >= round_down(kth - 2 * error, values.dtype)[:, None])
        above = values[i, j] > kth[i] + 2 * error[i]
        num_above = np.bincount(i[above], minlength=len(kth))
        i, j = i[~above], j[~above]
        order, first = order_rows(i, nearness := self.exact(i, j) - offsets[j], len(kth))
        return nearness[order[first + k - 1 - num_above]]

    def largest(self, offsets: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k largest values of each row as in kth_largest, largest first.

        Returns:
            (R, k) columns and (R, k) float64 values.
        """
        values, error = self._of_others(offsets)
        if values.dtype == np.float64:
            columns = np.argpartition(values, -k, axis=1)[:, -k:]
            found = np.take_along_axis(values, columns, axis=1)
            order = np.argsort(-found, axis=1)
            columns = np.take_along_axis(columns, order, axis=1)
            return columns, np.take_along_axis(found, order, axis=1)
        kth = np.partition(values, -k, axis=1)[:, -k].astype(np.float64)
        i, j = find_true(values >= round_down(kth - 2 * error, values.dtype)[:, None])
        order, first = order_rows(i, found := self.exact(i, j) - offsets[j], len(kth))
        places = order[first[:, None] + np.arange(k)]
        return j[places], found[places]

    def _of_others(self, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As nearness, with -inf for the pair of each row with itself."""
        values, error = self.nearness(offsets)
        rows = np.arange(self.rows.start, self.rows.stop)
        values[np.arange(len(rows)), rows] = -np.inf
        return values, error


def order_rows(
    rows: np.ndarray, values: np.ndarray, num_rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """The order of (P,) values by row, from the largest, and where each row starts in it."""
    counts = np.bincount(rows, minlength=num_rows)
    return np.lexsort((-values, rows)), np.cumsum(counts) - counts


def screen(products: Products) -> Iterator[Screened]:
    """Yield all products in blocks of rows: float32, unless float64 is there already or needed."""
    left, right = products.left, products.right
    lengths, longest = np.sqrt(squared_norms(left)), np.sqrt(squared_norms(right).max())
    # 4 more: both features are rounded, and so are the difference (nearness) and this bound.
    share = (left.shape[1] + 4) * ROUNDING
    fits = share < 1 / 2 and 8 * max(longest, lengths.max()) ** 2 < SINGLE.max
    if products.computed is not None or not fits:
        for rows, block in products.blocks():
            error = np.zeros(rows.stop - rows.start)
            yield Screened(products=products, rows=rows, values=block, error=error)
        return
    # Higham, Accuracy and Stability of Numerical Algorithms (2002), equation 3.5, for sums in any
    # order. Products that underflow add less than the smallest normal number each.
    bound = share / (1 - share) * lengths * longest + left.shape[1] * 4 * SINGLE.tiny
    x = left.astype(np.float32)
    y = x if right is left else right.astype(np.float32)
    for rows, block in multiply(x, y):
        yield Screened(products=products, rows=rows, values=block, error=bound[rows])


def find_true(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Like np.nonzero of a (R, M) matrix with few true elements, in a third of the time."""
    return np.divmod(np.flatnonzero(mask), mask.shape[1])


def round_down(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The largest numbers of a float type that are not above the values, or the next smaller."""
    if dtype == values.dtype:
        return values
    return np.nextafter(values.astype(dtype), dtype.type(-np.inf))
