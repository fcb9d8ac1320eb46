"""Closed forms of a Gaussian lineage, held against the real lineage loop.

The gaussian family fits mean and covariance by maximum likelihood (divisor N), so that the expected
variance of every generation is known, and with it what estimation noise alone can explain:

    V_1           E S_1 = sigma^2 (1 - 1/N_0)
    replace       E S_t = (1 - 1/n)^t sigma^2,  E|mu_t - mu_0|^2 = D sigma^2 (1 - (1 - 1/n)^t)
    grow          E S_{t+1} = E S_t (1 - m_t / N_{t+1}^2),  m_t = alpha N_t,  N_{t+1} = N_t + m_t

t counts fits; the last two hold for t fits after any one of them, given the pool that it saw.
Images are float32 standard normal noise of 3 x 8 x 8 pixels, neither clipped nor rounded; S is the
mean variance of the D = 192 pixels, which is the trace of the fitted covariance divided by D.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from tiny_sweep import compute, make_lineage, write_noise
from tiny_training import new_stream

from model.checkpoint import Checkpoint
from sweep.config import LineageConfig
from sweep.lineage.run import WEIGHTS
from sweep.store.store import Store, open_store

N0 = 20
SHAPE = (3, 8, 8)
D = 192
NUM_SEEDS = 24
STANDARD_ERRORS = 3.0
"""Allowed between a mean and its expectation; seeds are fixed, so what passes once stays so."""
SEEN = 5.0
"""Standard errors at which a wrong formula is seen for (almost) certain, being 2 more."""
MEMORY = Path("/dev/shm")  # noqa: S108 (a store waits for the disk, four times as long as it computes)


@dataclass(frozen=True)
class Fitted:
    """One generation's model of one seed."""

    seed: int
    generation: int
    num_images: int
    num_real: int
    mean: np.ndarray
    """(D,)"""
    variances: np.ndarray
    """(D,)"""
    checkpoint: Checkpoint

    @property
    def variance(self) -> float:
        return float(self.variances.mean())


def gaussian(path: Path, **settings) -> LineageConfig:
    """A lineage of Gaussian fits to an .npz file."""
    data = {"name": "npz", "path": str(path), "dtype": "float32", "train_limit": None}
    changes = {"model.family": "gaussian", "data": data, "data.split": "all", "metrics.names": []}
    return make_lineage({**changes, **settings})


def fit_lineages(
    folder: Path, num_seeds: int, settings: dict[str, Any], *, data_seed: int = 0
) -> list[list[Fitted]]:
    """The models of `num_seeds` lineages on the same N0 images, each through a store of its own."""
    path = write_noise(folder / "noise.npz", num_images=N0, shape=SHAPE, seed=data_seed)
    in_memory = str(MEMORY) if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) else None
    lineages = []
    for seed in range(num_seeds):
        with TemporaryDirectory(dir=in_memory) as root:
            store = open_store(root)
            nodes = compute(gaussian(path, seed=seed, **settings), store)
            lineages.append([read_fit(g.node, store) for g in nodes])
    return lineages


def read_fit(node, store: Store) -> Fitted:
    checkpoint = Checkpoint.from_bytes(store.nodes.read_file(node.key, WEIGHTS))
    factor = checkpoint.tensors["ema.factor"].numpy()
    return Fitted(
        seed=node.seed,
        generation=node.generation,
        num_images=node.num_images,
        num_real=node.origins.get("0", 0),
        mean=checkpoint.tensors["ema.mean"].numpy(),
        variances=(factor**2).sum(axis=0),
        checkpoint=checkpoint,
    )


def stream_of(fit: Fitted, count: int) -> np.ndarray:
    """(count, D) the first images of the model's stream."""
    sample, seed = make_lineage().sample, (fit.seed, fit.generation, 0)
    parts = new_stream(fit.checkpoint, sample, seed=seed).images(count)
    return np.concatenate(list(parts)).reshape(count, -1).astype(np.float64)


def assert_mean(values: np.ndarray, expected: float) -> None:
    """The mean of independent values is the expected one within STANDARD_ERRORS."""
    error = values.std(ddof=1) / len(values) ** 0.5
    assert abs(values.mean() - expected) <= STANDARD_ERRORS * error, (values.mean(), error)


def assert_sensitive(values: np.ndarray, deviation: float) -> None:
    """The test above would see a formula that is off by `deviation`."""
    error = values.std(ddof=1) / len(values) ** 0.5
    assert SEEN * error <= deviation, error


def losses(lineages: list[list[Fitted]], t: int, m: int) -> np.ndarray:
    """1 - S_{t+1} / S_t of each lineage, whose pool took m images of V_t, with its noise reduced.

    With Q the mean square of the new images around mu_t, E[Q | pool] = S_t exactly; so taking
    (m / N') (Q - S_t) off S_{t+1} changes no expectation, and leaves the new mean's noise alone.
    """
    found = []
    for fits in lineages:
        before, after = fits[t - 1], fits[t]
        spread = ((stream_of(before, m) - before.mean) ** 2).mean()
        noise = m / after.num_images * (spread - before.variance)
        found.append(1 - (after.variance - noise) / before.variance)
    return np.array(found)


