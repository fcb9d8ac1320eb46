"""Every setting of one model: its data, network, training, sampler and metrics.

The single definition of each field: type, default, help (the line under it), validation,
command-line flag, sweep axis and results column. Knows nothing of pools, lineages or files; imports
no torch.

A field's metadata may hold
    key_default  the frozen value at which the field is left out of a key (how the code behaved
                 before the field existed); never changed afterwards, and not the user's default;
    in_key       False for a field that cannot change a number (logging, memory).
"""

import math
from collections.abc import Collection
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from typing import Any, Literal

Split = Literal["stratified", "keras_80_20", "official_train", "official_trainval", "all"]
Resize = Literal["bilinear_aa_float", "bicubic_aa_float", "pil_bilinear_u8"]

CONDITIONAL_FAMILIES = ("ddim", "gaussian")
"""Families whose model can be told the class of an image."""
GUIDED_FAMILIES = ("ddim",)
"""Those of them that classifier-free guidance applies to."""


def check(holds: bool, field: str, rule: str, value: object, way_out: str = "") -> None:
    """Raise the one-line ValueError `<field> must <rule>, got <value>` unless `holds`."""
    if not holds:
        raise ValueError(f"{field} must {rule}, got {value!r}{'; ' + way_out if way_out else ''}")


def check_choice(field: str, value: object, choices: Collection[str]) -> None:
    """Raise ValueError, with a suggestion, unless `value` is one of the choices."""
    close = get_close_matches(str(value), choices, 1, 0.5)
    rule = f"be one of {', '.join(choices)}"
    check(value in choices, field, rule, value, f"did you mean {close[0]!r}?" if close else "")


