"""`sweep run`: checks everything, prepares data, computes what is missing, shows the results."""

import logging
import shlex
import signal
import subprocess
import sys
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from model.commands.command_line import MISSING
from model.commands.output import detail, is_quiet, pasteable
from model.commands.signals import signals_held
from model.errors import UsageError, writing
from model.features.extractors import extractor_label
from sweep.commands.floors import add_floors, missing_floors
from sweep.commands.patience import PlanProgress
from sweep.commands.plan import note_idle_settings, note_small_alpha
from sweep.commands.preflight import (
    check_environments,
    check_extractors_ready,
    check_plugins,
    check_programs_allowed,
    unfinished,
)
from sweep.commands.shared_folders import check_places
from sweep.config import SweepConfig
from sweep.estimate.sizes import format_bytes, planned_bytes
from sweep.finished import ENDED, Finished, look_up
from sweep.lineage.datasets import FindCard, finder_for_plan, prepare_dataset
from sweep.loggers.background import Loggers, check_loggers
from sweep.loggers.progress import FOLDER as LOGS
from sweep.planning.lineages import PlannedLineage, plan_sweep
from sweep.planning.nodes import unique_nodes
from sweep.records import LineageRecord, load_sweep
from sweep.results_folder import (
    check_lineages,
    check_out,
    check_place,
    check_store,
    extend,
    fill,
    load_recorded_data,
    store_location,
    write_sweep,
)
from sweep.status.drivers import present, run_key
from sweep.status.known_sweeps import note
from sweep.status.log import logged
from sweep.status.stages import Stage
from sweep.store.store import Store, open_store
from sweep.tensorboard import FOLDER, viewing_command, write_boards, write_whole_board
from sweep.tune.private_ray import ignore_environment
from sweep.tune.resources import check_machine

if TYPE_CHECKING:
    from sweep.tune.runner import RayRun

LOG = logging.getLogger(__name__)
MOST_REPORTED = 1_000
"""Most lineages of which a run writes a report at its end; it takes 11 s and 600 MB for these."""
KEPT = "finished models are kept"
"""What is kept of a stopped run."""


def execute(
    sweep: SweepConfig,
    out: Path,
    *,
    store: str | None,
    address: str | None,
    command: str,
    allow_world_writable: bool = False,
    same_environment: bool = False,
    accept_changed_plugins: bool = False,
    fail_fast: bool = False,
    log: Sequence[str] = (),
) -> int:
    """Run a sweep and print its table; returns 0, or 1 if lineages failed or diverged.

    Raises:
        OneLineError: A setting is not valid, or `out` cannot be written.
    """
    out = out.absolute()
    check_loggers(log)
    check_out(out)
    check_place(out, sweep)
    if address is None:
        check_machine(sweep.resources)
    sweep = resolve(extend(sweep, out), address)
    opened = open_store(store_location(out, store), sweep.resources)
    opened.check()
    check_store(out, opened)
    check_places(out, opened, sweep.resources, allow_world_writable=allow_world_writable)
    find_card = finder_for_plan(
        opened, load_recorded_data(out), out=out, paths_vary="data.path" in sweep.axes()
    )
    with Stage(f"planning {sweep.num_points:,} lineages"):
        expected = plan_sweep(sweep, find_card, PlanProgress("planning each point"))
        finished = look_up(opened, expected)
    tell_details(opened, expected, finished)
    check_space(expected, finished, opened)
    left = unfinished(expected, finished)
    check_programs_allowed(left)
    with Stage("checking the feature extractors"):
        check_extractors_ready(left, sweep.evaluations, fetch=True)
    check_environments(finished, is_complete=not left or address is not None, same=same_environment)
    check_plugins(finished, accept_changed=accept_changed_plugins)
    note_idle_settings(expected)
    note_small_alpha(expected)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)

    def work() -> int:
        return compute(
            sweep,
            expected,
            finished,
            opened,
            out,
            find_card=find_card,
            address=address,
            command=command,
            same_environment=same_environment,
            fail_fast=fail_fast,
            log=log,
        )

    return logged(out, command, work, kept=KEPT)


