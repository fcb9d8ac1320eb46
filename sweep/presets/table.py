"""Presets: sweeps by name. Each is a function whose docstring is the question it answers.

To add one, write a function and add a line to PRESETS. The presets after the paper's address
questions that the paper leaves open, each small enough for two CPU cores unless it says otherwise.
Data, network and training length can be changed like any other setting:
`--data.name cifar10 --data.image-size 32` runs the same comparison on other images.
"""

from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches

from model.config import DataConfig, MetricsConfig, SampleConfig, TrainConfig
from model.errors import UsageError
from sweep.config import EnsembleConfig, LineageConfig, PoolConfig, SweepConfig
from sweep.presets.bases import (
    LIGHT_NETWORK,
    NETWORK,
    OF_CLASSES,
    Preset,
    flowers,
    over_seeds,
    small,
)
from sweep.presets.why import why, why_exact, why_mixture, why_training

FAITHFUL_TRAINING = TrainConfig(
    epochs=40,
    repetitions=10,
    batch_size=64,
    drop_last=True,
    shuffle_window=640,
    loss="mae",
    loss_reduction="spatial_sum",
    lr=1e-3,
    weight_decay=1e-4,
    decay_mode="unscaled",
    adam_eps=1e-7,
    adam_eps_form="hat",
    ema_decay=0.999,
    ema_init="independent",
    ema_average_buffers=True,
)
"""Training of the Keras example as it ran in 2022 and 2023 (docs/design.md lists each pitfall)."""

PAPER_GRIDS = (
    {"pool.alpha": [0.5, 1.0, 2.0], "train.epochs": [40], "seed": [0, 1, 2]},
    {"pool.alpha": [1.0], "train.epochs": [80], "seed": [0, 1, 2]},
)
"""Martinez et al. (arXiv:2303.01255), who ran 80 epochs at alpha 1 only."""

FILTERED = 4.0
"""Number of images generated per image kept, when filters are compared."""


def quickstart() -> Preset:
    """Watch models collapse on 8x8 digits in 90 seconds: alpha 0.5 and 2, three generations."""
    base = LineageConfig(
        generations=3,
        data=DataConfig(name="digits", image_size=8, train_limit=600),
        model=LIGHT_NETWORK,
        train=TrainConfig(epochs=None, steps=300, batch_size=32, lr=5e-3, ema_decay=0.99),
        sample=SampleConfig(steps=10),
        pool=PoolConfig(rule="grow", alpha=1.0),
    )
    return base, over_seeds({"pool.alpha": [0.5, 2.0]})


def paper() -> Preset:
    """The paper's grid on flowers102 at 64x64, with 1023 steps per epoch (6551 images x 10)."""
    names = ("kid", "fid", "precision", "recall", "density", "coverage", "memorization", "classes")
    base = LineageConfig(
        generations=4,
        data=DataConfig(name="flowers102", image_size=64, split="keras_80_20", dtype="float32"),
        train=FAITHFUL_TRAINING,
        sample=SampleConfig(steps=20),
        pool=PoolConfig(rule="grow", alpha=1.0),
        metrics=MetricsConfig(names=names, resolution=64),
    )
    return base, PAPER_GRIDS


def paper_literal() -> Preset:
    """The paper's grid, taken literally: 1020 images, 40 epochs, no repetition, 640 steps."""
    base, grids = paper()
    data = replace(base.data, split="official_train")
    train = replace(FAITHFUL_TRAINING, repetitions=1, drop_last=False, shuffle_window=None)
    return replace(base, data=data, train=train), grids


def paper_digits() -> Preset:
    """The paper's whole grid on 8x8 digits. Takes about an hour per seed on two CPU cores."""
    base = LineageConfig(
        generations=4,
        data=DataConfig(name="digits", image_size=8, train_limit=900),
        model=NETWORK,
        train=TrainConfig(epochs=40, repetitions=2, batch_size=32, lr=3e-3, ema_decay=0.998),
        sample=SampleConfig(steps=20),
        pool=PoolConfig(rule="grow", alpha=1.0),
    )
    return base, PAPER_GRIDS


