"""Whether a results folder is whole: files as recorded, lineages with their nodes and metrics.

Must not know tables and figures.
"""

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
"""Files that a copy may leave out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """What was found in a results folder."""

    num_lineages: int
    num_nodes: int
    num_files: int
    """Files whose contents are as recorded."""
    not_copied: list[str] = field(default_factory=list)
    """Weights that are not there: no fault of a copied folder."""
    problems: list[str] = field(default_factory=list)
    """Sentences, each naming the file or lineage; empty if the folder is whole."""


def inspect_folder(out: Path) -> Findings:
    """Compare a results folder with what its own records say.

    Args:
        out: The --out of a sweep, or a copy of it.

    Returns:
        What was found, damaged records among the problems.

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
    """Add what is wrong with a file to a list; return whether it is as recorded."""
    if not path.exists():
        if path.suffix == WEIGHTS_SUFFIX:
            not_copied.append(str(path))
        else:
            problems.append(f"{path} must exist, got no such file; copy it, or run the sweep again")
        return False
    try:
        with reading(path), path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except UsageError as error:
        problems.append(str(error))
        return False
    if found != digest:
        problems.append(f"{path} must have SHA-256 {digest[:12]}..., got {found[:12]}...")
    return found == digest


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
                problems.append(f"{place} must be in {node_dir(out, key)}, got no whole node there")
            elif nodes[key].status == "done":
                for spec in lineage.all_specs(generation, member):
                    problems += _check_metrics(out, key, spec, place)
    return problems


def _check_metrics(out: Path, key: str, spec: str, place: str) -> list[str]:
    try:
        found = load_metrics(out, key, spec)
    except RecordError as error:
        return [str(error)]
    if found is None:
        path = node_dir(out, key) / "metrics" / f"{spec}.json"
        return [f"{place} must be measured in {path}, got no such file; run sweep evaluate"]
    return []


def _check_datasets(out: Path, lineages: list[LineageRecord]) -> list[str]:
    """Check the cards and previews of the data sets that finished generations were made of."""
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
