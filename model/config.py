"""Every setting of one model: its data, network, training, sampler and metrics.

Each field is defined only here. Its type, default, help (the line under it), validation,
command-line flag, sweep axis and results column all come from this definition. Imports no torch.

A field's metadata may contain
    key_default  the value at which the field is left out of a key, which is how the code behaved
                 before the field existed; it never changes and may differ from the default;
    in_key       False for a field that cannot change a number (logging, memory);
    most         the largest number that any machine could use, if that is below MOST.
"""

import functools
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from model.errors import (
    UsageError,
    check_at_least,
    check_fields,
    check_finite,
    check_one_given,
    shown,
)

Split = Literal["stratified", "keras_80_20", "official_train", "official_trainval", "all"]
Resize = Literal["bilinear_aa_float", "bicubic_aa_float", "pil_bilinear_u8"]
ImagesOn = Literal["auto", "device", "host"]
Process = Literal["ddim", "flow", "edm"]
Start = Literal["scratch", "continue"]
Entering = Literal["entering", "separate"]

LARGEST_SEED = 2**63 - 1
SEED, SIDE = {"most": LARGEST_SEED}, {"most": 4096}
OFFLINE = "efficientnet-lite0"
MOST_WIDTHS = 13  # halve the largest image to one pixel
CHANNELS, IMAGES, REPEATS = ({"most": most} for most in (2**16, 10**7, 10**6))
UNKEYED = {"key_default": None, "in_key": False}


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """The real images: where they come from, and how they are split."""

    name: str = "digits"
    """Data set: digits, flower-crops, flowers102, cifar10, folder, npz, ... (see docs/guide.md)."""
    path: str | None = None
    """Folder or file of the data, or owner/name for huggingface; none downloads a known set."""
    image_size: int = field(default=8, metadata=SIDE)
    """Side in pixels; images are cropped to a centred square and resized to this size."""
    split: Split = "stratified"
    """How to split data into train pool and reference; official splits need data that have them."""
    split_seed: int = field(default=0, metadata=SEED)
    """Seed of the split's permutation; independent of the lineage's seed."""
    reference_fraction: float = 0.2
    """Fraction of each class held out as reference (split=stratified)."""
    validation_fraction: float = 0.0
    """Fraction of each class of the train pool held out for train.select=best_kid."""
    train_limit: int | None = None
    """Keep only this many images of the train pool, stratified by class; none keeps all."""
    num_images: int | None = field(default=None, metadata=IMAGES)
    """Number of images of a generated data set (flower-crops, synthetic); none means 2000."""
    resize: Resize = "bilinear_aa_float"
    """Resizing method: antialiased bilinear or bicubic on floats, or Pillow's on 8 bits."""
    dtype: Literal["uint8", "float32"] = "uint8"
    """Pixels as 8-bit integers, or as float32 (in [0, 1] for image files, unbounded for npz)."""
    attribute: str | None = field(default=None, metadata={"key_default": None})
    """Attribute of celeba that defines its two classes, such as Smiling; none for no classes."""
    image_column: str | None = field(default=None, metadata={"key_default": None})
    """Column of images (huggingface, parquet); may be none if the data set has only one."""
    label_column: str | None = field(default=None, metadata={"key_default": None})
    """Column of classes (huggingface, parquet); none uses the only one of that type, if any."""
    float_range: Literal["any", "unit"] = field(default="any", metadata={"key_default": "any"})
    """Range of the float images of npz: any, or unit for [0, 1], to which samples are clipped."""
    spectrum: float | None = field(default=None, metadata={"key_default": None, "most": 1000})
    """Synthetic: the k-th principal variance is k^-spectrum of the first; none means 1."""
    num_classes: int | None = field(default=None, metadata={"key_default": None, "most": 1000})
    """Synthetic: number of classes, each a Gaussian; none means one Gaussian without classes."""
    separation: float | None = field(default=None, metadata={"key_default": None, "most": 10**6})
    """Synthetic: deviation of the classes' means over that within a class; none means 1."""

    def __post_init__(self) -> None:
        check_at_least("data.image_size", self.image_size, 4)
        for name in ("reference_fraction", "validation_fraction"):
            share = getattr(self, name)
            if not 0 <= share < 1:
                raise UsageError(f"data.{name} must be in [0, 1), got {share}")
        for name in ("train_limit", "num_images", "num_classes"):
            check_at_least(f"data.{name}", getattr(self, name), 1)
        check_finite("data.spectrum", self.spectrum, 0)
        check_finite("data.separation", self.separation, 0)
        check_at_least("data.split_seed", self.split_seed, 0)
        check_fields("data.", self)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """The model family, its network and noise schedule."""

    family: str = "ddim"
    """Model family: ddim (the paper's), flow, edm, vae, unet2d, gaussian, exact-..., command."""
    widths: tuple[int, ...] = field(default=(32, 64, 96, 128), metadata=CHANNELS)
    """Channels at each resolution of the U-Net; the last is the bottleneck."""
    block_depth: int = field(default=2, metadata={"most": 1000})
    """Residual blocks per resolution."""
    init: Literal["keras_glorot", "torch"] = "keras_glorot"
    """Initial weights: Glorot uniform with zero biases, or torch's default."""
    bn_momentum: float = 0.01
    """Weight of a new batch in BatchNorm's running statistics (Keras' momentum 0.99 is 0.01)."""
    bn_eps: float = 1e-3
    """BatchNorm's epsilon."""
    stem_width: int = field(default=32, metadata=CHANNELS)
    """Channels of the first 1x1 convolution (unused by unet2d)."""
    stem_skip: bool = False
    """Concatenate the stem's output before the head (unused by vae and unet2d)."""
    embedding_dim: int = field(default=32, metadata=CHANNELS)
    """Channels of the embeddings of class and noise variance (vae: class only; unet2d: unused)."""
    embedding_max_frequency: float = 1000.0
    """Highest of the log-spaced frequencies in the embedding of the noise variance."""
    max_signal_rate: float = 0.95
    """Signal rate at diffusion time 0 (families ddim and unet2d, and model.process=ddim)."""
    min_signal_rate: float = 0.02
    """Signal rate at diffusion time 1 (families ddim and unet2d, and model.process=ddim)."""
    normalization: Literal["train_channel", "first_pool", "half"] = "train_channel"
    """Normalise by channel statistics of the pool or the first pool, or map [0, 1] to [-1, 1]."""
    conditional: bool = field(default=False, metadata={"key_default": False})
    """Condition the model on the images' classes, so that it can draw images of a given class."""
    label_dropout: float = field(default=0.1, metadata={"key_default": 0.1})
    """Fraction of training labels replaced by "no class"; guidance needs more than 0."""
    latent_dim: int = field(default=16, metadata={"key_default": 16} | CHANNELS)
    """Dimension of the latent space (family vae)."""
    likelihood_scale: float | None = field(default=None, metadata={"key_default": None})
    """Scale of a normalised pixel's likelihood (family vae); none learns one scale for all."""
    process: Process = field(default="ddim", metadata={"key_default": "ddim"})
    """Family whose sampler and noise schedule the families with an exact score use."""
    bandwidth: float = field(default=0.0, metadata={"key_default": 0.0})
    """Deviation of exact-empirical's kernels in normalised units; 0 draws the training images."""
    program: tuple[str, ...] = field(default=(), metadata={"key_default": (), "in_key": False})
    """Files and folders of the programs of family command (docs/command.md); keys have a hash."""

    def __post_init__(self) -> None:
        if not self.widths or min(self.widths) < 1:
            raise UsageError(
                f"model.widths must be one or more positive numbers, got {shown(self.widths)}"
            )
        if len(self.widths) > MOST_WIDTHS:
            raise UsageError(
                f"model.widths must be at most {MOST_WIDTHS} numbers, as each halves the image, "
                f"got {len(self.widths):,}"
            )
        check_at_least("model.block_depth", self.block_depth, 1)
        if not 0 < self.bn_momentum <= 1:
            raise UsageError(f"model.bn_momentum must be in (0, 1], got {self.bn_momentum}")
        check_finite("model.bn_eps", self.bn_eps, 0, above=True)
        check_at_least("model.stem_width", self.stem_width, 1)
        if (dim := self.embedding_dim) < 2 or dim % 2:
            raise UsageError(f"model.embedding_dim must be an even number of at least 2, got {dim}")
        check_finite("model.embedding_max_frequency", self.embedding_max_frequency, 1)
        if not 0 < self.min_signal_rate < self.max_signal_rate < 1:
            raise UsageError(
                f"model.min_signal_rate must be in (0, model.max_signal_rate="
                f"{self.max_signal_rate}), got {self.min_signal_rate}"
            )
        if not 0 <= self.label_dropout < 1:
            raise UsageError(f"model.label_dropout must be in [0, 1), got {self.label_dropout}")
        check_at_least("model.latent_dim", self.latent_dim, 1)
        check_finite("model.likelihood_scale", self.likelihood_scale, 0, above=True)
        check_finite("model.bandwidth", self.bandwidth, 0)
        check_fields("model.", self)


