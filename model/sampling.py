"""Drawing images from a trained DDIM network, always in one fixed batch shape.

Must not know pools, streams' files or how a network is trained.
"""

from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor

from model.checkpoint import Checkpoint
from model.conditioning import asked_labels, guide, padded_labels
from model.config import SampleConfig, restored_model
from model.diffusion import ddim_sample
from model.images import from_unit
from model.size import SAMPLE_BATCH
from model.training import Diverged
from model.unet import UNet, load_weights, place


def load_net(checkpoint: Checkpoint, *, averaged: bool = True, device: str = "cpu") -> UNet:
    """The network of a DDIM checkpoint, in evaluation mode, with averaged or raw weights."""
    config = restored_model(checkpoint.settings["model"])
    num_classes = checkpoint.settings["num_classes"] if config.conditional else 0
    net = UNet(checkpoint.shape[0], config, torch.Generator().manual_seed(0), num_classes)
    prefix = "ema." if averaged else "raw."
    load_weights(
        net, {k[len(prefix) :]: v for k, v in checkpoint.tensors.items() if k.startswith(prefix)}
    )
    return place(net, device).eval().requires_grad_(False)


def sample_ddim(
    checkpoint: Checkpoint,
    noise: np.ndarray,
    config: SampleConfig,
    *,
    labels: np.ndarray | None = None,
    device: str = "cpu",
) -> np.ndarray:
    """Images of given noise by the deterministic sampler and the averaged weights.

    Args:
        checkpoint: Of the ddim family.
        noise: (N, C, H, W) float32 standard normal.
        config: Sampler settings.
        labels: (N,) int64, the classes asked of a conditional model; None for another.
        device: Where the network runs.

    Returns:
        (N, C, H, W) uint8 or float32, as the training images were.

    Raises:
        ValueError: Labels or guidance do not fit the checkpoint.
        Diverged: An image is not finite.
    """
    asked = asked_labels(checkpoint, labels, len(noise), config)
    net = load_net(checkpoint, device=device)
    settings = checkpoint.settings
    model = restored_model(settings["model"])
    mean = checkpoint.tensors["mean"].view(1, -1, 1, 1).to(device)
    std = checkpoint.tensors["std"].view(1, -1, 1, 1).to(device)
    bf16 = settings["precision"] == "bf16"
    bounds = ((0 - mean) / std, (1 - mean) / std) if config.clip and settings["bounded"] else None

    def predict_noise(noisy: Tensor, variance: Tensor, labels: Tensor | None = None) -> Tensor:
        noisy = noisy.contiguous(memory_format=torch.channels_last)
        cast = torch.autocast(noisy.device.type, torch.bfloat16) if bf16 else nullcontext()
        with cast:
            return net(noisy, variance, labels).float()

    batches = []
    with torch.inference_mode():
        for start in range(0, len(noise), SAMPLE_BATCH):
            batch = torch.from_numpy(noise[start : start + SAMPLE_BATCH])
            count = len(batch)
            padding = torch.zeros(SAMPLE_BATCH - count, *batch.shape[1:])
            predictor = predict_noise
            if asked is not None:
                no_class = settings["num_classes"]
                labels_of = padded_labels(asked[start : start + SAMPLE_BATCH], no_class).to(device)
                predictor = guide(
                    predict_noise, labels_of, guidance=config.guidance, no_class=no_class
                )
            images = ddim_sample(
                predictor,
                torch.cat([batch, padding]).to(device),
                steps=config.steps,
                max_signal_rate=model.max_signal_rate,
                min_signal_rate=model.min_signal_rate,
                bounds=bounds,
            )
            images = images[:count] * std + mean
            if not images.isfinite().all():  # 8 bits would hide it
                raise Diverged("samples are not finite")
            images = from_unit(images, settings["dtype"], bounded=settings["bounded"])
            batches.append(images.contiguous().cpu().numpy())
    return np.concatenate(batches)
