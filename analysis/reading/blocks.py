"""Blocks of a store in a results folder: which ones its records need, and whether they are whole.

The store writes arrays as safetensors files, whose metadata hold the digest of the numbers, their
shape and type, and the path of the file in the store (missing in files of earlier versions).
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from model.blocks import CLASS_BLOCK, SAMPLE_BATCH
from model.errors import UsageError, reading
from sweep.records import Json, MetricsRecord, class_stream_key

DTYPES = {
    "U8": "uint8",
    "I64": "int64",
    "F32": "float32",
    "F64": "float64",
}
"""Types of arrays in blocks, as safetensors and numpy name them."""
PROBE = "probe-class"
"""A selection whose candidates are not known in advance."""


def check_block(path: Path, place: str) -> None:
    """Raise UsageError unless a file holds the block that was written to this place."""
    with reading(path):
        data = path.read_bytes()
    if not _is_whole(data, place):
        raise UsageError(
            f"{path} must hold the numbers that were written to {place}, got others; delete it, "
            "and the same sweep command computes it again"
        )


def _is_whole(data: bytes, place: str) -> bool:
    length = int.from_bytes(data[:8], "little")
    numbers = data[8 + length :]
    try:
        header = json.loads(data[8 : 8 + length])
        tensor, facts = header["images"], json.loads(header["__metadata__"]["images"])
        return (
            len(data) >= 8 + length
            and tensor["data_offsets"] == [0, len(numbers)]
            and tensor["shape"] == facts["shape"]
            and DTYPES[tensor["dtype"]] == facts["dtype"]
            and hashlib.sha256(numbers).hexdigest() == facts["sha256"]
            and facts.get("place", place) == place
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def streams_of_pool(recipe: Iterable[Json]) -> Iterator[tuple[str, int]]:
    """The (folder, number) of every block of samples that a pool.json is known to need."""
    for source in recipe:
        if source["kind"] == "selected":
            if source["by"]["name"] != PROBE:
                yield from streams_of_pool(source["of"])
        elif source["kind"] == "synthetic":
            label = source.get("label")
            yield from _blocks(source["source"], label, source["start"], source["stop"])


def streams_of_metrics(record: MetricsRecord) -> Iterator[tuple[str, int]]:
    """The (folder, number) of every block of samples that were measured."""
    if "images" in record.spec:
        yield from streams_of_pool(record.spec["images"])
    elif "labels" in record.spec:
        for label, count in enumerate(record.spec["labels"]):
            yield from _blocks(record.stream, label, 0, count)
    elif record.stream:
        yield from _blocks(record.stream, None, 0, record.num_images)


def _blocks(stream: str, label: int | None, start: int, stop: int) -> Iterator[tuple[str, int]]:
    folder = stream if label is None else class_stream_key(stream, label)
    size = SAMPLE_BATCH if label is None else CLASS_BLOCK
    if stop > start:
        yield from ((folder, number) for number in range(start // size, -(-stop // size)))
