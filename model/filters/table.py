"""Filters: they choose which of the images that a model generated may enter the pool.

A filter is a function of the features of the candidates and of the real images, and of the
settings. This module does not import torch, so that settings are checked quickly. To add a filter,
write a function and add it to FILTERS.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from decimal import ROUND_CEILING, Decimal

import numpy as np

from model.config import FilterConfig, MetricsConfig
from model.errors import UsageError, check_at_least, check_choice, later_version, shown
from model.features.extractors import (
    check_extractor,
    check_finite_features,
    extractor_version,
)
from model.features.neighbours import nearest_kth, nearest_two
from model.features.probe import check_labels, probe_version
from model.filters.candidates import OTHER, Candidates, Selection, lowest
from model.filters.probed import keep_confident, keep_rewarded
from model.filters.spread import Spread, decaying_threshold, farthest_points, separate

NEAR_DUPLICATE = 0.5
"""Default of filter.threshold for near-duplicates: half the typical distance."""
FEATURE_SETTINGS = ("extractor", "weights", "resolution", "precision")


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """One value of filter.name."""

    select: Callable[[Candidates], Selection]
    """May assume that 1 <= keep <= K, and that the data it needs are present and finite."""
    version: int | str
    """Part of keys if above 1. Raise it whenever the same settings give other results, so that no
    old result is taken for a new one. A plug-in's version is text, and always part of keys."""
    needs_features: bool = True
    """Whether it uses the candidates' features."""
    needs_real: bool = False
    """Whether it uses the real images' features."""
    needs_labels: bool = False
    """Whether it uses the real images' classes; then every class must have an image."""
    settings: tuple[str, ...] = ()
    """Settings that it uses besides name, candidates and those of the features."""


def num_candidates(config: FilterConfig, keep: int) -> int:
    """Images to generate so that `keep` are kept: filter.candidates x keep, rounded up.

    The product is exact for the decimal number that the user wrote. The filter none drops nothing,
    so it needs no additional images.
    """
    if config.name == "none":
        return keep
    return int((Decimal(str(config.candidates)) * keep).to_integral_value(ROUND_CEILING))


@functools.lru_cache(maxsize=1000)
def feature_settings(config: FilterConfig) -> MetricsConfig:
    """The settings of a filter's features, as `extract_features` takes them."""
    return MetricsConfig(names=(), **{name: getattr(config, name) for name in FEATURE_SETTINGS})


def filter_versions(config: FilterConfig) -> dict[str, int | str]:
    """Versions of the filter and of what it uses, for keys; none at the first version."""
    entry = FILTERS[config.name]
    versions = later_version("filter.name", config.name, entry, key="filter")
    if entry.needs_features:
        versions |= extractor_version(feature_settings(config))
    return versions | (probe_version() if entry.needs_labels else {})


def unused_settings(config: FilterConfig) -> tuple[str, ...]:
    """Settings that differ from their default but have no effect with filter.name."""
    entry = FILTERS[config.name]
    used = {"name", *entry.settings}
    used |= set(FEATURE_SETTINGS) if entry.needs_features else set()
    used |= set() if config.name == "none" else {"candidates"}
    changed = (f.name for f in fields(config) if getattr(config, f.name) != f.default)
    return tuple(name for name in changed if name not in used)


def check_filter(config: FilterConfig, *, has_classes: bool, conditional: bool) -> None:
    """Raise UsageError, with a suggestion, for invalid filter settings; does not import torch.

    `check_reward_class` checks filter.reward_class once the classes are known.

    Args:
        config: The settings.
        has_classes: Whether the real images have classes.
        conditional: Whether the images of each class are generated and filtered separately.
    """
    check_choice("filter.name", config.name, FILTERS, extensible=True)
    entry = FILTERS[config.name]
    if config.name == "reward" and conditional and config.reward_class is not None:
        raise UsageError(
            "filter.reward_class must be None with a conditional model, whose classes have "
            f"given shares of the images, got {config.reward_class!r}; leave it out"
        )
    if entry.needs_labels and not has_classes:
        raise UsageError(
            "filter.name must be a filter that needs no classes if the real images have none, "
            f"got {config.name!r}; {OTHER}"
        )
    if entry.needs_features:
        check_extractor(feature_settings(config), section="filter")


