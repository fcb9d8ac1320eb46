"""Runs a sweep on Ray Tune, on one machine with or without GPUs or on a running cluster."""

import contextlib
import functools
import math
import os
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sweep.tune.absolute_paths import with_absolute_paths, with_absolute_weights
from sweep.tune.private_ray import RAY_ENVIRONMENT

os.environ.update(RAY_ENVIRONMENT)

import ray
from ray import tune
from ray._private import ray_constants
from ray._private import services as ray_services
from ray._private import utils as ray_utils
from ray._private.authentication.authentication_token_setup import (
    AuthenticationTokenLoader,
    Config,
)
from ray.exceptions import RayError
from ray.tune.execution import class_cache

from model.commands.output import detail
from model.commands.plugins import LOADED
from model.commands.signals import signals_held
from model.errors import UsageError
from model.programs.files import READ
from model.programs.permission import commands_allowed
from sweep.config import ResourcesConfig, SweepConfig
from sweep.estimate.timings import format_seconds
from sweep.finished import done_keys
from sweep.planning.checks import check_precisions
from sweep.planning.lineages import PlannedLineage
from sweep.planning.schedule import Schedule, chains_of
from sweep.status.display import Screen, progress_screen
from sweep.status.drivers import Driver
from sweep.status.live_board import LiveBoard
from sweep.status.stages import Stage
from sweep.store.store import Store
from sweep.tune.private_ray import (
    private_folder,
    set_fresh_token,
    start_failure,
)
from sweep.tune.resources import cluster_total, local_cpus, num_at_once, trial_resources
from sweep.tune.searcher import LineageSearcher
from sweep.tune.trial import LineageTrial, TrialJob, measure_generation

