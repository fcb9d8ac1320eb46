"""classifier: features of a small network that was trained to tell the classes of a data set apart.

Networks trained on photographs see little of what differs between small grey images. This one sees
what tells their classes apart, and little else. benchmarks/classifier.py trains one and writes the
file for metrics.weights.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from model.errors import MissingFileError, UsageError, check_sha256, one_line

if TYPE_CHECKING:
    import torch
    from torch import Tensor

WIDTHS = (32, 64, 128)
"""Channels of the 3x3 convolutions. All but the first halve the image."""
NUM_FEATURES = WIDTHS[-1]
BATCH = 128
EVALUATED = 1000
"""Images per call in measure_accuracy."""


def tensor_shapes(channels: int, num_classes: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors in a file of weights."""
    shapes: dict[str, tuple[int, ...]] = {}
    for k, (c_in, c_out) in enumerate(pairwise((channels, *WIDTHS))):
        shapes |= {f"conv{k}.weight": (c_out, c_in, 3, 3), f"conv{k}.bias": (c_out,)}
    return shapes | {"head.weight": (num_classes, NUM_FEATURES), "head.bias": (num_classes,)}


def build_classifier(
    weights: str | None, sha256: str | None, device: str
) -> Callable[["Tensor"], "Tensor"]:
    """Load a classifier, up to the 128 numbers before its last layer.

    Args:
        weights: File of train_classifier's tensors (safetensors).
        sha256: Digest that the file must have.
        device: Where the network runs.

    Returns:
        A function of (B, C, H, W) float32 images in [0, 1] to (B, 128) features. It raises
        UsageError for another number of channels than the classifier was trained on.

    Raises:
        MissingFileError: The file cannot be read.
        UsageError: The file is not one of a classifier, or has another checksum.
    """
    assert weights is not None  # check_extractor asks for a file
    try:
        data = Path(weights).expanduser().read_bytes()
    except OSError as error:
        raise MissingFileError(
            f"metrics.weights must be a file that can be read, got {weights!r} ({one_line(error)})"
        ) from None
    check_sha256(data, sha256, name=weights, way_out="do not change it while it is in use")
    tensors = {name: tensor.to(device) for name, tensor in read_tensors(data, weights).items()}
    channels = tensors["conv0.weight"].shape[1]

    def extract(images: "Tensor") -> "Tensor":
        if images.shape[1] != channels:
            raise UsageError(
                f"metrics.weights must be a classifier of images with {images.shape[1]} channels, "
                f"got one for {channels} ({weights})"
            )
        return features_of(tensors, images)

    return extract


def read_tensors(data: bytes, name: str) -> dict[str, "Tensor"]:
    """The tensors in a file's bytes; raises UsageError unless they are those of a classifier."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(data)
        first, last = tensors["conv0.weight"].shape, tensors["head.bias"].shape
        expected = tensor_shapes(first[1], last[0])
    except (SafetensorError, KeyError, IndexError) as error:
        raise UsageError(
            f"metrics.weights must be a classifier of benchmarks/classifier.py, got {name!r} "
            f"({one_line(error)})"
        ) from None
    found = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    if found != expected:
        wrong = sorted(k for k in found | expected if found.get(k) != expected.get(k))
        raise UsageError(
            f"metrics.weights must be a classifier of benchmarks/classifier.py, got {name!r}, "
            f"whose {wrong[0]} is {found.get(wrong[0])} (expected {expected.get(wrong[0])})"
        )
    return {key: tensor.float() for key, tensor in tensors.items()}


def features_of(tensors: Mapping[str, "Tensor"], images: "Tensor") -> "Tensor":
    """Map (B, C, H, W) float32 images in [0, 1] to (B, 128) features, averaged over space."""
    import torch.nn.functional as F

    x = 2 * images - 1
    for k in range(len(WIDTHS)):
        weight, bias = tensors[f"conv{k}.weight"], tensors[f"conv{k}.bias"]
        x = F.relu(F.conv2d(x, weight, bias, stride=1 if k == 0 else 2, padding=1))
    return x.mean(dim=(2, 3))


def logits_of(tensors: Mapping[str, "Tensor"], images: "Tensor") -> "Tensor":
    """Map (B, C, H, W) float32 images in [0, 1] to (B, classes) logits."""
    return features_of(tensors, images) @ tensors["head.weight"].T + tensors["head.bias"]


def train_classifier(
    images: np.ndarray,
    labels: np.ndarray,
    *,
    num_classes: int,
    epochs: int,
    seed: int = 0,
    lr: float = 2e-3,
) -> dict[str, "Tensor"]:
    """Train a classifier with Adam and cross-entropy; the rate falls to zero along a half cosine.

    Args:
        images: (N, C, H, W) uint8, or float32 in [0, 1].
        labels: (N,) class of each image.
        num_classes: Number of classes.
        epochs: Passes over the images, in a new random order each.
        seed: Seed of the initial weights and of the orders.
        lr: First learning rate.

    Returns:
        Tensors by name, to be saved with safetensors.
    """
    import torch
    import torch.nn.functional as F

    from model.images import to_unit

    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in tensor_shapes(images.shape[1], num_classes).items():
        fan_in = int(np.prod(shape[1:]))
        scale = 0.0 if name.endswith("bias") else (2 / fan_in) ** 0.5
        tensors[name] = (scale * torch.randn(shape, generator=generator)).requires_grad_()
    optimizer = torch.optim.Adam(tensors.values(), lr=lr)
    total = epochs * -(-len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
    for rows in shuffled_batches(len(images), epochs, generator):
        logits = logits_of(tensors, to_unit(torch.from_numpy(images[rows])))
        loss = F.cross_entropy(logits, torch.from_numpy(labels[rows]).long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return {name: tensor.detach() for name, tensor in tensors.items()}


def shuffled_batches(count: int, epochs: int, generator: "torch.Generator") -> Iterator[np.ndarray]:
    """Yield the rows of each batch of each epoch."""
    import torch

    for _ in range(epochs):
        order = torch.randperm(count, generator=generator).numpy()
        yield from (order[k : k + BATCH] for k in range(0, count, BATCH))


def measure_accuracy(
    tensors: Mapping[str, "Tensor"], images: np.ndarray, labels: np.ndarray
) -> float:
    """Share of (N, C, H, W) images whose class is the most probable one."""
    import torch

    from model.images import to_unit

    with torch.inference_mode():
        found = [
            logits_of(tensors, to_unit(torch.from_numpy(images[k : k + EVALUATED]))).argmax(dim=1)
            for k in range(0, len(images), EVALUATED)
        ]
    return float(np.mean(torch.cat(found).numpy() == labels))
