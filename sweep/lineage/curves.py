"""Training curves as they are stored."""

import numpy as np

from sweep.store.arrays import dump_arrays

CURVE_POINTS = 500
"""Maximum number of points in a stored training curve; longer curves are averaged in bins."""


def dump_curves(curves: dict[str, np.ndarray]) -> bytes:
    """Curves as the bytes of an .npz file, averaged in at most CURVE_POINTS bins."""
    length = max((len(values) for values in curves.values()), default=0)
    edges = np.unique(np.linspace(0, length, min(length, CURVE_POINTS) + 1).astype(int))
    binned = {
        name: np.add.reduceat(values.astype(np.float64), edges[:-1]) / np.diff(edges)
        for name, values in curves.items()
    }
    return dump_arrays(**{name: values.astype(np.float32) for name, values in binned.items()})