# Tune would write the driver's cloud keys into every actor's runtime_env, and so into Ray's logs.
# Workers get keys from their machine's role or from the environment that Ray was started in.
SECRETS = frozenset(
    {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN"}
)
class_cache.ENV_VARS_TO_PROPAGATE.difference_update(SECRETS)


CHECK_SECONDS = 1.0
"""Longest time between two checks whether a run must end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RayRun:
    """Lineages of a sweep to be computed or measured with Ray.

    Each method returns error messages by lineage id. It raises UsageError if a trial needs more
    CPUs or GPUs than there are. On Ctrl-C everything is stopped before the exception propagates.
    """

    lineages: list[PlannedLineage]
    store: Store
    """The store of nodes, which every machine can read and write."""
    sweep: SweepConfig
    """Holds the resources of a trial or task, and metrics added to the lineages' own."""
    tune_dir: Path
    """Folder for Ray Tune's files, and the working directory when Ray starts."""
    address: str | None = None
    """Address of a running Ray cluster, or None to start Ray here."""
    same_environment: bool = False
    """Whether a training refuses a saved state of another environment."""
    fail_fast: bool = False
    """Whether a lineage that fails ends the run."""
    driver: Driver = field(default_factory=Driver)
    """This process as others see it; checked often for a reason to end the run."""
    folder: Path = field(default_factory=Path.cwd)
    """Folder to which relative paths in settings belong."""

    def compute(self, show: Callable[[str], None]) -> dict[str, str]:
        """Compute the missing models of the lineages in parallel, as Ray Tune trials.

        `show` is called with the id of a lineage whenever one of its generations is done.
        """
        resources, lineages = self.sweep.resources, self.lineages
        with started_ray(resources, self.address, self.tune_dir) as total:
            device, per_trial = trial_resources(resources, total)
            for lineage in lineages:
                check_precisions(lineage.config, device)
            schedule = Schedule(chains_of(lineages), done_keys(self.store, lineages))
            job = self.job(device, per_trial)
            most_members = max(lineage.num_members for lineage in lineages)
            at_most = min(resources.parallel_members, most_members)
            num_bundles = num_at_once(per_trial, total, at_most=at_most)
            if num_bundles > 1:
                job = replace(job, member_resources=per_trial)
            bundle = {name.upper(): share for name, share in per_trial.items() if share > 0}
            board = LiveBoard(self.tune_dir.parent, lineages)
            with progress_screen(lineages, self.store, self.driver, board) as screen:
                searcher = LineageSearcher(schedule, self.store)
                events = TrialEvents(screen, show, self.driver, searcher, self.fail_fast)
                tuner = tune.Tuner(
                    tune.with_resources(
                        tune.with_parameters(LineageTrial, job=job),
                        tune.PlacementGroupFactory([bundle] * num_bundles),
                    ),
                    tune_config=tune.TuneConfig(
                        search_alg=searcher,
                        num_samples=-1,
                        max_concurrent_trials=num_at_once(
                            {name: share * num_bundles for name, share in per_trial.items()},
                            total,
                            at_most=min(resources.max_concurrent or len(lineages), len(lineages)),
                        ),
                        # On a GPU, an error of CUDA or cached memory would outlive a trial.
                        reuse_actors=device == "cpu",
                    ),
                    run_config=tune.RunConfig(
                        name=f"{time.strftime('run-%Y%m%d-%H%M%S')}-{os.getpid()}",
                        storage_path=str(self.tune_dir),
                        failure_config=tune.FailureConfig(max_failures=resources.max_failures),
                        checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                        callbacks=[events],
                        verbose=0,
                    ),
                )
                with contextlib.suppress(LineageFailed):
                    tuner.fit()
        return self.driver.errors

    def measure(self, models: list[tuple[str, int]], say: Callable[[str], None]) -> dict[str, str]:
        """Compute the missing metrics of trained models in parallel, as Ray tasks.

        Args:
            models: (lineage id, generation) of every model to measure, each model once.
            say: Called with a line for every model measured.
        """
        errors: dict[str, str] = {}
        resources = self.sweep.resources
        with started_ray(resources, self.address, self.tune_dir) as total:
            device, per_trial = trial_resources(resources, total)
            task = ray.remote(measure_generation).options(
                num_cpus=per_trial["cpu"],
                num_gpus=per_trial.get("gpu", 0),
                max_retries=resources.max_failures,
            )
            shared = ray.put(self.job(device, per_trial))
            running = {task.remote(lineage, n, shared): (lineage, n) for lineage, n in models}
            for done in range(1, len(models) + 1):
                finished = self.next_finished(list(running))
                lineage, generation = running.pop(finished)
                try:
                    ray.get(finished)
                    outcome = "measured"
                except RayError as error:
                    outcome = str(error).strip().splitlines()[-1]
                    errors[lineage] = outcome
                say(f"[{done} of {len(models)}] {lineage}  V_{generation}  {outcome}")
        return errors

    def next_finished(self, tasks: list[Any]) -> Any:
        """Wait for the first of some tasks to finish."""
        while True:
            self.driver.check()
            if finished := ray.wait(tasks, num_returns=1, timeout=CHECK_SECONDS)[0]:
                return finished[0]

    def job(self, device: str, per_trial: dict[str, float]) -> TrialJob:
        """Return what every trial or task needs."""
        return TrialJob(
            store=self.store,
            lineages={
                x.id: (with_absolute_paths(x.config, self.folder), x.card) for x in self.lineages
            },
            evaluations=tuple(
                with_absolute_weights(metrics, self.folder) for metrics in self.sweep.evaluations
            ),
            device=device,
            images_on=self.sweep.resources.images_on,
            num_threads=max(1, math.floor(per_trial["cpu"])),
            checkpoint_seconds=self.sweep.resources.checkpoint_seconds,
            same_environment=self.same_environment,
            plugins=tuple(LOADED.values()),
            programs=tuple(READ.values()),
            allow_command=commands_allowed(),
        )


@contextlib.contextmanager
def started_ray(
    resources: ResourcesConfig, address: str | None, directory: Path
) -> Generator[dict[str, float]]:
    """Start or join Ray without output, and shut it down at the end even after an error.

    Yields the numbers of CPUs and GPUs that trials may use, as `CPU` and `GPU`: those available, or
    those that the cluster may grow to.

    Ray puts the driver's working directory first on the path of every worker, where a user's own
    model.py or analysis/ would shadow this project's. So Ray is started from `directory`.

    Raises:
        UsageError: No cluster can be joined at the address, or the address is "local".
    """
    if address == "local":
        raise UsageError(
            "--address must be HOST:PORT or auto, got 'local'; leave it out to start Ray here"
        )
    directory.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.chdir(directory))
        options: dict[str, Any] = {"address": address}
        if address is None:
            options = stack.enter_context(private_options(resources))
        options |= {"log_to_driver": False, "logging_level": "CRITICAL"}
        stack.callback(ray.shutdown)
        with Stage("starting Ray" if address is None else f"joining Ray at {address}"):
            init_ray(options, address)
        if "_temp_dir" in options:
            detail(f"Ray's logs: {options['_temp_dir']}/session_latest/logs, until the run ends")
        available = ray.cluster_resources()
        yield available if address is None else cluster_total(resources, available)


def init_ray(options: dict[str, Any], address: str | None) -> None:
    """Start or join Ray.

    Raises:
        UsageError: No cluster can be joined at the address, or Ray cannot start here.

    Signals wait until Ray has started: an exception in the middle would leave its processes.
    """
    try:
        with signals_held("the start of Ray"), own_signal_handlers(), own_process_groups():
            ray.init(**options)
    except Exception as error:  # whatever fails in Ray depends on the machine and its environment
        if address is None:
            raise UsageError(start_failure(error)) from error
        raise UsageError(
            f"--address must be the address of a running Ray cluster, got {address!r} ({error}); "
            "if it runs, RAY_AUTH_MODE and RAY_AUTH_TOKEN must be set here as on the cluster"
        ) from error


