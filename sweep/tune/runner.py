"""Running a sweep on Ray Tune: one machine with or without GPUs, or a running cluster."""

import contextlib
import functools
import math
import os
import signal
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

# Ray reads these when it is imported, or passes them on to its workers.
RAY_ENVIRONMENT = {
    # Else Ray, seeing `uv run`, uploads the working directory and starts workers through uv.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints a box at the start whatever the verbosity
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "1000000",
}
for _name, _value in RAY_ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402  (after the environment it reads)
from ray import tune  # noqa: E402
from ray._private import ray_constants  # noqa: E402
from ray._private.authentication.authentication_token_setup import (  # noqa: E402
    AuthenticationTokenLoader,
    Config,
)
from ray.exceptions import RayError  # noqa: E402
from ray.tune.execution import class_cache  # noqa: E402

from model.errors import Terminated, UsageError  # noqa: E402
from sweep.config import ResourcesConfig, SweepConfig  # noqa: E402
from sweep.estimate.timings import format_seconds  # noqa: E402
from sweep.finished import done_keys  # noqa: E402
from sweep.planning.lineages import PlannedLineage  # noqa: E402
from sweep.planning.schedule import Schedule, chains_of  # noqa: E402
from sweep.status.display import Display  # noqa: E402
from sweep.store.store import Store  # noqa: E402
from sweep.tune.private_ray import private_folder, set_fresh_token  # noqa: E402
from sweep.tune.resources import cluster_total, num_at_once, trial_resources  # noqa: E402
from sweep.tune.searcher import LineageSearcher  # noqa: E402
from sweep.tune.trial import TrialJob, measure_generation, run_trial  # noqa: E402

