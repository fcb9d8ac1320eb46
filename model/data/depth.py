"""What an image file says of its pixels, which Pillow's mode may hide.

Pillow shows some files of more than 8 bits as 8-bit images, cut to their upper bits.
"""

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
"""Pillow's modes of images with more than 8 bits."""
DEEP_RAW_MODE = re.compile(r"\w+;(16|32)[A-Z]+")
"""Pillow's raw modes of more than 8 bits, such as RGB;16B, which an image's mode (RGB) hides."""

BITS_PER_SAMPLE, COLOUR_MAP, SAMPLE_FORMAT = 258, 320, 339
"""Tags of TIFF."""
UNSIGNED = (1, 4)
"""TIFF's sample formats of unsigned integers, and of undefined values, which are read as these."""

JPEG2000_SIZES = re.compile(rb"\xff\x4f\xff\x51.{36}(..)", re.DOTALL)
"""Start of a JPEG 2000 codestream; the group is its number of components, each three bytes."""
AV1_CONFIGURATION = re.compile(rb"av1C\x81.(.)", re.DOTALL)
"""Settings of an AV1 image; bits 6 and 5 of the group mean more than 8 bits, and 12 bits."""


def deep_pixels(picture: "Image") -> str | None:
    """What is not 8-bit in an open image file; None if its pixels can be read without loss."""
    if picture.mode in DEEP_MODES:
        return picture.mode
    for codec, _, _, arguments in getattr(picture, "tile", ()):
        if match := DEEP_RAW_MODE.search(str(arguments)):
            return match[0]
        if codec.startswith("ppm") and arguments[1] > 255:
            return f"{arguments[0]} up to {arguments[1]}"
    own = FORMATS.get(picture.format or "")
    return own(picture) if own else None


def _tiff(picture: Any) -> str | None:
    tags = picture.tag_v2
    bits = max(tags.get(BITS_PER_SAMPLE, (1,)))
    if bits > 8:
        return f"{bits} bits"
    if not set(tags.get(SAMPLE_FORMAT, (1,))) <= set(UNSIGNED):
        return "signed or floating-point samples"
    colours = tags.get(COLOUR_MAP, ()) if picture.mode in ("P", "PA") else ()
    # 8-bit colours are stored as multiples of 257, or by older programs of 256.
    if any(colour % 257 and colour % 256 for colour in colours):
        return "a palette of 16 bits"
    return None


def _jpeg2000(picture: Any) -> str | None:
    start = _content(picture)
    if not (match := JPEG2000_SIZES.search(start)):
        return None
    components = start[match.end() :][: 3 * int.from_bytes(match[1]) : 3]
    bits = max(((depth & 127) + 1 for depth in components), default=8)
    if bits > 8:
        return f"{bits} bits"
    return "signed samples" if any(depth > 127 for depth in components) else None


def _avif(picture: Any) -> str | None:
    flags = max(
        (found[0] & 96 for found in AV1_CONFIGURATION.findall(_content(picture))), default=0
    )
    return f"{12 if flags & 32 else 10} bits" if flags & 64 else None


def _content(picture: Any) -> bytes:
    """The bytes of an open file, whose position is restored."""
    position = picture.fp.tell()
    picture.fp.seek(0)
    content = picture.fp.read()
    picture.fp.seek(position)
    return content


FORMATS = {"TIFF": _tiff, "JPEG2000": _jpeg2000, "AVIF": _avif}
"""Checks of the formats whose files say more than Pillow shows."""
