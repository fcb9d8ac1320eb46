"""Facts about .npz files as data sets: their arrays, shapes, types, and what is wrong with them."""

import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.config import DataConfig
from model.data.datasets import describe, load_dataset


def noise(*shape: int) -> np.ndarray:
    """Random 8-bit pixels."""
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def npz(path: Path, **arrays: np.ndarray) -> DataConfig:
    """Settings of an .npz file of these arrays, without a reference."""
    np.savez(path / "data.npz", **arrays)  # ty: ignore[invalid-argument-type]
    return DataConfig(name="npz", path=str(path / "data.npz"), image_size=4, split="all")


def message_of(function: Callable[[DataConfig], object], config: DataConfig) -> str:
    """The one line of the error a function raises."""
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        function(config)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("shape", "back"),
    [((6, 3, 4, 4), None), ((6, 1, 4, 4), None), ((6, 4, 4, 3), (0, 3, 1, 2)), ((6, 4, 4), ())],
)
def test_npz_images_may_have_channels_first_last_or_none(
    shape: tuple[int, ...], back: tuple[int, ...] | None, tmp_path: Path
) -> None:
    """All become (N, C, S, S) and are described so."""
    images = noise(*shape)
    config = npz(tmp_path, images=images)
    loaded = load_dataset(config).images
    wanted = images if back is None else images.transpose(back) if back else images[:, None]
    np.testing.assert_array_equal(loaded, wanted)
    assert describe(config).shape == loaded.shape[1:]


def test_npz_floats_are_kept_and_unbounded(tmp_path: Path) -> None:
    """Not clipped, not scaled."""
    images = np.random.default_rng(0).normal(0, 9, (5, 1, 4, 4)).astype(np.float32)
    dataset = load_dataset(replace(npz(tmp_path, images=images), dtype="float32"))
    np.testing.assert_array_equal(dataset.images, images)
    assert not dataset.bounded


def test_npz_bytes_as_floats_are_bounded(tmp_path: Path) -> None:
    """data.dtype=float32 divides them by 255."""
    config = replace(npz(tmp_path, images=noise(5, 1, 4, 4)), dtype="float32")
    dataset = load_dataset(config)
    np.testing.assert_array_equal(dataset.images, noise(5, 1, 4, 4) / np.float32(255))
    assert dataset.bounded
    assert describe(config).bounded


def test_npz_classes_have_their_names_or_their_numbers(tmp_path: Path) -> None:
    """class_names is optional."""
    images, labels = noise(4, 1, 4, 4), np.array([1, 0, 1, 0])
    assert load_dataset(npz(tmp_path, images=images, labels=labels)).class_names == ("0", "1")
    config = npz(tmp_path, images=images, labels=labels, class_names=np.array(["cat", "dog"]))
    assert load_dataset(config).class_names == ("cat", "dog")


def test_unnamed_arrays_of_an_npz_are_images_and_labels(tmp_path: Path) -> None:
    """numpy.savez(path, images, labels) writes such files; the labels may be a column."""
    images, labels = noise(4, 1, 4, 4), np.array([1, 0, 1, 0])
    named = load_dataset(npz(tmp_path, images=images, labels=labels))
    np.savez(tmp_path / "unnamed.npz", images, labels[:, None])
    unnamed = load_dataset(replace(npz(tmp_path), path=str(tmp_path / "unnamed.npz")))
    assert unnamed.fingerprint == named.fingerprint


def test_a_file_of_keras_is_converted_by_the_command_in_its_error(tmp_path: Path) -> None:
    """The converted file holds the training images, then the test images."""
    images, labels = noise(6, 4, 4), np.array([0, 1, 2, 0, 1, 2])[:, None]
    path = tmp_path / "it's mnist.npz"
    np.savez(path, x_train=images[:4], y_train=labels[:4], x_test=images[4:], y_test=labels[4:])
    message = message_of(load_dataset, replace(npz(tmp_path), path=str(path)))
    python, *words = shlex.split(message.split("convert it with: ")[1])
    assert python == "python"
    subprocess.run([sys.executable, *words], cwd=tmp_path, check=True)
    converted = load_dataset(replace(npz(tmp_path), path=str(tmp_path / "images.npz")))
    np.testing.assert_array_equal(converted.images, images[:, None])
    np.testing.assert_array_equal(converted.labels, labels[:, 0])


