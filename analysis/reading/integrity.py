"""Checks that a results folder is whole: each record and file, and what they say of each other."""

import hashlib
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from analysis.reading.blocks import check_block, streams_of_metrics, streams_of_pool
from model.errors import OneLineError, UsageError, reading
from sweep.environment import differing_facts
from sweep.files import RecordError, digest, read_json
from sweep.records import (
    WEIGHTS,
    DatasetCard,
    HypothesisRecord,
    LineageRecord,
    MetricsRecord,
    NodeRecord,
    SweepRecord,
    load_card,
    load_floor,
    load_lineage,
    load_metrics,
    load_node,
    load_sweep,
    node_dir,
)
from sweep.sealed import CHECKSUM, Record, load_as_written

BLOCKS = ("streams", "features", "selections")
"""Folders of blocks in a store."""
ARRAYS = (".npy", ".npz")
"""Suffixes of the files of a data set that only a store has."""
UNCHECKED = ("figures", "logs", "tensorboard", "tune", "claims", "work")
"""Folders that are not checked: they are made from the rest, or belong to running trainings."""


FORMS: dict[str, type[Record]] = {
    "sweep.json": SweepRecord,
    "lineages/*.json": LineageRecord,
    "generations/*/record.json": NodeRecord,
    "generations/*/metrics/*.json": MetricsRecord,
    "datasets/*/card.json": DatasetCard,
    "datasets/*/metrics/*.json": MetricsRecord,
    "hypotheses/*.json": HypothesisRecord,
}
"""Forms of the paths of records."""


@dataclass(kw_only=True, slots=True)
class Findings:
    """The result of checking a results folder."""

    num_lineages: int = 0
    num_nodes: int = 0
    num_files: int = 0
    """Number of files that are as they were written."""
    notes: list[str] = field(default_factory=list)
    """Sentences about what is in a store elsewhere, what a copy may lack, and what is mixed."""
    problems: list[str] = field(default_factory=list)
    """Sentences that each name a file or lineage; empty if the folder is whole."""

    @contextmanager
    def listing(self, *, count: int = 1) -> Generator[None]:
        """Add the files of the with-block to the count, or its one-line error to the problems."""
        try:
            yield
        except OneLineError as error:
            self.problems.append(str(error))
        else:
            self.num_files += count


def inspect_folder(out: Path) -> Findings:
    """Compare a results folder with its own records, and these with each other.

    Args:
        out: The --out of a sweep, or a copy of it.

    Raises:
        RecordError: sweep.json is missing or damaged.
    """
    sweep = load_sweep(out)
    found = Findings(num_files=1)
    lineages = _read_lineages(out, sweep, found)
    nodes = _read_nodes(out, found)
    metrics = _read_metrics(out, nodes, found)
    for lineage in lineages:
        _check_lineage(out, lineage, nodes, metrics, found)
    _check_datasets(out, sweep, lineages, found)
    weights = [node_dir(out, key) / WEIGHTS for key, node in nodes.items() if WEIGHTS in node.files]
    _check_stored(sweep, "weights", len(weights), _missing(weights), found)
    _check_blocks(out, sweep, nodes, metrics, lineages, found)
    found.notes += _unsealed(out)
    records = [*nodes.values(), *metrics.values()]
    differing = differing_facts(line for record in records for line in record.environments())
    found.notes += [f"different environments (results): {differing}"] if differing else []
    return found


def _unsealed(out: Path) -> list[str]:
    """A sentence about records without a checksum, if there are any."""
    paths = [(path, kind) for form, kind in FORMS.items() for path in out.glob(form)]
    others = sorted(path for path, kind in paths if load_as_written(kind, str(path)) is None)
    without: list[Path] = []
    for path in others:
        with suppress(RecordError):  # listed as a problem
            without += [path] if CHECKSUM not in read_json(path) else []
    if not without:
        return []
    return [
        f"not checked: values in {len(without)} records without a checksum, as earlier versions "
        f"wrote them; the first is {without[0]}"
    ]


def _read_lineages(out: Path, sweep: SweepRecord, found: Findings) -> list[LineageRecord]:
    lineages = []
    for path in sorted((out / "lineages").glob("*.json")):
        with found.listing():
            lineages.append(load_lineage(path))
    found.num_lineages = len(lineages)
    here = {path.stem for path in (out / "lineages").glob("*.json")}
    for name in sorted(set(sweep.lineages) ^ here) if sweep.lineages else []:
        path = out / "lineages" / f"{name}.json"
        state = "no such file" if name in sweep.lineages else "a file that it does not name"
        found.problems.append(f"{path} must be as {out / 'sweep.json'} says, got {state}")
    if not (here or sweep.lineages):
        found.problems.append(f"{out / 'lineages'} must hold the sweep's lineages, got none")
    return lineages


def _read_nodes(out: Path, found: Findings) -> dict[str, NodeRecord]:
    """The nodes by key, whose files other than weights are compared with their digests."""
    nodes: dict[str, NodeRecord] = {}
    for folder in sorted(path for path in (out / "generations").glob("*") if path.is_dir()):
        with found.listing():
            record = load_node(out, folder.name)
            if record is None:
                raise UsageError(f"{folder / 'record.json'} must exist, got no such file")
            nodes[folder.name] = record
            if "config.json" in record.files:
                _check_inputs(folder, record.key)
            for name, expected in sorted(record.files.items()):
                if name != WEIGHTS or (folder / name).exists():
                    with found.listing():
                        _check_file(folder / name, expected)
    found.num_nodes = len(nodes)
    return nodes


