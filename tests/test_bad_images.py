"""Image files that are damaged, too large, too deep or no files: one line that names the file."""

import os
import random
import socket
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from image_files import (
    avif,
    chunk,
    deep_png,
    encoded,
    jpeg2000,
    noise,
    png_start,
    save,
    tiff,
)
from PIL import Image

from model.commands.evaluate import read_images
from model.config import DataConfig
from model.data.datasets import load_dataset
from model.data.reading import FORMATS, Seen, decode_image, new_array, to_pixels
from model.errors import UsageError

GREY, RGB = noise(24, 20), noise(24, 20, 3)
FRAMES = [Image.fromarray(255 - RGB)]
EXAMPLES: dict[str, tuple[bytes, ...]] = {
    "PNG": (
        encoded(RGB, "PNG"),
        encoded(noise(24, 20, 4), "PNG"),
        encoded(RGB, "PNG", save_all=True, append_images=FRAMES),
    ),
    "JPEG": (encoded(RGB, "JPEG"), encoded(GREY, "JPEG", progressive=True)),
    "BMP": (encoded(RGB, "BMP"), encoded(GREY, "BMP")),
    "DIB": (encoded(RGB, "DIB"),),
    "GIF": (
        encoded(RGB, "GIF"),
        encoded(GREY, "GIF", save_all=True, append_images=[Image.fromarray(255 - GREY)]),
    ),
    "PPM": (encoded(RGB, "PPM"), b"P3 2 2 255 1 2 3 4 5 6 7 8 9 10 11 12", b"P1 2 2 1 0 1 0"),
    "TIFF": (
        encoded(RGB, "TIFF"),
        encoded(RGB, "TIFF", compression="tiff_lzw"),
        encoded(GREY > 127, "TIFF", compression="group4"),
    ),
    "WEBP": (encoded(RGB, "WEBP"), encoded(RGB, "WEBP", save_all=True, append_images=FRAMES)),
    "JPEG2000": (encoded(RGB, "JPEG2000"), encoded(GREY, "JPEG2000", no_jp2=True)),
    "AVIF": (encoded(RGB, "AVIF"),),
}


def message_of(path: Path) -> str:
    """The error of a file, the same in training and in `model evaluate`."""
    messages = []
    for read in (
        lambda root: load_dataset(DataConfig(name="folder", path=str(root), split="all")),
        lambda root: read_images(root, flag="--images"),
    ):
        with pytest.raises(UsageError) as error:
            read(path.parent)
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    assert "\n" not in messages[0]
    assert "delete" not in messages[0]
    return messages[0]


def test_all_damaged_images_are_named_at_once(tmp_path):
    """Also those that only their pixels show to be damaged."""
    for number in range(6):
        save(tmp_path / f"{number}.png", RGB)
    for number in (1, 3, 4):
        path = tmp_path / f"{number}.png"
        path.write_bytes(path.read_bytes()[:-40])
    message = message_of(tmp_path / "1.png")
    assert "1.png must be a readable image" in message
    assert message.endswith(f"; 2 more cannot be used: {tmp_path / '3.png'}, {tmp_path / '4.png'}")
    (tmp_path / "2.png").write_bytes(b"no image")
    message = message_of(tmp_path / "1.png")
    assert "2.png" in message


def mutated(content: bytes, random: random.Random) -> bytes:
    """A file cut short, or with some bytes changed, mostly in its header."""
    damaged = bytearray(content)
    kind = random.randrange(3)
    if kind == 0:
        return content[: random.randrange(len(content))]
    for _ in range(random.randint(1, 4)):
        end = len(content) if kind == 1 else min(len(content), 80)
        damaged[random.randrange(end)] = random.choice([0, 1, 127, 128, 255])
    return bytes(damaged)


@pytest.mark.parametrize("kind", FORMATS)
def test_any_damage_of_any_format_is_an_error_of_one_line(kind: str, tmp_path: Path) -> None:
    """Or none that matters; whatever Pillow raises, and without a warning or a word of libtiff."""
    path, generator, messages = tmp_path / "x", random.Random(kind), []
    for _ in range(150):
        content = mutated(generator.choice(EXAMPLES[kind]), generator)
        path.write_bytes(content)
        try:
            decode_image(path, seen=Seen())
        except UsageError as error:
            messages.append(str(error))
    assert messages
    assert all(text.startswith(f"{path} must ") and "\n" not in text for text in messages)


