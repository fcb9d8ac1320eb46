"""Facts about model.images: scales, statistics, crops, sizes and PNG sheets."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from sheets import untile

from model.data.reading import decode_image
from model.images import (
    STD_FLOOR,
    channel_statistics,
    crop_square,
    encode_png,
    from_unit,
    resize_image,
    tile,
    to_bytes,
    to_unit,
)


def noise(*shape: int) -> np.ndarray:
    """Random 8-bit pixels."""
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_every_byte_survives_the_way_to_floats_and_back() -> None:
    """from_unit undoes to_unit for all 256 values."""
    values = torch.arange(256).to(torch.uint8)
    assert torch.equal(from_unit(to_unit(values), "uint8", bounded=True), values)


def test_float_images_pass_to_unit_unchanged() -> None:
    """Unbounded floats are not scaled."""
    images = torch.tensor([-3.0, 7.5])
    assert to_unit(images) is images


def test_to_unit_refuses_other_dtypes() -> None:
    """Doubles are an error that names the dtype."""
    with pytest.raises(ValueError, match=r"images.dtype must be uint8 or float32, got .*float64"):
        to_unit(torch.zeros(1, dtype=torch.float64))


def test_bytes_are_rounded_half_to_even() -> None:
    """0.5 / 255 and 2.5 / 255 go to even bytes, 1.5 / 255 too."""
    halves = torch.tensor([0.5, 1.5, 2.5, 4.5]) / 255
    assert (halves * 255).tolist() == [0.5, 1.5, 2.5, 4.5]
    assert from_unit(halves, "uint8", bounded=True).tolist() == [0, 2, 2, 4]


def test_bytes_are_clipped_even_where_floats_are_unbounded() -> None:
    """8 bits cannot hold anything outside [0, 1]."""
    images = torch.tensor([-1.0, 2.0])
    assert from_unit(images, "uint8", bounded=False).tolist() == [0, 255]


def test_bounded_floats_are_clipped_and_others_kept() -> None:
    """`bounded` alone decides about float32."""
    images = torch.tensor([-1.0, 0.25, 2.0])
    assert from_unit(images, "float32", bounded=True).tolist() == [0.0, 0.25, 1.0]
    assert from_unit(images, "float32", bounded=False).tolist() == [-1.0, 0.25, 2.0]


def test_channel_statistics_of_bytes_are_those_of_unit_floats() -> None:
    """More images than a chunk, three channels: numpy's mean and population deviation."""
    images = noise(1100, 3, 4, 4)
    mean, std = channel_statistics(images)
    unit = images.astype(np.float64) / 255
    np.testing.assert_allclose(mean, unit.mean(axis=(0, 2, 3)), rtol=1e-13)
    np.testing.assert_allclose(std, unit.std(axis=(0, 2, 3)), rtol=1e-13)


def test_channel_statistics_of_floats_far_from_zero_keep_their_digits() -> None:
    """An offset of 10,000 does not cancel a deviation of 1."""
    images = np.random.default_rng(0).normal(1e4, 1, (600, 1, 4, 4)).astype(np.float32)
    _, std = channel_statistics(images)
    np.testing.assert_allclose(std, [images.astype(np.float64).std()], rtol=1e-12)


def test_a_constant_channel_has_the_floor_as_its_deviation() -> None:
    """Black images are normalised without a division by zero."""
    mean, std = channel_statistics(np.zeros((2, 1, 4, 4), np.uint8))
    assert (mean.tolist(), std.tolist()) == ([0.0], [STD_FLOOR])


@pytest.mark.parametrize(
    ("shape", "rows", "columns"),
    [((5, 8, 1), slice(0, 5), slice(1, 6)), ((8, 5, 1), slice(1, 6), slice(0, 5))],
)
def test_the_crop_is_the_centred_square(
    shape: tuple[int, ...], rows: slice, columns: slice
) -> None:
    """Offsets are (H - side) // 2 and (W - side) // 2."""
    image = noise(*shape)
    np.testing.assert_array_equal(crop_square(image), image[rows, columns])


@pytest.mark.parametrize("mode", ["bilinear_aa_float", "bicubic_aa_float", "pil_bilinear_u8"])
@pytest.mark.parametrize("channels", [1, 3])
def test_resizing_keeps_a_flat_image_flat(mode: str, channels: int) -> None:
    """Every mode's filter weights sum to one, up and down, grey and colour."""
    flat = np.full((10, 10, channels), 77, np.uint8)
    for size in (4, 16):
        resized = resize_image(flat, size, mode=mode, dtype="uint8")  # ty: ignore
        np.testing.assert_array_equal(resized, np.full((channels, size, size), 77, np.uint8))


