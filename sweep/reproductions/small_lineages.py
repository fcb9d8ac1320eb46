"""Small lineages of many seeds: the system's own pools, streams and fits, without Ray.

Each seed has real images of its own, so that seeds are independent. Images are float32, neither
clipped nor rounded. Where they are standard normal noise, every pixel is a one-dimensional Gaussian
lineage: the marginal of a fitted normal distribution is the fit of the marginal. Pixels of one seed
depend on each other if there are fewer images than pixels, so standard errors are those of the
means of seeds.
"""

import os
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from model.checkpoint import Checkpoint
from sweep.config import LineageConfig, unflatten, updated
from sweep.lineage.datasets import load_prepared, prepare_dataset
from sweep.lineage.run import LineageRun
from sweep.records import WEIGHTS
from sweep.store.store import open_store

SIDE = 8
SEEDS = 24
MEMORY = Path("/dev/shm")  # noqa: S108 (a store waits for the disk much longer than the fits take)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fits:
    """The models of all seeds, by seed, generation and pixel; the real distribution is N(0, 1)."""

    means: np.ndarray
    """(S, G, D)"""
    variances: np.ndarray
    """(S, G, D)"""

    def variance(self, generation: int) -> np.ndarray:
        """(S,) mean variance of the pixels."""
        return self.variances[:, generation - 1].mean(axis=1)

    def squared_error(self, generation: int) -> np.ndarray:
        """(S,) mean squared error of the pixels' means."""
        return (self.means[:, generation - 1] ** 2).mean(axis=1)


def fit_lineages(rule: str, *, num_images: int, generations: int, seeds: int = SEEDS) -> Fits:
    """Compute lineages under a pool rule without alpha, from `num_images` real images each."""
    settings = {"pool.rule": rule, "generations": generations}
    lineages = measure_lineages(
        fitted_moments, settings, draw=lambda rng: draw_noise(rng, num_images), seeds=seeds
    )
    means, variances = np.moveaxis(lineages, 2, 0)
    return Fits(means=means, variances=variances)


def draw_noise(rng: np.random.Generator, num_images: int) -> np.ndarray:
    """(N, 1, SIDE, SIDE) standard normal noise."""
    return rng.standard_normal((num_images, 1, SIDE, SIDE), np.float32)


def measure_lineages(
    measure: Callable[[LineageRun], np.ndarray],
    settings: Mapping[str, Any],
    *,
    draw: Callable[[np.random.Generator], np.ndarray],
    seeds: int = SEEDS,
) -> np.ndarray:
    """Compute the lineages of all seeds, and measure each.

    Args:
        measure: Returns an array of a finished lineage.
        settings: Dotted settings that differ from those of a lineage of family gaussian.
        draw: Returns a seed's real images, (N, C, H, W) float32.
        seeds: Number of seeds, S.

    Returns:
        (S, ...) what `measure` returns.
    """
    in_memory = MEMORY if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) else None
    found = []
    with one_thread():
        for seed in range(seeds):
            with TemporaryDirectory(dir=in_memory) as name:
                folder = Path(name)
                images = draw(np.random.default_rng(seed))
                np.savez(folder / "images.npz", images=images)
                config = lineage_config(folder / "images.npz", images.shape[-1], seed, settings)
                found.append(measure(compute(folder, config)))
    return np.array(found)


@contextmanager
def one_thread() -> Generator[None]:
    """Let torch use one thread, because several wait longer for each other than such fits take."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def lineage_config(path: Path, side: int, seed: int, settings: Mapping[str, Any]) -> LineageConfig:
    """The settings of one seed's lineage, from a file of its real images."""
    given = {
        "data.name": "npz",
        "data.path": str(path),
        "data.image_size": side,
        "data.dtype": "float32",
        "data.split": "all",
        "model.family": "gaussian",
        "pool.alpha": None,
        "metrics.names": [],
        "seed": seed,
    }
    return updated(LineageConfig(), unflatten({**given, **settings}))


def compute(folder: Path, config: LineageConfig) -> LineageRun:
    """Compute a lineage in a folder's store."""
    store = open_store(folder / "store")
    card = prepare_dataset(config.data, store)
    run = LineageRun(config=config, card=card, data=load_prepared(card, store), store=store)
    for _ in run.generations():
        pass
    return run


def fitted_moments(run: LineageRun) -> np.ndarray:
    """(G, 2, D) means and variances of the models of one lineage."""
    models = []
    for node in run.nodes:
        tensors = Checkpoint.from_bytes(run.store.nodes.read_file(node.key, WEIGHTS)).tensors
        mean, factor = tensors["ema.mean"].numpy(), tensors["ema.factor"].numpy()
        models.append((mean, (factor**2).sum(axis=0)))
    return np.array(models)