def families() -> Preset:
    """How good is V_1 of each family, compared with the null model?"""
    attention = {
        "model.family": ["unet2d"],
        "model.widths": [[16, 32]],
        "model.block_depth": [1],
        "train.steps": [1400],
        "train.lr": [4e-3],
        "train.lr_schedule": ["cosine"],
        "train.ema_decay": [0.99],
    }
    return small(generations=1), over_seeds(
        {"model.family": ["gaussian", "ddim", "flow", "edm"]},
        {"model.family": ["vae"], "train.steps": [1500]},
        attention,
    )


def conditional() -> Preset:
    """Does V_1 generate the requested class in each family, and what does guidance change?"""
    return small(conditional=True, steps=2500, generations=1), over_seeds(
        {"sample.guidance": [1.0, 1.5, 2.5]},
        {"model.family": ["flow", "edm", "gaussian"]},
        {"model.family": ["vae"], "train.lr": [1e-3]},
    )


def concentration() -> Preset:
    """Does extra content of one class starve the others? Half or all of the new images show it."""
    base = small(conditional=True, steps=1500)
    base = replace(base, pool=replace(base.pool, focal_classes=("1",)))
    return base, over_seeds({"pool.concentration": [0.0, 0.5, 1.0]})


def controlled(base: LineageConfig) -> LineageConfig:
    """Return a lineage with exact shares at every concentration, measured on separate images."""
    pool = replace(base.pool, focal_classes=("1",), labels="stratified", shares="pool")
    metrics = replace(base.metrics, names=(*base.metrics.names, "copying"), images="separate")
    return replace(base, pool=pool, metrics=metrics)


def concentration_unconditional() -> Preset:
    """Does extra content of one class starve the others of a model that is not told the class?"""
    return controlled(small(steps=1500)), over_seeds({"pool.concentration": [0.0, 0.5, 1.0]})


def concentration_flowers() -> Preset:
    """Does one flower of 102 starve the others? On flowers102 at 64x64, by class; needs a GPU."""
    base = flowers(replace(NETWORK, widths=(64, 128, 256), conditional=True))
    return controlled(base), over_seeds({"pool.concentration": [0.0, 0.5, 0.75, 1.0]})


def ensemble() -> Preset:
    """Do three models per generation degrade less than one, at equal compute or equal length?"""
    return small(steps=1800), over_seeds(
        {"ensemble.size": [1], "train.steps": [1800]},
        {"ensemble.size": [3], "train.steps": [600, 1800]},
    )


def shards() -> Preset:
    """Should three models train on the whole pool, on shards, on their own past, or one on each?"""
    base = replace(small(), ensemble=EnsembleConfig(size=3))
    return base, over_seeds(
        {"ensemble.data": ["all", "shard", "own"]},
        {"ensemble.members": [["data=all", "data=shard", "data=own"]]},
    )


