"""Why the missing models of a plan are to be computed, as far as the store and the records know.

Nothing is guessed: each reason is a fact that can be looked up, and without one a model is new.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model.errors import OneLineError, one_line, printable, shortened
from sweep.config import flatten
from sweep.files import Json, parse_json
from sweep.finished import Finished, is_diverged, read_all
from sweep.lineage.saved_states import STATE, saved_step
from sweep.planning.lineages import PlannedLineage
from sweep.planning.nodes import NodePlan, by_generation
from sweep.records import LineageRecord, load_lineages
from sweep.store.claims import ClaimInfo
from sweep.store.folder import CorruptError
from sweep.store.inventory import item_of
from sweep.store.store import Store

MOST_COMPARED = 2_000
"""Most finished models of a store with which missing ones are compared."""
MOST_DIFFERENCES = 4
"""Most differences from the most similar model that are named."""
KEY = re.compile("[0-9a-f]{64}")

Facts = dict[str, Any]
"""What a model's key is a hash of, by dotted name; pools are summarised."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """What a store and a results folder say about models that are not finished."""

    claims: Mapping[str, ClaimInfo] = field(default_factory=dict)
    """Live claims by key."""
    saved: Mapping[str, int | None] = field(default_factory=dict)
    """Keys with a sound saved state -> its step, or None if the state does not say it."""
    withdrawn: frozenset[str] = frozenset()
    """Keys of which a damaged model was set aside."""
    trained: Mapping[str, str] = field(default_factory=dict)
    """Keys that records call trained -> the lineage whose record does."""
    errors: Mapping[str, str] = field(default_factory=dict)
    """Why the last trial of a lineage failed, by id."""
    models: tuple[Facts, ...] = ()
    """Finished models with which missing ones are compared."""
    is_compared: bool = True
    """Whether these are all finished models of the store."""


def reasons_to_compute(
    lineages: Sequence[PlannedLineage],
    finished: Finished,
    store: Store | None,
    out: Path | None,
) -> dict[str, str]:
    """Why each missing model is to be computed, by key.

    Args:
        lineages: The lineages of a plan.
        finished: Their finished models.
        store: The store of their models; None if there is none yet.
        out: The results folder, if one was given.
    """
    nodes = {node.key for lineage in lineages for node in lineage.nodes}
    missing = nodes - finished.nodes.keys()
    if store is None:
        return dict.fromkeys(missing, "new: there is no store yet")
    known = look(missing, store, out)
    reasons: dict[str, str] = {}
    for lineage in lineages:
        before = ""
        generations = by_generation(lineage.nodes)
        for members in generations:
            absent = [node for node in members if node.key in missing]
            for node in absent:
                if node.key not in reasons:
                    found = known_reason(node, lineage, known, is_next=not before)
                    reasons[node.key] = found or before or why_new(node, lineage, known)
            name = f"V_{members[0].generation}"
            if any(is_diverged(node, finished) for node in members):
                before = f"not computed: {name} has diverged"
            elif absent and not before:
                before = "follows a model that is to be computed"
    return reasons


def known_reason(node: NodePlan, lineage: PlannedLineage, known: Known, *, is_next: bool) -> str:
    """What is known about one missing model itself; empty if nothing is.

    Args:
        node: The model.
        lineage: Its lineage.
        known: What the store and the records say.
        is_next: Whether all models before it in the lineage exist.
    """
    if claim := known.claims.get(node.key):
        return f"in work: process {claim.pid} on {printable(claim.host)} computes it"
    if node.key in known.saved:
        step = known.saved[node.key]
        where = "" if step is None else f", {step:,} of {node.num_steps:,} steps"
        return f"half trained{where}"
    if node.key in known.withdrawn:
        return "damaged: an earlier one was withdrawn"
    if node.key in known.trained:
        return f"lost: the record of {known.trained[node.key]} says that it was trained"
    if is_next and (error := known.errors.get(lineage.id)):
        return f"failed: {shortened(one_line(Exception(error)))}"
    return ""


