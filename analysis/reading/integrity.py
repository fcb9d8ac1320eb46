"""Checks that a results folder is complete: file hashes, and nodes and metrics of lineages."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from model.errors import UsageError, reading
from sweep.records import (
    LineageRecord,
    NodeRecord,
    RecordError,
    load_card,
    load_lineages,
    load_metrics,
    load_sweep,
    node_dir,
)

WEIGHTS_SUFFIX = ".safetensors"
"""Suffix of files that a copy may leave out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """The result of checking a results folder."""

    num_lineages: int
    num_nodes: int
    num_files: int
    """Number of files whose contents match their record."""
    not_copied: list[str] = field(default_factory=list)
    """Missing weights, which are not a problem, because copies may leave them out."""
    problems: list[str] = field(default_factory=list)
    """Sentences that each name a file or lineage; empty if the folder is complete."""


def inspect_folder(out: Path) -> Findings:
    """Compare a results folder with its own records.

    Args:
        out: The --out of a sweep, or a copy of it.

    Returns:
        The findings; damaged records are listed as problems.

    Raises:
        UsageError: The folder has no readable sweep.json or lineage.
    """
    load_sweep(out)
    lineages = load_lineages(out)
    problems: list[str] = []
    not_copied: list[str] = []
    num_files = 0
    nodes: dict[str, NodeRecord] = {}
    folders = sorted(path for path in (out / "generations").glob("*") if path.is_dir())
    for folder in folders:
        try:
            record = NodeRecord.load(folder / "record.json")
        except RecordError as error:
            problems.append(str(error))
            continue
        nodes[folder.name] = record
        if record.key != folder.name:
            problems.append(
                f"{folder / 'record.json'} must hold key {folder.name}, got {record.key}"
            )
        for name, digest in sorted(record.files.items()):
            num_files += _check_file(folder / name, digest, problems, not_copied)
    for lineage in lineages:
        problems += _check_lineage(out, lineage, nodes)
    problems += _check_datasets(out, lineages)
    return Findings(
        num_lineages=len(lineages),
        num_nodes=len(nodes),
        num_files=num_files,
        not_copied=not_copied,
        problems=problems,
    )


def _check_file(path: Path, digest: str, problems: list[str], not_copied: list[str]) -> bool:
    """Add a file's problem to a list; return whether the file matches its record."""
    if not path.exists():
        if path.suffix == WEIGHTS_SUFFIX:
            not_copied.append(str(path))
        else:
            problems.append(f"{path} must exist, got no such file; copy it, or run the sweep again")
        return False
    try:
        with reading(path), path.open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
    except UsageError as error:
        problems.append(str(error))
        return False
    if actual != digest:
        problems.append(f"{path} must have SHA-256 {digest[:12]}..., got {actual[:12]}...")
    return actual == digest


def _check_lineage(out: Path, lineage: LineageRecord, nodes: dict[str, NodeRecord]) -> list[str]:
    problems = []
    if lineage.num_done > len(lineage.nodes):
        problems.append(
            f"lineage {lineage.id} must name the nodes of its {lineage.num_done} finished "
            f"generations, got {len(lineage.nodes)}"
        )
    for generation, keys in enumerate(lineage.nodes[: lineage.num_done], start=1):
        for member, key in enumerate(keys):
            place = f"V{generation} of lineage {lineage.id}"
            if key not in nodes:
                problems.append(f"{place} must be in {node_dir(out, key)}, got no complete node")
            elif nodes[key].status == "done":
                for spec in lineage.all_specs(generation, member):
                    problems += _check_metrics(out, key, spec, place)
    return problems


def _check_metrics(out: Path, key: str, spec: str, place: str) -> list[str]:
    try:
        metrics = load_metrics(out, key, spec)
    except RecordError as error:
        return [str(error)]
    if metrics is None:
        path = node_dir(out, key) / "metrics" / f"{spec}.json"
        return [f"the metrics of {place} must be in {path}, got no such file; run sweep evaluate"]
    return []


def _check_datasets(out: Path, lineages: list[LineageRecord]) -> list[str]:
    """Check the cards and previews of the data sets of lineages with finished generations."""
    problems = []
    for key in sorted({lineage.dataset for lineage in lineages if lineage.num_done}):
        try:
            card = load_card(out, key)
        except RecordError as error:
            problems.append(str(error))
            continue
        folder = out / "datasets" / key
        if card is None:
            problems.append(f"{folder / 'card.json'} must exist, got no such file")
        elif not (folder / "preview.png").exists():
            problems.append(f"{folder / 'preview.png'} must exist, got no such file")
        elif "preview.png" in card.files:
            _check_file(folder / "preview.png", card.files["preview.png"], problems, [])
    return problems
