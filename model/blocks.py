"""Block sizes of image streams: plain arithmetic, so that planning needs no torch."""

SAMPLE_BATCH = 128
"""Images per network call; smaller batches are padded. Because the shape, and with it the choice of
kernels, is always the same, an image does not depend on how many others are drawn. Every result
depends on this number."""

CLASS_BLOCK = 16
"""Images per block of a class's stream. It divides SAMPLE_BATCH; every result depends on it."""


def num_class_blocks(count: int) -> int:
    """Number of blocks (CLASS_BLOCK images each) with the first `count` images of a class."""
    return -(-count // CLASS_BLOCK)


def num_blocks(count: int) -> int:
    """Number of blocks (SAMPLE_BATCH images each) with the first `count` images of a stream."""
    return -(-count // SAMPLE_BATCH)
