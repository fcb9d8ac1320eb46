"""Metrics of generated against reference images: features -> statistics -> metric.

A metric is a function of two feature matrices and the settings; it knows neither the images nor
the extractor, whose label `evaluate_images` adds to its name. Imports numpy only, so that settings
are checked without torch. Draws nothing from, and leaves nothing in, global random state.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from model.config import MetricsConfig, check_choice
from model.distances import estimate_mmd2, frechet_distance, gaussian_statistics
from model.features import check_images, extract_features, extractor_label, find_extractor

KID_SUBSET_PURPOSE = 0x6B6964
"""Seed of the KID subsets (`kid` in ASCII): the same images are compared in every evaluation."""
PIXEL_CHUNK = 4096

Metric = Callable[[np.ndarray, np.ndarray, MetricsConfig], dict[str, float]]
"""(N, D) generated and (M, D) reference features, and the settings, to named numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """The numbers of one set of images against a reference."""

    values: dict[str, float]
    """`kid/<extractor label>` and so on, and pixel_mean and pixel_std."""
    warnings: list[str]
    num_images: int
    num_reference: int


def validate_metrics(config: MetricsConfig) -> None:
    """Raise ValueError, with a suggestion, for an unknown metric or extractor; imports no torch."""
    for name in config.names:
        check_choice("metrics.names", name, METRICS)
    find_extractor(config.extractor)


def evaluate_images(
    generated: np.ndarray,
    reference: np.ndarray,
    config: MetricsConfig,
    *,
    device: str = "cpu",
    reference_features: np.ndarray | None = None,
) -> Evaluation:
    """Measure all of the generated images against all of the reference.

    Args:
        generated: (N, C, H, W), uint8 or float32.
        reference: (M, C, H, W), of the same C, H, W and type.
        config: Which metrics, and which extractor; num_images and sample_steps are the caller's.
        device: Where the extractor runs.
        reference_features: (M, D) features of `reference` under the same extractor and resolution,
            where they are known already.

    Raises:
        ValueError: For unknown names, fewer than two images, images that differ in shape, and
            features that are not finite.
    """
    validate_metrics(config)
    for name, images in (("generated", generated), ("reference", reference)):
        if len(images) < 2:
            raise ValueError(f"{name} images must be at least 2, got {len(images)}")
        check_images(images)
    if generated.shape[1:] != reference.shape[1:] or generated.dtype != reference.dtype:
        raise ValueError(
            f"generated images must be {reference.dtype} of shape {reference.shape[1:]} as the "
            f"reference is, got {generated.dtype} of shape {generated.shape[1:]}"
        )
    if reference_features is None:
        reference_features = extract_features(
            reference, config.extractor, resolution=config.resolution, device=device
        )
    if len(reference_features) != len(reference):
        raise ValueError(
            f"reference_features must have one row per reference image ({len(reference)}), "
            f"got {len(reference_features)}"
        )
    features = extract_features(
        generated, config.extractor, resolution=config.resolution, device=device
    )
    check_features(features, reference_features)
    label = extractor_label(config.extractor, config.resolution)
    values = pixel_statistics(generated)
    with np.errstate(over="ignore", invalid="ignore"):
        for name in config.names:
            numbers = METRICS[name](features, reference_features, config)
            values |= {f"{key}/{label}": value for key, value in numbers.items()}
    # Finite images far out of any range (a diverging lineage of float data) can overflow a kernel.
    overflown = [key for key, value in values.items() if not np.isfinite(value)]
    return Evaluation(
        values={key: value for key, value in values.items() if key not in overflown},
        warnings=list_warnings(features, reference_features, config)
        + [f"{key} must be finite, got {values[key]}: left out" for key in overflown],
        num_images=len(generated),
        num_reference=len(reference),
    )


def list_warnings(generated: np.ndarray, reference: np.ndarray, config: MetricsConfig) -> list[str]:
    """What a reader of the numbers should know of these (N, D) and (M, D) features."""
    label = extractor_label(config.extractor, config.resolution)
    num_images, num_dimensions = min(len(generated), len(reference)), generated.shape[1]
    warnings = []
    if "fid" in config.names and num_images <= num_dimensions:
        warnings.append(
            f"fid/{label} should have more images than its {num_dimensions} feature dimensions, "
            f"got {num_images}: it is singular and biased upwards; compare kid/{label}"
        )
    if "kid" in config.names and config.kid_subset_size is None and num_images < 4:
        warnings.append(f"kid_se/{label} needs at least 4 images, got {num_images}: left out")
    return warnings


