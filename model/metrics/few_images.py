"""Warnings about numbers of images that are too small for a metric."""

from model.config import MetricsConfig
from model.features.extractors import extractor_label
from model.metrics import memorization, precision_recall
from model.metrics.comparison import Comparison

OF_NEIGHBOURS = ("precision", "recall", "density", "coverage")
"""Metrics that compare each image with its metrics.nearest_k nearest neighbours."""


def list_warnings(comparison: Comparison, config: MetricsConfig) -> list[str]:
    """Warnings about numbers of images that are too small for a metric."""
    label = extractor_label(config)
    num_dimensions = comparison.generated.shape[1]
    num_reference = len(comparison.real.reference)
    num_images = min(len(comparison.generated), num_reference)
    closest = memorization.CLOSEST_SHARE
    warnings = []
    if "fid" in config.names and num_images <= num_dimensions:
        warnings.append(
            f"fid/{label} should have more images than its {num_dimensions} feature dimensions, "
            f"got {num_images}: it is singular and biased upwards; compare kid/{label}"
        )
    if "kid" in config.names and config.kid_subset_size is None and num_images < 4:
        warnings.append(f"kid_se/{label} needs at least 4 images, got {num_images}: left out")
    of_neighbours = [name for name in OF_NEIGHBOURS if name in config.names]
    fewest = precision_recall.fewest_for_errors(config)
    if config.error_subsets and of_neighbours and num_images < fewest:
        warnings.append(
            f"{of_neighbours[0]}_se/{label} needs at least {fewest} images for metrics.nearest_k="
            f"{config.nearest_k}, got {num_images}: left out"
        )
    if config.bootstrap:
        warnings.append(
            "metrics.bootstrap holds neighbourhoods and other sets of images fixed, so that "
            "standard errors may be far too small; use metrics.error_subsets"
        )
    if "memorization" in config.names and (num_reference + 1) * closest < 1:
        warnings.append(
            f"near_copies/{label} should have at least {round(1 / closest) - 1} reference "
            f"images, got {num_reference}: fresh images give {1 / (num_reference + 1):.3g}, "
            f"not {closest:g}"
        )
    return warnings
