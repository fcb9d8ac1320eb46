"""The facts about each family that planning needs, without torch: one record per family.

Also the rules that follow from them: which settings of data, family, training and sampler can be
combined. Rules for a single setting are in model/config.py.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

from model.config import DataConfig, ModelConfig, SampleConfig, TrainConfig, frozen_defaults
from model.errors import UsageError, check_choice, shown
from model.networks.size import (
    ModelSize,
    Shape,
    command_size,
    exact_empirical_size,
    exact_gaussian_size,
    gaussian_size,
    unet2d_size,
    unet_size,
    vae_size,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class FamilyFacts:
    """Facts about a family; the defaults fit a network such as flow's."""

    size: Callable[[ModelConfig, Shape, int, int], ModelSize]
    """Function of the settings, (C, H, W), the number of images in the pool and the number of
    classes (0 for an unconditional model)."""
    version: int | str
    """Part of keys if above 1. Raise it whenever the same settings give other results, so that no
    old result is taken for a new one. A plug-in's version is text, and always part of keys."""
    iterative: bool = True
    """Whether the model is a network that is trained in steps and that halves an image's side
    len(model.widths) - 1 times. Otherwise it sees each image once and train.* has no effect."""
    continues: bool = False
    """Whether training can continue from the previous model, although it is not iterative."""
    conditional: bool = True
    """Whether the model can be conditioned on classes."""
    unconditional: bool = True
    """Whether the model can do without classes."""
    guided: bool = True
    """Whether the family supports classifier-free guidance."""
    ddim_sampler: bool = False
    """Whether the family supports sample.stochasticity, multistep and denoise_last."""
    has_latent: bool = False
    """Whether an image is decoded from model.latent_dim latent numbers."""
    uses: tuple[str, ...] = ()
    """For a family with an exact score: the only settings of `model` that change its results.
    Keys leave out the others, and those of `train`. Empty for other families."""
    package: str = ""
    """Optional package that the family needs; the extra that installs it has the same name."""


def facts_of(name: str) -> FamilyFacts:
    """The facts about the family called `name`; raises UsageError with a suggestion."""
    check_choice("model.family", name, FAMILY_FACTS, extensible=True)
    return FAMILY_FACTS[name]


def families_with(fact: str) -> list[str]:
    """Names of the families for which a fact is true."""
    return [name for name, facts in FAMILY_FACTS.items() if getattr(facts, fact)]


@functools.lru_cache(maxsize=10_000)
def model_size(
    config: ModelConfig, shape: Shape, num_images: int, num_classes: int = 0
) -> ModelSize:
    """Size of a family's model for images of `shape` (C, H, W), fitted to `num_images`.

    Args:
        config: Family and network.
        shape: (C, H, W).
        num_images: Number of images in the pool.
        num_classes: Number of classes in the data; has no effect on an unconditional model.

    Raises:
        UsageError: The model is conditional and there are no classes.
    """
    if config.conditional and num_classes < 1:
        raise UsageError(
            f"num_classes must be at least 1, got {num_classes}; "
            "use data with classes or set model.conditional to False"
        )
    size = facts_of(config.family).size
    return size(config, shape, num_images, num_classes if config.conditional else 0)


def check_package(family: str) -> None:
    """Raise UsageError if a family's optional package is not installed."""
    package = facts_of(family).package
    if package and find_spec(package) is None:
        raise UsageError(
            f"model.family must not be {family} if the package {package} is missing, "
            f'got {family!r}; install it with pip install "collapse-sweep[{package}]"'
        )


def check_together(data: DataConfig, model: ModelConfig, train: TrainConfig) -> None:
    """Raise UsageError if settings of data, model and training cannot be combined."""
    facts = facts_of(model.family)
    check_conditional(model)
    check_exact_settings(model)
    halvings = len(model.widths) - 1
    if facts.iterative and data.image_size % 2**halvings:
        raise UsageError(
            f"data.image_size must be divisible by {2**halvings}, because model.widths halves it "
            f"{halvings} times, got {data.image_size}"
        )
    if facts.has_latent and model.latent_dim > data.image_size**2:
        raise UsageError(
            f"model.latent_dim must be at most the {data.image_size**2} pixels of an image, from "
            f"whose noise latents are taken, got {model.latent_dim}"
        )
    if train.initial_sha256 is not None and train.initial_checkpoint is None:
        raise UsageError("train.initial_sha256 must be None without train.initial_checkpoint")
    if train.initial_checkpoint is not None and not facts.iterative:
        raise UsageError(
            f"train.initial_checkpoint must be None with model.family={model.family}, which is no "
            f"network of ours, got {shown(train.initial_checkpoint)}"
        )
    if train.select == "best_kid" and data.validation_fraction == 0:
        raise UsageError(
            "data.validation_fraction must be above 0 with train.select=best_kid, which compares "
            f"epochs on validation images, got {data.validation_fraction}"
        )


