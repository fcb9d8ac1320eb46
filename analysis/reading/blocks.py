"""Blocks of a store in a results folder: which ones are needed, and whether they are whole."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from model.blocks import CLASS_BLOCK, SAMPLE_BATCH
from model.errors import UsageError, reading
from sweep.files import Json
from sweep.records import PROBE, MetricsRecord, class_stream_key
from sweep.store.arrays import load_array

MOST_BLOCKS = 1_000_000
"""More blocks of one stream than a results folder has, so that an altered number takes no time."""


def check_block(path: Path, place: str) -> None:
    """Raise UsageError unless a file holds the block that was written to this place."""
    with reading(path):
        data = path.read_bytes()
    if load_array(data, place) is None:
        raise UsageError(
            f"{path} must hold the numbers that were written to {place}, got others; delete it, "
            "and the same sweep command computes it again"
        )


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
    if stop - start > size * MOST_BLOCKS:
        raise ValueError(f"a stream of {stop - start} images")
    if stop > start:
        yield from ((folder, number) for number in range(start // size, -(-stop // size)))
