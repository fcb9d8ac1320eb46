"""The images of a training, wherever they lie, and its batches on the device.

On the device gathering a batch costs nothing; a pool that does not fit there stays in host memory
(or in a memory-mapped file) and travels batch by batch. Both give the same bytes, so that no number
depends on the place. Must not know networks or losses.
"""

import numpy as np
import torch
from torch import Tensor

from model.config import ImagesOn

DEVICE_SHARE = 0.5
"""Most of a GPU's free memory that images may take under `auto`; the rest is for the network."""


class Images:
    """(N, C, H, W) images from which batches are gathered."""

    def __init__(self, images: np.ndarray, device: torch.device, *, images_on: ImagesOn) -> None:
        """Put the images where batches come from.

        Args:
            images: (N, C, H, W) uint8 or float32.
            device: Where batches are wanted.
            images_on: A place, or auto: see place_of.
        """
        self.device = device
        self.place = place_of(images.nbytes, device) if images_on == "auto" else images_on
        if self.place == "device":
            # torch takes no read-only array, which one in a memory map is.
            self._on_device = torch.from_numpy(np.require(images, None, ["C", "W"])).to(device)
        else:
            self._on_host = images

    def gather(self, indices: np.ndarray) -> Tensor:
        """Images at (B,) int64 indices: (B, C, H, W) on the device, of the pool's type."""
        if self.place == "device":
            return self._on_device[torch.from_numpy(indices).to(self.device, non_blocking=True)]
        batch = torch.from_numpy(self._on_host[indices])
        if self.device.type != "cuda":
            return batch.to(self.device)
        # Only from pinned memory does a copy run beside the device's work.
        return batch.pin_memory().to(self.device, non_blocking=True)


def place_of(num_bytes: int, device: torch.device) -> ImagesOn:
    """Where so many bytes of images lie under `auto`.

    The device where that is the CPU, or a GPU of whose free memory they take less than
    DEVICE_SHARE; else the host.
    """
    if device.type != "cuda":
        return "device"
    free, _ = torch.cuda.mem_get_info(device)
    return "device" if num_bytes < DEVICE_SHARE * free else "host"
