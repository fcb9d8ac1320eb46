"""Reads records of a results folder, and checks what a table relies on beyond their types."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from analysis.reading.closed_form import has_closed_form
from analysis.reading.columns import AT
from sweep.records import (
    LineageRecord,
    MetricsRecord,
    NodeRecord,
    RecordError,
    load_metrics,
    load_node,
    node_dir,
)

MAX_GENERATIONS = 10_000
"""Most generations of a lineage without nodes, each of which is a row."""
MAX_NUMBER = 1e150
"""Largest number in a table; squares of larger ones, and thus intervals, may overflow."""
MAX_COUNT = 2**63 - 1
"""Largest whole number in a table."""


def check_names(
    folder: Path, record: LineageRecord, taken: Collection[str], names: Iterable[str]
) -> None:
    """Raise RecordError if a setting or metric of a lineage has a name that is taken."""
    for name in names:
        if name in taken:
            path = folder / "lineages" / f"{record.id}.json"
            raise RecordError(
                f"{path} must not have a setting or metric with the name of another column of the "
                f"table, got {name!r}; rename it where it was defined"
            )


def node_keys(folder: Path, record: LineageRecord) -> Sequence[Sequence[str | None]]:
    """Return the keys of the members of each generation; None if the record does not know them.

    Raises:
        RecordError: The record does not have as many generations or members as it needs.
    """
    path = folder / "lineages" / f"{record.id}.json"
    if not record.nodes:
        generations = record.config.get("generations", 1)
        if not isinstance(generations, int) or not 1 <= generations <= MAX_GENERATIONS:
            rule = f"be a whole number from 1 to {MAX_GENERATIONS}"
            raise RecordError(f"{path} must hold config.generations that {rule}, got {generations}")
        return [[None]] * generations
    files = [record.dataset, *(key for keys in record.nodes for key in keys)]
    files += [spec for specs in _all_specs(record) for spec in specs]
    if outside := [name for name in files if "/" in name]:
        raise RecordError(f"{path} must name files inside its folder, got {outside[0]!r}")
    sizes = {len(keys) for keys in record.nodes}
    if sizes != {len(record.nodes[0])} or sizes == {0}:
        raise RecordError(
            f"{path} must hold nodes with the same number of members in each generation, at least "
            f"one, got {sorted(sizes)}"
        )
    needed = {"member_specs": len(record.nodes[0]), "mixture_specs": len(record.nodes)}
    for name, count in needed.items():
        if (got := len(getattr(record, name))) not in (0, count):
            raise RecordError(f"{path} must hold no or {count} {name}, got {got}")
    return record.nodes


def _all_specs(record: LineageRecord) -> list[list[str]]:
    own = [record.metrics_spec, *record.evaluation_specs]
    return [own, *record.member_specs, *record.mixture_specs]


def fits_closed_form(folder: Path, record: LineageRecord, member: int) -> bool:
    """Return has_closed_form of a lineage's settings.

    Raises:
        RecordError: The settings are not those of a lineage.
    """
    try:
        return has_closed_form(record.config, member)
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        path = folder / "lineages" / f"{record.id}.json"
        raise RecordError(
            f"{path} must hold the ensemble, model and pool of a lineage in config: {error}"
        ) from None


def image_size(folder: Path, record: LineageRecord) -> int:
    """Return data.image_size of a lineage; raises RecordError if it is not a size."""
    data = record.config.get("data")
    size = data.get("image_size") if isinstance(data, Mapping) else None
    if not isinstance(size, int) or size < 1:
        path = folder / "lineages" / f"{record.id}.json"
        raise RecordError(f"{path} must hold a positive config.data.image_size, got {size!r}")
    return size


def read_node(folder: Path, key: str) -> NodeRecord | None:
    """Read a node's record, or return None if the node is not done.

    Raises:
        RecordError: It is damaged, or its counts contradict each other.
    """
    node = load_node(folder, key)
    if node is None:
        return None
    path = node_dir(folder, key) / "record.json"
    for name in ("num_images", "num_steps", "images_seen"):
        _check_count(path, name, getattr(node, name))
    for name, counts in (("origins", node.origins), ("class_counts", node.class_counts)):
        if counts and (sum(counts.values()) != node.num_images or min(counts.values()) < 0):
            raise RecordError(
                f"{path} must hold {name} that sum to num_images={node.num_images}, got "
                f"{sum(counts.values())}"
            )
    if node.num_images < 1 or not node.origins:
        raise RecordError(f"{path} must hold a pool of at least one image, got {node.num_images}")
    numbers = ("views_per_image", "final_loss", "seconds", "images_per_second")
    _check_numbers(path, {name: getattr(node, name) for name in numbers}.items())
    return node


def read_metrics(folder: Path, key: str, spec: str) -> MetricsRecord | None:
    """Read a node's numbers under a metric specification, or return None if there are none.

    Raises:
        RecordError: It is damaged, or a name or number in it cannot be that of a metric.
    """
    record = load_metrics(folder, key, spec)
    if record is None:
        return None
    path = node_dir(folder, key) / "metrics" / f"{spec}.json"
    _check_count(path, "num_images", record.num_images)
    _check_count(path, "num_reference", record.num_reference)
    _check_numbers(path, _metric_items(record))
    for name in (*record.values, *record.classes):
        if AT in name:
            raise RecordError(
                f"{path} must hold metrics without {AT!r} in their names, got {name!r}; "
                f"{AT}n in a table is a number of images"
            )
    return record


def _metric_items(record: MetricsRecord) -> Iterator[tuple[str, float]]:
    yield from record.values.items()
    for name, values in record.classes.items():
        yield from ((f"{name} of class {label}", number) for label, number in values.items())


def _check_count(path: Path, name: str, count: int) -> None:
    if not 0 <= count <= MAX_COUNT:
        raise RecordError(f"{path} must hold {name} from 0 to 2^63 - 1, got {str(count)[:20]}")


def _check_numbers(path: Path, items: Iterable[tuple[str, float | None]]) -> None:
    for name, number in items:
        if number is not None and not (math.isfinite(number) and abs(number) <= MAX_NUMBER):
            raise RecordError(
                f"{path} must hold a number of at most {MAX_NUMBER:g} as {name}, got {number:g}"
            )
