"""`sweep clean`: what a store holds in vain is deleted. Must not import torch or ray."""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from sweep.folder import read_sweep
from sweep.inventory import Item
from sweep.places import open_store
from sweep.plan import PlannedLineage, plan_sweep
from sweep.prepared import find_card
from sweep.report import format_bytes
from sweep.store import Store

MEANINGS = {
    "node": "models that no lineage names",
    "dataset": "data sets that no lineage names",
    "streams": "samples that no lineage names",
    "scratch": "checkpoints and claims",
    "damaged": "damaged files that were set aside",
    "remains": "unfinished files",
}


def clean(out: Path, *, store: str | None, checkpoints: bool, force: bool, dry_run: bool) -> int:
    """Delete what a sweep's store holds in vain, and print what that was; returns 0.

    Args:
        out: Results folder of the sweep.
        store: Where its models are, where not there.
        checkpoints: Also those of models that are not finished: they begin anew.
        force: Also what no lineage of the sweep names, in a store of its own.
        dry_run: Only say what would be deleted.

    Raises:
        ValueError: With `force`, the store is shared, or something is at work on it.
    """
    sweep = read_sweep(out)
    kept = open_store(store or out, sweep.resources)
    own = kept.place == str(out.absolute())
    live = {key for key, claim in kept.read_claims().items() if claim.live}
    if force and not own:
        raise ValueError(
            f"--force must be used on a store that belongs to one sweep, got {kept.place}; "
            "what other sweeps need of it cannot be told"
        )
    if force and live:
        raise ValueError(
            f"--force must wait until nobody works on {kept.place}, got {len(live)} at work; "
            f"sweep stop {out} ends them"
        )
    lineages = plan_sweep(
        sweep, lambda data: find_card(data, kept), on_gpu=sweep.base.train.precision == "bf16"
    )
    items = list(kept.items())
    chosen = list(
        in_vain(items, lineages, kept, own=own, live=live, checkpoints=checkpoints, force=force)
    )
    sizes: Counter[str] = Counter()
    for item in chosen:
        sizes[item.kind] += item.size
        if not dry_run:
            kept.delete_item(item)
    counts = Counter(item.kind for item in chosen)
    for kind, count in sorted(counts.items()):
        print(
            f"{'would delete' if dry_run else 'deleted'}  {count:5,} {MEANINGS[kind]}, "
            f"{format_bytes(sizes[kind])}"
        )
    if not chosen:
        print("nothing to delete")
    waiting = [i for i in items if i.kind == "scratch" and i not in chosen and i.key not in live]
    if waiting and not checkpoints:
        print(
            f"kept {len(waiting)} checkpoints of unfinished models, "
            f"{format_bytes(sum(item.size for item in waiting))}; --checkpoints deletes them",
            file=sys.stderr,
        )
    return 0


def in_vain(
    items: Iterable[Item],
    lineages: list[PlannedLineage],
    store: Store,
    *,
    own: bool,
    live: set[str],
    checkpoints: bool,
    force: bool,
) -> Iterator[Item]:
    """The items that may go; never what a live process works on."""
    nodes = {node.key for lineage in lineages for node in lineage.nodes}
    named = {
        "node": nodes,
        "dataset": {lineage.card.key for lineage in lineages},
        "streams": streams_of_nodes(lineages),
    }
    for item in items:
        if item.key in live:
            continue
        if item.kind in ("damaged", "remains"):
            yield item
        elif item.kind == "scratch":
            foreign = (
                own and item.key not in nodes
            )  # a claim on samples, or a node of older settings
            if checkpoints or foreign or store.has_node(item.key):
                yield item
        elif force and item.kind in named and item.key not in named[item.kind]:
            yield item


def streams_of_nodes(lineages: list[PlannedLineage]) -> set[str]:
    """Keys in the store of every stream that the lineages draw."""
    from sweep.blocks import store_key
    from sweep.keys import stream_key

    found = set()
    for lineage in lineages:
        labels = [None, *range(lineage.card.num_classes)]
        for node in lineage.nodes:
            samplers = {node.settings.sample, *(plan.sample for plan in node.all_metrics)}
            found |= {
                store_key(stream_key(node.key, s), label) for s in samplers for label in labels
            }
    return found