@pytest.mark.parametrize(
    ("arrays", "rule"),
    [
        ({"pictures": noise(2, 1, 4, 4)}, "data.npz must hold an array 'images', got ['pictures']"),
        ({"images": np.zeros((2, 1, 4, 4))}, "must be uint8 or float32, got 'float64'"),
        ({"images": noise(2, 2, 4, 4)}, "be (N, C, H, W), (N, H, W, C) or (N, H, W)"),
        ({"images": noise(2, 1, 4, 5)}, "must be square, got 4x5 (height, width)"),
        ({"images": noise(2)}, "be (N, C, H, W), (N, H, W, C) or (N, H, W)"),
        ({"images": noise(2, 1, 8, 8)}, "got 4; set --data.image-size 8"),
        ({"images": np.zeros((2, 1, 4, 4), np.float32)}, "got 'uint8'; set --data.dtype float32"),
        ({"images": noise(2, 4, 4), "labels": np.array([0.0, 1.0])}, "must be 2 integers"),
        ({"images": noise(2, 4, 4), "labels": np.array([0])}, "must be 2 integers"),
        ({"images": noise(2, 4, 4), "labels": np.array([0, 2])}, "use each of the classes 0 to 2"),
        ({"images": noise(2, 4, 4), "labels": np.array([-1, 0])}, "must be at least 0, got -1"),
        ({"images": np.full((2, 4, 4), None)}, "must be uint8 or float32, got 'object'"),
    ],
)
def test_wrong_arrays_are_one_line_errors(
    arrays: dict[str, np.ndarray], rule: str, tmp_path: Path
) -> None:
    """From a plan and from a run alike, naming the file."""
    config = npz(tmp_path, **arrays)
    message = message_of(describe, config)
    assert rule in message
    assert "data.npz" in message
    assert message_of(load_dataset, config) == message


def test_nan_pixels_are_an_error(tmp_path: Path) -> None:
    """It counts the images."""
    images = np.zeros((3, 1, 4, 4), np.float32)
    images[1, 0, 2, 2] = np.nan
    config = replace(npz(tmp_path, images=images), dtype="float32")
    assert "must hold no image with nan or inf, got 1" in message_of(load_dataset, config)


@pytest.mark.parametrize("function", [describe, load_dataset])
def test_a_truncated_npz_is_named(function: Callable[[DataConfig], object], tmp_path: Path) -> None:
    """A download cut short, at any place."""
    config = npz(tmp_path, images=noise(9, 3, 4, 4))
    path = tmp_path / "data.npz"
    whole = path.read_bytes()
    for length in (0, 100, len(whole) - 10):
        path.write_bytes(whole[:length])
        assert message_of(function, config).startswith(f"{path} must be a whole .npz file")


def test_pixels_damaged_inside_an_npz_are_named(tmp_path: Path) -> None:
    """The archive's checksum catches what its directory does not."""
    config = npz(tmp_path, images=noise(9, 3, 4, 4))
    path = tmp_path / "data.npz"
    data = bytearray(path.read_bytes())
    data[400] ^= 255
    path.write_bytes(data)
    assert message_of(load_dataset, config).startswith(f"{path} must be a whole .npz file")


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    """Labels of Python objects are refused as they are."""
    labels = np.array([{}, {}], dtype=object)
    config = npz(tmp_path, images=noise(2, 4, 4), labels=labels)
    assert "without pickled objects" in message_of(describe, config)
