"""Presets: sweeps by name. Each is a function whose docstring is the question it answers.

Adding one is a function and a line in PRESETS. Must not import torch or ray.
"""

from collections.abc import Callable
from difflib import get_close_matches

from model.config import DataConfig, MetricsConfig, ModelConfig, SampleConfig, TrainConfig
from model.errors import UsageError
from sweep import questions
from sweep.config import LineageConfig, PoolConfig, SweepConfig

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
"""The Keras example's training as it ran in 2022 and 2023 (docs/design.md lists each trap)."""

PAPER_GRIDS = (
    {"pool.alpha": [0.5, 1.0, 2.0], "train.epochs": [40], "seed": [0, 1, 2]},
    {"pool.alpha": [1.0], "train.epochs": [80], "seed": [0, 1, 2]},
)
"""Martinez et al. (arXiv:2303.01255): 80 epochs were run at alpha 1 only."""

DIGITS_MODEL = ModelConfig(widths=(16, 48, 96))
"""A small network with a 2x2 bottleneck; without the third resolution digits stay vague."""


def quickstart() -> SweepConfig:
    """See a model collapse on 8x8 digits in two minutes: alpha 0.5, 1 and 2, three generations."""
    return SweepConfig(
        name="quickstart",
        description=first_line(quickstart),
        base=LineageConfig(
            generations=3,
            data=DataConfig(name="digits", image_size=8),
            model=DIGITS_MODEL,
            train=TrainConfig(epochs=None, steps=400, batch_size=32, lr=3e-3, ema_decay=0.99),
            sample=SampleConfig(steps=10),
            pool=PoolConfig(rule="grow", alpha=1.0),
        ),
        grids=({"pool.alpha": [0.5, 1.0, 2.0]},),
    )


def paper() -> SweepConfig:
    """The paper's grid on flowers102 at 64x64, read as 1023 steps per epoch (6551 images x 10)."""
    return SweepConfig(
        name="paper",
        description=first_line(paper),
        base=LineageConfig(
            generations=4,
            data=DataConfig(name="flowers102", image_size=64, split="keras_80_20", dtype="float32"),
            train=FAITHFUL_TRAINING,
            sample=SampleConfig(steps=20),
            pool=PoolConfig(rule="grow", alpha=1.0),
            metrics=MetricsConfig(
                names=(
                    *("kid", "fid", "precision", "recall", "density", "coverage"),
                    *("memorization", "classes"),
                ),
                resolution=64,
            ),
        ),
        grids=PAPER_GRIDS,
    )


def paper_literal() -> SweepConfig:
    """The paper's grid as its text reads: 1020 images, 40 epochs, no repetition, 640 steps."""
    from dataclasses import replace

    sweep = paper()
    base = replace(
        sweep.base,
        data=replace(sweep.base.data, split="official_train"),
        train=replace(FAITHFUL_TRAINING, repetitions=1, drop_last=False, shuffle_window=None),
    )
    return replace(sweep, name="paper-literal", description=first_line(paper_literal), base=base)


def paper_digits() -> SweepConfig:
    """The paper's whole grid on 8x8 digits; two CPU cores take an hour or so a seed."""
    return SweepConfig(
        name="paper-digits",
        description=first_line(paper_digits),
        base=LineageConfig(
            generations=4,
            data=DataConfig(name="digits", image_size=8, train_limit=900),
            model=DIGITS_MODEL,
            train=TrainConfig(epochs=40, repetitions=2, batch_size=32, lr=3e-3, ema_decay=0.998),
            sample=SampleConfig(steps=20),
            pool=PoolConfig(rule="grow", alpha=1.0),
        ),
        grids=PAPER_GRIDS,
    )


def first_line(function: Callable[[], SweepConfig]) -> str:
    """The question of a preset."""
    return (function.__doc__ or "").strip().splitlines()[0]


def preset_of(name: str) -> SweepConfig:
    """The preset called `name`; raises UsageError with a suggestion."""
    if name not in PRESETS:
        close = get_close_matches(name, PRESETS, 1)
        hint = f"did you mean {close[0]!r}?" if close else "`sweep presets` lists them"
        raise UsageError(
            f"the preset must be one of {', '.join(PRESETS)} or a .toml or .json file, "
            f"got {name!r}; {hint}"
        )
    return PRESETS[name]()


PRESETS: dict[str, Callable[[], SweepConfig]] = {
    "quickstart": quickstart,
    "paper": paper,
    "paper-literal": paper_literal,
    "paper-digits": paper_digits,
    "grid-digits": questions.grid_digits,
    "families": questions.families,
    "conditional": questions.conditional,
    "concentration": questions.concentration,
    "ensemble": questions.ensemble,
    "shards": questions.shards,
    "filters": questions.filters,
    "rules": questions.rules,
    "budget": questions.budget,
    "mechanism": questions.mechanism,
    "mitigation": questions.mitigation,
    "larger-model": questions.larger_model,
    "larger-data": questions.larger_data,
}