def test_halving_is_antialiased() -> None:
    """A one-pixel chequerboard becomes grey away from the edges, in every mode."""
    board = (np.indices((16, 16)).sum(axis=0) % 2 * 255).astype(np.uint8)[:, :, None]
    for mode in ("bilinear_aa_float", "bicubic_aa_float", "pil_bilinear_u8"):
        inner = resize_image(board, 8, mode=mode, dtype="uint8")[0, 2:-2, 2:-2]
        assert abs(inner.astype(int) - 127.5).max() <= 1, mode


def test_float_resizing_does_not_round_to_bytes() -> None:
    """float32 results lie between the 256 levels; the 8-bit result is the same, rounded."""
    image = noise(9, 9, 3)
    floats = resize_image(image, 5, mode="bilinear_aa_float", dtype="float32")
    rounded = resize_image(image, 5, mode="bilinear_aa_float", dtype="uint8")
    assert floats.dtype == np.float32
    assert np.abs(floats * 255 - np.rint(floats * 255)).max() > 0.1
    np.testing.assert_array_equal(np.rint(floats * 255), rounded)


def test_bicubic_overshoot_is_clipped() -> None:
    """An edge's overshoot stays in [0, 1]."""
    edge = np.repeat(np.array([0, 255], np.uint8), 8)[None, :, None].repeat(16, axis=0)
    floats = resize_image(edge, 32, mode="bicubic_aa_float", dtype="float32")
    assert (floats.min(), floats.max()) == (0.0, 1.0)


def test_pillow_mode_is_pillows_resize() -> None:
    """pil_bilinear_u8 agrees with Pillow, and its floats are its bytes / 255."""
    image = noise(11, 11, 3)
    small = np.asarray(Image.fromarray(image).resize((6, 6), Image.Resampling.BILINEAR))
    resized = resize_image(image, 6, mode="pil_bilinear_u8", dtype="uint8")
    floats = resize_image(image, 6, mode="pil_bilinear_u8", dtype="float32")
    np.testing.assert_array_equal(resized, small.transpose(2, 0, 1))
    np.testing.assert_array_equal(floats, resized.astype(np.float32) / np.float32(255))


def test_an_image_of_the_right_size_keeps_its_pixels() -> None:
    """No filter touches it."""
    image = noise(8, 8, 3)
    for mode in ("bilinear_aa_float", "bicubic_aa_float", "pil_bilinear_u8"):
        same = resize_image(image, 8, mode=mode, dtype="uint8")
        np.testing.assert_array_equal(same, image.transpose(2, 0, 1))


@pytest.mark.parametrize("channels", [1, 3])
def test_tiles_are_cut_out_as_they_were_laid(channels: int) -> None:
    """Untile undoes tile; the cell left over is black."""
    images = noise(5, channels, 4, 4)
    sheet = tile(images, 3)
    cells = untile(sheet, 4)
    assert sheet.shape == (8, 12, channels)
    np.testing.assert_array_equal(cells[:5], images)
    assert not cells[5].any()


def test_tiles_run_along_rows() -> None:
    """The second image is to the right of the first."""
    images = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1)
    assert tile(images, 2)[:, :, 0].tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize("channels", [1, 3])
def test_png_is_lossless(channels: int) -> None:
    """decode_image undoes encode_png, grey and colour."""
    sheet = noise(6, 7, channels)
    np.testing.assert_array_equal(decode_image(io.BytesIO(encode_png(sheet))), sheet)


def test_floats_to_look_at_are_scaled_between_their_limits() -> None:
    """Values outside are clipped, nan is the lower limit, bytes are left alone."""
    images = np.array([-9, -1, 0, 1, 9, np.nan], np.float32).reshape(1, 1, 1, 6)
    assert to_bytes(images, limits=(-1, 1)).ravel().tolist() == [0, 0, 128, 255, 255, 0]
    assert to_bytes(np.array([[[[0.2, 1]]]], np.float32)).ravel().tolist() == [51, 255]
    pixels = noise(1, 1, 2, 2)
    assert to_bytes(pixels) is pixels


def test_limits_without_a_span_are_an_error() -> None:
    """A constant set of images needs limits of its caller's choice."""
    with pytest.raises(ValueError, match=r"limits must be \(low, high\) with low below high"):
        to_bytes(np.zeros((1, 1, 1, 1), np.float32), limits=(2.0, 2.0))
