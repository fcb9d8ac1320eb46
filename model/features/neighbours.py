"""Nearest neighbours in feature space: which images lie in which neighbourhoods, and how near.

The functions return values per image; metrics average them. Features are assumed to be finite and
to have enough rows.
"""

from dataclasses import dataclass

import numpy as np

from model.features.products import Pairs, Products, split_rows, squared_norms
from model.features.screening import screen

TIE = 1e-13
"""Squared distances are equal if they differ by less than this share of the two squared norms. The
rounding error of an inner product of a few thousand float64 numbers is about 1e-15."""
POINT_CHUNK = 8192


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbours:
    """Which images lie within the neighbourhoods of the other set.

    An image's neighbourhood is the open ball whose radius is the distance to its k-th nearest
    neighbour in its own set, not counting itself. It is empty if k or more other images equal it.
    """

    containing: np.ndarray
    """(N,) int64 number of reference neighbourhoods that contain each generated image."""
    recalled: np.ndarray
    """(M,) bool, whether each reference image lies in the neighbourhood of a generated image."""
    covered: np.ndarray
    """(M,) bool, whether the neighbourhood of each reference image contains a generated image."""


def find_neighbours(pairs: Pairs, radii: np.ndarray, *, reference_radii: np.ndarray) -> Neighbours:
    """Find which images lie in the neighbourhoods of the other set.

    The definitions are those of Naeem et al. (arXiv:2002.09797, equations 1 to 4); precision and
    recall go back to Kynkaanniemi et al. (arXiv:1904.06991), whose inequality is not strict.

    Args:
        pairs: N generated and M reference images.
        radii: (N,) squared radii of the generated images' neighbourhoods (squared_radii).
        reference_radii: (M,) those of the reference images. Zeros (empty neighbourhoods) are
            enough if only `recalled` is used.
    """
    norms_x = squared_norms(pairs.generated) * (1 + TIE)
    norms_y = squared_norms(pairs.reference.features) * (1 + TIE)
    containing = np.zeros(len(norms_x), np.int64)
    recalled, covered = np.zeros((2, len(norms_y)), bool)
    for block in screen(pairs.across):
        # |x - y|^2 < radius^2, less the tolerance for ties, solved for x.y.
        rows = block.rows
        i, j = block.pairs_above((norms_y - reference_radii) / 2, norms_x[rows] / 2)
        containing[rows] = np.bincount(i, minlength=rows.stop - rows.start)
        covered[j] = True
        recalled[block.pairs_above(norms_y / 2, (norms_x - radii)[rows] / 2)[1]] = True
    return Neighbours(containing=containing, recalled=recalled, covered=covered)


def squared_radii(products: Products, nearest_k: int) -> np.ndarray:
    """(N,) squared distance of each row to its k-th nearest other row.

    Args:
        products: Products within one set of N > nearest_k rows.
        nearest_k: Neighbours k.
    """
    norms = squared_norms(products.left)
    # |x - y|^2 is |x|^2 less twice the nearness x.y - |y|^2 / 2.
    nearness = [block.kth_largest(norms / 2, nearest_k) for block in screen(products)]
    return np.maximum(norms - 2 * np.concatenate(nearness), 0)


def nearest_two(queries: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Euclidean distances of each query to its nearest and second nearest distinct point.

    Equal points count as one, so that the two distances are to different images even if the
    training set contains an image twice. Both are computed from differences of features, so that
    equal features have distance exactly zero.

    Args:
        queries: (N, D) of any float type.
        points: (K, D).

    Returns:
        (N, 2) float64; the second is nan if all points are equal.
    """
    return np.sort(_nearest_two(queries, distinct_rows(points))[1], axis=1)


def nearest_of_distinct(
    queries: np.ndarray, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which distinct point is nearest to each query, and how near it and the second nearest are.

    Args:
        queries: (N, D) of any float type.
        points: (K, D).

    Returns:
        (K,) number of the distinct point that each point is, (N,) number of the nearest one, and
        (N, 2) distances as from nearest_two.
    """
    rows: dict[bytes, int] = {}
    numbers = np.array([rows.setdefault(row.tobytes(), len(rows)) for row in points + 0.0])
    indices, distances = _nearest_two(queries, distinct_rows(points))
    order = np.argsort(distances, axis=1)
    nearest = np.take_along_axis(indices, order[:, : indices.shape[1]], axis=1)[:, 0]
    return numbers, nearest, np.take_along_axis(distances, order, axis=1)


def _nearest_two(queries: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, 2) indices of the nearest two of distinct points, and their distances, in any order.

    If there is only one point there is one index, and the second distance is nan.
    """
    centre = points.mean(axis=0, dtype=np.float64)
    centred = queries - centre
    near, near_squares = [], []
    for start in range(0, len(points), POINT_CHUNK):
        chunk = points[start : start + POINT_CHUNK] - centre
        indices, squares = nearest_in_chunk(centred, chunk)
        near.append(indices + start)
        near_squares.append(squares)
    best = np.argsort(np.concatenate(near_squares, axis=1), axis=1, kind="stable")[:, :2]
    indices = np.take_along_axis(np.concatenate(near, axis=1), best, axis=1)
    distances = np.full((len(queries), 2), np.nan)
    for rows in split_rows(len(queries), 2 * queries.shape[1]):
        difference = points[indices[rows]].astype(np.float64) - queries[rows, None]
        distances[rows, : indices.shape[1]] = np.linalg.norm(difference, axis=2)
    return indices, distances


def nearest_in_chunk(queries: np.ndarray, chunk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices and squared distances of the min(2, K) rows of `chunk` nearest to each query.

    Args:
        queries: (N, D) float64.
        chunk: (K, D) float64.
    """
    norms, own = squared_norms(chunk), squared_norms(queries)
    width = min(2, len(chunk))
    indices = np.empty((len(queries), width), np.int64)
    squares = np.empty((len(queries), width))
    for rows, products in Products(left=queries, right=chunk).blocks():
        distances = norms - 2 * products
        indices[rows] = np.argpartition(distances, width - 1, axis=1)[:, :width]
        squares[rows] = np.take_along_axis(distances, indices[rows], axis=1) + own[rows, None]
    return indices, squares


def nearest_kth(queries: np.ndarray, points: np.ndarray, nearest_k: int) -> np.ndarray:
    """Euclidean distance of each query to its k-th nearest point; equal points count separately.

    Computed from differences of features, as in `nearest_two`: equal queries have equal distances.

    Args:
        queries: (N, D) of any float type.
        points: (M, D).
        nearest_k: Neighbours k, at most M.

    Returns:
        (N,) float64.
    """
    centre = points.mean(axis=0, dtype=np.float64)
    products = Products(left=queries - centre, right=points - centre)
    norms = squared_norms(products.right)
    distances = np.empty(len(queries))
    for rows, block in products.blocks():
        order = np.argpartition(norms - 2 * block, nearest_k - 1, axis=1)
        kth = order[:, nearest_k - 1]
        difference = points[kth].astype(np.float64) - queries[rows]
        distances[rows] = np.sqrt(squared_norms(difference))
    return distances


def distinct_rows(features: np.ndarray) -> np.ndarray:
    """The distinct rows of (N, D) features, in order of first appearance."""
    first = {row.tobytes(): index for index, row in reversed(list(enumerate(features + 0.0)))}
    return features[sorted(first.values())]