@contextlib.contextmanager
def own_signal_handlers() -> Generator[None]:
    """Keep Ray from replacing the handler of SIGTERM by one that exits with a code of its own."""
    usual = ray_utils.set_sigterm_handler
    ray_utils.set_sigterm_handler = _keep_handler  # ty: ignore[invalid-assignment]
    try:
        yield
    finally:
        ray_utils.set_sigterm_handler = usual


@contextlib.contextmanager
def own_process_groups() -> Generator[None]:
    """Have Ray start each of its processes in a process group of its own.

    A batch system signals a whole group. If Ray's processes ended first, this one would wait for
    them for a minute, and then Ray would end it with a code of its own.
    """
    usual = ray_services.ConsolePopen
    ray_services.ConsolePopen = functools.partial(  # ty: ignore[invalid-assignment]
        usual, process_group=0
    )
    try:
        yield
    finally:
        ray_services.ConsolePopen = usual


def _keep_handler(handler: object) -> None:
    """Do nothing."""


@contextlib.contextmanager
def private_options(resources: ResourcesConfig) -> Generator[dict[str, Any]]:
    """Yield options for ray.init that start Ray on loopback, protected by a fresh token."""
    set_fresh_token()
    Config.initialize("")  # makes Ray read the environment again
    AuthenticationTokenLoader.instance().reset_cache()
    enabled = ray_constants.ENABLE_RAY_CLUSTER
    # Otherwise Ray replaces 127.0.0.1 and listens on every address of the machine.
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        with private_folder() as folder:
            yield {
                "address": "local",  # None would join a cluster that RAY_ADDRESS or a file names
                "include_dashboard": False,
                "num_cpus": local_cpus(resources),
                "num_gpus": resources.num_gpus,
                "_node_ip_address": "127.0.0.1",
                "_temp_dir": str(folder),
            }
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = enabled


class LineageFailed(Exception):
    """A lineage has failed in a run that ends with the first failure."""


class TrialEvents(tune.Callback):
    """Reports finished generations and failed lineages."""

    def __init__(
        self,
        screen: Screen,
        show: Callable[[str], None],
        driver: Driver,
        searcher: LineageSearcher,
        fail_fast: bool,
    ) -> None:
        self._screen, self._show, self._driver, self._searcher = screen, show, driver, searcher
        self._fail_fast = fail_fast
        self._started = time.monotonic()

    def __getstate__(self) -> dict[str, Any]:
        """Return no state, because Tune pickles its callbacks for a restore that never happens."""
        return {}

    def on_step_begin(self, iteration: int, trials: list, **info: Any) -> None:
        """Check whether the run must end."""
        self._driver.check()
        if self._fail_fast and self._driver.errors:
            raise LineageFailed

    def on_trial_start(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """Note which lineage a trial works on."""
        self._searcher.on_trial_start(trial.trial_id)
        self._driver.start(trial.config["lineage"])

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """Note that a lineage's trial has ended."""
        self._driver.end(trial.config["lineage"])

    def on_trial_result(
        self, iteration: int, trials: list, trial: Any, result: dict, **info: Any
    ) -> None:
        """Print a line per finished generation; the result at the end repeats the last one."""
        if result["done"]:
            return
        kid = next((f"  {k} {v:.4g}" for k, v in result.items() if k.startswith("kid/")), "")
        elapsed = format_seconds(time.monotonic() - self._started)
        model = f"V_{result['generation']}"
        if result.get("member") is not None:
            model += f", member {result['member']},"
        problem = f", not measured: {result['problem']}" if result["problem"] else ""
        lineage = trial.config["lineage"]
        outcome = "reused" if result["reused"] and result["status"] == "done" else result["status"]
        self._screen.say(f"[{elapsed}] {lineage}  {model} {outcome}{kid}{problem}")
        self._show(trial.config["lineage"])

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """Print and keep the last line of a failed trial's error."""
        if self._searcher.is_lost(trial.trial_id):
            return
        text = (
            Path(trial.error_file).read_text(errors="replace")
            if trial.error_file
            else "the worker was lost"
        )
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        lineage = trial.config["lineage"]
        self._driver.errors[lineage] = error = lines[-1] if lines else "unknown error"
        self._driver.end(lineage)
        # trial.error_file is in Ray's folder, which is deleted. Tune keeps a copy in the trial's.
        log = Path(trial.path, Path(trial.error_file).name) if trial.error_file else None
        self._screen.say(f"{lineage} failed: {error}  (log: {log})")
        self._show(lineage)
