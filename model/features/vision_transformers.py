"""Vision transformers as feature extractors: DINOv2 and CLIP, through the package transformers.

Both are the small variants, so their numbers compare only with others of this project: papers use
larger ones (Stein et al., arXiv:2306.04675: DINOv2 ViT-L/14; Jayasumana et al., arXiv:2401.09603:
CLIP ViT-L/14 at 336 pixels). Nothing is downloaded. torch and transformers are imported inside the
functions.
"""

import importlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.errors import MissingFileError, UsageError, one_line

if TYPE_CHECKING:
    from torch import Tensor, nn

VIT_SIZE = 224
"""Side in pixels of the input of both networks."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Per channel, of ImageNet's training images in [0, 1], with which DINOv2 was trained."""
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Per channel, of CLIP's training images (Radford et al., arXiv:2103.00020, released code)."""
DINOV2_MODEL = "facebook/dinov2-small"
CLIP_MODEL = "openai/clip-vit-base-patch32"
PUBLISHED = {
    "dinov2": (DINOV2_MODEL, "Dinov2Model"),
    "clip": (CLIP_MODEL, "CLIPVisionModelWithProjection"),
}
"""Published model of each extractor, and its class in transformers."""


def standardise(images: "Tensor", mean: tuple[float, ...], *, std: tuple[float, ...]) -> "Tensor":
    """Subtract `mean` from each channel of (B, 3, H, W) images and divide by `std`."""
    shift = images.new_tensor(mean).view(1, 3, 1, 1)
    return (images - shift) / images.new_tensor(std).view(1, 3, 1, 1)


def load_dinov2(
    weights: str | None, sha256: str | None, device: str
) -> Callable[["Tensor"], "Tensor"]:
    """Load DINOv2 ViT-S/14 (Oquab et al., arXiv:2304.07193), up to its normalised class token.

    Args:
        weights: Folder of the model; None takes it from the Hugging Face cache.
        sha256: No effect: safetensors files hold only numbers, and the label has their digest.
        device: Where the network runs.

    Returns:
        A function of (B, 3, 224, 224) float32 standardised images to (B, 384) features.

    Raises:
        UsageError: transformers is not installed, or the folder's model is another or damaged.
        MissingFileError: The cache does not hold the model.
    """
    network = load_pretrained("dinov2", weights).to(device)
    return lambda images: network(pixel_values=images).last_hidden_state[:, 0]


def load_clip(
    weights: str | None, sha256: str | None, device: str
) -> Callable[["Tensor"], "Tensor"]:
    """Load CLIP ViT-B/32 (Radford et al., arXiv:2103.00020), up to its unnormalised embedding.

    Arguments and errors are those of load_dinov2.

    Returns:
        A function of (B, 3, 224, 224) float32 standardised images to (B, 512) features.
    """
    network: Any = load_pretrained("clip", weights)
    if network.config.image_size != VIT_SIZE:
        raise UsageError(
            f"metrics.weights must be a CLIP for images of {VIT_SIZE} pixels, got one for "
            f"{network.config.image_size}"
        )
    network = network.to(device)
    return lambda images: network(pixel_values=images).image_embeds


def load_pretrained(extractor: str, weights: str | None) -> "nn.Module":
    """Load a model of transformers from local files, in float32 and evaluation mode, on the CPU.

    Args:
        extractor: Its name in metrics.extractor.
        weights: Folder with config.json and model.safetensors; None looks in the Hugging Face
            cache for the published model, whose weights may be in torch's older format there.

    Raises:
        UsageError: transformers is not installed, or the model is another or damaged. Missing
            weights are an error too, because transformers would initialise them at random.
        MissingFileError: The cache does not hold the model.
    """
    import torch

    model, architecture = PUBLISHED[extractor]
    try:
        with warnings.catch_warnings():
            # Users cannot act on deprecations in the dependencies of transformers.
            warnings.simplefilter("ignore")
            transformers = importlib.import_module("transformers")
            from safetensors import SafetensorError
    except ImportError:
        raise UsageError(
            f"metrics.extractor {extractor} needs the package transformers; install "
            "collapse-sweep[vit]"
        ) from None
    source = model if weights is None else str(Path(weights).expanduser())
    try:
        # Some versions draw initial weights before they load the real ones.
        with torch.random.fork_rng(devices=[]):
            network, report = getattr(transformers, architecture).from_pretrained(
                source,
                local_files_only=True,
                use_safetensors=None if weights is None else True,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        if weights is None:
            raise MissingFileError(missing_model(extractor, model, architecture)) from None
        raise UsageError(
            f"metrics.weights must be a folder of a {architecture} for metrics.extractor "
            f"{extractor}, got {weights!r} ({one_line(error)}); "
            f"{save_command(model, architecture)} writes one"
        ) from None
    missing = sorted(report["missing_keys"])
    if missing:
        raise UsageError(
            f"metrics.weights must hold all weights of a {architecture} for metrics.extractor "
            f"{extractor}, got {source!r} without {len(missing)} of them ({missing[0]}, ...); "
            f"{save_command(model, architecture)} writes a complete one"
        )
    return network.to(torch.float32).eval().requires_grad_(False)


def missing_model(extractor: str, model: str, architecture: str) -> str:
    """The error if the cache does not hold a model; it names both ways out."""
    return (
        f"metrics.weights must be a folder of {model} if the Hugging Face cache does not hold "
        f"it, got None for metrics.extractor {extractor}; fill the cache on a connected machine "
        f"(hf download {model}), or pass --metrics.weights DIR with config.json and "
        f"model.safetensors ({save_command(model, architecture)} writes one)"
    )


def save_command(model: str, architecture: str) -> str:
    """The Python line that downloads a published model and saves it as a folder."""
    return f"transformers.{architecture}.from_pretrained('{model}').save_pretrained('DIR')"
