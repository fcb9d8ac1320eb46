"""Khelifa, Turner and Venkataramanan (arXiv:2606.13796): the limit of samplers that stop early.

With a perfect score and exact sampling that stops at noise level t_0, lineages with a share lambda
of new real data converge to p_inf = lambda sum_k (1 - lambda)^k P_{(k+1) t_0} p, where P adds noise
as the forward process does. Expectations of the Hermite polynomial of order m, which are
E[x] for m = 1 and E[x^2] - 1 for m = 2, are multiplied by e^(-m t) in P_t, and so by
lambda s^m / (1 - (1 - lambda) s^m) in p_inf, with the signal rate s = e^-t_0: the recursion is a
low-pass filter. The formulas of generations are those of the recursion that has this limit.

Scores are those of exact Gaussians, which are perfect up to the finite pools. The sampler is
deterministic, and its noisy images at signal rate s are the samples (sample.denoise_last=False).
The Keras example's sampler returns the last image estimate instead, which is no forward process.
"""

import numpy as np

from model.config import ModelConfig, SampleConfig
from model.networks.sampler_gain import sampler_gain
from sweep.lineage.run import LineageRun
from sweep.reproductions.rows import (
    Reproduction,
    Row,
    against_number,
    not_comparable,
)
from sweep.reproductions.small_lineages import measure_lineages

SIGNAL_RATE, LAMBDA = 0.95, 0.5
"""s, which is that of the Keras example, and the share of new real images in a pool."""
MIN_SIGNAL_RATE = 0.001
"""Signal rate of the starting noise, which has no mean: each generation loses this share of one."""
GENERATIONS = 7
"""What is left of the first deviation from the limit, ((1 - lambda) s^2)^6, is below 1 %."""
NUM_NEW = 512
"""New images, and new real ones, of each pool."""
MEAN, VARIANCES = 1.0, {"head": 1.75, "middle": 0.3, "tail": 0.05}
"""Variances of three groups of pixels; those of the middle have the mean 1 or -1. With GROUPS, the
mean of all pixels is 0 and their mean square 1, which makes pixels the network's units."""
GROUPS = np.repeat(["head", "middle", "tail"], [6, 4, 6])
"""(16,) group of each pixel of an image of 4x4."""
SIGNS = np.array([0] * 6 + [1, -1, 1, -1] + [0] * 6)
"""(16,) sign of each pixel's mean."""
NOISY = SampleConfig(steps=80, multistep=2, denoise_last=False)
"""Second-order steps, which change the variances below by less than 0.2 %."""
KERAS = SampleConfig()
"""The sampler of the Keras example: 20 steps, and the last image estimate."""
SCHEDULE = ModelConfig(max_signal_rate=SIGNAL_RATE, min_signal_rate=MIN_SIGNAL_RATE)
SHOWN = (1, 2, 3)
MISSING = {
    "CIFAR-10 and annealed truncation": "networks, and schedules that change by generation",
    "Hermite modes above order 2": "a Gaussian has none",
}


def reproduce() -> Reproduction:
    """Compute lineages that stop early, and lineages with the Keras example's sampler."""
    noisy, last = moments(NOISY), moments(KERAS)
    rows = [row for group in ("head", "tail") for row in variance_rows(noisy, group)]
    means = (noisy[:, -1, 0] * SIGNS)[:, SIGNS != 0].mean(axis=1)
    what = f"middle: limit of the mean, real {MEAN:g}"
    rows.append(against_number(what, means, MEAN * hermite_factor(1), source="paper"))
    rows.append(estimate_row(last))
    missing = [not_comparable(what, why) for what, why in MISSING.items()]
    return Reproduction(rows=(*rows, *missing))


def moments(sample: SampleConfig) -> np.ndarray:
    """(S, G, 2, 16) means and variances of each generation's images, over pixels."""
    settings = {
        "generations": GENERATIONS + 1,  # the last one's images enter no pool
        "model.family": "exact-gaussian",
        "model.normalization": "first_pool",
        "model.max_signal_rate": SIGNAL_RATE,
        "model.min_signal_rate": MIN_SIGNAL_RATE,
        "sample.steps": sample.steps,
        "sample.multistep": sample.multistep,
        "sample.denoise_last": sample.denoise_last,
        "pool.rule": "fresh",
        "pool.alpha": (1 - LAMBDA) / LAMBDA,
        "pool.initial_images": 2 * NUM_NEW,
        "pool.fresh_images": NUM_NEW,
    }
    return measure_lineages(sample_moments, settings, draw=draw_pixels)


def draw_pixels(rng: np.random.Generator) -> np.ndarray:
    """(N, 1, 4, 4) real images for D_1 and all later pools, with independent Gaussian pixels."""
    deviations = np.sqrt([VARIANCES[group] for group in GROUPS])
    rows = rng.standard_normal((NUM_NEW * (GENERATIONS + 2), 16)) * deviations + MEAN * SIGNS
    return rows.reshape(-1, 1, 4, 4).astype(np.float32)


def sample_moments(run: LineageRun) -> np.ndarray:
    """(G, 2, 16) means and unbiased variances of the images that enter pools."""
    found = []
    for node in run.nodes[:GENERATIONS]:
        rows = run.sources.images(node.new).reshape(node.num_new, -1).astype(np.float64)
        found.append((rows.mean(axis=0), rows.var(axis=0, ddof=1)))
    return np.array(found)


def variance_rows(found: np.ndarray, group: str) -> list[Row]:
    """Variances of the first generations, and of the limit, along pixels of one group."""
    v = VARIANCES[group]
    measured = found[:, :, 1][:, :, group == GROUPS].mean(axis=2)
    rows = [
        against_number(
            f"{group}: variance of V_{n}", measured[:, n - 1], variance_of(n, v), source="derived"
        )
        for n in SHOWN
    ]
    limit = 1 + (v - 1) * hermite_factor(2)
    what = f"{group}: limit of the variance, real {v:g}"
    return [*rows, against_number(what, measured[:, -1], limit, source="paper")]


def estimate_row(found: np.ndarray) -> Row:
    """The pool's variance over the real one in the limit, if samplers return the last estimate.

    Only for the head: a small pool's directions are not the true ones, and this sampler, whose gain
    depends on the variance, then carries some of the head's variance into the tail.
    """
    v = VARIANCES["head"]
    measured = found[:, -1, 1][:, GROUPS == "head"].mean(axis=1)
    pools = LAMBDA * v + (1 - LAMBDA) * measured
    what = "head: limit of pool / real, Keras"
    return against_number(what, pools / v, estimate_limit(v), source="derived")


def hermite_factor(order: int) -> float:
    """What p_inf keeps of the real expectation of a Hermite polynomial."""
    rate = SIGNAL_RATE**order
    return LAMBDA * rate / (1 - (1 - LAMBDA) * rate)


def variance_of(generation: int, real: float) -> float:
    """Variance of V_n's samples, by the recursion: add noise, then mix with real data."""
    pool, kept = real, SIGNAL_RATE**2
    for _ in range(generation - 1):
        pool = LAMBDA * real + (1 - LAMBDA) * (kept * pool + 1 - kept)
    return kept * pool + 1 - kept


def estimate_limit(real: float) -> float:
    """1 / (1 + alpha (1 - g)) with the gain g of the sampler at the limit, by iteration."""
    alpha, pool = (1 - LAMBDA) / LAMBDA, real
    for _ in range(100):
        gain = sampler_gain(np.array([pool]), SCHEDULE, KERAS).item()
        pool = real / (1 + alpha * (1 - gain))
    return pool / real