@functools.cache
def frozen_defaults(kind: Any) -> dict[str, Any]:
    """The `key_default` of each setting of a dataclass that has one."""
    known = fields(kind)
    return {f.name: f.metadata["key_default"] for f in known if "key_default" in f.metadata}


def stored_settings(config: Any) -> dict[str, Any]:
    """The settings of a dataclass, without those at their `key_default`.

    A key or checkpoint that does not use a new setting thus has the same bytes as before it
    existed.
    """
    values = ((f.name, getattr(config, f.name)) for f in fields(config))
    frozen = frozen_defaults(type(config))
    return {name: v for name, v in values if name not in frozen or frozen[name] != v}


def restored_model(stored: dict[str, Any]) -> ModelConfig:
    """The inverse of `stored_settings`: a setting that was left out has its `key_default`."""
    values = frozen_defaults(ModelConfig) | stored
    values["widths"] = tuple(values["widths"])
    return ModelConfig(**values)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """How a model is trained: length, loss, optimiser and average of the weights."""

    epochs: int | None = 40
    """Passes over the repeated pool; set exactly one of epochs, steps and images."""
    steps: int | None = None
    """Optimiser steps, independent of the pool's size."""
    images: int | None = None
    """Training images seen, independent of the pool's size."""
    repetitions: int = field(default=1, metadata=REPEATS)
    """How many times an epoch repeats the pool."""
    scaling: Literal["epochs", "steps", "images"] = "epochs"
    """What stays fixed as the pool grows: epochs (the paper), or V_1's steps or images seen."""
    start: Start = field(default="scratch", metadata={"key_default": "scratch"})
    """Train every model from scratch (the paper), or continue from the previous model."""
    initial_checkpoint: str | None = field(default=None, metadata=UNKEYED)
    """Start from these weights instead: a file of ours, or a UNet2DModel folder for unet2d."""
    initial_sha256: str | None = field(default=None, metadata={"key_default": None})
    """SHA-256 of the initial weights; it is filled in, or checked if you set it."""
    batch_size: int = field(default=64, metadata=REPEATS)
    """Images per step; BatchNorm couples them, so another size gives another model."""
    drop_last: bool = True
    """Drop the last batch of an epoch if it is smaller than the others."""
    shuffle_window: int | None = None
    """Shuffle in a sliding window of this many images (tf.data); none shuffles the whole epoch."""
    hflip: bool = False
    """Flip images horizontally at random."""
    loss: Literal["mae", "mse"] = "mae"
    """Loss of the network's prediction; for vae, a Laplace (mae) or Gaussian (mse) likelihood."""
    loss_reduction: Literal["mean", "spatial_sum"] = "mean"
    """Mean over all elements, or Keras' sum over images and pixels of the channel mean."""
    lr: float = 1e-3
    """AdamW's learning rate."""
    lr_schedule: Literal["constant", "cosine"] = "constant"
    """Keep the learning rate constant, or decrease it to zero along a half cosine."""
    weight_decay: float = 1e-4
    """AdamW's weight decay."""
    decay_mode: Literal["lr_scaled", "unscaled"] = "lr_scaled"
    """Subtract lr * decay * weight each step (torch, Keras 3), or decay * weight (TF Addons)."""
    adam_beta1: float = 0.9
    """AdamW's decay of the first moment."""
    adam_beta2: float = 0.999
    """AdamW's decay of the second moment."""
    adam_eps: float = 1e-8
    """AdamW's epsilon; with loss_reduction=spatial_sum it acts on the summed gradient."""
    adam_eps_form: Literal["torch", "hat"] = field(
        default="torch", metadata={"key_default": "torch"}
    )
    """Add epsilon to the bias-corrected root (torch), or to the uncorrected one (Keras)."""
    ema_decay: float = 0.999
    """Decay per step of the averaged weights; images are drawn with these weights."""
    ema_init: Literal["warmup", "copy", "independent"] = "warmup"
    """Start the average as a copy with rising decay, a copy, or a second random init (Keras)."""
    ema_average_buffers: bool = True
    """Average BatchNorm's running statistics too (Keras), or use the latest ones."""
    precision: Literal["auto", "fp32", "tf32", "bf16"] = "fp32"
    """Precision of the network (tf32: GPUs only); auto is bf16 on a GPU that has it, else fp32."""
    compile: bool = False
    """Compile the network with torch.compile; this changes rounding, so it is part of the key."""
    captured: bool = field(default=False, metadata={"key_default": False})
    """Repeat each step as one CUDA graph (GPUs only); rounds otherwise than steps without it."""
    select: Literal["last", "best_kid"] = "last"
    """Keep the last weights, or those of the epoch with the best KID on the validation split."""
    command: str | None = field(default=None, metadata={"key_default": None})
    """Command line that trains a model (family command, docs/command.md)."""
    command_seconds: float | None = field(default=None, metadata=UNKEYED)
    """Time limit of this command; none for no limit."""
    command_resumes: bool = field(default=False, metadata=UNKEYED | {"key_default": False})
    """Keep what an interrupted command has written into {out}, because the program goes on."""

    def __post_init__(self) -> None:
        check_one_given("train", {x: getattr(self, x) for x in ("epochs", "steps", "images")})
        for name in ("epochs", "steps", "images", "repetitions", "batch_size", "shuffle_window"):
            check_at_least(f"train.{name}", getattr(self, name), 1)
        for name in ("lr", "adam_eps", "command_seconds"):
            check_finite(f"train.{name}", getattr(self, name), 0, above=True)
        check_finite("train.weight_decay", self.weight_decay, 0)
        for name in ("adam_beta1", "adam_beta2", "ema_decay"):
            decay = getattr(self, name)
            if not 0 <= decay < 1:
                raise UsageError(f"train.{name} must be in [0, 1), got {decay}")
        check_fields("train.", self)


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleConfig:
    """The sampler of the images that enter the pool."""

    steps: int = field(default=20, metadata=REPEATS)
    """Sampler steps = network calls per image (edm: 2 steps - 1; unused by vae and gaussian)."""
    clip: bool = False
    """Clip image estimates to the valid pixel range at each step (unused by vae and gaussian)."""
    stochasticity: float = field(default=0.0, metadata={"key_default": 0.0})
    """DDIM's eta, the fresh noise per step: 0 is deterministic (the Keras example), 1 ancestral."""
    multistep: int = field(default=1, metadata={"key_default": 1})
    """Number of predictions that a step uses: 1, or 2 to extrapolate (Adams-Bashforth)."""
    denoise_last: bool = field(default=True, metadata={"key_default": True})
    """DDIM: return the last image estimate (the Keras example), not the noisy image at time 0."""
    guidance: float = field(default=1.0, metadata={"key_default": 1.0})
    """Guidance weight: 1 is the conditional model, 0 the unconditional; others double the calls."""
    command: str | None = field(default=None, metadata={"key_default": None})
    """Command line that draws images (family command); none if train.command also draws them."""
    command_seconds: float | None = field(default=None, metadata=UNKEYED)
    """Time limit of this command; none for no limit."""

    def __post_init__(self) -> None:
        check_at_least("sample.steps", self.steps, 1)
        if not 0 <= self.stochasticity <= 1:
            raise UsageError(f"sample.stochasticity must be in [0, 1], got {self.stochasticity}")
        if self.multistep not in (1, 2):
            raise UsageError(f"sample.multistep must be 1 or 2, got {self.multistep}")
        check_finite("sample.guidance", self.guidance, 0)
        check_finite("sample.command_seconds", self.command_seconds, 0, above=True)
        check_fields("sample.", self)


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricsConfig:
    """How each generation is compared with the reference."""

    names: tuple[str, ...] = ("kid", "fid")
    """Metrics: kid, fid, recall and others (docs/metrics.md lists them); empty for none."""
    extractor: str = "efficientnet-lite0"
    """Extractor: efficientnet-lite0, inception, dinov2, clip, classifier, pixels or random-conv."""
    weights: str | None = field(default=None, metadata={"in_key": False})
    """File or folder of the extractor's weights; none uses packaged, cached or downloaded ones."""
    resolution: int = field(default=64, metadata=SIDE)
    """Side in pixels to which images are resized for efficientnet-lite0 and random-conv."""
    precision: Literal["fp32", "bf16"] = field(default="fp32", metadata={"key_default": "fp32"})
    """Precision of the extractor; bf16 becomes part of the metric's name."""
    nearest_k: int = field(default=5, metadata={"key_default": 5} | REPEATS)
    """Number of nearest neighbours in precision, recall, density and coverage."""
    bootstrap: int = field(default=0, metadata={"key_default": 0} | REPEATS)
    """Earlier standard errors, wrong for most metrics (docs/metrics.md); use error_subsets."""
    error_subsets: int = field(default=0, metadata={"key_default": 0} | REPEATS)
    """Random subsets of the images for standard errors (<metric>_se) in a run; 0 for none."""
    num_images: int | None = field(default=None, metadata=IMAGES)
    """Number of generated images to measure; none means as many as the reference has."""
    sample_steps: int | None = field(default=None, metadata=REPEATS)
    """Sampler steps for the measured images; none uses those of the images that enter the pool."""
    images: Entering = field(default="entering", metadata={"key_default": "entering"})
    """Measure the first images that enter the pool, or separate ones (about twice the sampling)."""
    kid_subset_size: int | None = field(default=None, metadata=IMAGES)
    """Images per KID subset (Keras: 64); none means one estimate from all images."""
    kid_num_subsets: int = field(default=100, metadata=REPEATS)
    """Number of KID subsets if kid_subset_size is set; their mean and deviation are reported."""

    def __post_init__(self) -> None:
        check_at_least("metrics.resolution", self.resolution, 32)
        for name in ("num_images", "kid_subset_size", "kid_num_subsets"):
            check_at_least(f"metrics.{name}", getattr(self, name), 2)
        check_at_least("metrics.sample_steps", self.sample_steps, 1)
        check_at_least("metrics.nearest_k", self.nearest_k, 1)
        for name in ("bootstrap", "error_subsets"):
            if 0 < (count := getattr(self, name)) < 10:
                raise UsageError(f"metrics.{name} must be 0 or at least 10, got {count}")
        if self.bootstrap and self.error_subsets:
            raise UsageError(
                f"metrics.bootstrap must be 0 with metrics.error_subsets={self.error_subsets}, got "
                f"{self.bootstrap}; both give standard errors of the same names"
            )
        check_fields("metrics.", self)


