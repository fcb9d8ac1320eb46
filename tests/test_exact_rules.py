"""Every pool rule with every sampler: what a fitted pool's samples lose is the closed form."""

from collections.abc import Mapping
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from model.exact.family import sample_exact
from model.networks.sampler_gain import sampler_gain
from model.networks.sampling import noise_shape
from sweep.config import LineageConfig, SweepConfig, unflatten, updated
from sweep.lineage.datasets import load_prepared, prepare_dataset
from sweep.lineage.run import LineageRun
from sweep.lineage.sample_streams import read_weights
from sweep.planning.lineages import plan_sweep
from sweep.store.store import open_store

NUM_SAMPLES = 4000
GENERATIONS = 3
RULES = (
    ("replace", None),
    ("grow", 0.5),
    ("grow", 1.0),
    ("grow", 2.0),
    ("accumulate", None),
    ("subsample", None),
    ("mix", 1.0),
    ("fresh", 1.0),
)
SAMPLERS: tuple[dict[str, object], ...] = (
    {"sample.steps": 5},
    {"sample.steps": 20},
    {"sample.steps": 100, "model.max_signal_rate": 0.999},
    {"sample.steps": 20, "sample.stochasticity": 1.0},
    {"sample.steps": 20, "sample.stochasticity": 1.0, "sample.multistep": 2},
    {"sample.steps": 20, "model.normalization": "first_pool"},
    {"sample.steps": 20, "model.normalization": "first_pool", "sample.denoise_last": False},
    {"sample.steps": 50, "model.process": "flow"},
    {"sample.steps": 10, "model.process": "edm"},
)


def lineage_config(rule: str, alpha: float | None, sampler: Mapping[str, object]) -> LineageConfig:
    """Synthetic 6x6 images with a wide spectrum, and pools that start with 300 of them."""
    settings = {
        "generations": GENERATIONS,
        "data.name": "synthetic",
        "data.dtype": "float32",
        "data.image_size": 6,
        "data.num_images": 1200,
        "data.spectrum": 2.0,
        "model.family": "exact-gaussian",
        "pool.rule": rule,
        "pool.alpha": alpha,
        "pool.initial_images": 300,
        "metrics.names": [],
    }
    return updated(LineageConfig(), unflatten(settings | dict(sampler)))


def scores_of(config: LineageConfig, folder: Path, rng: np.random.Generator) -> list[np.ndarray]:
    """For each fitted pool, z of the samples' variance along each of its principal directions.

    The samples of a linear sampler are normal, so that their variance has a relative error of
    sqrt(2 / (n - 1)).
    """
    store = open_store(folder)
    sweep = SweepConfig(name="rules", description="", base=config)
    (lineage,) = plan_sweep(sweep, lambda data: prepare_dataset(data, store))
    data = load_prepared(lineage.card, store)
    run = LineageRun(config=config, card=lineage.card, data=data, store=store)
    found = []
    for node, _ in zip(run.nodes, run.generations(), strict=True):
        checkpoint, sample = read_weights(store, node), node.settings.sample
        shape = (NUM_SAMPLES, *noise_shape(checkpoint, sample))
        images = sample_exact(checkpoint, rng.standard_normal(shape, np.float32), sample)
        units = (images - checkpoint.tensors["mean"].item()) / checkpoint.tensors["std"].item()
        factor = checkpoint.tensors["ema.factor"].numpy()
        variances = (factor**2).sum(axis=1)
        along = units.reshape(NUM_SAMPLES, -1) @ (factor / np.sqrt(variances)[:, None]).T
        expected = sampler_gain(variances, node.settings.model, sample) * variances
        found.append((along.var(axis=0, ddof=1) / expected - 1) / (2 / (NUM_SAMPLES - 1)) ** 0.5)
    return found


@pytest.mark.slow
def test_gains_given_each_fitted_pool_are_the_closed_form(tmp_path) -> None:
    """At most one z in a thousand is beyond 3.5, and none beyond 5."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    scores = [
        z
        for number, ((rule, alpha), sampler) in enumerate(product(RULES, SAMPLERS))
        for z in scores_of(lineage_config(rule, alpha, sampler), tmp_path / str(number), rng)
    ]
    z = np.concatenate(scores)
    assert len(z) == len(RULES) * len(SAMPLERS) * GENERATIONS * 36
    assert np.abs(z).max() < 5
    assert np.mean(np.abs(z) > 3.5) <= 0.001
    assert abs(z.std() - 1) < 0.05
    assert abs(z.mean()) < 0.05
