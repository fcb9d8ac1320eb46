"""`sweep evaluate`: takes more metrics of a sweep's finished models, without training.

The metrics are added to sweep.json, so that a later `sweep run` takes them of new models too.
"""

import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from model.commands.command_line import MISSING
from model.commands.output import is_quiet
from model.config import MetricsConfig
from model.errors import UsageError, writing
from model.features.extractors import extractor_label
from model.metrics.table import shown_columns, validate_metrics
from sweep.commands.floors import add_floors
from sweep.commands.preflight import (
    check_extractors_ready,
    check_plugins,
    check_programs_allowed,
)
from sweep.commands.run import driving, run_analysis, short_path, tell_details
from sweep.commands.shared_folders import check_places
from sweep.config import SweepConfig
from sweep.finished import Finished, look_up
from sweep.lineage.datasets import finder_of_recorded
from sweep.planning.keys import blocks_of, store_key
from sweep.planning.lineages import PlannedLineage, plan_sweep
from sweep.planning.new_images import streams_of
from sweep.planning.nodes import NodePlan, by_generation
from sweep.planning.pool import Pool
from sweep.records import WEIGHTS, load_lineages
from sweep.results_folder import fill, load_recorded_data, read_sweep, store_location, write_sweep
from sweep.status.log import logged
from sweep.status.stages import Stage
from sweep.store.store import Store, existing_store, open_store
from sweep.tensorboard import write_whole_board

LOG = logging.getLogger(__name__)
NAMED = ("names", "extractor", "weights", "resolution", "precision", "num_images")
"""Settings that may differ within a results folder, because the column names tell them apart."""


def evaluate(
    out: Path,
    metrics: MetricsConfig,
    *,
    store: str | None,
    address: str | None,
    command: str,
    allow_world_writable: bool = False,
    accept_changed_plugins: bool = False,
) -> int:
    """Measure every finished model of a sweep; returns 0, or 1 if a measurement is missing.

    Everything that can be known before is checked first, so that metrics which cannot be measured
    here are not added to the sweep.

    Raises:
        OneLineError: A setting is not valid, or `out` cannot be written.
    """
    out = out.absolute()
    sweep = read_sweep(out)
    validate_metrics(metrics)
    added = additional(sweep, metrics)
    if added is not None:
        sweep = replace(sweep, evaluations=(*sweep.evaluations, added))
    kept = open_store(store_location(out, store), sweep.resources)
    check_places(out, kept, sweep.resources, allow_world_writable=allow_world_writable)
    with Stage("planning, and looking up what exists"):
        lineages = plan_sweep(sweep, finder_of_recorded(kept, load_recorded_data(out)))
        finished = look_up(kept, lineages)
    tell_details(kept, lineages, finished)
    check_plugins(finished, accept_changed=accept_changed_plugins)
    check_models(out, finished, kept)
    work = missing_measurements(lineages, finished, kept)
    if work:
        check_programs_allowed(lineages, train=False)
        check_extractors_ready(lineages, sweep.evaluations, fetch=True)

    def measure_all() -> int:
        if not finished.nodes:
            print(f"nothing to measure: no model of {out} is trained yet", file=sys.stderr)
            return MISSING
        return measure(
            sweep, lineages, kept, out, work=work, metrics=metrics, address=address, command=command
        )

    return logged(out, command, measure_all, kept="what was measured is kept")


def measure(
    sweep: SweepConfig,
    lineages: list[PlannedLineage],
    kept: Store,
    out: Path,
    *,
    work: list[tuple[str, int]],
    metrics: MetricsConfig,
    address: str | None,
    command: str,
) -> int:
    """Take the missing metrics of models whose settings have been checked, and show the table."""
    with writing(out):
        write_sweep(out, sweep, command, store=kept.location, lineages=lineages)
    errors: dict[str, str] = {}
    if work:
        note_other_number(lineages, metrics)
        with driving(sweep, lineages, kept, out, address=address) as run:
            errors = run.measure(work, say=say)
    else:
        say("nothing to measure: all metrics exist")
    finished = look_up(kept, lineages)
    add_floors(lineages, finished, kept, sweep.resources)
    with writing(out):
        write_whole_board(out, fill(out, lineages, kept, finished=finished))
    shown = [column for name in metrics.names for column in shown_columns(name, metrics)]
    words = ["--metric", *shown] if shown else []
    has_table = not run_analysis({"the table": ("table", str(short_path(out)), *words)})
    for lineage, error in errors.items():
        print(f"{lineage} failed: {error}", file=sys.stderr)
    return 0 if has_table and not errors else 1


