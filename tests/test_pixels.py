"""Facts of images themselves: statistics of their pixels, and copies."""

import numpy as np
import pytest

from model.metrics.pixels import (
    DIGEST_BYTES,
    PIXEL_CHUNK,
    digest_images,
    find_copies,
    pixel_statistics,
)


def draw_images(num_images: int, *, size: int = 4, seed: int = 0) -> np.ndarray:
    """8-bit colour noise."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (num_images, 3, size, size), dtype=np.uint8)


def test_pixel_statistics_of_8_bit_images_are_in_unit_scale():
    """One pixel is 0 and 255 (deviation 1/2), the other always 51 (1/5, deviation 0)."""
    images = np.array([[[[0, 51]]], [[[255, 51]]]], dtype=np.uint8)
    expected = {"pixel_mean": (1 / 2 + 1 / 5) / 2, "pixel_std": 1 / 4}
    assert pixel_statistics(images) == pytest.approx(expected, rel=1e-15)


def test_pixel_statistics_of_floats_are_not_scaled():
    images = np.array([[[[-3]]], [[[5]]]], dtype=np.float32)
    assert pixel_statistics(images) == {"pixel_mean": 1, "pixel_std": 4}


def test_pixel_statistics_do_not_depend_on_chunks():
    """3 x 80 x 80 pixels are several chunks, the last of them smaller."""
    images = draw_images(6, size=80)
    assert images[0].size > 2 * PIXEL_CHUNK
    unit = images.reshape(6, -1) / 255
    expected = {"pixel_mean": unit.mean(), "pixel_std": unit.std(axis=0).mean()}
    assert pixel_statistics(images) == pytest.approx(expected, rel=1e-12)


def test_copies_equal_a_known_image_in_every_pixel():
    """Images 1 and 3 are known ones; image 2 is but for one grey level of one pixel."""
    known, images = draw_images(5), draw_images(4, seed=1)
    images[[1, 2, 3]] = known[[4, 0, 0]]
    images[2, 0, 0, 0] ^= 1
    assert find_copies(images, digest_images(known)).tolist() == [False, True, False, True]


def test_images_in_another_layout_of_memory_are_the_same_images():
    """A transposed view has its pixels elsewhere than its copy."""
    view = draw_images(5).transpose(0, 1, 3, 2)
    assert find_copies(view, digest_images(view.copy())).all()


def test_a_digest_is_kept_for_each_different_image_and_no_pixels():
    """Whatever the size of the images: 16 bytes each."""
    images = draw_images(7, size=80)
    digests = digest_images(np.concatenate([images, images]))
    assert {len(digest) for digest in digests} == {DIGEST_BYTES}
    assert len(digests) == 7
