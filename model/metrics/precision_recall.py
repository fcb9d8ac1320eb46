"""Precision, recall, density and coverage: which images lie in which neighbourhoods.

The definitions are those of Naeem et al. (arXiv:2002.09797) and their package `prdc`: a
neighbourhood is the open ball whose radius is the distance to the metrics.nearest_k-th nearest
other image of the same set. All four change with the number of images, so compare only equal
numbers. With metrics.bootstrap each has a standard error over the images that it averages; the
neighbourhoods are held fixed.
"""

from model.config import MetricsConfig
from model.errors import UsageError
from model.features.neighbours import Neighbours
from model.metrics.bootstrap import average
from model.metrics.comparison import Comparison


def compute_precision(comparison: Comparison, config: MetricsConfig) -> dict[str, float]:
    """Share of generated images in the neighbourhood of a reference image: fidelity.

    Improved precision (Kynkaanniemi et al., arXiv:1904.06991, equation 2).
    """
    inside = find(comparison, config).containing > 0
    return average("precision", inside, num_resamples=config.bootstrap)


def compute_recall(comparison: Comparison, config: MetricsConfig) -> dict[str, float]:
    """Share of reference images in the neighbourhood of a generated image: variety.

    Improved recall (Kynkaanniemi et al., arXiv:1904.06991, equation 2). A few generated outliers
    with large neighbourhoods can raise it; they cannot raise coverage.
    """
    recalled = find(comparison, config).recalled
    return average("recall", recalled, num_resamples=config.bootstrap)


def compute_density(comparison: Comparison, config: MetricsConfig) -> dict[str, float]:
    """Mean number of reference neighbourhoods that contain a generated image, divided by k.

    Naeem et al. (arXiv:2002.09797, equation 3). About 1 if both sets have the same distribution. It
    exceeds 1 if generated images crowd into the densest regions of the reference.
    """
    containing = find(comparison, config).containing
    values = average("density", containing, num_resamples=config.bootstrap)
    return {name: value / config.nearest_k for name, value in values.items()}


def compute_coverage(comparison: Comparison, config: MetricsConfig) -> dict[str, float]:
    """Share of reference images whose neighbourhood contains a generated image: variety.

    Naeem et al. (arXiv:2002.09797, equation 4).
    """
    covered = find(comparison, config).covered
    return average("coverage", covered, num_resamples=config.bootstrap)


def find(comparison: Comparison, config: MetricsConfig) -> Neighbours:
    """The neighbours of a comparison; raises UsageError if a set is too small for nearest_k."""
    fewest = min(len(comparison.generated), len(comparison.real.reference))
    if fewest <= config.nearest_k + 1:
        way_out = f"use at most {fewest - 2}, or" if fewest > 2 else "leave"
        more = "measure more images" if fewest > 2 else "precision, recall, density, coverage out"
        raise UsageError(
            f"metrics.nearest_k must be at most the number of images ({fewest}) less 2, "
            f"got {config.nearest_k}; {way_out} {more}"
        )
    return comparison.neighbours(config.nearest_k)