@pytest.mark.parametrize("kind", FORMATS)
def test_an_empty_file_and_one_of_another_kind_are_named(kind: str, tmp_path: Path) -> None:
    """The file's suffix does not matter."""
    path = tmp_path / f"x.{kind.lower()}"
    for content in (b"", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", b"SIMPLE  = T"):
        path.write_bytes(content)
        with pytest.raises(
            UsageError, match="must be a readable image, got a damaged one"
        ) as error:
            decode_image(path)
        assert str(error.value).startswith(str(path))


DEEP: dict[str, tuple[str, bytes, str]] = {
    "grey TIFF": ("x.tif", encoded(np.full((8, 8), 4000, np.uint16), "TIFF"), "I;16"),
    "RGB TIFF": ("x.tif", tiff(bytes(384), {258: [16] * 3, 262: 2, 277: 3}), "RGB;16L"),
    "signed TIFF": ("x.tif", tiff(bytes(64), {339: 2}), "signed or floating-point samples"),
    "TIFF palette": (
        "x.tif",
        tiff(bytes(64), {262: 3, 320: [i * 250 for i in range(256)] * 3}),
        "a palette of 16 bits",
    ),
    "floating-point TIFF": ("x.tif", encoded(np.ones((8, 8), np.float32), "TIFF"), "F"),
    "RGB PNG": ("x.png", deep_png(3, 2), "RGB;16B"),
    "RGBA PNG": ("x.png", deep_png(4, 6), "RGBA;16B"),
    "plain PPM": ("x.ppm", b"P3 1 1 4095 1 2 3", "RGB up to 4095"),
    "plain PGM": ("x.pnm", b"P2 1 1 65535 1", "I"),
    "PFM": ("x.ppm", b"Pf 1 1 -1.0\n\0\0\0\0", "F"),
    "JPEG 2000": ("x.j2k", jpeg2000(12), "12 bits"),
    "AVIF of 10 bits": ("x.avif", avif(10), "10 bits"),
    "AVIF of 12 bits": ("x.avif", avif(12), "12 bits"),
}


@pytest.mark.parametrize("name", DEEP)
def test_more_than_8_bits_are_an_error_in_every_format(name: str, tmp_path: Path) -> None:
    """Pillow would cut most of them to 8 bits."""
    file, content, found = DEEP[name]
    path = tmp_path / file
    path.write_bytes(content)
    assert message_of(path) == f"{path} must be an 8-bit image, got {found!r}; convert it"


@pytest.mark.parametrize("factor", [256, 257])
def test_a_tiff_palette_of_8_bit_colours_is_read(factor: int, tmp_path: Path) -> None:
    """In both ways in which programs store them."""
    path = tmp_path / "x.tif"
    pixels = noise(8, 8)
    colours = [factor * i for i in range(256)]
    path.write_bytes(tiff(pixels.tobytes(), {262: 3, 320: colours * 3}))
    np.testing.assert_array_equal(decode_image(path), np.stack([pixels] * 3, axis=2))


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB", "P", "RGBA", "1"])
def test_other_8_bit_modes_are_converted(mode: str, tmp_path: Path) -> None:
    """As Pillow converts them."""
    picture = Image.fromarray(RGB)
    if mode == "LAB":
        picture = Image.frombytes("LAB", picture.size, RGB.tobytes())
    path = tmp_path / "x.tif"
    picture.convert(mode).save(path)
    channels = 1 if mode == "1" else 3
    with Image.open(path) as found:
        assert found.mode == mode
        np.testing.assert_array_equal(decode_image(path), to_pixels(found, channels))


def test_a_mode_that_does_not_convert_is_named(tmp_path: Path) -> None:
    """Grey with premultiplied alpha."""
    path = tmp_path / "x.tif"
    path.write_bytes(tiff(bytes(128), {258: [8, 8], 277: 2, 338: 1}))
    assert message_of(path) == f"{path} must be a grey or RGB image, got 'La'; convert it"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.png", png_start(20_000, 20_000)),
        (
            "x.bmp",
            b"BM" + struct.pack("<IIIIiiHHIIiiII", 1, 0, 54, 40, 20000, 20000, 1, 24, *[0] * 6),
        ),
        ("x.pgm", b"P5 20000 20000 255\n"),
        ("x.gif", b"GIF89a" + struct.pack("<HHBBB", 20_000, 20_000, 0, 0, 0) + b",\0\0\0\0" * 9),
        ("x.tif", tiff(b"", {256: 20_000, 257: 20_000})),
    ],
)
def test_too_many_pixels_are_an_error(name: str, content: bytes, tmp_path: Path) -> None:
    """Before they take memory."""
    path = tmp_path / name
    path.write_bytes(content)
    message = message_of(path)
    assert message.startswith(f"{path} must be an image of fewer pixels, got 'Image size (40000")
    assert message.endswith("; make it smaller")


