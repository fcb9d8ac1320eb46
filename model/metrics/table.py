"""Metrics of generated against real images: features -> statistics -> metric.

A metric is a function of a comparison (feature matrices and classes) and the settings; the
extractor's label is added to its name here. This module does not import torch, so that settings are
checked quickly. It does not use the global random state.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from model.config import MetricsConfig
from model.errors import UsageError, check_choice
from model.features.extractors import (
    check_extractor,
    extract_features,
    extractor_label,
)
from model.features.principal import Directions, principal_directions
from model.features.probe import check_counts
from model.metrics import classes, copying, distribution, memorization, precision_recall
from model.metrics.comparison import Comparison, RealFeatures, check_comparable, check_features
from model.metrics.few_images import list_warnings
from model.metrics.pixels import compute_gain, digest_images, find_copies, pixel_statistics

PROBE_NEEDS = ("train", "train_labels", "reference_labels")
"""Parts of RealFeatures that a probe and its accuracy on held-out images require."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One entry of metrics.names."""

    compute: Callable[[Comparison, MetricsConfig], Mapping[str, float | np.ndarray]]
    """Raises UsageError if there are too few images for a meaningful number."""
    version: int | str
    """Part of keys if above 1. Raise it whenever the same settings give other results, so that no
    old result is taken for a new one. A plug-in's version is text, and always part of keys."""
    needs: tuple[str, ...] = ()
    """Optional parts of a Comparison and its RealFeatures that this metric requires."""
    probe: Literal["never", "always", "unconditional", "with_train"] = "never"
    """When the metric fits a probe. "unconditional": only if no classes were requested from the
    generator; "with_train": only if another metric needs the training images (for cas_real)."""
    shown: tuple[str, ...] = ()
    """Its numbers that a short table shows; if empty, the number that has the metric's name."""
    of_pixels: bool = False
    """Whether it is computed on pixels: names have no extractor, and arrays are by direction."""

    @property
    def has_floor(self) -> bool:
        """Whether it can measure real training images: if it needs neither them nor classes."""
        return not self.needs


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """The metrics of one set of images against a reference."""

    values: dict[str, float]
    """Keys are `kid/<extractor label>` and so on, and pixel_mean and pixel_std."""
    classes: dict[str, dict[str, float]] = field(default_factory=dict)
    """Numbers by metric (`class_share/<extractor label>` and so on), then by class name."""
    directions: dict[str, list[float]] = field(default_factory=dict)
    """Numbers by metric (`gain` and so on), one for each principal direction of the pixels."""
    warnings: list[str]
    num_images: int
    num_reference: int
    num_train: int = 0
    """Number of real training images in the comparison; 0 if no metric needs them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RealImages:
    """The real images of an evaluation."""

    reference: np.ndarray
    """(M, C, H, W) held-out images."""
    reference_labels: np.ndarray | None = None
    train: np.ndarray | None = None
    """(K, C, H, W) training images."""
    train_labels: np.ndarray | None = None
    class_names: tuple[str, ...] = ()


def validate_metrics(config: MetricsConfig) -> None:
    """Raise UsageError, with a suggestion, for an unknown metric or extractor."""
    for name in config.names:
        check_choice("metrics.names", name, METRICS, extensible=True)
    check_extractor(config)


def needed(config: MetricsConfig) -> set[str]:
    """The optional parts of a Comparison and its RealFeatures that the metrics need."""
    return {part for name in config.names for part in METRICS[name].needs}


def shown_columns(name: str, config: MetricsConfig) -> list[str]:
    """Full names of the numbers of a metric that a short table shows."""
    metric = METRICS[name]
    label = "" if metric.of_pixels else f"/{extractor_label(config)}"
    return [f"{number}{label}" for number in metric.shown or (name,)]


def check_needs(config: MetricsConfig, available: set[str]) -> None:
    """Raise UsageError, naming the metric, if a part that it needs is not available.

    Args:
        config: Its names must be valid.
        available: Parts of a Comparison and its RealFeatures that are present.
    """
    reasons = {
        "train": "real training images (with model evaluate: --train DIR)",
        "directions": "real training images (with model evaluate: --train DIR)",
        "train_labels": "real images with classes",
        "reference_labels": "real images with classes",
        "generated_labels": "images of a class-conditional model, or in class sub-folders",
    }
    for name in config.names:
        for part in METRICS[name].needs:
            if part not in available:
                raise UsageError(
                    f"metrics.names must not have {name!r} without {reasons[part]}; leave it out"
                )


def check_probe(
    config: MetricsConfig,
    *,
    num_train: int,
    num_classes: int,
    class_counts: Sequence[int] = (),
    class_names: Sequence[str] = (),
    conditional: bool = False,
) -> None:
    """Raise UsageError, naming the metric, if it needs a probe and none can be fitted.

    Args:
        config: Its names must be valid.
        num_train: Number of training images.
        num_classes: C.
        class_counts: (C,) training images of each class; empty if they are not known yet.
        class_names: (C,) names; empty if they are not known yet.
        conditional: Whether classes were requested from the generator.
    """
    fits_probe = {
        "always": True,
        "unconditional": not conditional,
        "with_train": "train" in needed(config),
    }
    for name in config.names:
        if not fits_probe.get(METRICS[name].probe, False):
            continue
        try:
            check_counts(
                class_counts, num_images=num_train, num_classes=num_classes, names=class_names
            )
        except UsageError as error:
            raise UsageError(f"metrics.names must not have {name!r} here: {error}") from None


def evaluate_images(
    generated: np.ndarray,
    real: RealImages,
    config: MetricsConfig,
    *,
    generated_labels: np.ndarray | None = None,
    device: str = "cpu",
) -> Evaluation:
    """Compare all generated images with all real images.

    Args:
        generated: (N, C, H, W), uint8 or float32.
        real: Of the same C, H, W and type.
        config: Metrics and extractor; its num_images and sample_steps are not used here.
        generated_labels: (N,) classes requested from the generator.
        device: Where the extractor runs.

    Raises:
        UsageError: A name is unknown, there are fewer than two images, images differ in shape,
            features are not finite, or a metric needs a part that is missing.
    """
    validate_metrics(config)
    check_parts(config, real, generated_labels=generated_labels is not None)
    if real.train is not None and real.train_labels is not None:
        C = len(real.class_names)
        check_probe(
            config,
            num_train=len(real.train),
            num_classes=C,
            class_counts=[int(np.sum(real.train_labels == c)) for c in range(C)],
            class_names=real.class_names,
            conditional=generated_labels is not None,
        )
    check_comparable("generated", generated, real.reference)
    comparison = compare_images(
        generated,
        extract_real(real, config, device=device),
        config,
        generated_labels=generated_labels,
        directions=find_directions(real, config),
        device=device,
    )
    return measure(comparison, config, pixels=pixel_statistics(generated))


def extract_real(real: RealImages, config: MetricsConfig, *, device: str = "cpu") -> RealFeatures:
    """Extract features of the reference and, if a metric needs them, of the training images.

    Raises:
        UsageError: As in evaluate_images, for the real images.
    """
    check_comparable("reference", real.reference, real.reference)
    train = real.train if "train" in needed(config) else None
    if train is not None:
        check_comparable("train", train, real.reference)
    return RealFeatures(
        reference=extract_features(real.reference, config, device=device),
        train=None if train is None else extract_features(train, config, device=device),
        reference_labels=real.reference_labels,
        train_labels=real.train_labels,
        class_names=real.class_names,
        train_digests=None if train is None else digest_images(train),
    )


def compare_images(
    generated: np.ndarray,
    real: RealFeatures,
    config: MetricsConfig,
    *,
    generated_labels: np.ndarray | None = None,
    directions: Directions | None = None,
    device: str = "cpu",
) -> Comparison:
    """Compare (N, C, H, W) generated images with real ones of the same shape and type."""
    digests = real.train_digests
    return Comparison(
        generated=extract_features(generated, config, device=device),
        real=real,
        generated_labels=generated_labels,
        exact_copies=None if digests is None else find_copies(generated, digests),
        pixels=generated.reshape(len(generated), -1),
        directions=directions,
    )


def find_directions(real: RealImages, config: MetricsConfig) -> Directions | None:
    """Principal directions of the training images, if a metric needs them."""
    if real.train is None or "directions" not in needed(config):
        return None
    check_comparable("train", real.train, real.reference)
    return principal_directions(real.train, real.reference)


def check_parts(config: MetricsConfig, real: RealImages, *, generated_labels: bool) -> None:
    """Raise UsageError, as check_needs, if real images lack a part that a metric needs."""
    parts = present(real)
    parts |= {"directions"} if "train" in parts else set()
    check_needs(config, parts | ({"generated_labels"} if generated_labels else set()))


def present(parts: object) -> set[str]:
    """Names of the fields of a dataclass that are not None."""
    return {name for name in type(parts).__annotations__ if getattr(parts, name) is not None}


def measure(
    comparison: Comparison, config: MetricsConfig, *, pixels: dict[str, float] | None = None
) -> Evaluation:
    """Compute the metrics of a comparison of one extractor's features.

    Args:
        comparison: Features, and classes if the metrics need them.
        config: Metrics, and the extractor that produced the features.
        pixels: Statistics of the pixels, which are added to the result unchanged.

    Raises:
        UsageError: Features are not finite or differ in dimension, or a metric needs a part that
            is missing.
    """
    check_features(comparison)
    real = comparison.real
    check_needs(config, present(comparison) | present(real))
    label = extractor_label(config)
    values: dict[str, float] = dict(pixels or {})
    by_class: dict[str, dict[str, float]] = {}
    by_direction: dict[str, list[float]] = {}
    with np.errstate(over="ignore", invalid="ignore"):
        for name in config.names:
            metric = METRICS[name]
            for key, number in metric.compute(comparison, config).items():
                if metric.of_pixels and isinstance(number, np.ndarray):
                    by_direction |= {key: number.tolist()} if np.isfinite(number).all() else {}
                elif metric.of_pixels:
                    values[key] = float(number)
                elif isinstance(number, np.ndarray):
                    pairs = zip(real.class_names, number.tolist(), strict=True)
                    by_class[f"{key}/{label}"] = {c: x for c, x in pairs if np.isfinite(x)}
                else:
                    values[f"{key}/{label}"] = float(number)
    # Finite images with huge values (a diverging lineage of float data) can overflow a kernel.
    overflown = [key for key, value in values.items() if not np.isfinite(value)]
    return Evaluation(
        values={key: value for key, value in values.items() if key not in overflown},
        classes=by_class,
        directions=by_direction,
        warnings=list_warnings(comparison, config)
        + [f"{key} must be finite, got {values[key]}: left out" for key in overflown],
        num_images=len(comparison.generated),
        num_reference=len(real.reference),
        num_train=comparison.num_train,
    )


METRICS: dict[str, Metric] = {
    "kid": Metric(compute=distribution.compute_kid, version=1),
    "fid": Metric(compute=distribution.compute_fid, version=1),
    "precision": Metric(compute=precision_recall.compute_precision, version=1),
    "recall": Metric(compute=precision_recall.compute_recall, version=1),
    "density": Metric(compute=precision_recall.compute_density, version=1),
    "coverage": Metric(compute=precision_recall.compute_coverage, version=1),
    "vendi": Metric(compute=distribution.compute_vendi, version=1),
    "memorization": Metric(
        compute=memorization.compute_memorization,
        version=1,
        needs=("train",),
        shown=("memorized", "copying_z"),
    ),
    "copying": Metric(
        compute=copying.compute_copying, version=1, needs=("train",), shown=("train_nearest_z",)
    ),
    "nearest": Metric(
        compute=memorization.compute_nearest,
        version=1,
        needs=("train",),
        shown=("closest_distance",),
    ),
    "gain": Metric(
        compute=compute_gain,
        version=1,
        needs=("directions",),
        shown=("gain_head", "gain_middle", "gain_tail"),
        of_pixels=True,
    ),
    "classes": Metric(
        compute=classes.compute_classes,
        version=1,
        needs=PROBE_NEEDS,
        probe="always",
        shown=("class_tv", "probe_accuracy"),
    ),
    "class_kid": Metric(
        compute=classes.compute_class_kid,
        version=1,
        needs=PROBE_NEEDS,
        probe="unconditional",
        shown=("worst_class_kid",),
    ),
    "class_recall": Metric(
        compute=classes.compute_class_recall,
        version=1,
        needs=PROBE_NEEDS,
        probe="unconditional",
        shown=("worst_class_recall",),
    ),
    "conditional_accuracy": Metric(
        compute=classes.compute_conditional_accuracy,
        version=1,
        needs=(*PROBE_NEEDS, "generated_labels"),
        probe="always",
    ),
    "cas": Metric(
        compute=classes.compute_cas,
        version=1,
        needs=("generated_labels", "reference_labels"),
        probe="with_train",
    ),
}
"""Metrics by their names in metrics.names. To add one, write a function and add it here."""
