"""How streams of images are cut into blocks. Plain arithmetic, so that a plan needs no torch."""

SAMPLE_BATCH = 128
"""Images per network call, padded if fewer are needed. With one shape, and so one choice of
kernels, an image does not depend on how many others are drawn. Part of every result."""

CLASS_BLOCK = 16
"""Images per block of a class's stream; SAMPLE_BATCH is a multiple of it. Part of every result."""


def num_class_blocks(count: int) -> int:
    """Blocks of a class's stream (CLASS_BLOCK images each) that hold its first `count` images."""
    return -(-count // CLASS_BLOCK)


def num_blocks(count: int) -> int:
    """Blocks of a stream (SAMPLE_BATCH images each) that hold its first `count` images."""
    return -(-count // SAMPLE_BATCH)
