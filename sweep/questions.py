"""Presets of the questions that the paper left open, each at a size that two CPU cores can run.

Each is a function whose docstring is the question. Data, network and length are settings like any
other: `--data.name cifar10 --data.image-size 32` asks the same of other images. Must not import
torch or ray.
"""

from dataclasses import replace

from model.config import (
    DataConfig,
    MetricsConfig,
    ModelConfig,
    SampleConfig,
    TrainConfig,
)
from sweep.config import EnsembleConfig, Grid, LineageConfig, PoolConfig, SweepConfig

SEEDS = [0, 1, 2]
MEASURED = ("kid", "precision", "recall", "coverage", "memorization", "classes")
OF_CLASSES = ("class_recall", "conditional_accuracy", "cas")
NETWORK = ModelConfig(widths=(16, 48, 96))
"""As paper-digits."""
FILTERED = 4.0
"""Images generated per kept one, where a filter is compared with none."""


def small(*, conditional: bool = False, steps: int = 1000, generations: int = 4) -> LineageConfig:
    """A lineage on 900 digits with a fixed number of steps, grow at alpha 1."""
    return LineageConfig(
        generations=generations,
        data=DataConfig(name="digits", image_size=8, train_limit=900),
        model=replace(NETWORK, conditional=conditional),
        train=TrainConfig(epochs=None, steps=steps, batch_size=32, lr=3e-3, ema_decay=0.995),
        sample=SampleConfig(steps=20),
        pool=PoolConfig(rule="grow", alpha=1.0),
        metrics=MetricsConfig(names=MEASURED + (OF_CLASSES if conditional else ())),
    )


def question(
    name: str, description: str | None, base: LineageConfig, *grids: Grid, seeds: list[int] = SEEDS
) -> SweepConfig:
    """A sweep of three seeds whose description is the first line of its preset's docstring."""
    first = (description or "").strip().splitlines()[0]
    seeded = tuple({**grid, "seed": seeds} for grid in grids)
    return SweepConfig(name=name, description=first, base=base, grids=seeded)


def families() -> SweepConfig:
    """How good is V_1 of each family, beside the null model's? Needs the extra diffusers."""
    attention = {
        "model.family": ["unet2d"],
        "model.widths": [[16, 32]],
        "model.block_depth": [1],
        "train.steps": [1400],
        "train.lr": [4e-3],
        "train.lr_schedule": ["cosine"],
        "train.ema_decay": [0.99],
    }
    return question(
        "families",
        families.__doc__,
        small(generations=1),
        {"model.family": ["gaussian", "ddim", "flow", "edm"]},
        {"model.family": ["vae"], "train.steps": [1500]},
        attention,
    )


def conditional() -> SweepConfig:
    """Does V_1 draw the class it is asked for, by family, and what does guidance change?"""
    return question(
        "conditional",
        conditional.__doc__,
        small(conditional=True, steps=2500, generations=1),
        {"sample.guidance": [1.0, 1.5, 2.5]},
        {"model.family": ["flow", "edm", "gaussian"]},
        {"model.family": ["vae"], "train.lr": [1e-3]},
    )


def concentration() -> SweepConfig:
    """Does content of one class starve the others? Half or all new images are of one class."""
    base = small(conditional=True, steps=1500)
    base = replace(base, pool=replace(base.pool, focal_classes=("1",)))
    return question(
        "concentration", concentration.__doc__, base, {"pool.concentration": [0.0, 0.5, 1.0]}
    )


def ensemble() -> SweepConfig:
    """Do three models per generation degrade less than one, at equal compute or equal length?"""
    return question(
        "ensemble",
        ensemble.__doc__,
        small(steps=1800),
        {"ensemble.size": [1], "train.steps": [1800]},
        {"ensemble.size": [3], "train.steps": [600, 1800]},
    )


def shards() -> SweepConfig:
    """Three models: each on all of the pool, on a shard, on its own past, or one of each."""
    base = replace(small(), ensemble=EnsembleConfig(size=3))
    return question(
        "shards",
        shards.__doc__,
        base,
        {"ensemble.data": ["all", "shard", "own"]},
        {"ensemble.members": [["data=all", "data=shard", "data=own"]]},
    )


def filters() -> SweepConfig:
    """Which filter of what enters the pool slows the degradation, and what does it cost?"""
    return question(
        "filters",
        filters.__doc__,
        small(),
        {"filter.name": ["none"]},
        {
            "filter.candidates": [FILTERED],
            "filter.name": [
                "random",
                "typicality",
                "confidence",
                "farthest-point",
                "threshold-decay",
                "near-duplicates",
                "reward",
            ],
        },
    )


