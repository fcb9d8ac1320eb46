"""The batches of a training: the order of an epoch, and the images on the device or the host.

The order depends only on (seed, epoch), so a resumed training sees the remaining batches. The
images are kept on the device, where gathering a batch is cheap, or, if they do not fit there, in
host memory (or a memory-mapped file), from which each batch is copied. Both give equal batches.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from model.config import ImagesOn, TrainConfig
from model.randomness import Purpose, Seed, generator
from model.training.length import steps_per_epoch

DEVICE_SHARE = 0.5
"""Largest share of a GPU's free memory for images under `auto`; the rest is for the network."""


def batch_indices(
    num_images: int, train: TrainConfig, seed: Seed, start_step: int
) -> Iterator[np.ndarray]:
    """Yield the index arrays of the batches from `start_step` on, endlessly."""
    per_epoch = steps_per_epoch(num_images, train)
    epoch, first = divmod(start_step, per_epoch)
    while True:
        order = epoch_order(num_images, train, generator(seed, Purpose.SHUFFLE, epoch))
        for step in range(first, per_epoch):
            yield order[step * train.batch_size : (step + 1) * train.batch_size]
        epoch, first = epoch + 1, 0


def epoch_order(num_images: int, train: TrainConfig, rng: np.random.Generator) -> np.ndarray:
    """The order of an epoch: the repeated pool, shuffled as a whole or in a sliding window."""
    order = np.tile(np.arange(num_images), train.repetitions)
    if train.shuffle_window is None:
        return rng.permutation(order)
    window = list(order[: train.shuffle_window])
    shuffled = np.empty_like(order)
    picks = rng.random(len(order))
    for position, pick in enumerate(picks):
        slot = int(pick * len(window))
        shuffled[position] = window[slot]
        incoming = position + train.shuffle_window
        if incoming < len(order):
            window[slot] = order[incoming]
        else:
            window[slot] = window[-1]
            window.pop()
    return shuffled


class Images:
    """(N, C, H, W) images from which batches are gathered."""

    def __init__(self, images: np.ndarray, device: torch.device, *, images_on: ImagesOn) -> None:
        """Put the images on the device or keep them on the host.

        Args:
            images: (N, C, H, W) uint8 or float32.
            device: Device on which batches are used.
            images_on: Where to keep the images; `place_of` decides if it is auto.
        """
        self.device = device
        self._images: np.ndarray | Tensor = images
        if images_on == "auto":
            images_on = place_of(images.nbytes, device)
        if images_on == "device":
            # torch needs a writable array, and a memory map is read-only.
            self._images = torch.from_numpy(np.require(images, None, ["C", "W"])).to(device)

    @property
    def on_device(self) -> Tensor | None:
        """All images, (N, C, H, W) on the device, or None if they are on the host."""
        return self._images if isinstance(self._images, Tensor) else None

    def gather(self, indices: np.ndarray) -> Tensor:
        """Gather images at (B,) int64 indices: (B, C, H, W) on the device, in the pool's type."""
        if isinstance(self._images, Tensor):
            return self._images[upload(torch.from_numpy(indices), self.device)]
        return upload(torch.from_numpy(self._images[indices]), self.device)


def upload(batch: Tensor, device: torch.device) -> Tensor:
    """Copy a batch from the host to the device, without waiting for a GPU's earlier work."""
    if device.type == "cuda":  # a copy from memory that is not pinned would wait
        batch = batch.pin_memory()
    return batch.to(device, non_blocking=True)


def place_of(num_bytes: int, device: torch.device) -> ImagesOn:
    """Where to keep images of `num_bytes` under `auto`.

    They are kept on the device if it is the CPU, or a GPU with enough free memory (DEVICE_SHARE),
    and otherwise on the host.
    """
    if device.type != "cuda":
        return "device"
    free, _ = torch.cuda.mem_get_info(device)
    return "device" if num_bytes < DEVICE_SHARE * free else "host"
