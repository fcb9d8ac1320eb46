"""Which settings of data, family, training and sampler go together.

A single setting's own rule is in model/config.py. Imports no torch, so that a plan can ask.
"""

from importlib.util import find_spec

from model.config import DataConfig, ModelConfig, SampleConfig, TrainConfig, check
from model.errors import UsageError

NETWORK_FAMILIES = ("ddim", "flow", "edm", "vae", "unet2d")
"""Families whose network halves the image len(model.widths) - 1 times."""
CONDITIONAL_FAMILIES = (*NETWORK_FAMILIES, "gaussian")
"""Families whose model can be told the class of an image."""
GUIDED_FAMILIES = ("ddim", "flow", "edm", "unet2d")
"""Those of them that classifier-free guidance applies to."""


def check_package(family: str) -> None:
    """Raise UsageError where a family's optional package is not installed."""
    if family == "unet2d" and find_spec("diffusers") is None:
        raise UsageError(
            "model.family must not be unet2d without the package diffusers, got 'unet2d'; "
            'pip install "collapse-sweep[diffusers]" installs it'
        )


def check_together(data: DataConfig, model: ModelConfig, train: TrainConfig) -> None:
    """Raise UsageError where settings of data, model and training do not fit each other."""
    check_conditional(model)
    halvings = len(model.widths) - 1
    if model.family in NETWORK_FAMILIES:
        check(
            data.image_size % 2**halvings == 0,
            "data.image_size",
            f"be divisible by {2**halvings}, as model.widths halves it {halvings} times",
            data.image_size,
        )
    if model.family == "vae":
        check(
            model.latent_dim <= data.image_size**2,
            "model.latent_dim",
            f"be at most the {data.image_size**2} pixels of an image, whose noise it is taken from",
            model.latent_dim,
        )
    if train.select == "best_kid":
        check(
            data.validation_fraction > 0,
            "data.validation_fraction",
            "be above 0 with train.select=best_kid, so that the reference selects nothing",
            data.validation_fraction,
        )


def check_conditional(model: ModelConfig) -> None:
    """Raise UsageError where a family that cannot be told classes is asked to be."""
    check(
        not model.conditional or model.family in CONDITIONAL_FAMILIES,
        "model.family",
        f"be one of {', '.join(CONDITIONAL_FAMILIES)} with model.conditional",
        model.family,
        "set model.conditional to False",
    )


def check_sampler(model: ModelConfig, sample: SampleConfig) -> None:
    """Raise UsageError where the family's sampler does not have a setting, or guidance none."""
    for name, default in (("stochasticity", 0), ("multistep", 1)):
        value = getattr(sample, name)
        rule = f"be {default} with model.family={model.family}; it is for ddim and unet2d"
        has = model.family in ("ddim", "unet2d") or value == default
        check(has, f"sample.{name}", rule, value)
    check_guidance(model, sample)


def check_guidance(model: ModelConfig, sample: SampleConfig) -> None:
    """Raise UsageError where the model is not one that guidance other than 1 applies to."""
    if sample.guidance == 1:
        return
    guided = model.family in GUIDED_FAMILIES
    rule = f"be 1 with model.family={model.family}"
    families = f"guidance is for {', '.join(GUIDED_FAMILIES)}"
    check(guided, "sample.guidance", rule, sample.guidance, families)
    rule, way_out = "be 1 with an unconditional model", "set model.conditional to True"
    check(model.conditional, "sample.guidance", rule, sample.guidance, way_out)
    rule = "be 1 with model.label_dropout=0, which trains no unconditional half"
    way_out = "train with model.label_dropout above 0"
    check(model.label_dropout > 0, "sample.guidance", rule, sample.guidance, way_out)