# Tune would write the driver's keys into every actor's runtime_env, and so into Ray's logs. Workers
# have their own: from the machine's role, or from the environment that Ray was started with.
SECRETS = frozenset(
    {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN"}
)
class_cache.ENV_VARS_TO_PROPAGATE.difference_update(SECRETS)


def run_lineages(
    lineages: list[PlannedLineage],
    store: Store,
    sweep: SweepConfig,
    *,
    tune_dir: Path,
    address: str | None = None,
    show: Callable[[str], None],
) -> dict[str, str]:
    """Compute what is missing of the lineages, in parallel; returns failures' messages by id.

    Args:
        lineages: To be computed.
        store: Where nodes are, seen by every machine.
        sweep: What a trial may use, and what is measured beside the lineages' own metrics.
        tune_dir: For Ray Tune's own files; also where Ray is started from.
        address: Of a running Ray cluster, or None to start Ray here.
        show: Called with a lineage's id whenever it has got further.

    Raises:
        UsageError: GPUs are asked for and there are none.
        KeyboardInterrupt: Ctrl-C; everything is stopped before it is passed on.
    """
    resources = sweep.resources
    with started_ray(resources, address, tune_dir) as total:
        device, per_trial = trial_resources(resources, total)
        schedule = Schedule(chains_of(lineages), done_keys(store, lineages))
        job = make_job(lineages, store, sweep, device=device, num_cpus=per_trial["cpu"])
        side_by_side = num_members(resources, per_trial, total, lineages)
        if side_by_side > 1:
            job = replace(job, member_resources=per_trial)
        bundle = {name.upper(): share for name, share in per_trial.items() if share > 0}
        with Display(lineages, store) as display:
            failures = TrialEvents(display, show)
            tuner = tune.Tuner(
                tune.with_resources(
                    functools.partial(run_trial, job=job),
                    tune.PlacementGroupFactory([bundle] * side_by_side),
                ),
                tune_config=tune.TuneConfig(
                    search_alg=LineageSearcher(schedule, store),
                    num_samples=-1,
                    max_concurrent_trials=num_at_once(
                        resources,
                        {name: share * side_by_side for name, share in per_trial.items()},
                        total,
                        num_lineages=len(lineages),
                    ),
                ),
                run_config=tune.RunConfig(
                    name=time.strftime("run-%Y%m%d-%H%M%S"),
                    storage_path=str(tune_dir),
                    failure_config=tune.FailureConfig(max_failures=resources.max_failures),
                    callbacks=[failures],
                    verbose=0,
                ),
            )
            tuner.fit()
    return failures.errors


def num_members(
    resources: ResourcesConfig,
    per_trial: dict[str, float],
    total: dict[str, float],
    lineages: list[PlannedLineage],
) -> int:
    """Members of a generation that train side by side: as many as asked for, exist and fit."""
    most = max(lineage.num_members for lineage in lineages)
    fitting = num_at_once(ResourcesConfig(), per_trial, total, num_lineages=most)
    return min(resources.parallel_members, fitting)


def measure_nodes(
    work: list[tuple[str, int]],
    lineages: list[PlannedLineage],
    store: Store,
    sweep: SweepConfig,
    *,
    tune_dir: Path,
    address: str | None = None,
    say: Callable[[str], None],
) -> dict[str, str]:
    """Compute what is missing of trained models' metrics, in parallel, as Ray tasks.

    Args:
        work: (lineage, generation) of every model to be measured, each model once.
        lineages: Theirs.
        store: Where nodes are, seen by every machine.
        sweep: What a task may use, and what is measured.
        tune_dir: Folder of ours that Ray is started from.
        address: Of a running Ray cluster, or None to start Ray here.
        say: Takes a line for every model measured.

    Returns:
        Failures' messages by lineage.

    Raises:
        KeyboardInterrupt: Ctrl-C; everything is stopped before it is passed on.
    """
    errors: dict[str, str] = {}
    with started_ray(sweep.resources, address, tune_dir) as total:
        device, per_trial = trial_resources(sweep.resources, total)
        job = make_job(lineages, store, sweep, device=device, num_cpus=per_trial["cpu"])
        task = ray.remote(measure_generation).options(
            num_cpus=per_trial["cpu"],
            num_gpus=per_trial.get("gpu", 0),
            max_retries=sweep.resources.max_failures,
        )
        shared = ray.put(job)
        running = {task.remote(lineage, n, shared): (lineage, n) for lineage, n in work}
        for done in range(1, len(work) + 1):
            (finished,), _ = ray.wait(list(running), num_returns=1)
            lineage, generation = running.pop(finished)
            try:
                ray.get(finished)
                said = "measured"
            except RayError as error:
                said = str(error).strip().splitlines()[-1]
                errors[lineage] = said
            say(f"[{done} of {len(work)}] {lineage}  V_{generation}  {said}")
    return errors


def make_job(
    lineages: list[PlannedLineage],
    store: Store,
    sweep: SweepConfig,
    *,
    device: str,
    num_cpus: float,
) -> TrialJob:
    """What every trial or task of a sweep needs."""
    return TrialJob(
        store=store,
        lineages={lineage.id: (lineage.config, lineage.card) for lineage in lineages},
        evaluations=sweep.evaluations,
        device=device,
        images_on=sweep.resources.images_on,
        num_threads=max(1, math.floor(num_cpus)),
        checkpoint_seconds=sweep.resources.checkpoint_seconds,
    )


@contextlib.contextmanager
def started_ray(
    resources: ResourcesConfig, address: str | None, directory: Path
) -> Generator[dict[str, float]]:
    """Ray, started or joined quietly, and shut down at the end whatever happens.

    Yields what trials may use: `CPU` and `GPU` that there are, or that a cluster may grow to.

    Ray puts the driver's working directory first on every worker's path, where a user's own
    model.py or analysis/ would shadow ours; so it is started from a folder of ours.

    Raises:
        UsageError: No cluster can be joined at the address, or Ray would start one of its own.
    """
    if address == "local":
        raise UsageError(
            "--address must be HOST:PORT or auto, got 'local'; leave it out to start Ray here"
        )
    directory.mkdir(parents=True, exist_ok=True)
    here = Path.cwd()
    received: list[int] = []

    def terminate(number: int, frame: object) -> None:
        received.append(number)
        raise Terminated

    previous = signal.signal(signal.SIGTERM, terminate)
    os.chdir(directory)
    try:
        with contextlib.ExitStack() as stack:
            options: dict[str, Any] = {"address": address}
            if address is None:
                options = stack.enter_context(private_options(resources))
            options |= {"log_to_driver": False, "logging_level": "CRITICAL"}
            stack.callback(ray.shutdown)
            init_ray(options, address)
            signal.signal(signal.SIGTERM, terminate)  # ray.init has replaced it
            there = ray.cluster_resources()
            yield there if address is None else cluster_total(resources, there)
    except KeyboardInterrupt:
        if received:
            raise Terminated from None  # Ray may have raised a KeyboardInterrupt in its place
        raise
    finally:
        os.chdir(here)
        signal.signal(signal.SIGTERM, previous)


def init_ray(options: dict[str, Any], address: str | None) -> None:
    """Start or join Ray; raises UsageError if nothing can be joined at the user's address."""
    try:
        ray.init(**options)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        if address is None:
            raise
        raise UsageError(
            f"--address must be that of a running Ray cluster, got {address!r} ({error})"
        ) from error


@contextlib.contextmanager
def private_options(resources: ResourcesConfig) -> Generator[dict[str, Any]]:
    """Options of ray.init that start Ray here, on loopback, for us alone: it needs our token."""
    set_fresh_token()
    Config.initialize("")  # Ray read the environment when it was imported; it reads it again
    AuthenticationTokenLoader.instance().reset_cache()
    reached = ray_constants.ENABLE_RAY_CLUSTER
    # Otherwise Ray takes 127.0.0.1 for a mistake and listens on every address of the machine.
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        with private_folder() as folder:
            yield {
                "address": "local",  # None would join a cluster that RAY_ADDRESS or a file names
                "include_dashboard": False,
                "num_cpus": resources.num_cpus,
                "num_gpus": resources.num_gpus,
                "_node_ip_address": "127.0.0.1",
                "_temp_dir": str(folder),
            }
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = reached


class TrialEvents(tune.Callback):
    """Says and shows when generations are done, and says when lineages fail."""

    def __init__(self, display: Display, show: Callable[[str], None]) -> None:
        self.errors: dict[str, str] = {}
        self._display, self._show = display, show
        self._started = time.monotonic()

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks for a restore that never happens."""
        return {}

    def on_trial_result(
        self, iteration: int, trials: list, trial: Any, result: dict, **info: Any
    ) -> None:
        """Print a line per finished generation."""
        kid = next((f"  {k} {v:.4g}" for k, v in result.items() if k.startswith("kid/")), "")
        elapsed = format_seconds(time.monotonic() - self._started)
        which = f"V_{result['generation']}"
        if result.get("member") is not None:
            which += f", member {result['member']},"
        self._display.say(f"[{elapsed}] {trial.config['lineage']}  {which} {result['status']}{kid}")
        self._show(trial.config["lineage"])

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """Keep the last line of a failed trial's error."""
        text = Path(trial.error_file).read_text() if trial.error_file else "the worker was lost"
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        lineage = trial.config["lineage"]
        self.errors[lineage] = lines[-1] if lines else "unknown error"
        # trial.error_file lies in Ray's folder, which is deleted; Tune keeps a copy in its own.
        log = Path(trial.path, Path(trial.error_file).name) if trial.error_file else None
        self._display.say(f"{lineage} failed: {self.errors[lineage]}  (log: {log})")