def check_candidates(config: FilterConfig) -> None:
    """Raise UsageError unless a filter of one model's images or pool has images to choose from."""
    with_name = f"with filter.name={config.name}"
    if config.name != "none" and not config.candidates > 1:
        raise UsageError(
            f"filter.candidates must be above 1 {with_name} to drop some images, "
            f"got {config.candidates}"
        )
    if config.name == "reward" and not config.candidates >= config.choices:
        raise UsageError(
            f"filter.candidates must be at least filter.choices={config.choices} {with_name}, "
            f"got {config.candidates}"
        )


def check_reward_class(config: FilterConfig, class_names: Sequence[str]) -> None:
    """Raise UsageError, with a suggestion, unless filter.reward_class is None or a class name."""
    if config.name == "reward" and config.reward_class is not None:
        check_choice("filter.reward_class", config.reward_class, class_names)


def select(candidates: Candidates) -> Selection:
    """Keep some of the candidates with the filter of their settings.

    Equal input gives an equal selection; ties go to the lower index. Only random and reward draw
    random numbers. Images of a conditional model are filtered class by class, one call per class.

    Raises:
        UsageError: There are fewer candidates than are to be kept, too few pass, features are not
            finite or differ in shape, no probe can learn the classes, or a plug-in's filter does
            not return `keep` ascending indices and a finite score for each candidate.
    """
    features, real, config = candidates.features, candidates.real, candidates.config
    num_images, keep = len(features), candidates.keep
    check_at_least("keep", keep, 0)
    if keep > num_images:
        raise UsageError(
            f"keep must be at most the {num_images} candidates, got {keep}; {candidates.remedy}"
        )
    if keep == 0:
        return Selection(indices=np.zeros(0, np.int64), scores=np.zeros(num_images))
    entry = FILTERS[config.name]
    if entry.needs_features:
        _check_features("candidates", features)
    if entry.needs_real:
        _check_features("real", real)
        if real.shape[1] != features.shape[1]:
            raise UsageError(
                f"real features must have the candidates' {features.shape[1]} dimensions, "
                f"got {real.shape[1]}"
            )
    if entry.needs_labels:
        if candidates.real_labels is None:
            raise UsageError(
                f"real_labels must be given with filter.name={config.name}, got None; {OTHER}"
            )
        check_reward_class(config, candidates.class_names)
        if candidates.labels is not None:
            num_classes = candidates.num_classes
            check_labels(
                "labels", candidates.labels, num_images=num_images, num_classes=num_classes
            )
    selection = entry.select(candidates)
    _check_selection(selection, candidates)
    return selection


def _check_selection(selection: Selection, candidates: Candidates) -> None:
    """Raise UsageError unless a filter, which may be a plug-in's, has returned what it must."""
    name, count = f"filter {candidates.config.name}", len(candidates.features)
    indices, scores = np.asarray(selection.indices), np.asarray(selection.scores)
    is_row = indices.ndim == 1 and np.issubdtype(indices.dtype, np.integer)
    if not is_row or len(indices) != candidates.keep:
        raise UsageError(
            f"{name} must return {candidates.keep} indices of candidates, got an array of "
            f"{indices.dtype} of shape {indices.shape}"
        )
    if indices[0] < 0 or indices[-1] >= count or (np.diff(indices) <= 0).any():
        raise UsageError(
            f"{name} must return different indices of the {count} candidates in ascending order, "
            f"got {shown(indices.tolist())}"
        )
    if scores.shape != (count,) or not np.isfinite(scores).all():
        raise UsageError(
            f"{name} must return a finite score of each of the {count} candidates, got an array of "
            f"shape {scores.shape}"
        )


def _check_features(name: str, features: np.ndarray) -> None:
    """Raise UsageError unless features are a finite (N >= 1, D >= 1) matrix."""
    if features.ndim != 2 or 0 in features.shape:
        raise UsageError(f"{name} features must be (N, D) without a zero, got {features.shape}")
    check_finite_features(name, features)


def keep_first(candidates: Candidates) -> Selection:
    """Keep the first candidates: the pool without a filter. Scores are 0."""
    return Selection(indices=np.arange(candidates.keep), scores=np.zeros(len(candidates.features)))


def keep_random(candidates: Candidates) -> Selection:
    """Keep a uniformly random subset: the control for other filters. Scores are 0."""
    K = len(candidates.features)
    chosen = candidates.rng.permutation(K)[: candidates.keep]
    return Selection(indices=np.sort(chosen), scores=np.zeros(K))


