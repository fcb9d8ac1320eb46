"""Input and output of a filter of generated images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.config import FilterConfig

MORE = "raise filter.candidates"
OTHER = "choose another filter.name"


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which candidates are kept, and the scores of all candidates."""

    indices: np.ndarray
    """(m,) int64, ascending."""
    scores: np.ndarray
    """(K,) float64, finite. Each filter defines its own; 0 if it has none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidates:
    """What a filter chooses from and may use; the fields are the arguments of `select`."""

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
    """(keep,) int64 ascending indices of the lowest numbers; ties go to the lower index."""
    return np.sort(np.argsort(numbers, kind="stable")[:keep])
