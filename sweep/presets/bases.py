"""Base settings that presets share, and their crossing with seeds."""

from dataclasses import replace

from model.config import DataConfig, MetricsConfig, ModelConfig, SampleConfig, TrainConfig
from sweep.config import Grid, LineageConfig, PoolConfig

Preset = tuple[LineageConfig, tuple[Grid, ...]]
"""Base settings, and grids of values that replace them."""

NETWORK = ModelConfig(widths=(16, 48, 96))
"""A small network with a 2x2 bottleneck. Without the third resolution, digits stay blurry."""
LIGHT_NETWORK = ModelConfig(
    widths=(16, 32, 64), block_depth=1, stem_width=16, embedding_dim=16, bn_momentum=0.1
)
"""A third of that network's operations. With the paper's bn_momentum of 0.01, BatchNorm's running
statistics do not settle in a few hundred steps, and some seeds begin with a bad V_1."""
SEEDS = [0, 1, 2]
MEASURED = ("kid", "precision", "recall", "coverage", "memorization", "classes")
OF_CLASSES = ("class_recall", "conditional_accuracy", "cas")


def small(*, conditional: bool = False, steps: int = 1000, generations: int = 4) -> LineageConfig:
    """Return a lineage on 900 digits with a fixed number of steps and rule grow at alpha 1."""
    return LineageConfig(
        generations=generations,
        data=DataConfig(name="digits", image_size=8, train_limit=900),
        model=replace(NETWORK, conditional=conditional),
        train=TrainConfig(epochs=None, steps=steps, batch_size=32, lr=3e-3, ema_decay=0.995),
        sample=SampleConfig(steps=20),
        pool=PoolConfig(rule="grow", alpha=1.0),
        metrics=MetricsConfig(names=MEASURED + (OF_CLASSES if conditional else ())),
    )


def over_seeds(*grids: Grid) -> tuple[Grid, ...]:
    """Return the grids, each crossed with three seeds."""
    return tuple({**grid, "seed": SEEDS} for grid in grids)


def flowers(model: ModelConfig) -> LineageConfig:
    """Return a lineage on flowers102 at 64x64 with a fixed number of steps."""
    base = small(steps=40_000)
    return replace(
        base,
        data=DataConfig(name="flowers102", image_size=64, split="keras_80_20"),
        model=model,
        train=replace(base.train, batch_size=64, lr=1e-3, ema_decay=0.999, precision="auto"),
        metrics=MetricsConfig(names=("kid", "fid", "precision", "recall", "coverage")),
    )