def check_features(generated: np.ndarray, reference: np.ndarray) -> None:
    """Raise ValueError unless both are finite (N >= 2, D) matrices of one D."""
    for name, features in (("generated", generated), ("reference", reference)):
        if features.ndim != 2 or len(features) < 2:
            raise ValueError(
                f"{name} features must be (N, D) with N at least 2, got {features.shape}"
            )
        finite = np.isfinite(features)
        if not finite.all():
            raise ValueError(
                f"{name} features must be finite, got {finite.size - finite.sum()} nan or inf of "
                f"{finite.size}; did the model diverge?"
            )
    if generated.shape[1] != reference.shape[1]:
        raise ValueError(
            f"generated features must have the reference's {reference.shape[1]} dimensions, got "
            f"{generated.shape[1]}; are both of one extractor?"
        )


def pixel_statistics(images: np.ndarray) -> dict[str, float]:
    """Mean of all pixels, and the mean over pixels of their deviation over images.

    Args:
        images: (N, C, H, W) uint8, or float32.

    Returns:
        pixel_mean and pixel_std (population), in [0, 1] units for 8-bit images.
    """
    flat = images.reshape(len(images), -1)
    scale = 255 if images.dtype == np.uint8 else 1
    mean_sum = std_sum = 0.0
    for start in range(0, flat.shape[1], PIXEL_CHUNK):
        pixels = flat[:, start : start + PIXEL_CHUNK].astype(np.float64)
        mean_sum += pixels.mean(axis=0).sum()
        std_sum += pixels.std(axis=0).sum()
    num_pixels = flat.shape[1] * scale
    return {"pixel_mean": float(mean_sum / num_pixels), "pixel_std": float(std_sum / num_pixels)}


def compute_kid(
    generated: np.ndarray, reference: np.ndarray, config: MetricsConfig
) -> dict[str, float]:
    """Kernel Inception distance (Binkowski et al., arXiv:1801.01401), not multiplied by 1000.

    Returns:
        kid and kid_se. Without metrics.kid_subset_size: the estimate on all images, and its
        standard error over draws of both sets of images (kid_se only from four images). With it:
        the mean over random subsets, and the standard error of that mean over draws of subsets
        alone, which says nothing of other images.

    Raises:
        ValueError: As check_features, and for subsets larger than a set of images.
    """
    check_features(generated, reference)
    if config.kid_subset_size is not None:
        return compute_subset_kid(
            generated, reference, size=config.kid_subset_size, num_subsets=config.kid_num_subsets
        )
    estimate, variance = estimate_mmd2(generated, reference)
    values = {"kid": estimate}
    if variance is not None:
        values["kid_se"] = float(np.sqrt(variance))
    return values


def compute_subset_kid(
    generated: np.ndarray, reference: np.ndarray, *, size: int, num_subsets: int
) -> dict[str, float]:
    """Mean of the KID over `num_subsets` fixed random subsets of `size` images of either set."""
    smaller = min(len(generated), len(reference))
    if size > smaller:
        raise ValueError(
            f"metrics.kid_subset_size must be at most the number of images ({smaller}), "
            f"got {size}; set it to None for one estimate on all images"
        )
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(KID_SUBSET_PURPOSE)))
    estimates = []
    for _ in range(num_subsets):
        x = generated[rng.choice(len(generated), size, replace=False)]
        y = reference[rng.choice(len(reference), size, replace=False)]
        estimates.append(estimate_mmd2(x, y)[0])
    deviation = np.std(estimates, ddof=1)
    return {"kid": float(np.mean(estimates)), "kid_se": float(deviation / np.sqrt(num_subsets))}


def compute_fid(
    generated: np.ndarray, reference: np.ndarray, config: MetricsConfig
) -> dict[str, float]:
    """Frechet distance of two Gaussians fitted to the features (Heusel et al., arXiv:1706.08500).

    Raises:
        ValueError: As check_features.
    """
    del config
    check_features(generated, reference)
    return {"fid": frechet_distance(gaussian_statistics(generated), gaussian_statistics(reference))}


METRICS: dict[str, Metric] = {
    "kid": compute_kid,
    "fid": compute_fid,
}