def rules() -> SweepConfig:
    """Grow, replace, accumulate, subsample, mix or fresh: which pools collapse, and how fast?"""
    base = small()
    base = replace(base, data=replace(base.data, train_limit=None))
    first = {"pool.initial_images": [350]}
    return question(
        "rules",
        rules.__doc__,
        base,
        {**first, "pool.rule": ["grow", "mix", "fresh"], "pool.alpha": [1.0]},
        {**first, "pool.rule": ["replace", "accumulate", "subsample"], "pool.alpha": [None]},
    )


def budget() -> SweepConfig:
    """Fixed epochs or fixed steps as the pool grows: is degradation a matter of length?"""
    base = small()
    train = replace(base.train, steps=None, epochs=36)
    return question(
        "budget",
        budget.__doc__,
        replace(base, train=train),
        {"train.scaling": ["epochs", "steps"]},
    )


def mechanism() -> SweepConfig:
    """Estimation noise cannot explain the collapse (docs/guide.md): which factor moves it?"""
    return question(
        "mechanism",
        mechanism.__doc__,
        small(),
        {},
        {"train.steps": [500, 2000]},
        {"train.ema_init": ["copy", "independent"]},
        {"train.loss": ["mse"]},
        {"train.start": ["continue"]},
        {"model.normalization": ["first_pool"]},
        {"sample.steps": [5, 100]},
        {"sample.stochasticity": [1.0], "sample.multistep": [1, 2]},
        {"model.family": ["flow", "gaussian"]},
    )


def larger_model() -> SweepConfig:
    """Does a larger network with attention degrade as fast? On flowers102 at 64x64; needs a GPU."""
    base = flowers(NETWORK)
    return question(
        "larger-model",
        larger_model.__doc__,
        base,
        {"model.family": ["ddim"], "model.widths": [[32, 64, 96, 128], [64, 128, 256, 512]]},
        {"model.family": ["unet2d"], "model.widths": [[64, 128, 256, 256]]},
    )


def flowers(model: ModelConfig) -> LineageConfig:
    """Lineages on flowers102 at 64x64 with a fixed number of steps."""
    base = small(steps=40_000)
    return replace(
        base,
        data=DataConfig(name="flowers102", image_size=64, split="keras_80_20"),
        model=model,
        train=replace(base.train, batch_size=64, lr=1e-3, ema_decay=0.999, precision="auto"),
        metrics=MetricsConfig(names=("kid", "fid", "precision", "recall", "coverage")),
    )


def larger_data() -> SweepConfig:
    """Does it happen with 50,000 varied images? CIFAR-10 by class, alpha 0.5, 1, 2; needs a GPU."""
    base = flowers(replace(NETWORK, widths=(64, 128, 256), conditional=True))
    data = DataConfig(name="cifar10", image_size=32, split="official_train")
    names = ("kid", "fid", "precision", "recall", "coverage", *OF_CLASSES)
    metrics = MetricsConfig(names=names, num_images=10_000)
    base = replace(base, data=data, metrics=metrics)
    return question("larger-data", larger_data.__doc__, base, {"pool.alpha": [0.5, 1.0, 2.0]})


def mitigation() -> SweepConfig:
    """What helps: less alpha, real images kept apart, a diverse filter, three models, guidance?"""
    base = replace(small(conditional=True, steps=1500))
    return question(
        "mitigation",
        mitigation.__doc__,
        base,
        {"pool.alpha": [0.5, 1.0]},
        {"pool.rule": ["mix"]},
        {"filter.name": ["farthest-point"], "filter.candidates": [FILTERED]},
        {"ensemble.size": [3]},
        {"sample.guidance": [1.5]},
    )


def grid_digits() -> SweepConfig:
    """The four axes in one sweep: alpha x epochs x seed x concentration, on 300 digits by class."""
    base = small(conditional=True, generations=3)
    base = replace(
        base,
        data=replace(base.data, train_limit=300),
        train=replace(base.train, steps=None, epochs=10, repetitions=5),
        pool=replace(base.pool, focal_classes=("1",)),
    )
    return question(
        "grid-digits",
        grid_digits.__doc__,
        base,
        {
            "pool.alpha": [0.5, 1.0, 2.0],
            "train.epochs": [10, 20],
            "pool.concentration": [0.0, 0.5],
        },
    )