def remove(out: Path, metrics: MetricsConfig, *, store: str | None, command: str) -> int:
    """Drop metrics that `sweep evaluate` has added to a sweep; their numbers stay in the store.

    Raises:
        UsageError: The sweep has no such evaluation.
    """
    out = out.absolute()
    sweep = read_sweep(out)
    label = extractor_label(metrics)
    left: list[MetricsConfig] = []
    removed: list[str] = []
    for other in sweep.evaluations:
        same = extractor_label(other) == label
        removed += [name for name in other.names if same and name in metrics.names]
        left.append(
            replace(other, names=tuple(n for n in other.names if not (same and n in metrics.names)))
        )
    if not removed:
        has = [f"{name}/{extractor_label(e)}" for e in sweep.evaluations for name in e.names]
        raise UsageError(
            f"--remove must name metrics that sweep evaluate added ({', '.join(has) or 'none'}), "
            f"got {', '.join(f'{name}/{label}' for name in metrics.names)}"
        )
    sweep = replace(sweep, evaluations=tuple(each for each in left if each.names))
    kept = existing_store(store_location(out, store), sweep.resources)
    lineages = plan_sweep(sweep, finder_of_recorded(kept, load_recorded_data(out)))
    with writing(out):
        write_sweep(out, sweep, command, store=kept.location, lineages=lineages)
        fill(out, lineages, kept)
    print(f"removed {', '.join(f'{name}/{label}' for name in removed)} from {short_path(out)}")
    return 0


def check_models(out: Path, finished: Finished, store: Store) -> None:
    """Raise UsageError if the store lacks models that the results folder says are trained."""
    for record in load_lineages(out):
        for generation, keys in enumerate(record.nodes[: record.num_done], start=1):
            if not all(key in finished.nodes for key in keys):
                raise UsageError(
                    f"{store.location} must hold the trained models of {out}, got no "
                    f"V_{generation} of {record.id}; pass the --store of the run, or run the same "
                    "sweep command again"
                )


def note_other_number(lineages: Sequence[PlannedLineage], metrics: MetricsConfig) -> None:
    """Say if other numbers of images are measured than in the run, because they do not compare."""
    own = {metrics.num_images or x.card.num_reference for x in lineages}
    of_run = {x.config.metrics.num_images or x.card.num_reference for x in lineages}
    if own != of_run:
        measured, before = (" and ".join(f"{x:,}" for x in sorted(each)) for each in (own, of_run))
        say(
            f"note: {measured} images of each model are measured, and the run measured {before}; "
            f"for numbers that compare, set --metrics.num-images {min(of_run)}"
        )


def say(line: str) -> None:
    """Print a line of progress, which is also an event of the log."""
    LOG.info(line)
    if not is_quiet():
        print(line, file=sys.stderr, flush=True)


def additional(sweep: SweepConfig, metrics: MetricsConfig) -> MetricsConfig | None:
    """Return the part of `metrics` that the sweep does not take yet, or None if it takes all.

    Raises:
        UsageError: One metric would be taken with two different settings.
    """
    label = extractor_label(metrics)
    names = metrics.names
    varies = any(axis.startswith("metrics.") for axis in sweep.axes())
    for other in (*([] if varies else [sweep.base.metrics]), *sweep.evaluations):
        if (extractor_label(other), other.num_images) != (label, metrics.num_images):
            continue
        shared = [name for name in names if name in other.names]
        for setting, value in asdict(metrics).items():
            before = getattr(other, setting)
            if shared and setting not in NAMED and value != before:
                raise UsageError(
                    f"metrics.{setting} must be {before!r}, with which {shared[0]}/{label} was "
                    f"measured before, got {value!r}; leave it out, or evaluate a copy of the run"
                )
        names = tuple(name for name in names if name not in shared)
    return replace(metrics, names=names) if names else None


def missing_measurements(
    lineages: list[PlannedLineage], finished: Finished, store: Store
) -> list[tuple[str, int]]:
    """(lineage, generation) of finished generations that lack a metric, each metric only once.

    A generation with a member that is missing or has diverged is not measured, as in a run.

    Raises:
        UsageError: The samples of a model are not in the store and cannot be drawn.
    """
    done = {key for key, record in finished.nodes.items() if record.status == "done"}
    known = set(finished.metrics)
    missing: dict[tuple[str, int], None] = {}
    for lineage in lineages:
        for members in by_generation(lineage.nodes):
            if not all(node.key in done for node in members):
                break
            for node, plan in [(each, plan) for each in members for plan in each.all_metrics]:
                if (node.key, plan.spec) not in known:
                    known.add((node.key, plan.spec))
                    check_measurable(lineage, node, store, drawn=is_drawn(plan.images, store))
                    missing[lineage.id, node.generation] = None
    return list(missing)


def is_drawn(images: Pool, store: Store) -> bool:
    """Whether the store holds all samples from which a pool's images are chosen."""
    return all(
        store.has_block(store_key(stream, label), block)
        for (stream, label), count in streams_of(images).items()
        for block in range(blocks_of(label, count))
    )


def check_measurable(lineage: PlannedLineage, node: NodePlan, store: Store, *, drawn: bool) -> None:
    """Raise UsageError if the data set, or both samples and weights, are not in the store."""
    way_out = "use the results folder of the run, or pass its --store"
    if not store.datasets.has(lineage.card.key):
        raise UsageError(
            f"{store.location} must hold the run's data set {lineage.card.name}, got none; "
            f"{way_out}"
        )
    if not drawn and not store.nodes.has_file(node.key, WEIGHTS):
        raise UsageError(
            f"{store.location} must hold the samples or weights of {lineage.id}'s "
            f"V_{node.generation}, got neither; {way_out}"
        )