def check_finite(field: str, value: float, minimum: float, *, above: bool = False) -> None:
    """Raise ValueError unless `value` is finite and at least (or above) `minimum`."""
    rule = f"be a finite number {'above' if above else 'of at least'} {minimum:g}"
    enough = value > minimum if above else value >= minimum
    check(math.isfinite(value) and enough, field, rule, value)


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """The real images: where they come from, and how they are split."""

    name: str = "digits"
    """Data set: digits, flower-crops, flowers102, folder or npz."""
    path: str | None = None
    """Folder or file of the data; flowers102: the one that holds flowers-102 (none: download)."""
    image_size: int = 8
    """Side of the square images in pixels; others are cropped to a centred square and resized."""
    split: Split = "stratified"
    """How the data become train pool and reference; the official ones exist for flowers102 only."""
    split_seed: int = 0
    """Seed of the split's permutation, apart from the lineage's seed."""
    reference_fraction: float = 0.2
    """Share of each class held out as reference (split=stratified)."""
    validation_fraction: float = 0.0
    """Share of each class of the train pool held out for train.select=best_kid."""
    train_limit: int | None = None
    """Keep only so many images of the train pool, stratified by class; none keeps all."""
    num_images: int | None = None
    """How many images a generated data set (flower-crops) has; none is 2000."""
    resize: Resize = "bilinear_aa_float"
    """How images are resized: antialiased bilinear or bicubic on floats, or Pillow's on 8 bits."""
    dtype: Literal["uint8", "float32"] = "uint8"
    """Pixels as 8-bit numbers, or as float32 (in [0, 1] for image files, unbounded for npz)."""

    def __post_init__(self) -> None:
        check(self.image_size >= 4, "data.image_size", "be at least 4", self.image_size)
        for name in ("reference_fraction", "validation_fraction"):
            value = getattr(self, name)
            check(0 <= value < 1, f"data.{name}", "be in [0, 1)", value)
        if self.train_limit is not None:
            check(self.train_limit >= 1, "data.train_limit", "be at least 1", self.train_limit)
        if self.num_images is not None:
            check(self.num_images >= 1, "data.num_images", "be at least 1", self.num_images)
        check(self.split_seed >= 0, "data.split_seed", "be at least 0", self.split_seed)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """The model family and, for ddim, its network and noise schedule."""

    family: str = "ddim"
    """Model family: ddim (the paper's network) or gaussian (mean and covariance, the null)."""
    widths: tuple[int, ...] = (32, 64, 96, 128)
    """Channels of each resolution of the U-Net, the last being the bottleneck."""
    block_depth: int = 2
    """Residual blocks per resolution."""
    init: Literal["keras_glorot", "torch"] = "keras_glorot"
    """Initial weights: Glorot uniform with zero biases, or torch's own."""
    bn_momentum: float = 0.01
    """Share of a new batch in BatchNorm's running statistics (Keras' momentum 0.99 is 0.01)."""
    bn_eps: float = 1e-3
    """BatchNorm's epsilon."""
    stem_width: int = 32
    """Channels of the first 1x1 convolution."""
    stem_skip: bool = False
    """Concatenate the stem's output before the head."""
    embedding_dim: int = 32
    """Channels of the sinusoidal embedding of the noise variance (half sines, half cosines)."""
    embedding_max_frequency: float = 1000.0
    """Highest of the embedding's log-spaced frequencies."""
    max_signal_rate: float = 0.95
    """Signal rate at diffusion time 0."""
    min_signal_rate: float = 0.02
    """Signal rate at diffusion time 1."""
    normalization: Literal["train_channel", "half"] = "train_channel"
    """Normalise by the pool's channel mean and deviation, or map [0, 1] to [-1, 1]."""
    conditional: bool = field(default=False, metadata={"key_default": False})
    """Train on the images' classes, so that images of a class can be asked for."""
    label_dropout: float = field(default=0.1, metadata={"key_default": 0.1})
    """Share of training labels replaced by "no class", which guidance needs (conditional ddim)."""

    def __post_init__(self) -> None:
        check(
            len(self.widths) >= 1 and min(self.widths) >= 1,
            "model.widths",
            "be one or more positive numbers",
            self.widths,
        )
        check(self.block_depth >= 1, "model.block_depth", "be at least 1", self.block_depth)
        check(0 < self.bn_momentum <= 1, "model.bn_momentum", "be in (0, 1]", self.bn_momentum)
        check_finite("model.bn_eps", self.bn_eps, 0, above=True)
        check(self.stem_width >= 1, "model.stem_width", "be at least 1", self.stem_width)
        check(
            self.embedding_dim >= 2 and self.embedding_dim % 2 == 0,
            "model.embedding_dim",
            "be an even number of at least 2",
            self.embedding_dim,
        )
        check_finite("model.embedding_max_frequency", self.embedding_max_frequency, 1)
        check(
            0 < self.min_signal_rate < self.max_signal_rate < 1,
            "model.min_signal_rate",
            f"be in (0, model.max_signal_rate={self.max_signal_rate})",
            self.min_signal_rate,
        )
        share = 0 <= self.label_dropout < 1
        check(share, "model.label_dropout", "be in [0, 1)", self.label_dropout)


def stored_model(config: ModelConfig) -> dict[str, Any]:
    """The settings as a checkpoint keeps them: without those at their frozen `key_default`.

    A checkpoint then has the bytes it had before a setting existed, where that is not used.
    """
    values = asdict(config)
    for f in fields(config):
        if "key_default" in f.metadata and values[f.name] == f.metadata["key_default"]:
            del values[f.name]
    return values