@dataclass(frozen=True, kw_only=True, slots=True)
class FilterConfig:
    """Which of a model's images may enter the pool."""

    name: str = field(default="none", metadata={"key_default": "none"})
    """Filter of new images: none, random, typicality, reward, ... (pool.rule=select: of all)."""
    candidates: float = field(default=1.0, metadata={"key_default": 1.0} | REPEATS)
    """Images generated per image kept; 1 with filter none, and with pool.rule=select."""
    extractor: str = field(default=OFFLINE, metadata={"key_default": OFFLINE})
    """Feature extractor of the filter; the choices are those of metrics.extractor."""
    weights: str | None = field(default=None, metadata={"key_default": None, "in_key": False})
    """File or folder of the extractor's weights; none uses packaged, cached or downloaded ones."""
    resolution: int = field(default=64, metadata={"key_default": 64} | SIDE)
    """Side in pixels to which images are resized for efficientnet-lite0 and random-conv."""
    precision: Literal["fp32", "bf16"] = field(default="fp32", metadata={"key_default": "fp32"})
    """Precision of the extractor."""
    nearest_k: int = field(default=5, metadata={"key_default": 5} | REPEATS)
    """Typicality: k, for the distance to the k-th nearest real image."""
    threshold: float | None = field(default=None, metadata={"key_default": None})
    """Threshold-decay: first distance; near-duplicates: distance per typical distance of data."""
    decay: float = field(default=0.95, metadata={"key_default": 0.95})
    """Threshold-decay: factor by which the distance shrinks from one pass to the next."""
    choices: int = field(default=4, metadata={"key_default": 4} | REPEATS)
    """Reward: number of images from which one is chosen."""
    temperature: float = field(default=0.2, metadata={"key_default": 0.2})
    """Reward: choose with odds exp(reward / temperature); near 0, the best image wins."""
    reward_class: str | None = field(default=None, metadata={"key_default": None})
    """Reward: class whose probability is the reward; none: the requested or likeliest class."""

    def __post_init__(self) -> None:
        check_finite("filter.candidates", self.candidates, 1)
        check_at_least("filter.resolution", self.resolution, 32)
        check_at_least("filter.nearest_k", self.nearest_k, 1)
        check_finite("filter.threshold", self.threshold, 0, above=True)
        if not 0 < self.decay < 1:
            raise UsageError(f"filter.decay must be in (0, 1), got {self.decay}")
        check_at_least("filter.choices", self.choices, 2)
        check_finite("filter.temperature", self.temperature, 0, above=True)
        check_fields("filter.", self)
