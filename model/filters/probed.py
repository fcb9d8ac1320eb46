"""Filters by a probe of the real images' classes: the most confident candidates, or K-choice."""

import numpy as np

from model.errors import UsageError
from model.features.probe import Probe, fit_probe
from model.filters.candidates import OTHER, Candidates, Selection, lowest


def keep_confident(candidates: Candidates) -> Selection:
    """Keep the candidates of which a probe of the real images' classes is most confident.

    Scores are the probe's probabilities of the requested class, or of the most probable class if
    none was requested. The highest are kept; log odds rank probabilities that round to 1.
    """
    probe = _fit_probe(candidates)
    classes = _own_classes(candidates, probe)
    odds = probe.log_odds(candidates.features, classes)
    scores = _probability(probe, candidates.features, classes)
    return Selection(indices=lowest(-odds, candidates.keep), scores=scores)


def keep_rewarded(candidates: Candidates) -> Selection:
    """Choose one image from each of m groups of K: curation by K-choice.

    The discrete choice of Ferbach et al. (arXiv:2407.09499, section 2): one of K images of the
    model is chosen with probability softmax(reward / temperature), as in the Plackett-Luce model
    (Bradley-Terry for K = 2). The groups are disjoint and drawn at random, so that no candidate is
    offered twice; candidates beyond m K are never offered. Scores are the rewards: a probe's
    probabilities of filter.reward_class if it is set, else of the requested class, else of the most
    probable class.

    Raises:
        UsageError: There are fewer than m K candidates.
    """
    keep, config = candidates.keep, candidates.config
    num_images, num_offered = len(candidates.features), keep * config.choices
    if num_images < num_offered:
        raise UsageError(
            f"candidates must be at least filter.choices={config.choices} for each of {keep} kept, "
            f"got {num_images}; {candidates.remedy}"
        )
    probe = _fit_probe(candidates)
    rewards = _probability(probe, candidates.features, _rewarded_classes(candidates, probe))
    offered = candidates.rng.permutation(num_images)[:num_offered].reshape(keep, config.choices)
    chosen = choose(rewards[offered], config.temperature, candidates.rng)
    return Selection(indices=np.sort(offered[np.arange(keep), chosen]), scores=rewards)


def choose(rewards: np.ndarray, temperature: float, rng: np.random.Generator) -> np.ndarray:
    """Choose a column of each row with probability softmax(reward / temperature).

    Uses the Gumbel-max trick.

    Args:
        rewards: (m, K).
        temperature: Above 0. Close to 0, the largest reward is chosen, ties at random.
        rng: Source of random numbers.

    Returns:
        (m,) int64.
    """
    with np.errstate(over="ignore"):
        utilities = (rewards - rewards.max(axis=1, keepdims=True)) / temperature
    return (utilities + rng.gumbel(size=rewards.shape)).argmax(axis=1)


def _rewarded_classes(candidates: Candidates, probe: Probe) -> np.ndarray:
    """(K,) int64 class of each candidate, whose probability is the reward."""
    name = candidates.config.reward_class
    if name is not None:
        number = list(candidates.class_names).index(name)
        return np.full(len(candidates.features), number)
    return _own_classes(candidates, probe)


def _own_classes(candidates: Candidates, probe: Probe) -> np.ndarray:
    """(K,) int64 requested class of each candidate, or the most probable one if none was."""
    labels = candidates.labels
    return probe.predict(candidates.features) if labels is None else labels


def _fit_probe(candidates: Candidates) -> Probe:
    """Fit a probe to the real images; raises UsageError if it cannot be fitted."""
    assert candidates.real_labels is not None
    return fit_probe(
        candidates.real,
        candidates.real_labels,
        num_classes=candidates.num_classes,
        class_names=candidates.class_names,
        way_out=OTHER,
    )


def _probability(probe: Probe, features: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """(K,) float64 probability of the given class of each image."""
    return probe.probabilities(features)[np.arange(len(features)), classes]