def restored_model(stored: dict[str, Any]) -> ModelConfig:
    """The settings that `stored_model` keeps; what is left out has its `key_default`."""
    known = fields(ModelConfig)
    values: dict[str, Any] = {
        f.name: f.metadata["key_default"] for f in known if "key_default" in f.metadata
    }
    values |= stored
    values["widths"] = tuple(values["widths"])
    return ModelConfig(**values)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """How a model is trained: its length, loss, optimiser and average."""

    epochs: int | None = 40
    """Passes over the repeated pool; set one of epochs, steps and images."""
    steps: int | None = None
    """Optimiser steps, whatever the pool's size."""
    images: int | None = None
    """Training images seen, whatever the pool's size."""
    repetitions: int = 1
    """How often an epoch repeats the pool."""
    scaling: Literal["epochs", "steps"] = "epochs"
    """What stays fixed as the pool grows: epochs (the paper), or the first generation's steps."""
    batch_size: int = 64
    """Images per step (BatchNorm couples them: another size is another model)."""
    drop_last: bool = True
    """Drop an epoch's last, smaller batch."""
    shuffle_window: int | None = None
    """Shuffle in a sliding window of so many images (tf.data); none shuffles the whole epoch."""
    hflip: bool = False
    """Mirror images at random."""
    loss: Literal["mae", "mse"] = "mae"
    """Loss on the predicted noise."""
    loss_reduction: Literal["mean", "spatial_sum"] = "mean"
    """Mean over all elements, or Keras' sum over images and pixels of the channel mean."""
    lr: float = 1e-3
    """AdamW's learning rate."""
    lr_schedule: Literal["constant", "cosine"] = "constant"
    """Keep the learning rate, or let it fall to zero over the training by a half cosine."""
    weight_decay: float = 1e-4
    """AdamW's weight decay."""
    decay_mode: Literal["lr_scaled", "unscaled"] = "lr_scaled"
    """Subtract lr * decay * weight each step (torch, Keras 3), or decay * weight (TF Addons)."""
    adam_beta1: float = 0.9
    """AdamW's decay of the first moment."""
    adam_beta2: float = 0.999
    """AdamW's decay of the second moment."""
    adam_eps: float = 1e-8
    """AdamW's epsilon; beside loss_reduction=spatial_sum it acts on the summed gradient."""
    adam_eps_form: Literal["torch", "hat"] = field(
        default="torch", metadata={"key_default": "torch"}
    )
    """Add epsilon to the bias-corrected root (torch), or to the uncorrected one (Keras)."""
    ema_decay: float = 0.999
    """Decay per step of the averaged weights, which are the ones that sample."""
    ema_init: Literal["warmup", "copy", "independent"] = "warmup"
    """Average from a copy with rising decay, from a copy, or from a second random init (Keras)."""
    ema_average_buffers: bool = True
    """Average BatchNorm's running statistics too (Keras), or take the last ones."""
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    """Arithmetic of the network; auto is bf16 on a GPU that has it, else fp32."""
    compile: bool = False
    """Compile the network with torch.compile (another kernel order: part of the key)."""
    select: Literal["last", "best_kid"] = "last"
    """Keep the last weights, or those of the epoch with the best KID on the validation split."""

    def __post_init__(self) -> None:
        lengths = {name: getattr(self, name) for name in ("epochs", "steps", "images")}
        given = {name: value for name, value in lengths.items() if value is not None}
        check(
            len(given) == 1,
            "train",
            "have exactly one of epochs, steps and images",
            given or None,
            "set the others to None",
        )
        for name, value in given.items():
            check(value >= 1, f"train.{name}", "be at least 1", value)
        for name in ("repetitions", "batch_size"):
            check(getattr(self, name) >= 1, f"train.{name}", "be at least 1", getattr(self, name))
        if self.shuffle_window is not None:
            check(
                self.shuffle_window >= 1,
                "train.shuffle_window",
                "be at least 1",
                self.shuffle_window,
            )
        check_finite("train.lr", self.lr, 0, above=True)
        check_finite("train.weight_decay", self.weight_decay, 0)
        for name in ("adam_beta1", "adam_beta2", "ema_decay"):
            value = getattr(self, name)
            check(0 <= value < 1, f"train.{name}", "be in [0, 1)", value)
        check_finite("train.adam_eps", self.adam_eps, 0, above=True)