def compute(
    sweep: SweepConfig,
    expected: list[PlannedLineage],
    finished: Finished,
    opened: Store,
    out: Path,
    *,
    find_card: FindCard,
    address: str | None,
    command: str,
    same_environment: bool,
    fail_fast: bool = False,
    log: Sequence[str] = (),
) -> int:
    """Compute what is missing of a sweep whose settings have been checked, and show the results."""
    with Stage("preparing the data"):
        lineages = prepare(sweep, expected, opened, find_card)
    check_lineages(out, lineages)
    with writing(out):
        recorded = sweep if address is None else without_capacity(sweep)
        write_sweep(out, recorded, command, store=opened.location, lineages=lineages)
        if opened.location != str(out):
            note(opened, run_key(out, sweep), load_sweep(out))
        known = finished if lineages is expected else look_up(opened, lineages)
        records = fill(out, lineages, opened, finished=known)
    loggers = Loggers(out, log)
    if any(record.status not in ENDED for record in records):
        by_id = {lineage.id: lineage for lineage in lineages}
        with driving(
            sweep,
            lineages,
            opened,
            out,
            address=address,
            same_environment=same_environment,
            fail_fast=fail_fast,
        ) as run:
            shown = run.driver.errors
            errors = run.compute(
                lambda name: show_lineage(by_id[name], opened, out, shown, loggers=loggers)
            )
        known = look_up(opened, lineages)
        add_floors(lineages, known, opened, sweep.resources)
        with writing(out):
            records = fill(out, lineages, opened, errors=errors, finished=known)
    else:
        if not is_quiet():
            print("nothing to compute: all models and metrics exist", file=sys.stderr)
        if missing_floors(lineages, known, opened):
            words = f"sweep evaluate {shlex.quote(str(short_path(out)))} --floors"
            print(
                f"note: {pasteable(words)} measures the floors, which are missing", file=sys.stderr
            )
    with writing(out):
        write_whole_board(out, records)
    loggers.finish(records)
    return conclude(out, records)


def tell_details(store: Store, lineages: list[PlannedLineage], finished: Finished) -> None:
    """Say with --verbose which store, extractors and finished models are used."""
    detail(f"store: {store.location}")
    configs = {plan.config for x in lineages for node in x.nodes for plan in node.all_metrics}
    for label, weights in sorted({(extractor_label(c), c.weights or "") for c in configs}):
        detail(f"extractor: {label}, weights: {weights or 'published or built in'}")
    told = set()
    for lineage in lineages:
        for node in lineage.nodes:
            if node.key in finished.nodes and node.key not in told:
                told.add(node.key)
                detail(f"reused: V_{node.generation} of {lineage.id}, key {node.key}")


def resolve(sweep: SweepConfig, address: str | None) -> SweepConfig:
    """Return the sweep with train.precision `auto` replaced by the choice for this machine.

    Raises:
        UsageError: train.precision is auto and the sweep runs on a cluster.
    """
    if sweep.base.train.precision != "auto":
        return sweep
    if address is not None:
        raise UsageError(
            "train.precision must be fp32, tf32 or bf16 with --address, got 'auto'; "
            "this machine cannot see the workers' GPUs"
        )
    import torch

    from model.networks.arithmetic import network_precision

    device = "cuda" if torch.cuda.is_available() and sweep.resources.device != "cpu" else "cpu"
    precision = network_precision(sweep.base.train, device)
    train = replace(sweep.base.train, precision=precision)
    return replace(sweep, base=replace(sweep.base, train=train))


def prepare(
    sweep: SweepConfig, expected: list[PlannedLineage], store: Store, find_card: FindCard
) -> list[PlannedLineage]:
    """Prepare the data sets of a plan; return the plan, or a new plan if a data set's card changes.

    Keys contain the fingerprints of the data, which are known only after the data are prepared.
    """
    cards = {lineage.card.key: (lineage.card, lineage.config.data) for lineage in expected}
    is_current = [prepare_dataset(data, store, card) == card for card, data in cards.values()]
    return expected if all(is_current) else plan_sweep(sweep, find_card)


def without_capacity(sweep: SweepConfig) -> SweepConfig:
    """Return the sweep without its CPU and GPU counts, which describe the cluster of one run."""
    return replace(sweep, resources=replace(sweep.resources, num_cpus=None, num_gpus=None))


def check_space(lineages: list[PlannedLineage], finished: Finished, store: Store) -> None:
    """Raise UsageError unless the store has room for the missing models."""
    tree = unique_nodes(lineage.nodes for lineage in lineages)
    missing = [node for node in tree.values() if node.key not in finished.nodes]
    needed, free = planned_bytes(lineages, missing), store.files.free_bytes()
    if free is not None and needed > free:
        raise UsageError(
            f"{store.location} must have room for the sweep's {format_bytes(needed)}, got "
            f"{format_bytes(free)} free; free some space or use another --out or --store"
        )