def why_new(node: NodePlan, lineage: PlannedLineage, known: Known) -> str:
    """How a model that was never begun differs from the most similar finished one."""
    name = f"V_{node.generation}"
    if lineage.card.fingerprint is None:
        return f"new: the store lacks the data set {printable(lineage.card.name)}"
    facts = facts_of(node.inputs)
    same = ("generation", "member")
    alike = [other for other in known.models if all(other[x] == facts[x] for x in same)]
    if not alike:
        return f"new: the store has no {name}" if known.is_compared else "new"
    differing = min((differences(other, facts) for other in alike), key=len)
    if not differing:  # what the key contains, but a summary of a pool does not
        return "new"
    shown = differing[:MOST_DIFFERENCES]
    more = f" and {len(differing) - len(shown)} more" if len(differing) > len(shown) else ""
    return f"new: the most similar {name} in the store differs in {', '.join(shown)}{more}"


def differences(old: Facts, new: Facts) -> list[str]:
    """What differs between two models, the settings with both values."""
    lines = []
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) == new.get(name):
            continue
        values = [str(facts.get(name, "default")) for facts in (old, new)]
        is_text = name in SUMMARIES or max(map(len, values)) > 20
        lines.append(name if is_text else f"{name} ({values[0]}, now {values[1]})")
    implied = "num_steps"  # follows from the length in epochs and the size of the pool
    return [x for x in lines if not x.startswith(implied)] or lines


SUMMARIES = ("the data set", "the pool", "the models before it")
"""Names of the facts that are too long to be shown."""


def facts_of(inputs: Json) -> Facts:
    """The inputs of a model by dotted name, with a summary of its pool."""
    others = {k: v for k, v in inputs.items() if k not in ("recipe", "first_recipe", "parent")}
    sources = list(sources_of(inputs["recipe"]))
    amounts = [{**each, "source": ""} for each in sources]
    real = sorted({each["source"] for each in sources if each["kind"] == "real"})
    synthetic = [each["source"] for each in sources if each["kind"] != "real"]
    values = real, amounts, [*synthetic, inputs.get("parent")]
    return dict(flatten(others)) | dict(zip(SUMMARIES, values, strict=True))


def sources_of(recipe: Sequence[Json]) -> Iterator[Json]:
    """The segments of a pool's recipe, also those from which a selection is made."""
    for entry in recipe:
        if "of" in entry:
            yield {**entry, "of": None, "source": ""}
            yield from sources_of(entry["of"])
        else:
            yield entry


def look(missing: set[str], store: Store, out: Path | None) -> Known:
    """Read what a store and a results folder say about some missing models."""
    records = [] if out is None else load_lineages(out)
    folders = ("work/", "scratch/", "corrupt/")
    items = {item_of(entry.path) for folder in folders for entry in store.files.list(folder)}
    begun = [key for kind, key in filter(None, items) if kind == "scratch" and key in missing]
    saved = read_all(store, begun, lambda key: store.peek_scratch(key, STATE), missing=CorruptError)
    aside = [KEY.search(key) for kind, key in filter(None, items) if kind == "damaged"]
    claims = store.claims.read()
    keys = store.nodes.keys()
    is_compared = len(keys) <= MOST_COMPARED
    return Known(
        claims={key: claim for key, claim in claims.items() if key in missing and claim.live},
        saved={key: saved_step(state) for key, state in saved.items()},
        withdrawn=frozenset(match[0] for match in aside if match),
        trained=trained_by_record(records),
        errors={each.id: each.error for each in records if each.error and each.status == "failed"},
        models=tuple(models_of(store, keys)) if missing and is_compared else (),
        is_compared=is_compared,
    )


def trained_by_record(records: Sequence[LineageRecord]) -> dict[str, str]:
    """Keys of the models that lineages' records call trained -> the lineage."""
    return {
        key: record.id
        for record in records
        for members in record.nodes[: record.num_done]
        for key in members
    }


def models_of(store: Store, keys: Collection[str]) -> list[Facts]:
    """The facts of a store's finished models."""

    def read(key: str) -> Facts:
        data = store.nodes.read_file(key, "config.json")
        return facts_of(parse_json(data, f"{store.location}/{key}"))

    return list(read_all(store, sorted(keys), read, missing=OneLineError).values())