def test_a_picture_below_the_limit_is_read_without_a_warning(tmp_path: Path, monkeypatch) -> None:
    """Pillow would print one from half the limit on, which names no file."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 24 * 20 - 1)
    save(tmp_path / "x.png", RGB)
    np.testing.assert_array_equal(decode_image(tmp_path / "x.png"), RGB)


def test_a_palette_with_transparency_is_read_without_a_warning(tmp_path: Path) -> None:
    """Pillow would print one, which names no file."""
    path = tmp_path / "x.png"
    Image.fromarray(RGB).convert("P").save(path, transparency=bytes(range(256)))
    assert decode_image(path).shape == (24, 20, 3)


def test_a_text_that_would_fill_the_memory_is_an_error(tmp_path: Path) -> None:
    """Megabytes of comment in a PNG of some kilobytes."""
    path = tmp_path / "x.png"
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2 << 20)))
    whole = encoded(RGB, "PNG")
    path.write_bytes(whole[:33] + text + whole[33:])
    message = message_of(path)
    assert message.startswith(f"{path} must be a readable image, got a damaged one (Decompressed d")


def test_pixels_that_libtiff_cannot_decode_are_an_error(tmp_path: Path, capfd) -> None:
    """It prints a line for each, and Pillow returns what could be decoded."""
    path = tmp_path / "x.tif"
    content = bytearray(encoded(noise(64, 64) > 127, "TIFF", compression="group4"))
    content[98:106] = b"\xff" * 8
    path.write_bytes(content)
    message = message_of(path)
    assert message.startswith(f"{path} must be a readable image, got a damaged one (Fax4Decode: ")
    assert capfd.readouterr().err == ""


def test_a_tiff_is_read_where_stderr_is_closed(tmp_path: Path, monkeypatch) -> None:
    """As under 2>&-; the file itself is then file 2."""
    save(tmp_path / "x.tif", RGB, compression="tiff_lzw")
    monkeypatch.setattr(sys, "__stderr__", None)
    stderr = os.dup(2)
    os.close(2)
    try:
        pixels = decode_image(tmp_path / "x.tif")
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
    np.testing.assert_array_equal(pixels, RGB)


def make_socket(path: Path) -> None:
    """A socket's name stays when the socket is closed."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


SPECIAL: dict[str, Callable[[Path], None]] = {
    "a named pipe": os.mkfifo,
    "a socket": make_socket,
    "a device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("kind", SPECIAL)
def test_an_image_that_is_no_file_is_refused_at_once(
    kind: str, tmp_path: Path, monkeypatch
) -> None:
    """It is not opened, which could wait for ever."""
    monkeypatch.chdir(tmp_path)  # a socket's name must be short
    save(tmp_path / "data" / "0.png", RGB)
    SPECIAL[kind](Path("data", "1.png"))
    path = tmp_path / "data" / "1.png"
    assert message_of(path) == f"{path} must be a file, got {kind}"
    with pytest.raises(UsageError, match=f"must be a file, got {kind}"):
        decode_image(path)


def test_images_that_do_not_fit_in_memory_are_an_error() -> None:
    """Which says how many."""
    for side in (1 << 26, 1 << 40):
        with pytest.raises(UsageError, match=r"^images must fit in memory, got 2 x .* of uint8$"):
            new_array((2, side, side), np.dtype(np.uint8), "images")
