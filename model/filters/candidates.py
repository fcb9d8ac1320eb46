"""Input and output of a filter of generated images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.config import FilterConfig

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
    """What a filter chooses from and may use."""

    features: np.ndarray
    """(K, D) features in the order of generation; (K, 0) if the filter needs none."""
    keep: int
    """Number of candidates to keep, m."""
    real: np.ndarray
    """(M, D) features of real training images; (0, 0) if the filter needs none."""
    real_labels: np.ndarray | None
    """(M,) integer classes, if the filter needs them."""
    labels: np.ndarray | None
    """(K,) integer classes requested from the model; None if none were requested."""
    num_classes: int
    """C; 0 without classes."""
    class_names: Sequence[str]
    """C names; needed for filter.reward_class."""
    rng: np.random.Generator
    """Source of random numbers."""
    config: FilterConfig
    """The filter's settings."""

    @property
    def remedy(self) -> str:
        """What to do if they are too few: those of pool rule select are all images so far."""
        return "raise filter.candidates" if self.config.candidates > 1 else OTHER


def lowest(numbers: np.ndarray, keep: int) -> np.ndarray:
    """(keep,) int64 ascending indices of the lowest numbers; ties go to the lower index."""
    return np.sort(np.argsort(numbers, kind="stable")[:keep])