@pytest.fixture(scope="module")
def replaced(tmp_path_factory: pytest.TempPathFactory) -> list[list[Fitted]]:
    """Four generations under replace."""
    pool = {"pool.rule": "replace", "pool.alpha": None, "generations": 4}
    return fit_lineages(tmp_path_factory.mktemp("replace"), 2 * NUM_SEEDS, pool)


@pytest.fixture(scope="module", params=[0.5, 1.0, 2.0])
def grown(request, tmp_path_factory: pytest.TempPathFactory) -> tuple[float, list[list[Fitted]]]:
    """Alpha, and three generations under grow."""
    pool = {"pool.alpha": request.param, "generations": 3}
    return request.param, fit_lineages(tmp_path_factory.mktemp("grow"), NUM_SEEDS, pool)


def test_a_first_fit_has_one_part_in_n_less_variance(tmp_path: Path) -> None:
    """E S_1 = 1 - 1/20, in 8 data sets: 1536 pixels, each of variance 2 (N - 1) / N^2.

    One standard error is .0079, so that 1.0 (an unbiased covariance) is 6.3 of them away.
    """
    one = {"pool.alpha": 1.0, "generations": 1}
    fits = [fit_lineages(tmp_path, 1, one, data_seed=data)[0][0] for data in range(8)]
    error = (2 * (N0 - 1) / N0**2 / (8 * D)) ** 0.5
    found = sum(fit.variance for fit in fits) / 8
    assert abs(found - (1 - 1 / N0)) < STANDARD_ERRORS * error
    assert SEEN * error < 1 / N0


@pytest.mark.slow
def test_under_replace_variance_falls_by_one_part_in_n_a_fit(replaced) -> None:
    """E S_t / S_1 = (1 - 1/20)^(t-1), .857 after four fits; without the loss it would be 1."""
    for t in (2, 3, 4):
        ratios = np.array([fits[t - 1].variance / fits[0].variance for fits in replaced])
        assert_mean(ratios, (1 - 1 / N0) ** (t - 1))
    assert_sensitive(ratios, 1 - (1 - 1 / N0) ** 3)


@pytest.mark.slow
def test_under_replace_each_fit_loses_one_part_in_n(replaced) -> None:
    """Step by step; a loss that is a fifth larger or smaller would be seen."""
    values = np.concatenate([losses(replaced, t, N0) for t in (1, 2, 3)])
    assert_mean(values, 1 / N0)
    assert_sensitive(values, 0.2 / N0)


@pytest.mark.slow
def test_under_replace_the_mean_wanders_as_far_as_variance_is_lost(replaced) -> None:
    """E|mu_t - mu_1|^2 = D S_1 (1 - (1 - 1/20)^(t-1))."""
    for t in (2, 3, 4):
        steps = [((f[t - 1].mean - f[0].mean) ** 2).mean() / f[0].variance for f in replaced]
        assert_mean(np.array(steps), 1 - (1 - 1 / N0) ** (t - 1))


@pytest.mark.slow
def test_grown_pools_have_the_papers_sizes_and_real_share(grown) -> None:
    """N (1 + alpha)^(t-1), and real images always 20 of them."""
    alpha, lineages = grown
    for fits in lineages:
        sizes = [round(N0 * (1 + alpha) ** n) for n in range(3)]
        assert [fit.num_images for fit in fits] == sizes
        shares = [fit.num_real / fit.num_images for fit in fits]
        assert shares == pytest.approx([(1 + alpha) ** -n for n in range(3)])


@pytest.mark.slow
def test_a_growing_pool_loses_m_over_n_squared_of_its_variance(grown) -> None:
    """E S_{t+1} = S_t (1 - m / N'^2); 1/N' or nothing in the place of m / N'^2 would be seen."""
    _, lineages = grown
    for t in (1, 2):
        size = lineages[0][t].num_images
        m = size - lineages[0][t - 1].num_images
        values = losses(lineages, t, m)
        assert_mean(values, m / size**2)
        assert_sensitive(values, min(m / size**2, 1 / size - m / size**2))


@pytest.mark.slow
def test_a_long_lineage_loses_variance_at_the_same_rate(tmp_path: Path) -> None:
    """Six fits at alpha 0.5: what is lost in all stays below the sum of 1 / N_t."""
    lineages = fit_lineages(tmp_path, 3 * NUM_SEEDS, {"pool.alpha": 0.5, "generations": 6})
    sizes = [fit.num_images for fit in lineages[0]]
    for t in range(1, 6):
        m = sizes[t] - sizes[t - 1]
        values = losses(lineages, t, m)
        assert_mean(values, m / sizes[t] ** 2)
        assert_sensitive(values, 0.3 * m / sizes[t] ** 2)
    left = np.prod([1 - losses(lineages, t, sizes[t] - sizes[t - 1]) for t in range(1, 6)], axis=0)
    assert 1 - sum(1 / size for size in sizes[1:]) < left.mean() < 1


@pytest.mark.slow
def test_a_models_samples_have_its_variance(grown) -> None:
    """E Q = S_t: what the variance reduction above takes for granted; 10 % more would be seen."""
    _, lineages = grown
    ratios = [
        ((stream_of(fits[0], 256) - fits[0].mean) ** 2).mean() / fits[0].variance
        for fits in lineages
    ]
    assert_mean(np.array(ratios), 1.0)
    assert_sensitive(np.array(ratios), 0.1)