def keep_typical(candidates: Candidates) -> Selection:
    """Keep the candidates nearest to the real images.

    Scores are Euclidean distances to the nearest_k-th nearest real image; the lowest are kept.
    """
    nearest_k, num_real = candidates.config.nearest_k, len(candidates.real)
    if nearest_k > num_real:
        raise UsageError(
            f"filter.nearest_k must be at most the {num_real} real images, got {nearest_k}; "
            "lower it"
        )
    distances = nearest_kth(candidates.features, candidates.real, nearest_k)
    return Selection(indices=lowest(distances, candidates.keep), scores=distances)


def keep_farthest(candidates: Candidates) -> Selection:
    """Keep the candidates that cover all candidates best, by farthest-point selection.

    This is the k-centre selection of Sener and Savarese (arXiv:1708.00489, algorithm 1) and the
    greedy selection of Shi et al. (arXiv:2509.16499), except that the first candidate is the one
    nearest to the mean, whereas Shi et al. draw it at random. See `farthest_points`. Scores are
    distances to the nearest other kept candidate, 0 if there is none.
    """
    return _spread_selection(farthest_points(candidates.features, candidates.keep))


def keep_by_decaying_threshold(candidates: Candidates) -> Selection:
    """Keep candidates farther apart than a threshold, which shrinks until there are enough.

    This is the threshold decay filter of Shi et al. (arXiv:2509.16499), with the candidates in the
    order of their generation, which is already random. See `decaying_threshold`. Scores are
    distances to the nearest other kept candidate, 0 if there is none.

    Raises:
        UsageError: Too few candidates are distinct.
    """
    config = candidates.config
    spread = decaying_threshold(
        candidates.features, candidates.keep, start=config.threshold, decay=config.decay
    )
    _check_enough(spread, candidates, "that differ from each other")
    return _spread_selection(spread)


def drop_near_duplicates(candidates: Candidates) -> Selection:
    """Keep the first candidates that are near neither a real image nor another kept candidate.

    "Near" means below filter.threshold (default 0.5) times the typical distance between
    neighbouring real images: the median over real images of the distance to the nearest one that
    differs. Scores are distances to the nearest real image or other kept candidate, divided by
    the typical distance.

    Raises:
        UsageError: Too few candidates remain, or all real images are equal.
    """
    typical = float(np.median(nearest_two(candidates.real, candidates.real)[:, 1]))
    if not np.isfinite(typical):
        num_real = len(candidates.real)
        raise UsageError(f"real features must not all be equal, got {num_real} equal ones; {OTHER}")
    threshold = candidates.config.threshold
    min_distance = (NEAR_DUPLICATE if threshold is None else threshold) * typical
    to_real = nearest_two(candidates.features, candidates.real)[:, 0]
    spread = separate(
        candidates.features,
        candidates.keep,
        distance=min_distance,
        excluded=to_real < min_distance,
    )
    _check_enough(spread, candidates, "that are not near-duplicates")
    to_kept = np.where(np.isinf(spread.squares), to_real, spread.distances)
    return Selection(indices=spread.indices, scores=np.minimum(to_real, to_kept) / typical)


def _spread_selection(spread: Spread) -> Selection:
    """The accepted rows as a Selection, with distances to the nearest other accepted row."""
    return Selection(indices=spread.indices, scores=spread.distances)


def _check_enough(spread: Spread, candidates: Candidates, condition: str) -> None:
    """Raise UsageError if fewer candidates are accepted than are to be kept."""
    if spread.num_accepted < candidates.keep:
        raise UsageError(
            f"candidates {condition} must be at least {candidates.keep}, "
            f"got {spread.num_accepted}; {candidates.remedy}"
        )


FILTERS: dict[str, Filter] = {
    "none": Filter(select=keep_first, version=1, needs_features=False),
    "random": Filter(select=keep_random, version=1, needs_features=False),
    "typicality": Filter(select=keep_typical, version=1, needs_real=True, settings=("nearest_k",)),
    "confidence": Filter(select=keep_confident, version=1, needs_real=True, needs_labels=True),
    "farthest-point": Filter(select=keep_farthest, version=1),
    "threshold-decay": Filter(
        select=keep_by_decaying_threshold, version=1, settings=("threshold", "decay")
    ),
    "near-duplicates": Filter(
        select=drop_near_duplicates, version=1, needs_real=True, settings=("threshold",)
    ),
    "reward": Filter(
        select=keep_rewarded,
        version=1,
        needs_real=True,
        needs_labels=True,
        settings=("choices", "temperature", "reward_class"),
    ),
}
"""Filters by filter.name."""
