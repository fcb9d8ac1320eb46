"""Arithmetic of the blocks in which a store keeps streams: their names, sizes and numbers."""

from model.blocks import CLASS_BLOCK, SAMPLE_BATCH, num_blocks, num_class_blocks
from sweep.planning.keys import class_stream_key


def store_key(stream: str, label: int | None) -> str:
    """Name of the folder of a stream, or of one of its classes."""
    return stream if label is None else class_stream_key(stream, label)


def blocks_of(label: int | None, count: int) -> int:
    """Number of blocks that hold the first `count` images of a stream, or of one of its classes."""
    return num_blocks(count) if label is None else num_class_blocks(count)


def blocks_with(label: int | None, images: range) -> range:
    """Numbers of the blocks that hold a range of images of a stream, or of one of its classes."""
    return range(images.start // block_size(label), blocks_of(label, images.stop))


def block_size(label: int | None) -> int:
    """Images per block."""
    return SAMPLE_BATCH if label is None else CLASS_BLOCK