def filters() -> Preset:
    """Which filter of the images that enter the pool slows degradation, and what does it cost?"""
    return small(), over_seeds(
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


def rules() -> Preset:
    """Grow, replace, accumulate, subsample, mix, fresh: which pool rules collapse, and how fast?"""
    base = small()
    base = replace(base, data=replace(base.data, train_limit=None))
    first = {"pool.initial_images": [350]}
    return base, over_seeds(
        {**first, "pool.rule": ["grow", "mix", "fresh"], "pool.alpha": [1.0]},
        {**first, "pool.rule": ["replace", "accumulate", "subsample"], "pool.alpha": [None]},
    )


def budget() -> Preset:
    """Fixed epochs or fixed steps as the pool grows: does training length explain degradation?"""
    base = small()
    train = replace(base.train, steps=None, epochs=36)
    return replace(base, train=train), over_seeds({"train.scaling": ["epochs", "steps"]})


def mechanism() -> Preset:
    """Estimation noise cannot explain the collapse (docs/guide.md): which factor affects it?"""
    return small(), over_seeds(
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


def larger_model() -> Preset:
    """Does a larger network with attention degrade as fast? On flowers102 at 64x64; needs a GPU."""
    base = flowers(NETWORK)
    return base, over_seeds(
        {"model.family": ["ddim"], "model.widths": [[32, 64, 96, 128], [64, 128, 256, 512]]},
        {"model.family": ["unet2d"], "model.widths": [[64, 128, 256, 256]]},
    )


def larger_data() -> Preset:
    """Do models of 50,000 varied images collapse? CIFAR-10, alpha 0.5, 1 and 2; needs a GPU."""
    base = flowers(replace(NETWORK, widths=(64, 128, 256), conditional=True))
    data = DataConfig(name="cifar10", image_size=32, split="official_train")
    names = ("kid", "fid", "precision", "recall", "coverage", *OF_CLASSES)
    metrics = MetricsConfig(names=names, num_images=10_000)
    base = replace(base, data=data, metrics=metrics)
    return base, over_seeds({"pool.alpha": [0.5, 1.0, 2.0]})


def mitigation() -> Preset:
    """What helps: lower alpha, a fixed real share, a diverse filter, three models, guidance?"""
    return small(conditional=True, steps=1500), over_seeds(
        {"pool.alpha": [0.5, 1.0]},
        {"pool.rule": ["mix"]},
        {"filter.name": ["farthest-point"], "filter.candidates": [FILTERED]},
        {"ensemble.size": [3]},
        {"sample.guidance": [1.5]},
    )


def grid_digits() -> Preset:
    """Four axes in one sweep: alpha x epochs x seed x concentration, on 300 digits by class."""
    base = small(conditional=True, generations=3)
    base = replace(
        base,
        data=replace(base.data, train_limit=300),
        train=replace(base.train, steps=None, epochs=10, repetitions=5),
        pool=replace(base.pool, focal_classes=("1",)),
    )
    return base, over_seeds(
        {
            "pool.alpha": [0.5, 1.0, 2.0],
            "train.epochs": [10, 20],
            "pool.concentration": [0.0, 0.5],
        }
    )


def preset_of(name: str) -> SweepConfig:
    """Return the preset called `name`; raises UsageError with a suggestion."""
    if name not in PRESETS:
        close = get_close_matches(name, PRESETS, 1)
        hint = f"did you mean {close[0]!r}?" if close else "`sweep presets` lists them"
        raise UsageError(
            f"the preset must be one of {', '.join(PRESETS)} or a .toml or .json file, "
            f"got {name!r}; {hint}"
        )
    base, grids = PRESETS[name]()
    return SweepConfig(name=name, description=question(name), base=base, grids=grids)


def question(name: str) -> str:
    """Return the question that a preset answers: the first line of its docstring."""
    return (PRESETS[name].__doc__ or "").strip().splitlines()[0]


PRESETS: dict[str, Callable[[], Preset]] = {
    "quickstart": quickstart,
    "paper": paper,
    "paper-literal": paper_literal,
    "paper-digits": paper_digits,
    "grid-digits": grid_digits,
    "families": families,
    "conditional": conditional,
    "concentration": concentration,
    "concentration-unconditional": concentration_unconditional,
    "concentration-flowers": concentration_flowers,
    "ensemble": ensemble,
    "shards": shards,
    "filters": filters,
    "rules": rules,
    "budget": budget,
    "mechanism": mechanism,
    "mitigation": mitigation,
    "why": why,
    "why-training": why_training,
    "why-exact": why_exact,
    "why-mixture": why_mixture,
    "larger-model": larger_model,
    "larger-data": larger_data,
}
