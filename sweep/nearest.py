"""Which training images are nearest to some samples of a model: a part of its metrics record."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class NearestImages:
    """Some samples of a model and the training images nearest to each, as the metric nearest."""

    samples: list[int]
    """Numbers of samples among the measured images: the closest ones, then evenly spaced ones."""
    num_closest: int
    train: list[list[int]]
    """Numbers of the nearest images of the train split, for each sample."""
    distances: list[list[float]]
    """Distances of their features."""
