"""Lineages of a 2-level network on 8x8 digits, which take a tenth of a second a generation."""

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from sweep.config import LineageConfig, SweepConfig, unflatten, updated
from sweep.files import Json, complete
from sweep.lineage.datasets import load_prepared, prepare_dataset
from sweep.lineage.run import Generation, LineageRun
from sweep.planning.lineages import PlannedLineage, plan_sweep
from sweep.records import DatasetCard
from sweep.results_folder import fill, write_sweep
from sweep.store.store import Store, open_store

CARD = DatasetCard(
    key="digits",
    fingerprint="f",
    name="digits",
    shape=[1, 8, 8],
    dtype="uint8",
    class_names=["zero", "one"],
    num_classes=2,
    train_labels=[0, 1] * 20,
    reference_class_counts=[10, 10],
    num_train=40,
    num_reference=20,
    num_validation=0,
)
"""A data set as plans see it."""

NETWORK = {
    "data": {"train_limit": 40},
    "model": {"widths": [4, 8], "block_depth": 1, "stem_width": 4, "embedding_dim": 4},
    "train": {"steps": 4, "batch_size": 8, "ema_decay": 0.5},
    "sample": {"steps": 2},
    "pool": {"alpha": 0.5},
    "metrics": {"names": ["kid"], "extractor": "pixels", "num_images": 16},
    "generations": 2,
}


def make_lineage(changes: Mapping[str, Any] | None = None, **settings: Any) -> LineageConfig:
    """The network's lineage; `changes` are by dotted name, `settings` those that have no dot."""
    network = updated(LineageConfig(), complete(NETWORK))
    return updated(network, unflatten({**(changes or {}), **settings}))


def make_sweep(
    grids: tuple[dict[str, list[Any]], ...] = ({},), base: LineageConfig | None = None
) -> SweepConfig:
    return SweepConfig(name="tiny", description="Tiny.", base=base or make_lineage(), grids=grids)


def plan(sweep: SweepConfig, card: DatasetCard = CARD) -> list[PlannedLineage]:
    return plan_sweep(sweep, lambda data: card)


def plan_in(sweep: SweepConfig, store: Store) -> list[PlannedLineage]:
    """A sweep's lineages on really prepared data."""
    return plan_sweep(sweep, lambda data: prepare_dataset(data, store))


def make_run(config: LineageConfig, store: Store, **settings: Any) -> LineageRun:
    card = prepare_dataset(config.data, store)
    data = load_prepared(card, store)
    run = LineageRun(config=config, card=card, data=data, store=store)
    return replace(run, **settings)


def compute(config: LineageConfig, store: Store, **settings: Any) -> list[Generation]:
    """Compute what is missing of a lineage."""
    return list(make_run(config, store, **settings).generations())


def finish(out: Path, sweep: SweepConfig) -> Path:
    """Compute a sweep into its results folder."""
    store = open_store(out)
    lineages = plan_in(sweep, store)
    for lineage in lineages:
        compute(lineage.config, store)
    write_sweep(out, sweep, f"sweep run tiny.toml --out {out}", lineages=lineages)
    fill(out, lineages, store)
    return out


@contextmanager
def folder_in_memory() -> Generator[Path]:
    """A folder whose files need not wait for a disk, if the machine has one."""
    memory = Path("/dev/shm")  # noqa: S108 (its files are in a new folder)
    is_there = memory.is_dir() and os.access(memory, os.W_OK)
    with TemporaryDirectory(dir=memory if is_there else None) as folder:
        yield Path(folder)


def write_noise(path: Path, *, num_images: int, shape: tuple[int, int, int], seed: int = 0) -> Path:
    """An .npz file of independent standard normal float32 pixels, (num_images, *shape)."""
    images = np.random.default_rng(seed).standard_normal((num_images, *shape), np.float32)
    np.savez(path, images=images)
    return path


def numbers_of(generation: Generation) -> Json:
    """What two computations of a generation must have in common, bit for bit."""
    node, metrics = generation.node, generation.metrics
    return {
        "key": node.key,
        "weights": node.weights_sha256,
        "files": node.files,
        "loss": node.final_loss,
        "images_seen": node.images_seen,
        "values": [record.values for record in metrics],
        "images": [record.images_sha256 for record in metrics],
    }
