"""Lineages of Gaussian fits to standard normal noise: the system's own pools, streams and fits.

Each seed has real images of its own, so that seeds are independent. Images are float32, neither
clipped nor rounded. Every pixel is a one-dimensional Gaussian lineage: the marginal of a fitted
normal distribution is the fit of the marginal. Pixels of one seed depend on each other if there are
fewer images than pixels, so standard errors are those of the means of seeds.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from model.checkpoint import Checkpoint
from sweep.config import LineageConfig, updated
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
    in_memory = MEMORY if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) else None
    lineages = []
    with one_thread():
        for seed in range(seeds):
            with TemporaryDirectory(dir=in_memory) as folder:
                config = lineage_config(Path(folder), rule, num_images, generations, seed)
                lineages.append(fit_lineage(Path(folder), config))
    means, variances = np.moveaxis(np.array(lineages), 2, 0)
    return Fits(means=means, variances=variances)


@contextmanager
def one_thread() -> Generator[None]:
    """Let torch use one thread, because several wait longer for each other than such fits take."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def lineage_config(
    folder: Path, rule: str, num_images: int, generations: int, seed: int
) -> LineageConfig:
    """Write a seed's real images, and return the settings of its lineage."""
    shape = (num_images, 1, SIDE, SIDE)
    path = folder / "noise.npz"
    np.savez(path, images=np.random.default_rng(seed).standard_normal(shape, np.float32))
    data = {"name": "npz", "path": str(path), "image_size": SIDE, "dtype": "float32"}
    settings = {
        "data": {**data, "split": "all"},
        "model": {"family": "gaussian"},
        "pool": {"rule": rule, "alpha": None},
        "metrics": {"names": []},
        "generations": generations,
        "seed": seed,
    }
    return updated(LineageConfig(), settings)


def fit_lineage(folder: Path, config: LineageConfig) -> np.ndarray:
    """(G, 2, D) means and variances of the models of one lineage."""
    store = open_store(folder / "store")
    card = prepare_dataset(config.data, store)
    run = LineageRun(config=config, card=card, data=load_prepared(card, store), store=store)
    models = []
    for generation in run.generations():
        weights = store.nodes.read_file(generation.node.key, WEIGHTS)
        tensors = Checkpoint.from_bytes(weights).tensors
        mean, factor = tensors["ema.mean"].numpy(), tensors["ema.factor"].numpy()
        models.append((mean, (factor**2).sum(axis=0)))
    return np.array(models)