def check_together(data: DataConfig, model: ModelConfig, train: TrainConfig) -> None:
    """Raise ValueError where settings of data, model and training do not fit each other."""
    check_conditional(model)
    halvings = len(model.widths) - 1
    if model.family == "ddim":
        check(
            data.image_size % 2**halvings == 0,
            "data.image_size",
            f"be divisible by {2**halvings}, as model.widths halves it {halvings} times",
            data.image_size,
        )
    if train.select == "best_kid":
        check(
            data.validation_fraction > 0,
            "data.validation_fraction",
            "be above 0 with train.select=best_kid, so that the reference selects nothing",
            data.validation_fraction,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleConfig:
    """The sampler of the images that enter the pool."""

    steps: int = 20
    """Network calls per image of the deterministic DDIM sampler."""
    clip: bool = False
    """Clip the image estimate to the valid pixel range at every step."""
    guidance: float = field(default=1.0, metadata={"key_default": 1.0})
    """Weight of a conditional model's class: 1 as trained, 0 none; another doubles the calls."""

    def __post_init__(self) -> None:
        check(self.steps >= 1, "sample.steps", "be at least 1", self.steps)
        check_finite("sample.guidance", self.guidance, 0)


def check_conditional(model: ModelConfig) -> None:
    """Raise ValueError where a family that cannot be told classes is asked to be."""
    check(
        not model.conditional or model.family in CONDITIONAL_FAMILIES,
        "model.family",
        f"be one of {', '.join(CONDITIONAL_FAMILIES)} with model.conditional",
        model.family,
        "set model.conditional to False",
    )


def check_guidance(model: ModelConfig, sample: SampleConfig) -> None:
    """Raise ValueError where the model is not one that guidance other than 1 applies to."""
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


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricsConfig:
    """What is measured of each generation against the reference."""

    names: tuple[str, ...] = ("kid", "fid")
    """Metrics: kid, fid, recall and others (docs/metrics.md lists them); empty for none."""
    extractor: str = "efficientnet-lite0"
    """Feature extractor: efficientnet-lite0, inception, dinov2, clip, pixels or random-conv."""
    weights: str | None = field(default=None, metadata={"in_key": False})
    """File or folder of the extractor's weights; none takes packaged, cached or downloaded ones."""
    resolution: int = 64
    """Side in pixels to which images are resized for efficientnet-lite0 and random-conv."""
    precision: Literal["fp32", "bf16"] = field(default="fp32", metadata={"key_default": "fp32"})
    """Arithmetic of the extractor; bf16 is part of the metric's name."""
    nearest_k: int = field(default=5, metadata={"key_default": 5})
    """Neighbours of precision, recall, density and coverage."""
    bootstrap: int = field(default=0, metadata={"key_default": 0})
    """Resamples of the images for standard errors (<metric>_se) within a run; 0 for none."""
    num_images: int | None = None
    """Generated images measured; none takes as many as the reference has."""
    sample_steps: int | None = None
    """Sampler steps of the measured images; none measures the images that enter the pool."""
    kid_subset_size: int | None = None
    """Images per KID subset (Keras: 64); none is one estimate on all images."""
    kid_num_subsets: int = 100
    """Subsets averaged (and their deviation reported) when kid_subset_size is set."""

    def __post_init__(self) -> None:
        check(self.resolution >= 32, "metrics.resolution", "be at least 32", self.resolution)
        for name in ("num_images", "kid_subset_size"):
            value = getattr(self, name)
            check(value is None or value >= 2, f"metrics.{name}", "be at least 2", value)
        if self.sample_steps is not None:
            check(
                self.sample_steps >= 1, "metrics.sample_steps", "be at least 1", self.sample_steps
            )
        check(self.nearest_k >= 1, "metrics.nearest_k", "be at least 1", self.nearest_k)
        few = self.bootstrap == 0 or self.bootstrap >= 10
        check(few, "metrics.bootstrap", "be 0 or at least 10", self.bootstrap)
        check(
            self.kid_num_subsets >= 2,
            "metrics.kid_num_subsets",
            "be at least 2",
            self.kid_num_subsets,
        )