def check_conditional(model: ModelConfig) -> None:
    """Raise UsageError if the model is conditional but its family cannot be."""
    if model.conditional and not facts_of(model.family).conditional:
        raise UsageError(
            f"model.family must be one of {', '.join(families_with('conditional'))} with "
            f"model.conditional, got {model.family!r}; set model.conditional to False"
        )
    if not model.conditional and not facts_of(model.family).unconditional:
        raise UsageError(
            f"model.conditional must be True with model.family={model.family}, which has a "
            "Gaussian for each class, got False"
        )


def check_exact_settings(model: ModelConfig) -> None:
    """Raise UsageError if a setting of the families with an exact score has no effect."""
    for name in ("process", "bandwidth"):
        value, default = getattr(model, name), frozen_defaults(ModelConfig)[name]
        if value != default and name not in facts_of(model.family).uses:
            using = [family for family, facts in FAMILY_FACTS.items() if name in facts.uses]
            raise UsageError(
                f"model.{name} must be {default} with model.family={model.family}, got "
                f"{shown(value)}; only {', '.join(using)} use it"
            )


def sampler_family(model: ModelConfig) -> str:
    """The family whose sampler a model has: its own, or model.process if its score is exact."""
    return model.process if facts_of(model.family).uses else model.family


def used_settings(model: ModelConfig) -> set[str] | None:
    """Names of the settings of `model` that can change its results; None if any could."""
    unused = () if model.process == "ddim" else ("max_signal_rate", "min_signal_rate")
    uses = facts_of(model.family).uses
    return set(uses).difference(unused) if uses else None


def check_arithmetic(train: TrainConfig, device: str) -> None:
    """Raise UsageError if precision or captured steps need a GPU, and the device is another."""
    if train.captured and device != "cuda":
        raise UsageError(
            f"train.captured must be False on device {device}, got True; only GPUs have CUDA graphs"
        )
    if train.precision == "tf32" and device != "cuda":
        raise UsageError(
            f"train.precision must be fp32 or bf16 on device {device}, got 'tf32', which only GPUs "
            "have"
        )


def check_sampler(model: ModelConfig, sample: SampleConfig) -> None:
    """Raise UsageError if the sampler does not support a setting, or guidance is not available."""
    for name, default in (("stochasticity", 0), ("multistep", 1), ("denoise_last", True)):
        value = getattr(sample, name)
        family = sampler_family(model)
        if value != default and not facts_of(family).ddim_sampler:
            setting = "family" if family == model.family else "process"
            raise UsageError(
                f"sample.{name} must be {default} with model.{setting}={family}, got {value}; "
                f"only {' and '.join(families_with('ddim_sampler'))} support it"
            )
    check_guidance(model, sample)


def check_guidance(model: ModelConfig, sample: SampleConfig) -> None:
    """Raise UsageError if the sampler is guided but the model does not support guidance."""
    if sample.guidance == 1:
        return
    if not facts_of(model.family).guided:
        rule = f"be 1 with model.family={model.family}"
        way_out = f"families with guidance: {', '.join(families_with('guided'))}"
    elif not model.conditional:
        rule, way_out = "be 1 with an unconditional model", "set model.conditional to True"
    elif model.label_dropout == 0 and facts_of(model.family).iterative:
        rule = "be 1 with model.label_dropout=0, which trains no unconditional model"
        way_out = "train with model.label_dropout above 0"
    else:
        return
    raise UsageError(f"sample.guidance must {rule}, got {sample.guidance}; {way_out}")


EXACT = ("family", "process", "normalization", "max_signal_rate", "min_signal_rate")
"""Settings that every family with an exact score uses."""

FAMILY_FACTS: dict[str, FamilyFacts] = {
    "ddim": FamilyFacts(size=unet_size, version=1, ddim_sampler=True),
    "flow": FamilyFacts(size=unet_size, version=1),
    "edm": FamilyFacts(size=unet_size, version=2),
    "vae": FamilyFacts(size=vae_size, version=1, guided=False, has_latent=True),
    "unet2d": FamilyFacts(size=unet2d_size, version=1, ddim_sampler=True, package="diffusers"),
    "gaussian": FamilyFacts(size=gaussian_size, version=1, iterative=False, guided=False),
    "exact-gaussian": FamilyFacts(
        size=exact_gaussian_size,
        version=1,
        iterative=False,
        conditional=False,
        guided=False,
        uses=EXACT,
    ),
    "exact-mixture": FamilyFacts(
        size=exact_gaussian_size,
        version=1,
        iterative=False,
        unconditional=False,
        uses=(*EXACT, "conditional"),
    ),
    "exact-empirical": FamilyFacts(
        size=exact_empirical_size,
        version=1,
        iterative=False,
        uses=(*EXACT, "conditional", "bandwidth"),
    ),
    "command": FamilyFacts(
        size=command_size,
        version=1,
        iterative=False,
        continues=True,
        conditional=False,
        guided=False,
    ),
}