def _check_inputs(folder: Path, key: str) -> None:
    """Raise UsageError unless a node's key is the digest of its inputs."""
    if digest(read_json(folder / "config.json")) != key:
        raise UsageError(f"{folder / 'config.json'} must hold the inputs of {key}, got others")


Metrics = dict[tuple[str, str], MetricsRecord]
"""Metrics by node and specification."""


def _read_metrics(out: Path, nodes: Iterable[str], found: Findings) -> Metrics:
    metrics: Metrics = {}
    for key in nodes:
        for path in sorted((node_dir(out, key) / "metrics").glob("*.json")):
            with found.listing():
                record = load_metrics(out, key, path.stem)
                if record is not None:
                    metrics[key, path.stem] = record
                    if record.nearest_sha256:
                        _check_file(path.with_suffix(".png"), record.nearest_sha256)
                        found.num_files += 1
    return metrics


def _check_lineage(
    out: Path,
    lineage: LineageRecord,
    nodes: dict[str, NodeRecord],
    metrics: Metrics,
    found: Findings,
) -> None:
    """List what a lineage says is done and is not here."""
    if not 0 <= lineage.num_done <= len(lineage.nodes):
        found.problems.append(
            f"lineage {lineage.id} must have finished 0 to {len(lineage.nodes)} generations, got "
            f"{lineage.num_done}"
        )
    for generation, keys in enumerate(lineage.nodes[: max(0, lineage.num_done)], start=1):
        for member, key in enumerate(keys):
            label = f"V{generation} of lineage {lineage.id}"
            if key not in nodes:
                found.problems.append(
                    f"{label} must be in {node_dir(out, key)}, got no complete node"
                )
            elif nodes[key].status == "done":
                for spec in lineage.all_specs(generation, member):
                    path = node_dir(out, key) / "metrics" / f"{spec}.json"
                    if (key, spec) not in metrics and not path.exists():
                        found.problems.append(
                            f"the metrics of {label} must be in {path}, got no such file; "
                            "run sweep evaluate"
                        )


def _check_datasets(
    out: Path, sweep: SweepRecord, lineages: list[LineageRecord], found: Findings
) -> None:
    """Check the cards and files of the data sets; arrays may be only in the store."""
    arrays: set[Path] = set()
    recorded = {data.key for data in sweep.datasets}
    for key in sorted(recorded | {lineage.dataset for lineage in lineages if lineage.num_done}):
        folder = out / "datasets" / key
        with found.listing():
            card = load_card(out, key)
            if card is None:
                raise UsageError(f"{folder / 'card.json'} must exist, got no such file")
            if not (folder / "preview.png").exists():
                raise UsageError(f"{folder / 'preview.png'} must exist, got no such file")
            for name, expected in sorted(card.files.items()):
                if Path(name).suffix in ARRAYS:
                    arrays.add(folder / name)
                if Path(name).suffix not in ARRAYS or (folder / name).exists():
                    with found.listing():
                        _check_file(folder / name, expected)
    for path in sorted((out / "datasets").glob("*/metrics/*.json")):
        with found.listing():
            load_floor(out, path.parent.parent.name, path.stem)
    _check_stored(sweep, "arrays of data sets", len(arrays), _missing(arrays), found)


def _check_blocks(
    out: Path,
    sweep: SweepRecord,
    nodes: dict[str, NodeRecord],
    metrics: Metrics,
    lineages: list[LineageRecord],
    found: Findings,
) -> None:
    """Check every block that is here, and that the blocks of samples are complete."""
    present: set[str] = set()
    for shelf in BLOCKS:
        for path in sorted((out / shelf).glob("*/*.safetensors")):
            present.add(place := path.relative_to(out).as_posix())
            with found.listing():
                check_block(path, place)
    used = {key for lineage in lineages for keys in lineage.nodes for key in keys} & nodes.keys()
    needed: set[tuple[str, int]] = set()
    for key in used:
        path = node_dir(out, key) / "config.json"
        with found.listing(count=0), understood(path):
            inputs = read_json(path)
            if digest(inputs) == key:  # otherwise they are listed already
                needed |= set(streams_of_pool(inputs.get("recipe", [])))
    for (key, spec), record in metrics.items():
        with found.listing(count=0), understood(node_dir(out, key) / "metrics" / f"{spec}.json"):
            needed |= set(streams_of_metrics(record)) if key in used else set()
    blocks = {f"streams/{folder}/{number:06d}.safetensors" for folder, number in needed}
    missing = [f"{out}/{place}" for place in blocks - present]
    _check_stored(sweep, "blocks of samples", len(blocks), missing, found)


@contextmanager
def understood(path: Path) -> Generator[None]:
    """Turn errors of JSON in another form than this version writes into a one-line error."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, OneLineError):
            raise
        raise UsageError(f"{path} must describe images as this version does, got others") from error


def _missing(paths: Iterable[Path]) -> list[str]:
    return [str(path) for path in paths if not path.exists()]


def _check_stored(
    sweep: SweepRecord, what: str, num_paths: int, missing: list[str], found: Findings
) -> None:
    """Say what is in another store or not copied; a part that is missing is a problem."""
    if not missing:
        return
    if sweep.store:
        found.notes.append(f"not checked: the {what}, which are in {sweep.store}")
    elif len(missing) == num_paths:
        found.notes.append(f"not copied: the {what} ({len(missing)} files)")
    else:
        found.problems += [f"{path} must exist, got no such file" for path in sorted(missing)]


def _check_file(path: Path, expected: str) -> None:
    if not path.exists():
        raise UsageError(f"{path} must exist, got no such file; copy it, or run the sweep again")
    with reading(path), path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != expected:
        raise UsageError(f"{path} must have SHA-256 {expected[:12]}..., got {actual[:12]}...")
