"""Shi et al. (arXiv:2509.16499): training sets of a fixed size, selected from all images so far.

Their hypothesis is that collapse follows the falling entropy of training sets, so that a filter
which keeps the entropy high helps: greedy farthest-point selection, or a threshold that decays,
among all real and synthetic images so far. Random subsets are the baseline. Entropy is that of
Kozachenko and Leonenko, from the distances to nearest neighbours.

Pool rules and filters here are those of every sweep (pool.rule=select and subsample). Models are
exact Gaussians with the sampler of the Keras example, whose images lose variance; the paper's are
networks.
"""

import math
from functools import partial

import numpy as np
from scipy.special import digamma, gammaln

from model.features.neighbours import nearest_two
from sweep.lineage.run import LineageRun
from sweep.reproductions.rows import (
    Reproduction,
    Row,
    against_bound,
    against_number,
    not_comparable,
)
from sweep.reproductions.small_lineages import draw_noise, measure_lineages

NUM_IMAGES, GENERATIONS = 100, 8
"""Images of every training set, and generations: the paper's table ends with iteration 8."""
RANDOM, GREEDY, DECAY = "random", "greedy", "threshold decay"
ARMS = {
    RANDOM: {"pool.rule": "subsample"},
    GREEDY: {"pool.rule": "select", "filter.name": "farthest-point"},
    DECAY: {"pool.rule": "select", "filter.name": "threshold-decay"},
}
SHOWN = (2, 4, 8)
"""Generations whose random subsets are compared with 1 / n real images."""
MISSING = {
    "FID at iteration 8 on CIFAR-10: 75.7 (random), 44.7 (greedy), about 50 (threshold decay)": (
        "networks of 16 to 19 million weights, trained on 32,768 images of 32x32 at every "
        "iteration, which take a GPU, and an FID with other weights of Inception than usual"
    ),
    "FID at iteration 8 on MNIST: 74.4, with guidance 66.2, with threshold decay too 22.4": (
        "the same networks with guidance"
    ),
    "correlation 0.91 of entropy with the logarithm of the generalization score": (
        "over networks and data sets of different sizes, which are not trained here"
    ),
}
"""Other results of the paper, and why they have no number here."""


def reproduce() -> Reproduction:
    """Compute lineages with random subsets and with both filters."""
    found = {
        name: measure_lineages(
            real_shares_and_entropies,
            {
                "generations": GENERATIONS,
                "model.family": "exact-gaussian",
                "model.normalization": "first_pool",
                "filter.extractor": "pixels",
                **arm,
            },
            draw=partial(draw_noise, num_images=NUM_IMAGES),
        )
        for name, arm in ARMS.items()
    }
    kept = found[GREEDY][:, -1, 0].mean()
    missing = {
        f"about 65 % real images at iteration {GENERATIONS} with greedy selection": (
            "a number of their networks on CIFAR-10 and of features of DINOv2; with our Gaussians "
            f"and pixels it is {kept:.0%}"
        ),
        **MISSING,
    }
    rows = [*share_rows(found), *entropy_rows(found)]
    return Reproduction(rows=(*rows, *(not_comparable(*item) for item in missing.items())))


def share_rows(found: dict[str, np.ndarray]) -> list[Row]:
    """The share of real images in training sets."""
    random = found[RANDOM][:, :, 0]
    rows = [
        against_number(
            f"D_{n}: real share, {RANDOM}",
            random[:, n - 1],
            1 / n,
            source="paper" if n == GENERATIONS else "derived",
        )
        for n in SHOWN
    ]
    name = f"D_{GENERATIONS}: real share, {GREEDY} >="
    return [*rows, against_bound(name, found[GREEDY][:, -1, 0], 1 / GENERATIONS)]


def entropy_rows(found: dict[str, np.ndarray]) -> list[Row]:
    """Differences of entropy, of the same seeds."""
    random = found[RANDOM][:, :, 1]
    what = f"entropy of D_1 - D_{GENERATIONS}, {RANDOM} >="
    rows = [against_bound(what, random[:, 0] - random[:, -1], 0)]
    for name in (GREEDY, DECAY):
        more = found[name][:, :, 1] - random
        rows += [
            against_bound(f"D_{n}: entropy, {name} - {RANDOM} >=", more[:, n - 1], 0)
            for n in (2, GENERATIONS)
        ]
    return rows


def real_shares_and_entropies(run: LineageRun) -> np.ndarray:
    """(G, 2) share of real images of each pool, and its entropy in nats."""
    found = []
    for node in run.nodes:
        images = run.sources.images(node.pool)
        origins = run.store.nodes.read(node.key).origins
        found.append((origins.get("0", 0) / len(images), entropy(images.reshape(len(images), -1))))
    return np.array(found)


def entropy(rows: np.ndarray) -> float:
    """Differential entropy of (N, D) distinct rows, in nats, by their nearest neighbours.

    The estimator of Kozachenko and Leonenko (1987) with the first neighbour.
    """
    N, D = rows.shape
    distances = nearest_two(rows, rows)[:, 1]
    log_ball = D / 2 * math.log(math.pi) - gammaln(D / 2 + 1)
    return float(digamma(N) - digamma(1) + log_ball + D * np.log(distances).mean())
