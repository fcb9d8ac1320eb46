"""Reads records of a results folder, and checks what a table relies on beyond their types."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from analysis.reading.closed_form import has_closed_form
from analysis.reading.columns import AT, RESERVED
from model.errors import one_line, shortened, shown
from sweep.nearest import NearestImages
from sweep.records import (
    LineageRecord,
    MetricsRecord,
    NodeRecord,
    RecordError,
    load_metrics,
    load_node,
)

MAX_GENERATIONS = 10_000
"""Most generations of a lineage without nodes, each of which is a row."""
LONGEST_NAME = 200
"""Longest name of a node, data set or specification in bytes."""
MAX_NUMBER = 1e150
"""Largest number in a table; squares of larger ones, and thus intervals, may overflow."""
MAX_COUNT = 2**63 - 1
"""Largest whole number in a table."""


def damaged(path: Path | str, rule: str, got: object) -> RecordError:
    """Return the error for a record that breaks a rule."""
    return RecordError(
        f"{Path(path)} must hold {rule}, got {shown(got)}; restore it from a copy of its folder"
    )


def lineage_path(folder: Path, record: LineageRecord) -> Path:
    """Return the file of a lineage's record."""
    return folder / "lineages" / f"{record.id}.json"


def check_names(
    folder: Path, record: LineageRecord, taken: Collection[str], names: Iterable[str]
) -> None:
    """Raise RecordError if a setting or metric of a lineage has a name that is taken."""
    for name in names:
        if name in taken:
            rule = "settings and metrics that have no name of another column of the table"
            raise damaged(lineage_path(folder, record), rule, name)


def check_lineage(folder: Path, record: LineageRecord) -> None:
    """Check that a lineage has the generations and members that it needs, and names files.

    Raises:
        RecordError: It has not.
    """
    path = lineage_path(folder, record)
    files = [record.dataset, *(key for keys in record.nodes for key in keys)]
    files += [spec for specs in _all_specs(record) for spec in specs]
    if wrong := [name for name in files if "/" in name or len(name.encode()) > LONGEST_NAME]:
        raise damaged(path, "names of files in its own folder", wrong[0])
    if not record.nodes:
        generations = record.config.get("generations", 1)
        if type(generations) is not int or not 1 <= generations <= MAX_GENERATIONS:
            rule = f"config.generations from 1 to {MAX_GENERATIONS}"
            raise damaged(path, rule, generations)
        return
    sizes = sorted({len(keys) for keys in record.nodes})
    if len(sizes) > 1 or sizes == [0]:
        raise damaged(path, "nodes with the same members in each generation, at least one", sizes)
    needed = {"member_specs": len(record.nodes[0]), "mixture_specs": len(record.nodes)}
    for name, count in needed.items():
        if (got := len(getattr(record, name))) not in (0, count):
            raise damaged(path, f"{count} or no {name}", got)


def node_keys(record: LineageRecord) -> Sequence[Sequence[str | None]]:
    """Return the keys of the members of each generation; None if the record does not know them."""
    return record.nodes or [[None]] * record.config.get("generations", 1)


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
        rule = "the ensemble, model and pool of a lineage in config"
        raise damaged(lineage_path(folder, record), rule, one_line(error)) from None


def image_size(folder: Path, record: LineageRecord) -> int:
    """Return data.image_size of a lineage; raises RecordError if it is not a size."""
    data = record.config.get("data")
    size = data.get("image_size") if isinstance(data, Mapping) else None
    if type(size) is not int or size < 1:  # true is no size
        raise damaged(lineage_path(folder, record), "a positive config.data.image_size", size)
    return size


def read_node(folder: Path, key: str) -> NodeRecord | None:
    """Read a node's record, or return None if the node is not done.

    Raises:
        RecordError: It is damaged, or its counts contradict each other.
    """
    node = load_node(folder, key)
    if node is None:
        return None
    path = f"{folder}/generations/{key}/record.json"
    for name in ("num_images", "num_steps", "images_seen"):
        _check_count(path, name, getattr(node, name))
    if node.num_images < 1 or not node.origins:
        raise damaged(path, "a pool of at least one image", node.num_images)
    for name, counts in (("origins", node.origins), ("class_counts", node.class_counts)):
        if counts and (sum(counts.values()) != node.num_images or min(counts.values()) < 0):
            raise damaged(path, f"{name} that sum to num_images={node.num_images}", counts)
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
    check_metrics(f"{folder}/generations/{key}/metrics/{spec}.json", record)
    return record


def check_metrics(path: str, record: MetricsRecord) -> None:
    """Raise RecordError if a name or number cannot be that of a metric."""
    _check_count(path, "num_images", record.num_images)
    _check_count(path, "num_reference", record.num_reference)
    _check_numbers(path, _metric_items(record))
    if record.nearest is not None:
        _check_nearest(path, record.nearest)
    for name in (*record.values, *record.classes, *record.directions):
        if AT in name:  # followed by the number of images in a table
            raise damaged(path, f"metrics without {AT!r} in their names", name)
        if name in RESERVED:
            raise damaged(path, "metrics that have no name of another column of the table", name)


def _metric_items(record: MetricsRecord) -> Iterator[tuple[str, float]]:
    yield from record.values.items()
    for name, values in record.classes.items():
        yield from ((f"{name} of class {label}", number) for label, number in values.items())
    if record.nearest is not None:
        yield from (("a distance", x) for distances in record.nearest.distances for x in distances)
    for name, numbers in record.directions.items():
        yield from ((f"{name} of direction {n}", x) for n, x in enumerate(numbers, start=1))


def _check_nearest(path: str, nearest: NearestImages) -> None:
    """Every sample has as many distances as neighbours, of which there is at least one."""
    count, sizes = len(nearest.samples), [len(images) for images in nearest.train]
    if not sizes or sizes != [len(each) for each in nearest.distances] or len(sizes) != count:
        raise damaged(path, "distances of each sample's neighbours", nearest.distances)
    if min(sizes) != max(sizes) or min(sizes) < 1 or not 0 <= nearest.num_closest <= count:
        raise damaged(path, "as many neighbours for each sample", nearest.train)


def _check_count(path: str, name: str, count: int) -> None:
    if not 0 <= count <= MAX_COUNT:
        raise damaged(path, f"{name} from 0 to 2^63 - 1", count)


def _check_numbers(path: str, items: Iterable[tuple[str, float | None]]) -> None:
    for name, number in items:
        if number is not None and not (math.isfinite(number) and abs(number) <= MAX_NUMBER):
            raise damaged(path, f"a number of at most {MAX_NUMBER:g} as {shortened(name)}", number)
