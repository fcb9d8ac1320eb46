"""Training and `model evaluate` read the same files, to the same pixels, with the same errors."""

import errno
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from evaluating import measured
from PIL import Image

from model.commands.evaluate import read_images, read_reference
from model.config import DataConfig
from model.data.datasets import Dataset, describe, load_dataset
from model.data.own_images import IMAGE_SUFFIXES
from model.data.reading import decode_image, decoding
from model.errors import UsageError

LOSSY = (".avif", ".jfif", ".jpe", ".jpeg", ".jpg", ".webp")
GREY = (".pgm",)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def write(path: Path, pixels: np.ndarray) -> None:
    """Write an image file of the format that its suffix names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, format=Image.registered_extensions()[path.suffix.lower()])


def write_class_folders(root: Path, suffix: str) -> np.ndarray:
    """Two images of each of two classes, and their (4, C, 8, 8) pixels before compression."""
    shape = (4, 8, 8) if suffix in GREY else (4, 8, 8, 3)
    images = noise(*shape)
    for number, pixels in enumerate(images):
        ending = suffix.upper() if number % 2 else suffix
        write(root / ("cat", "dog")[number // 2] / f"{number}{ending}", pixels)
    return images[:, None] if suffix in GREY else images.transpose(0, 3, 1, 2)


def dataset(root: Path) -> Dataset:
    """What a sweep and `model train` load from a folder."""
    return load_dataset(DataConfig(name="folder", path=str(root), split="all"))


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_every_format_is_read_by_both_to_the_same_pixels(suffix: str, tmp_path: Path) -> None:
    """In class folders, with their classes; those without loss to the pixels that were saved."""
    saved = write_class_folders(tmp_path, suffix)
    trained, compared = dataset(tmp_path), read_images(tmp_path, flag="--images")
    assert trained.labels is not None
    assert compared.labels is not None
    assert trained.images.shape == saved.shape
    np.testing.assert_array_equal(trained.images, compared.images)
    assert trained.labels.tolist() == compared.labels.tolist() == [0, 0, 1, 1]
    assert trained.class_names == compared.class_names == ("cat", "dog")
    if suffix not in LOSSY:
        np.testing.assert_array_equal(trained.images, saved)


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_model_evaluate_measures_every_format(suffix: str, tmp_path: Path, capsys) -> None:
    """Against the data set of the same folder, whose train pool holds copies of all images."""
    write_class_folders(tmp_path, suffix)
    found = measured(
        capsys,
        *("--images", tmp_path, "--reference", tmp_path, "--train", tmp_path),
        *("--metrics.names", "memorization"),
    )
    assert found["num_images"] == 4
    assert found["values"]["exact_copies/pixels"] == 1


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_a_file_cut_short_is_the_same_line_in_both(suffix: str, tmp_path: Path) -> None:
    """It names the file."""
    write_class_folders(tmp_path, suffix)
    path = tmp_path / "cat" / f"0{suffix}"
    path.write_bytes(path.read_bytes()[:-90])
    messages = []
    for read in (dataset, lambda root: read_images(root, flag="--images")):
        with pytest.raises(UsageError) as error:
            read(tmp_path)
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    assert messages[0].startswith(f"{path} must be a readable image, got a damaged one (")
    assert "\n" not in messages[0]


def test_grey_files_among_others_in_colour_become_rgb_in_both(tmp_path: Path) -> None:
    """Whether they come first or last."""
    pixels = noise(8, 8)
    write(tmp_path / "0.png", pixels)
    write(tmp_path / "1.png", noise(8, 8, 3))
    write(tmp_path / "2.png", pixels)
    images = read_images(tmp_path, flag="--images").images
    np.testing.assert_array_equal(images, dataset(tmp_path).images)
    np.testing.assert_array_equal(images[0], np.stack([pixels] * 3))
    np.testing.assert_array_equal(images[2], images[0])


def test_an_npz_file_is_read_by_both_to_the_same_arrays(tmp_path: Path) -> None:
    """Images, labels and class names."""
    path, labels = tmp_path / "data.npz", np.array([1, 0, 1], np.int32)
    np.savez(path, images=noise(3, 8, 8, 3), labels=labels, class_names=["cat", "dog"])
    trained = load_dataset(DataConfig(name="npz", path=str(path), split="all"))
    compared = read_images(path, flag="--images")
    np.testing.assert_array_equal(trained.images, compared.images)
    assert compared.labels is not None
    assert compared.labels.tolist() == labels.tolist()
    assert compared.class_names == trained.class_names == ("cat", "dog")
    assert read_reference(path, None).real.class_names == trained.class_names


def test_what_is_no_image_gives_the_same_warning_in_both(tmp_path: Path) -> None:
    """Apart from the flag that names the folder."""
    write(tmp_path / "0.png", noise(8, 8))
    write(tmp_path / "1.png", noise(8, 8))
    (tmp_path / "2.heic").write_bytes(b"x")
    texts = []
    for name, read in (("data.path", dataset), ("--x", lambda p: read_images(p, flag="--x"))):
        with pytest.warns(UserWarning, match="are not read: 1, the first is 2.heic;") as warned:
            read(tmp_path)
        texts.append(str(warned[0].message).removeprefix(name))
    assert texts[0] == texts[1]


def chunk(kind: bytes, data: bytes) -> bytes:
    """A part of a PNG file."""
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def deep_png(channels: int, colour_type: int) -> bytes:
    """A PNG file of 8x8 pixels of 16 bits per channel."""
    head = struct.pack(">IIBBBBB", 8, 8, 16, colour_type, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 8 * (1 + 16 * channels))
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


@pytest.mark.parametrize(
    ("name", "data", "mode"),
    [
        ("grey.png", deep_png(1, 0), "I;16"),
        ("rgb.png", deep_png(3, 2), "RGB;16B"),
        ("grey and alpha.png", deep_png(2, 4), "LA;16B"),
        ("rgba.png", deep_png(4, 6), "RGBA;16B"),
        ("grey.pgm", b"P5 1 1 65535 ab", "I"),
        ("rgb.ppm", b"P6 1 1 1023 abcdef", "RGB up to 1023"),
    ],
)
def test_more_than_8_bits_are_an_error_in_every_mode(
    name: str, data: bytes, mode: str, tmp_path: Path
) -> None:
    """By what the file says: Pillow shows some as 8-bit images, cut to their upper bits."""
    path = tmp_path / name
    path.write_bytes(data)
    for read in (dataset, lambda root: read_images(root, flag="--images")):
        with pytest.raises(UsageError) as error:
            read(tmp_path)
        assert str(error.value) == f"{path} must be an 8-bit image, got {mode!r}; convert it"


def test_a_picture_too_large_for_pillow_is_one_line_of_a_plan(tmp_path: Path) -> None:
    """With the file's name; its pixels are not decoded."""
    path = tmp_path / "large.png"
    head = struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b""))
    with pytest.raises(UsageError) as error:
        describe(DataConfig(name="folder", path=str(tmp_path), split="all"))
    assert str(error.value).startswith(f"{path} must be an image of fewer pixels, got 'Image size")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EMFILE, errno.ENOMEM])
def test_what_the_system_refuses_is_not_called_damage(number: int) -> None:
    """Nobody should delete a file because file descriptors ran out."""
    with (
        pytest.raises(UsageError, match=r"^cat\.png must be readable, got ") as error,
        decoding("cat.png", "a readable image"),
    ):
        raise OSError(number, "from the system")
    assert "delete" not in str(error.value)


def test_running_out_of_memory_is_not_called_damage() -> None:
    with (
        pytest.raises(UsageError, match=r"^cat\.png must fit in memory, got too little memory$"),
        decoding("cat.png", "a readable image"),
    ):
        raise MemoryError


def test_a_file_that_is_gone_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "gone.png"
    with pytest.raises(UsageError) as error:
        decode_image(path)
    assert str(error.value) == f"{path} must be readable, got 'No such file or directory'"


def test_the_guide_lists_every_format() -> None:
    guide = (Path(__file__).parent.parent / "docs" / "guide.md").read_text()
    *most, last = IMAGE_SUFFIXES
    assert f"Images end in {', '.join(most)} or {last};" in " ".join(guide.split())
