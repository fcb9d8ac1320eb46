"""Presets of docs/why.md: is it the sampler, the training, or the number of images?"""

from dataclasses import replace
from itertools import product

from model.config import DataConfig, MetricsConfig, ModelConfig
from sweep.config import LineageConfig
from sweep.presets.bases import LIGHT_NETWORK, Preset, over_seeds, small

COARSE = {"sample.steps": [20], "model.max_signal_rate": [0.95]}
"""The paper's sampler."""
FINE = {"sample.steps": [100], "model.max_signal_rate": [0.999]}
"""A sampler that keeps more of the deviation of Gaussian images (sweep plan --forecast)."""


def clothes() -> LineageConfig:
    """Return a lineage on 1,000 images of Fashion-MNIST at 16x16 with a light network."""
    base = replace(small(steps=2000), model=LIGHT_NETWORK)
    data = DataConfig(name="fashion-mnist", image_size=16, split="official_train", train_limit=1000)
    names = ("kid", "precision", "recall", "coverage", "gain")
    return replace(base, data=data, metrics=replace(base.metrics, names=names, num_images=1000))


def why() -> Preset:
    """Is it the sampler? Networks and exact scores, the paper's and a finer sampler, two rules."""
    sources = (
        {"model.family": ["exact-gaussian", "ddim"], "model.conditional": [False]},
        {"model.family": ["exact-mixture"], "model.conditional": [True]},
    )
    rules = (
        {"pool.rule": ["grow"], "pool.alpha": [1.0]},
        {"pool.rule": ["accumulate"], "pool.alpha": [None]},
    )
    return clothes(), tuple(
        {**source, **sampler, **rule, "seed": list(range(5))}
        for source, sampler, rule in product(sources, (COARSE, FINE), rules)
    )


def why_training() -> Preset:
    """Which part of the training decides the variance of V_1's samples?"""
    return replace(clothes(), generations=1), over_seeds(
        {},
        {"train.steps": [500, 6000]},
        {"train.lr_schedule": ["cosine"]},
        {"train.loss": ["mse"]},
        {"model.widths": [[32, 64, 128]]},
        {"model.bn_momentum": [0.01]},
        {"model.family": ["flow"]},
    )


def why_exact() -> Preset:
    """Do exact scores lose what the forecast says? Six samplers, six pool rules, 50 seeds."""
    return oracles("exact-gaussian", conditional=False)


def why_mixture() -> Preset:
    """Does an exact score of every class lose more? The grid of why-exact, by class."""
    return oracles("exact-mixture", conditional=True)


def oracles(family: str, *, conditional: bool) -> Preset:
    """Return lineages of an exact family on synthetic images of five classes."""
    base = LineageConfig(
        generations=8,
        data=DataConfig(
            name="synthetic",
            dtype="float32",
            image_size=4,
            num_images=5200,
            num_classes=5,
            spectrum=1.5,
            reference_fraction=0.96,
            train_limit=200,
        ),
        model=ModelConfig(family=family, conditional=conditional),
        metrics=MetricsConfig(names=("gain",), extractor="pixels", num_images=200),
    )
    samplers = (
        {"sample.steps": [5, 20, 100]},
        FINE,
        {"model.process": ["flow"], "sample.steps": [100]},
        {"model.process": ["edm"], "sample.steps": [20]},
    )
    rules = (
        {"pool.rule": ["replace", "accumulate"], "pool.alpha": [None]},
        {"pool.rule": ["grow"], "pool.alpha": [0.5, 1.0]},
        {"pool.rule": ["grow"], "pool.alpha": [2.0], "generations": [5]},
        {"pool.rule": ["mix"], "pool.alpha": [1.0]},
    )
    return base, tuple(
        {**sampler, **rule, "seed": list(range(50))} for sampler, rule in product(samplers, rules)
    )
