"""Ferbach et al. (arXiv:2407.09499): curation by choice among K images of a model.

Of K images of p_t, a user prefers x with probability proportional to exp(r(x)), and p_{t+1} is the
distribution of the preferred images. For large K, it is p_t(x) e^r(x) / E[e^r] (lemma 2.1). With
any K, E[e^r] grows by at least (K - 1) / K Var[e^r] / max e^r (lemma 2.2), and p_t converges to p_0
on the images of the largest reward (theorem 2.1). If there are finitely many images, p_{t+1} can
also be computed exactly. The choice is that of filter.name=reward.
"""

from itertools import product

import numpy as np
from scipy.special import factorial

from model.config import FilterConfig
from model.filters.candidates import Candidates
from model.filters.table import select
from sweep.reproductions.rows import (
    Reproduction,
    Row,
    against_bound,
    against_number,
    against_share,
    not_comparable,
)

FEATURES = np.array([-0.6, 0.1, 1.1, 1.1])
"""The finite set: four images by their only feature. The last two have the same reward."""
FIRST = np.array([0.5, 0.3, 0.15, 0.05])
"""p_0 of the four images."""
TEMPERATURE = 0.5
"""r is a probe's probability of a class, divided by it."""
MANY = 1000
"""K with which the limit of lemma 2.1 is compared. What is left, in proportion to 1 / K, is below a
tenth of the errors."""
CHOICES = (2, 4, 8, MANY)
"""K of a single generation."""
KEPT, KEPT_OF_MANY = 20_000, 2000
"""Preferred images of a single generation; fewer with MANY."""
LINEAGE_CHOICES, LINEAGE_KEPT, GENERATIONS = 4, 2000, 30
"""K, preferred images of a generation, and generations of a lineage."""
SHOWN = (1, 3, 10)
BEST = 2
"""Index of the first image of the largest reward; the others follow it."""
SEEDS = 24


def reproduce() -> Reproduction:
    """Choose once with each K, and thirty times with one of them."""
    rewards = reward_of_images()
    rows = [row for K in CHOICES for row in one_generation(K, rewards)]
    rows += lineage_rows(rewards)
    rows.append(
        not_comparable(
            "retraining with real data, and CIFAR-10", "curves and bounds, without numbers for them"
        )
    )
    return Reproduction(rows=tuple(rows))


def curate(
    images: np.ndarray, keep: int, choices: int, *, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Choose one of `choices` images `keep` times.

    Args:
        images: (keep x choices,) numbers of images of the finite set.
        keep: Number of choices that are made.
        choices: K.
        rng: Source of random numbers.

    Returns:
        (keep,) numbers of the preferred images, and the rewards of all of them before division by
        the temperature.
    """
    labels = np.arange(40) % 2
    real = np.random.default_rng(0).standard_normal((40, 1)) + labels[:, None]
    config = FilterConfig(
        name="reward",
        candidates=choices,
        choices=choices,
        temperature=TEMPERATURE,
        reward_class="b",
    )
    selection = select(
        Candidates(
            features=FEATURES[images, None],
            keep=keep,
            real=real,
            real_labels=labels,
            labels=None,
            num_classes=2,
            class_names=("a", "b"),
            rng=rng,
            config=config,
        )
    )
    return images[selection.indices], selection.scores


def reward_of_images() -> np.ndarray:
    """(4,) r of the images of the finite set."""
    return curate(np.arange(4), 1, 4, rng=np.random.default_rng(0))[1] / TEMPERATURE


def one_generation(choices: int, rewards: np.ndarray) -> list[Row]:
    """The share of each image among those that are preferred of p_0, and the lemmas about them."""
    keep, rng = KEPT if choices < MANY else KEPT_OF_MANY, np.random.default_rng(choices)
    offered = rng.choice(4, size=keep * choices, p=FIRST)
    preferred = curate(offered, keep, choices, rng=rng)[0]
    weights = np.exp(rewards)
    mean = FIRST @ weights
    bound = mean + (choices - 1) / choices * (FIRST @ (weights - mean) ** 2) / weights.max()
    exact = choices < MANY
    expected = next_shares(FIRST, rewards, choices) if exact else FIRST * weights / mean
    rows = [
        against_share(
            f"K={choices}: p_1 of image {x + 1}" + ("" if exact else " (lemma 2.1)"),
            int((preferred == x).sum()),
            keep,
            q,
            source="derived" if exact else "paper",
        )
        for x, q in enumerate(expected)
    ]
    increase = against_bound(
        f"K={choices}: E[e^r] of p_1 >= (lemma 2.2)", weights[preferred], bound
    )
    return [*rows, increase]


def lineage_rows(rewards: np.ndarray) -> list[Row]:
    """Expected reward by generation, and the limit, over independent lineages."""
    shares = np.array([lineage(seed) for seed in range(SEEDS)])
    name, p = f"K={LINEAGE_CHOICES}: ", FIRST
    rows = []
    for t in range(1, GENERATIONS):
        p = next_shares(p, rewards, LINEAGE_CHOICES)
        if t in SHOWN:
            measured = shares[:, t - 1] @ rewards
            expected = float(p @ rewards)
            rows.append(
                against_number(f"{name}E[r] of p_{t}", measured, expected, source="derived")
            )
    limit = FIRST[BEST] / FIRST[BEST:].sum()
    what = f"{name}p_{GENERATIONS} of image {BEST + 1} (theorem 2.1)"
    return [*rows, against_number(what, shares[:, -1, BEST], float(limit), source="paper")]


def lineage(seed: int) -> np.ndarray:
    """(T, 4) shares p_1 ... p_T of a lineage; each model draws from the preferred images."""
    p, shares = FIRST, []
    for generation in range(1, GENERATIONS + 1):
        rng = np.random.default_rng([seed, generation])
        offered = rng.choice(4, size=LINEAGE_KEPT * LINEAGE_CHOICES, p=p)
        preferred = curate(offered, LINEAGE_KEPT, LINEAGE_CHOICES, rng=rng)[0]
        p = np.bincount(preferred, minlength=4) / LINEAGE_KEPT
        shares.append(p)
    return np.array(shares)


def next_shares(p: np.ndarray, rewards: np.ndarray, choices: int) -> np.ndarray:
    """(X,) p_{t+1} of p_t, by a sum over what the other K - 1 images can be."""
    others = [each for each in product(range(choices), repeat=len(p)) if sum(each) == choices - 1]
    counts = np.array(others)
    orders = factorial(choices - 1) / factorial(counts).prod(axis=1)
    probabilities = orders * (p**counts).prod(axis=1)
    weights = np.exp(rewards)
    factor = choices * weights / (weights + (counts @ weights)[:, None])
    return p * (probabilities @ factor)
