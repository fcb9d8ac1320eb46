"""Diversity of one set of features, without a reference. Features are assumed to be finite."""

import numpy as np


def vendi_score(features: np.ndarray) -> float:
    """Effective number of distinct images (Friedman and Dieng, arXiv:2210.02410, equation 2).

    The exponential of the entropy of the eigenvalues of K / N, where K holds the cosine
    similarities of all pairs: 1 for N images of one direction, N for N orthogonal ones. The order
    is q = 1. K and the matrix of second moments have the same nonzero eigenvalues; those of the
    smaller matrix are computed.

    Args:
        features: (N, D) of any float type. Rows of zeros have no direction: they count as equal to
            each other and orthogonal to all other rows.
    """
    x = features.astype(np.float64)
    # Scale by the largest number first, so that no square overflows or underflows.
    largest = np.abs(x).max(axis=1, keepdims=True)
    zero = largest == 0
    x /= np.where(zero, 1, largest)
    x /= np.where(zero, 1, np.linalg.norm(x, axis=1, keepdims=True))
    x = np.concatenate([x, zero], axis=1)
    kernel = x @ x.T if len(x) <= x.shape[1] else x.T @ x
    shares = np.linalg.eigvalsh(kernel / len(x))
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))