@contextmanager
def driving(
    sweep: SweepConfig,
    lineages: list[PlannedLineage],
    store: Store,
    out: Path,
    *,
    address: str | None,
    same_environment: bool = False,
    fail_fast: bool = False,
) -> Generator["RayRun"]:
    """Run the block as the driver of a sweep; if it is stopped, fill the results folder."""
    with present(store, run_key(out, sweep)) as driver:
        try:
            if address is None:
                ignore_environment()
            # Half imported, Ray complains at the exit.
            with Stage("loading torch and Ray"), signals_held("the start of Ray"):
                from sweep.tune.runner import RayRun  # takes seconds

            yield RayRun(
                lineages=lineages,
                store=store,
                sweep=sweep,
                tune_dir=out / "tune",
                address=address,
                same_environment=same_environment,
                fail_fast=fail_fast,
                driver=driver,
            )
        except KeyboardInterrupt:
            with suppress(OSError):  # the same command again fills it
                if not store.is_failing:
                    fill(out, lineages, store, errors=driver.errors)
            raise


def show_lineage(
    lineage: PlannedLineage,
    store: Store,
    out: Path,
    errors: Mapping[str, str],
    *,
    loggers: Loggers,
) -> None:
    """Update a lineage in the results folder, in TensorBoard and where --log says."""
    with suppress(OSError, ValueError):  # must not end the run; it is updated again at the end
        records = fill(out, [lineage], store, errors=errors)
        loggers.update(records)
        write_boards(out, records)


def conclude(out: Path, records: list[LineageRecord]) -> int:
    """Print the table and the paths of other results; returns 1 if anything is missing, else 0."""
    shown = short_path(out)
    figures = str(shown / "figures")
    report = f"{figures}/report.html"
    parts = {
        "the table": ("table", str(shown)),
        "figures": ("figure", str(shown), "--out", figures),
        "the report": ("report", str(shown), "--out", report),
    }
    if len(records) > MOST_REPORTED:
        del parts["the report"]
        words = pasteable(f"analysis report {shlex.quote(str(shown))}")
        report = f"{words} (takes long for this many lineages)"
    failures = run_analysis(parts)
    if not is_quiet():
        print_places(out, shown, figures, report, failures)
    bad = [record for record in records if record.status != "done"]
    for record in bad:
        LOG.warning("%s", f"{record.id} {record.status}: {record.error or 'not finished'}")
    return MISSING if failures or bad else 0


def print_places(
    out: Path, shown: Path, figures: str, report: str, failures: Collection[str]
) -> None:
    """Print where the results of a run are besides the table."""
    if "figures" not in failures:
        print(f"figures:      {figures}/")
    print(f"TensorBoard:  {viewing_command(shown / FOLDER)}")
    if (out / LOGS).is_dir():
        print(f"logs:         {shown / LOGS}/")
    if "the report" not in failures:
        print(f"report:       {report}")


def short_path(path: Path) -> Path:
    """Return a path relative to the working directory, if it is inside."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def run_analysis(commands: Mapping[str, Sequence[str]]) -> set[str]:
    """Run commands of `analysis` at the same time, each in a process of its own.

    Args:
        commands: What each command makes -> its arguments. Only a table is printed.

    Returns:
        What is missing, because its command failed. A line says so.
    """
    missing = set()
    with ExitStack() as stack:
        processes = {what: stack.enter_context(analysis(c)) for what, c in commands.items()}
        for what, process in processes.items():
            if process is None or process.wait() != 0:
                code = None if process is None else process.returncode
                LOG.warning("%s", f"missing: {what} (analysis {commands[what][0]} {ending(code)})")
                missing.add(what)
    return missing


@contextmanager
def analysis(words: Sequence[str]) -> Generator[subprocess.Popen[bytes] | None]:
    """Start a command of `analysis`, and end it with the block; None if it cannot be started."""
    # -P, so that a user's own analysis/ in the working directory is not imported.
    command = [sys.executable, "-P", "-m", "analysis", *words]
    try:
        process = subprocess.Popen(
            command, stdout=None if words[0] == "table" else subprocess.DEVNULL
        )
    except OSError:  # no memory, or too many processes
        yield None
        return
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()


def ending(code: int | None) -> str:
    """How a process with this return code has ended."""
    if code is None:
        return "could not be started"
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
