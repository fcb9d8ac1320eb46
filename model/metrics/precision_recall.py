"""Precision, recall, density and coverage: which images lie in which neighbourhoods.

The definitions are those of Naeem et al. (arXiv:2002.09797) and their package `prdc`: a
neighbourhood is the open ball whose radius is the distance to the metrics.nearest_k-th nearest
other image of the same set. All four change with the number of images, so compare only equal
numbers. With metrics.error_subsets each has a standard error over draws of both sets of images;
that of metrics.bootstrap holds the neighbourhoods fixed.
"""

from collections.abc import Callable

import numpy as np

from model.config import MetricsConfig
from model.errors import UsageError
from model.features.neighbours import Neighbours
from model.metrics.bootstrap import average
from model.metrics.comparison import Comparison, SubsetNeighbours
from model.metrics.standard_errors import average_error


def compute_precision(comparison: Comparison, config: MetricsConfig) -> dict[str, float]:
    """Share of generated images in the neighbourhood of a reference image: fidelity.

    Improved precision (Kynkaanniemi et al., arXiv:1904.06991, equation 2).
    """
    return numbers(
        "precision", comparison, config, lambda found: found.containing > 0, of_reference=False
    )


def compute_recall(comparison: Comparison, config: MetricsConfig) -> dict[str, float]:
    """Share of reference images in the neighbourhood of a generated image: variety.

    Improved recall (Kynkaanniemi et al., arXiv:1904.06991, equation 2). A few generated outliers
    with large neighbourhoods can raise it; they cannot raise coverage.
    """
    return numbers("recall", comparison, config, lambda found: found.recalled, of_reference=True)


def compute_density(comparison: Comparison, config: MetricsConfig) -> dict[str, float]:
    """Mean number of reference neighbourhoods that contain a generated image, divided by k.

    Naeem et al. (arXiv:2002.09797, equation 3). About 1 if both sets have the same distribution. It
    exceeds 1 if generated images crowd into the densest regions of the reference.
    """
    values = numbers(
        "density", comparison, config, lambda found: found.containing, of_reference=False
    )
    return {name: value / config.nearest_k for name, value in values.items()}


def compute_coverage(comparison: Comparison, config: MetricsConfig) -> dict[str, float]:
    """Share of reference images whose neighbourhood contains a generated image: variety.

    Naeem et al. (arXiv:2002.09797, equation 4).
    """
    return numbers("coverage", comparison, config, lambda found: found.covered, of_reference=True)


def numbers(
    name: str,
    comparison: Comparison,
    config: MetricsConfig,
    per_image: Callable[[Neighbours | SubsetNeighbours], np.ndarray],
    *,
    of_reference: bool,
) -> dict[str, float]:
    """The mean of a property of the neighbours over one set of images, and its error if asked."""
    members = per_image(find(comparison, config))
    values = average(name, members, num_resamples=config.bootstrap)
    if config.error_subsets and subsets_suffice(comparison, config):
        strata = comparison.strata[of_reference]
        found = comparison.subset_neighbours(config.nearest_k, config.error_subsets)
        values[f"{name}_se"] = average_error(members, strata, per_image(found))
    return values


def subsets_suffice(comparison: Comparison, config: MetricsConfig) -> bool:
    """Whether subsets of both sets are large enough for nearest_k."""
    fewest = min(len(comparison.generated), len(comparison.real.reference))
    return fewest >= fewest_for_errors(config)


def fewest_for_errors(config: MetricsConfig) -> int:
    """Number of images of which subsets have neighbours enough."""
    return 2 * (config.nearest_k + 2)


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
