"""Blocks of streams in the store: their names, sizes and numbers, by arithmetic alone.

Must not import torch.
"""

from model.blocks import CLASS_BLOCK, SAMPLE_BATCH, num_blocks, num_class_blocks
from sweep.planning.keys import class_stream_key


def store_key(stream: str, label: int | None) -> str:
    """Name of a stream's folder, or of that of one of its classes."""
    return stream if label is None else class_stream_key(stream, label)


def blocks_of(label: int | None, count: int) -> int:
    """Blocks that hold the first `count` images of a stream, or of one of its classes."""
    return num_blocks(count) if label is None else num_class_blocks(count)


def blocks_with(label: int | None, images: range) -> range:
    """The blocks that hold some images of a stream, or of one of its classes."""
    return range(images.start // block_size(label), blocks_of(label, images.stop))


def block_size(label: int | None) -> int:
    """Images of a block."""
    return SAMPLE_BATCH if label is None else CLASS_BLOCK
