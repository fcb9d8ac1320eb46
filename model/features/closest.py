"""The training images that are nearest to some generated ones, to look at side by side."""

from dataclasses import dataclass

import numpy as np

from model.features.neighbours import nearest_two

NUM_SAMPLES = 8
"""Number of closest samples, and of other ones."""
NUM_NEIGHBOURS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Closest:
    """Some generated images, and the training images that are nearest to each."""

    samples: np.ndarray
    """(S,) int64 numbers of generated images: first the closest ones, then evenly spaced ones."""
    num_closest: int
    train: np.ndarray
    """(S, 3) int64 numbers of training images, nearest first."""
    distances: np.ndarray
    """(S, 3) Euclidean distances of their features."""


def find_closest(generated: np.ndarray, train: np.ndarray) -> Closest:
    """Find the samples that are nearest to a training image, and the neighbours of each.

    The other samples are evenly spaced: images of a stream are independent, so these are a random
    choice, and of all classes of a conditional model.

    Args:
        generated: (N, D) features.
        train: (K, D) features; there are fewer neighbours if K is below 3. Equal images count
            separately.
    """
    N = len(generated)
    count = min(NUM_SAMPLES, N)
    order = np.argsort(nearest_two(generated, train)[:, 0], kind="stable")
    spaced = np.rint(np.linspace(0, N - 1, count)).astype(np.int64)
    samples = np.concatenate([order[:count], spaced])
    neighbours, distances = [], []
    for sample in samples:
        to_all = np.linalg.norm(train - generated[sample].astype(np.float64), axis=1)
        nearest = np.argsort(to_all, kind="stable")[:NUM_NEIGHBOURS]
        neighbours.append(nearest)
        distances.append(to_all[nearest])
    return Closest(
        samples=samples,
        num_closest=count,
        train=np.array(neighbours),
        distances=np.array(distances),
    )
