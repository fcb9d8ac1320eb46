"""Facts of where images lie: the same batches and the same training from each place."""

from pathlib import Path

import numpy as np
import pytest
import torch
from every_family import fit_family
from tiny_training import draw_pool, make_job, make_train

from model.config import ImagesOn
from model.training.batches import DEVICE_SHARE, Images, place_of

CPU = torch.device("cpu")
CUDA = torch.device("cuda")


def mapped(folder: Path, images: np.ndarray) -> np.ndarray:
    """The images in a read-only memory map."""
    np.save(folder / "images.npy", images)
    return np.load(folder / "images.npy", mmap_mode="r")


@pytest.mark.parametrize("images_on", ["auto", "device", "host"])
def test_a_batch_is_the_images_of_its_indices(images_on: ImagesOn, tmp_path: Path) -> None:
    """In their order, repeated where an index is, and of the images' type; from a map as well."""
    pool = draw_pool(9, channels=3)
    indices = np.array([8, 0, 3, 3])
    for images in (pool, pool.astype(np.float32), mapped(tmp_path, pool)):
        batch = Images(images, CPU, images_on=images_on).gather(indices)
        np.testing.assert_array_equal(batch.numpy(), images[indices], strict=True)


@pytest.mark.parametrize("settings", [{}, {"hflip": True, "drop_last": False, "batch_size": 7}])
def test_training_from_the_host_is_bit_equal_to_training_from_the_device(settings: dict) -> None:
    """The place changes no number."""
    digests = {
        fit_family(
            draw_pool(), None, make_job(make_train(**settings), num_steps=9, images_on=place)
        ).checkpoint.digest()
        for place in ("auto", "device", "host")
    }
    assert len(digests) == 1


def test_on_a_cpu_images_lie_where_it_computes() -> None:
    """Its memory is the host's: whatever their size."""
    assert place_of(10**15, CPU) == "device"


@pytest.mark.gpu
def test_images_beyond_half_of_a_gpus_free_memory_stay_on_the_host() -> None:
    """And smaller ones lie on it."""
    free, _ = torch.cuda.mem_get_info(CUDA)
    assert place_of(int(2 * DEVICE_SHARE * free), CUDA) == "host"
    assert place_of(1000, CUDA) == "device"


@pytest.mark.gpu
def test_on_a_gpu_training_from_the_host_is_bit_equal() -> None:
    """The copy travels from pinned memory, in the order of the steps."""
    torch.use_deterministic_algorithms(True)
    try:
        digests = {
            fit_family(
                draw_pool(),
                None,
                make_job(make_train(), num_steps=9, device="cuda", images_on=place),
            ).checkpoint.digest()
            for place in ("device", "host")
        }
    finally:
        torch.use_deterministic_algorithms(False)
    assert len(digests) == 1
