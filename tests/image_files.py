"""Image files with properties that Pillow does not write, byte by byte."""

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def noise(*shape: int) -> np.ndarray:
    """Random 8-bit pixels."""
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def save(path: Path, pixels: np.ndarray, **options: Any) -> None:
    """Write an image file, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def encoded(pixels: np.ndarray, kind: str, **options: Any) -> bytes:
    """The bytes of an image file of one of Pillow's formats."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """A part of a PNG file."""
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def png_start(width: int, height: int, *, bits: int = 1) -> bytes:
    """A grey PNG file without pixels."""
    head = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"")


def deep_png(channels: int, colour_type: int) -> bytes:
    """A PNG file of 8x8 pixels of 16 bits per channel."""
    head = struct.pack(">IIBBBBB", 8, 8, 16, colour_type, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 8 * (1 + 16 * channels))
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def tiff(data: bytes, tags: dict[int, int | Sequence[int]], *, side: int = 8) -> bytes:
    """A little-endian TIFF file of side x side pixels; tags of 16-bit values replace grey's."""
    start = 8 + len(data)
    given: dict[int, int | Sequence[int]]
    given = {256: side, 257: side, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: side}
    given |= {279: len(data)} | tags
    extra, entries = b"", b""
    first = start + 2 + 12 * len(given) + 4
    for tag, value in sorted(given.items()):
        values = [value] if isinstance(value, int) else list(value)
        content = struct.pack(f"<{len(values)}H", *values)
        if len(content) > 4:
            place = struct.pack("<I", first + len(extra))
            extra += content
        else:
            place = content.ljust(4, b"\0")
        entries += struct.pack("<HHI", tag, 3, len(values)) + place
    directory = struct.pack("<H", len(given)) + entries + struct.pack("<I", 0)
    return b"II*\0" + struct.pack("<I", start) + data + directory + extra


def jpeg2000(bits: int) -> bytes:
    """A codestream whose header claims components of so many bits."""
    content = bytearray(encoded(noise(8, 8, 3), "JPEG2000", no_jp2=True))
    for component in range(3):
        content[42 + 3 * component] = bits - 1
    return bytes(content)


def avif(bits: int) -> bytes:
    """An AVIF file that claims channels of so many bits, in both places."""
    content = bytearray(encoded(noise(8, 8, 3), "AVIF"))
    flags, sizes = content.index(b"av1C") + 6, content.index(b"pixi") + 9
    content[flags] = content[flags] & ~96 | (96 if bits == 12 else 64)
    content[sizes : sizes + 3] = bytes([bits] * 3)
    return bytes(content)
