"""Drawing images from a trained network, always in one fixed batch shape."""

import math
from contextlib import suppress

import numpy as np
import torch
from torch import nn

from model.blocks import SAMPLE_BATCH
from model.checkpoint import Checkpoint
from model.config import SampleConfig, restored_model
from model.errors import UsageError
from model.family_facts import model_size
from model.images import from_unit
from model.job import Diverged
from model.networks.arithmetic import float32_products
from model.networks.conditioning import guide, padded_labels, sampling_labels
from model.networks.objective import Call, Objective, Sampler, make_call
from model.networks.unet import load_weights, to_device


def noise_shape(checkpoint: Checkpoint, config: SampleConfig) -> tuple[int, ...]:
    """Shape of one image's noise: (C, H, W), or (steps, C, H, W) for a stochastic sampler.

    Both start with the same (C, H, W) numbers.
    """
    return checkpoint.shape if config.stochasticity == 0 else (config.steps, *checkpoint.shape)


def check_network(checkpoint: Checkpoint) -> None:
    """Raise UsageError unless the tensors are those of a network with the checkpoint's settings.

    The number of weights is compared here, before a network of that size is built; their names and
    shapes, when they are loaded into it.
    """
    averaged = {name: tuple(t.shape) for name, t in checkpoint.part("ema.").items()}
    statistics = ("mean", "std")
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(statistics, checkpoint.shape[:1])
    for part in ("ema", "raw"):
        shapes |= {f"{part}.{name}": shape for name, shape in averaged.items()}
    checkpoint.check_tensors(shapes, torch.float32)
    model = restored_model(checkpoint.settings["model"])
    expected, found = math.inf, sum(map(math.prod, averaged.values()))
    with suppress(OverflowError):  # a size beyond all numbers
        if model.block_depth * len(model.widths) <= len(averaged):  # a block has several tensors
            num_classes = checkpoint.settings.get("num_classes", 0)
            size = model_size(model, checkpoint.shape, 0, num_classes)
            expected = size.num_parameters + size.num_buffers
    if found != expected:
        raise UsageError(f"the model must have the weights of its settings, got {found:,} numbers")


def load_net(objective: Objective, checkpoint: Checkpoint, *, device: str = "cpu") -> nn.Module:
    """Load a checkpoint's network in evaluation mode, with averaged weights."""
    config = restored_model(checkpoint.settings["model"])
    num_classes = checkpoint.settings["num_classes"] if config.conditional else 0
    net = objective.new_network(checkpoint.shape, config, None, num_classes)
    load_weights(net, checkpoint.part("ema."), source=checkpoint.source)
    return to_device(net, device).eval().requires_grad_(False)


def sample_network(
    objective: Objective,
    checkpoint: Checkpoint,
    noise: np.ndarray,
    config: SampleConfig,
    *,
    labels: np.ndarray | None = None,
    device: str = "cpu",
) -> np.ndarray:
    """Turn noise into images with the family's sampler and the averaged weights.

    Args:
        objective: The checkpoint's family.
        checkpoint: A trained network.
        noise: (N, *noise_shape(...)) float32 standard normal.
        config: Sampler settings.
        labels: (N,) int64 classes for a conditional model; None for an unconditional one.
        device: Where the network runs.

    Returns:
        (N, C, H, W) images of the training images' type, uint8 or float32.

    Raises:
        UsageError: Labels or guidance do not fit the checkpoint.
        Diverged: An image is not finite.
    """
    classes = sampling_labels(checkpoint, labels, len(noise), config)
    net = load_net(objective, checkpoint, device=device).get_submodule(objective.sampling_part)
    network = make_call(net, bf16=checkpoint.settings["precision"] == "bf16")
    return sample_batches(
        objective.sample, network, checkpoint, noise, config, classes=classes, device=device
    )


def sample_batches(
    sample: Sampler,
    network: Call,
    checkpoint: Checkpoint,
    noise: np.ndarray,
    config: SampleConfig,
    *,
    classes: np.ndarray | None,
    device: str,
) -> np.ndarray:
    """Turn noise into images, in batches of SAMPLE_BATCH, as `sample_network` does.

    Args:
        sample: The sampler.
        network: What predicts for the sampler; with classes, its last input is labels.
        checkpoint: Its `mean` and `std` are the normalisation, in whose dtype the sampler runs.
        noise: (N, *noise_shape(...)) float32 standard normal.
        config: Sampler settings.
        classes: (N,) int64 classes for a conditional model.
        device: Where the sampler runs.
    """
    settings = checkpoint.settings
    model = restored_model(settings["model"])
    mean = checkpoint.tensors["mean"].view(1, -1, 1, 1).to(device)
    std = checkpoint.tensors["std"].view(1, -1, 1, 1).to(device)
    bounds = ((0 - mean) / std, (1 - mean) / std) if config.clip and settings["bounded"] else None

    batches = []
    with torch.inference_mode(), float32_products(settings["precision"]):
        for start in range(0, len(noise), SAMPLE_BATCH):
            batch = torch.from_numpy(noise[start : start + SAMPLE_BATCH])
            count = len(batch)
            padding = torch.zeros(SAMPLE_BATCH - count, *batch.shape[1:])
            batch = torch.cat([batch, padding]).to(device, mean.dtype)
            call = network
            if classes is not None:
                no_class = settings["num_classes"]
                padded = padded_labels(classes[start : start + SAMPLE_BATCH]).to(device)
                call = guide(network, padded, guidance=config.guidance, no_class=no_class)
            images = sample(call, batch, model=model, config=config, bounds=bounds)
            images = (images[:count] * std + mean).float()
            if not images.isfinite().all():  # conversion to 8 bits would hide it
                raise Diverged("samples are not finite")
            images = from_unit(images, settings["dtype"], bounded=settings["bounded"])
            batches.append(images.contiguous().cpu().numpy())
    return np.concatenate(batches)
