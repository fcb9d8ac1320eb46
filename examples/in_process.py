"""Compute a lineage in this process without Ray, to try a variant before using it in a sweep."""

from tempfile import TemporaryDirectory

from model.config import DataConfig, MetricsConfig, ModelConfig, SampleConfig, TrainConfig
from sweep.config import LineageConfig, PoolConfig
from sweep.lineage.datasets import load_prepared, prepare_dataset
from sweep.lineage.run import Generation, LineageRun
from sweep.store.store import open_store

TINY = LineageConfig(
    generations=3,
    data=DataConfig(name="digits", image_size=8, train_limit=200),
    model=ModelConfig(family="gaussian"),
    train=TrainConfig(epochs=None, steps=20, batch_size=16),
    sample=SampleConfig(steps=3),
    pool=PoolConfig(rule="grow", alpha=1.0),
    metrics=MetricsConfig(names=("kid", "recall"), extractor="pixels"),
)
"""Gaussian models of 200 digits; computing them takes about a second."""


def compute(config: LineageConfig) -> list[Generation]:
    """Compute all generations of a lineage in a temporary store."""
    with TemporaryDirectory() as folder:
        store = open_store(folder)
        card = prepare_dataset(config.data, store)
        run = LineageRun(config=config, card=card, data=load_prepared(card, store), store=store)
        return list(run.generations())


def show(generations: list[Generation]) -> None:
    """Print a line for each generation: its pool by origin, and its metrics."""
    for generation in generations:
        node = generation.node
        values = [item for record in generation.metrics for item in record.values.items()]
        numbers = {name: round(number, 4) for name, number in values}
        print(f"V_{node.generation}: pool {node.num_images}, by origin {node.origins}, {numbers}")
