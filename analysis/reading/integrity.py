"""Checks that a results folder is complete: hashes of files, nodes and metrics, data sets."""

import hashlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from model.errors import OneLineError, UsageError, reading
from sweep.records import (
    LineageRecord,
    NodeRecord,
    load_card,
    load_lineages,
    load_metrics,
    load_sweep,
    node_dir,
)

WEIGHTS_SUFFIX = ".safetensors"
"""Suffix of the files of weights, which a copy of a folder may leave out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """The result of checking a results folder."""

    num_lineages: int
    num_nodes: int
    num_files: int
    """Number of files whose contents match their record."""
    not_copied: list[str]
    """Paths of missing weights, which are not a problem, because copies may leave them out."""
    problems: list[str]
    """Sentences that each name a file or lineage; empty if the folder is complete."""


def inspect_folder(out: Path) -> Findings:
    """Compare a results folder with its own records.

    Args:
        out: The --out of a sweep, or a copy of it.

    Returns:
        The findings, in which damaged records of nodes, metrics and data sets are problems.

    Raises:
        RecordError: sweep.json is missing or damaged, or the record of a lineage is damaged.
    """
    load_sweep(out)
    lineages = load_lineages(out)
    problems: list[str] = []
    not_copied: list[str] = []
    num_files = 0
    nodes: dict[str, NodeRecord] = {}
    for folder in sorted(path for path in (out / "generations").glob("*") if path.is_dir()):
        with _listing(problems):
            record = nodes[folder.name] = NodeRecord.load(folder / "record.json")
            if record.key != folder.name:
                problems.append(
                    f"{folder / 'record.json'} must hold key {folder.name}, got {record.key}"
                )
            for name, digest in sorted(record.files.items()):
                path = folder / name
                if path.suffix == WEIGHTS_SUFFIX and not path.exists():
                    not_copied.append(str(path))
                    continue
                with _listing(problems):
                    _check_file(path, digest)
                    num_files += 1
    for lineage in lineages:
        _check_lineage(out, lineage, nodes, problems)
    for key in sorted({lineage.dataset for lineage in lineages if lineage.num_done}):
        with _listing(problems):
            _check_dataset(out, key)
    return Findings(
        num_lineages=len(lineages),
        num_nodes=len(nodes),
        num_files=num_files,
        not_copied=not_copied,
        problems=problems,
    )


@contextmanager
def _listing(problems: list[str]) -> Generator[None]:
    """Add a one-line error of the with-block to a list of problems instead of raising it."""
    try:
        yield
    except OneLineError as error:
        problems.append(str(error))


def _check_file(path: Path, digest: str) -> None:
    if not path.exists():
        raise UsageError(f"{path} must exist, got no such file; copy it, or run the sweep again")
    with reading(path), path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != digest:
        raise UsageError(f"{path} must have SHA-256 {digest[:12]}..., got {actual[:12]}...")


def _check_lineage(
    out: Path, lineage: LineageRecord, nodes: dict[str, NodeRecord], problems: list[str]
) -> None:
    """Add the problems of a lineage's finished generations to a list."""
    if lineage.num_done > len(lineage.nodes):
        problems.append(
            f"lineage {lineage.id} must name the nodes of its {lineage.num_done} finished "
            f"generations, got {len(lineage.nodes)}"
        )
    for generation, keys in enumerate(lineage.nodes[: lineage.num_done], start=1):
        for member, key in enumerate(keys):
            label = f"V{generation} of lineage {lineage.id}"
            if key not in nodes:
                problems.append(f"{label} must be in {node_dir(out, key)}, got no complete node")
            elif nodes[key].status == "done":
                for spec in lineage.all_specs(generation, member):
                    with _listing(problems):
                        _check_metrics(out, key, spec, label)


def _check_metrics(out: Path, key: str, spec: str, label: str) -> None:
    if load_metrics(out, key, spec) is None:
        path = node_dir(out, key) / "metrics" / f"{spec}.json"
        raise UsageError(
            f"the metrics of {label} must be in {path}, got no such file; run sweep evaluate"
        )


def _check_dataset(out: Path, key: str) -> None:
    """Check the card and the preview of a data set."""
    folder = out / "datasets" / key
    card = load_card(out, key)
    if card is None:
        raise UsageError(f"{folder / 'card.json'} must exist, got no such file")
    if not (folder / "preview.png").exists():
        raise UsageError(f"{folder / 'preview.png'} must exist, got no such file")
    if "preview.png" in card.files:
        _check_file(folder / "preview.png", card.files["preview.png"])
