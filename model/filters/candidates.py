"""What a filter of generated images is given, and what it answers.

Must not know images, extractors or names of filters.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.config import FilterConfig

MORE = "raise filter.candidates"
OTHER = "choose another filter.name"


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which candidates are kept, and how a filter sees all of them."""

    indices: np.ndarray
    """(m,) int64, ascending."""
    scores: np.ndarray
    """(K,) float64, finite; what they are is the filter's to say, 0 where it has none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidates:
    """What a filter chooses from, and all that it may look at; the fields are those of `select`."""

    features: np.ndarray
    keep: int
    real: np.ndarray
    real_labels: np.ndarray | None
    labels: np.ndarray | None
    num_classes: int
    class_names: Sequence[str]
    rng: np.random.Generator
    config: FilterConfig


def lowest(numbers: np.ndarray, keep: int) -> np.ndarray:
    """(keep,) int64 ascending indices of the lowest numbers, the first of ties."""
    return np.sort(np.argsort(numbers, kind="stable")[:keep])
