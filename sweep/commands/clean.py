"""`sweep clean`: deletes what no lineage of a sweep needs."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from model.errors import UsageError
from sweep.estimate.sizes import format_bytes
from sweep.lineage.datasets import finder_of_recorded
from sweep.planning.keys import store_key
from sweep.planning.lineages import PlannedLineage, plan_sweep
from sweep.records import LineageRecord, load_lineages
from sweep.results_folder import load_recorded_data, read_sweep, store_location
from sweep.store.folder import OLD_SECONDS
from sweep.store.inventory import Item
from sweep.store.store import Store, existing_store

MEANINGS = {
    "node": "models that no lineage refers to",
    "dataset": "data sets that no lineage refers to",
    "streams": "samples that no lineage refers to",
    "scratch": "checkpoints",
    "damaged": "damaged files",
    "remains": "unfinished files",
}


def clean(out: Path, *, store: str | None, checkpoints: bool, force: bool, dry_run: bool) -> int:
    """Delete what no lineage of the sweep needs, and print a summary; returns 0.

    Args:
        out: Results folder of the sweep.
        store: Store of its models, if that is not `out`.
        checkpoints: Also delete checkpoints of unfinished models, whose training then starts over.
        force: Also delete nodes, data sets and samples that no lineage of the sweep refers to.
        dry_run: Only print what would be deleted.

    Raises:
        UsageError: The sweep's data set is missing, or `force` is set and the store is shared or
            in use.
    """
    sweep = read_sweep(out)
    kept = existing_store(store_location(out, store), sweep.resources)
    own = kept.location == str(out.absolute())
    live = {key for key, claim in kept.claims.read().items() if claim.live}
    if force and not own:
        raise UsageError(
            f"--force must be used on a store that belongs to one sweep, got {kept.location}; "
            "other sweeps may need its files"
        )
    if force and live:
        raise UsageError(
            f"--force must wait until nothing uses {kept.location}, got {len(live)} live claims; "
            f"use sweep stop {out} first"
        )
    lineages = plan_sweep(sweep, finder_of_recorded(kept, load_recorded_data(out)))
    if any(lineage.card.fingerprint is None for lineage in lineages):
        raise UsageError(
            f"{kept.location} must hold the sweep's data set, which identifies its models, got "
            "none; run the same sweep command again first"
        )
    use = what_is_used(lineages, load_lineages(out))
    items = kept.items()
    chosen = [
        item
        for item in items
        if in_vain(item, use, kept, own=own, checkpoints=checkpoints, force=force)
        and not is_at_work(item, kept)
    ]
    for item in chosen:
        if not (dry_run or is_at_work(item, kept)):  # checked again, in case it was claimed
            kept.delete_item(item)
    verb = "would delete" if dry_run else "deleted"
    for kind in sorted({item.kind for item in chosen}):
        sizes = [item.size for item in chosen if item.kind == kind]
        print(f"{verb}  {len(sizes):5,} {MEANINGS[kind]}, {format_bytes(sum(sizes))}")
    if not chosen:
        print("nothing to delete")
    for item in items:
        if item.kind == "foreign":
            print(
                f"kept {len(item.paths):,} files that are not ours, the first is {min(item.paths)}",
                file=sys.stderr,
            )
    waiting = [i for i in items if i.kind == "scratch" and i.key in use.nodes and i not in chosen]
    if waiting and not checkpoints:
        print(
            f"kept {len(waiting)} checkpoints of unfinished models, "
            f"{format_bytes(sum(item.size for item in waiting))}; --checkpoints deletes them",
            file=sys.stderr,
        )
    return 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Use:
    """Keys that a sweep refers to."""

    nodes: set[str]
    datasets: set[str]
    streams: set[str] | None
    """None if recorded models are no longer planned, so that their samplers are unknown."""


def what_is_used(lineages: list[PlannedLineage], records: Iterable[LineageRecord]) -> Use:
    """Return the keys that a sweep's settings or its lineage records refer to."""
    planned = {node.key for lineage in lineages for node in lineage.nodes}
    lineage_records = list(records)
    recorded = {key for record in lineage_records for members in record.nodes for key in members}
    return Use(
        nodes=planned | recorded,
        datasets={x.card.key for x in lineages} | {r.dataset for r in lineage_records},
        streams=streams_of_nodes(lineages) if recorded <= planned else None,
    )


def in_vain(
    item: Item, use: Use, store: Store, *, own: bool, checkpoints: bool, force: bool
) -> bool:
    """Whether an item may be deleted if it is not in use."""
    if item.kind == "foreign":
        return False
    old = item.age_seconds > OLD_SECONDS
    if item.kind == "scratch":
        if item.key in use.nodes:
            return checkpoints or store.nodes.has(item.key)
        if item.key in use.datasets or item.key.startswith("run-"):
            return old
        # If the store belongs to one sweep: scratch of samples, or of settings no longer used.
        return (own and (checkpoints or old)) or store.nodes.has(item.key)
    if item.kind == "remains":
        return old and not (store.nodes.has(item.key) or store.datasets.has(item.key))
    if item.kind == "damaged":
        return True
    named = {"node": use.nodes, "dataset": use.datasets, "streams": use.streams}.get(item.kind)
    return force and named is not None and item.key not in named


def is_at_work(item: Item, store: Store) -> bool:
    """Whether a live process holds the claim on an item's key."""
    claim = store.claims.read().get(item.key)
    return claim is not None and claim.live


def streams_of_nodes(lineages: list[PlannedLineage]) -> set[str]:
    """Return the store keys of every stream that the lineages draw."""
    return {
        store_key(stream, label)
        for lineage in lineages
        for node in lineage.nodes
        for stream in node.sampled
        for label in (None, *range(lineage.card.num_classes))
    }
