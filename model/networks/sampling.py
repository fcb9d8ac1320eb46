"""Drawing images from a trained network, always in one fixed batch shape.

Must not know pools, streams' files or how a network is trained.
"""

import numpy as np
import torch
from torch import nn

from model.checkpoint import Checkpoint
from model.config import SampleConfig, restored_model
from model.images import from_unit
from model.networks.conditioning import asked_labels, guide, padded_labels
from model.networks.objective import OBJECTIVES, make_call
from model.networks.size import SAMPLE_BATCH
from model.networks.unet import load_weights, place
from model.training.trainer import Diverged


def noise_shape(checkpoint: Checkpoint, config: SampleConfig) -> tuple[int, ...]:
    """Shape of one image's noise: (C, H, W), or (steps, C, H, W) for a stochastic sampler.

    The first (C, H, W) numbers are the same for both.
    """
    return checkpoint.shape if config.stochasticity == 0 else (config.steps, *checkpoint.shape)


def load_net(checkpoint: Checkpoint, *, averaged: bool = True, device: str = "cpu") -> nn.Module:
    """The network of a checkpoint, in evaluation mode, with averaged or raw weights."""
    config = restored_model(checkpoint.settings["model"])
    net = OBJECTIVES[checkpoint.family].new_network(
        checkpoint.shape,
        config,
        torch.Generator().manual_seed(0),
        checkpoint.settings["num_classes"] if config.conditional else 0,
    )
    prefix = "ema." if averaged else "raw."
    load_weights(
        net, {k[len(prefix) :]: v for k, v in checkpoint.tensors.items() if k.startswith(prefix)}
    )
    return place(net, device).eval().requires_grad_(False)


def sample_network(
    checkpoint: Checkpoint,
    noise: np.ndarray,
    config: SampleConfig,
    *,
    labels: np.ndarray | None = None,
    device: str = "cpu",
) -> np.ndarray:
    """Images of given noise by the family's deterministic sampler and the averaged weights.

    Args:
        checkpoint: Of a family of networks.
        noise: (N, *noise_shape(...)) float32 standard normal.
        config: Sampler settings.
        labels: (N,) int64, the classes asked of a conditional model; None for another.
        device: Where the network runs.

    Returns:
        (N, C, H, W) uint8 or float32, as the training images were.

    Raises:
        UsageError: Labels or guidance do not fit the checkpoint.
        Diverged: An image is not finite.
    """
    asked = asked_labels(checkpoint, labels, len(noise), config)
    objective = OBJECTIVES[checkpoint.family]
    settings = checkpoint.settings
    model = restored_model(settings["model"])
    net = load_net(checkpoint, device=device).get_submodule(objective.sampling_part)
    network = make_call(net, bf16=settings["precision"] == "bf16")
    mean = checkpoint.tensors["mean"].view(1, -1, 1, 1).to(device)
    std = checkpoint.tensors["std"].view(1, -1, 1, 1).to(device)
    bounds = ((0 - mean) / std, (1 - mean) / std) if config.clip and settings["bounded"] else None

    batches = []
    with torch.inference_mode():
        for start in range(0, len(noise), SAMPLE_BATCH):
            batch = torch.from_numpy(noise[start : start + SAMPLE_BATCH])
            count = len(batch)
            padding = torch.zeros(SAMPLE_BATCH - count, *batch.shape[1:])
            batch = torch.cat([batch, padding]).to(device)
            first, fresh = (batch[:, 0], batch[:, 1:]) if batch.ndim == 5 else (batch, None)
            call = network
            if asked is not None:
                no_class = settings["num_classes"]
                labels_of = padded_labels(asked[start : start + SAMPLE_BATCH], no_class).to(device)
                call = guide(network, labels_of, guidance=config.guidance, no_class=no_class)
            images = objective.sample(
                call,
                first,
                fresh=fresh,
                model=model,
                config=config,
                bounds=bounds,
            )
            images = images[:count] * std + mean
            if not images.isfinite().all():  # 8 bits would hide it
                raise Diverged("samples are not finite")
            images = from_unit(images, settings["dtype"], bounded=settings["bounded"])
            batches.append(images.contiguous().cpu().numpy())
    return np.concatenate(batches)
