"""Neighbourhoods with random subsets of the images, which standard errors need.

The distances are computed once for all subsets: an image's neighbours within a subset are those of
its neighbours among all images that are in the subset.
"""

from dataclasses import dataclass

import numpy as np

from model.features.neighbours import TIE
from model.features.products import Pairs, Products, squared_norms
from model.features.screening import screen

SPARE = 16
"""Besides 2 k, so many nearest neighbours of each image are found at first, of which a subset must
contain k."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SubsetNeighbours:
    """The fields of Neighbours for each of S subsets of the set that has the neighbourhoods.

    `covered` is for subsets of the images that may lie in them.
    """

    containing: np.ndarray
    """(S, N) int64, for subsets of the reference."""
    recalled: np.ndarray
    """(S, M) bool, for subsets of the generated images."""
    covered: np.ndarray
    """(S, M) bool, for subsets of the generated images."""


def find_subset_neighbours(
    pairs: Pairs,
    nearest_k: int,
    *,
    subsets: tuple[np.ndarray, np.ndarray],
    reference_radii: np.ndarray,
) -> SubsetNeighbours:
    """Like find_neighbours for each of S subsets of either set.

    Args:
        pairs: N generated and M reference images.
        nearest_k: Neighbours k.
        subsets: (S, N) and (S, M) bool, which images the subsets of generated and of reference
            images contain; each subset contains more than k.
        reference_radii: (M,) squared radii of the neighbourhoods among all reference images.
    """
    of_generated, of_reference = subsets
    radii = subset_radii(pairs.within_generated, of_generated, nearest_k)
    radii_y = subset_radii(pairs.reference.within, of_reference, nearest_k)
    norms_x = squared_norms(pairs.generated) * (1 + TIE) / 2
    norms_y = squared_norms(pairs.reference.features) * (1 + TIE) / 2
    containing = np.zeros(of_generated.shape, np.int64)
    recalled, covered = np.zeros((2, *of_reference.shape), bool)
    for block in screen(pairs.across):
        # As in find_neighbours; the pairs of the largest radii include those of all subsets.
        rows = block.rows
        num_rows, least = rows.stop - rows.start, norms_x[rows]
        i, j = block.pairs_above(norms_y - radii_y.max(axis=0) / 2, least)
        nearness = block.exact(i, j) - norms_y[j]
        for s, squares in enumerate(radii_y):
            inside = nearness + squares[j] / 2 > least[i]
            containing[s, rows] = np.bincount(i[inside], minlength=num_rows)
        i, j = block.pairs_above(norms_y, least - radii[:, rows].max(axis=0) / 2)
        nearness = block.exact(i, j) - norms_y[j]
        for s, squares in enumerate(radii[:, rows]):
            recalled[s, j[nearness > (least - squares / 2)[i]]] = True
        i, j = block.pairs_above(norms_y - reference_radii / 2, least)
        for s, members in enumerate(of_generated[:, rows]):
            covered[s, j[members[i]]] = True
    return SubsetNeighbours(containing=containing, recalled=recalled, covered=covered)


def subset_radii(products: Products, subsets: np.ndarray, nearest_k: int) -> np.ndarray:
    """(S, N) squared distance of each row to its k-th nearest other row in each subset.

    It is 0 for rows that are not in the subset.

    Args:
        products: Products within one set of N rows.
        subsets: (S, N) bool, subsets of more than k rows each.
        nearest_k: Neighbours k.
    """
    most = len(products.left) - 1
    count = min(2 * nearest_k + SPARE, most)
    while True:
        neighbours, squares = nearest_rows(products, count)
        radii = np.zeros(subsets.shape)
        enough = True
        for s, members in enumerate(subsets):
            ranks = members[neighbours[members]].cumsum(axis=1)
            enough = enough and bool((ranks[:, -1] >= nearest_k).all())
            kth = (ranks >= nearest_k).argmax(axis=1)
            radii[s, members] = np.take_along_axis(squares[members], kth[:, None], axis=1)[:, 0]
        if enough or count == most:
            return radii
        count = min(2 * count, most)


def nearest_rows(products: Products, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The `count` nearest other rows of each row, nearest first.

    Args:
        products: Products within one set of N rows.
        count: Less than N.

    Returns:
        (N, count) numbers of the rows, and their squared distances.
    """
    norms = squared_norms(products.left)
    found = [block.largest(norms / 2, count) for block in screen(products)]
    neighbours, nearness = (np.concatenate(each) for each in zip(*found, strict=True))
    return neighbours, np.maximum(norms[:, None] - 2 * nearness, 0)
