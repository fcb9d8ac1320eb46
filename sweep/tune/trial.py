"""The Ray Tune trial, which computes one whole lineage, and the tasks that train and measure."""

import gc
import os
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray
from ray import tune

from model.commands.plugins import Plugin
from model.config import ImagesOn, MetricsConfig
from model.programs.files import Program
from sweep.config import LineageConfig
from sweep.records import DatasetCard
from sweep.store.store import Store

if TYPE_CHECKING:
    from sweep.lineage.run import Generation, LineageRun
    from sweep.planning.nodes import NodePlan


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialJob:
    """What every trial of a sweep needs. Each process that runs trials reads it once."""

    store: Store
    lineages: Mapping[str, tuple[LineageConfig, DatasetCard]]
    evaluations: tuple[MetricsConfig, ...]
    """Metrics taken in addition to each lineage's own."""
    device: str
    images_on: ImagesOn
    num_threads: int
    member_resources: Mapping[str, float] | None = None
    """Resources of each further member in the placement group; None trains one at a time."""
    checkpoint_seconds: float
    same_environment: bool = False
    """Whether a training refuses a saved state of another environment."""
    plugins: tuple[Plugin, ...] = ()
    """The plug-ins that the driver has loaded."""
    programs: tuple[Program, ...] = ()
    """The programs that the driver has read."""
    allow_command: bool = False
    """Whether the user lets the sweep run programs."""


class LineageTrial(tune.Trainable):
    """A Ray Tune trial, which computes the missing generations of the lineage `config["lineage"]`.

    One process may run several trials, one after another, because starting a process and importing
    torch takes longer than a small model. A process in which a trial fails is not used again.
    """

    def setup(self, config: dict[str, Any], job: TrialJob | None = None) -> None:
        """Prepare this process, and its first trial."""
        assert job is not None
        self._job = job
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Forget the last trial, and prepare the next one."""
        self._generations.close()
        self._changes.close()
        gc.collect()  # networks and images of the last trial, before the next one makes its own
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Compute one model, or report the end. A trial thus runs in its process's main thread."""
        generation = next(self._generations, None)
        if generation is None:
            return self._report | {"done": True}
        node = generation.node
        # The lineage's own metrics take precedence over later evaluations.
        values = {k: v for record in generation.metrics[::-1] for k, v in record.values.items()}
        self._report = {
            "node": node.key,
            "generation": node.generation,
            "member": node.member if generation.num_members > 1 else None,
            "status": node.status,
            "reused": generation.reused,
            "problem": generation.problem,
            "cuda_visible_devices": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
            **values,
        }
        return self._report

    def _begin(self, config: dict[str, Any]) -> None:
        from sweep.tune.process_state import contained  # imports torch

        self._report: dict[str, Any] = {}
        self._changes = ExitStack()
        self._changes.enter_context(contained())
        self._job.store.claims.inherit(config["silences"])
        self._generations = lineage_generations(str(config["lineage"]), self._job)


def lineage_generations(lineage: str, job: TrialJob) -> Generator["Generation"]:
    """Compute the missing generations of a lineage; the work begins with the first request."""
    run = start_run(lineage, job)
    if job.member_resources is not None:
        run.start_beside = member_starter(lineage, job, job.member_resources)
    yield from run.generations()


def member_starter(
    lineage: str, job: TrialJob, resources: Mapping[str, float]
) -> Callable[["NodePlan"], None]:
    """Return a function that trains a member of the lineage as a Ray task.

    The task runs in the trial's placement group and claims its node like any other worker. So a
    task that starts late or dies does no harm: the trial trains members that no task has begun.
    """
    task = ray.remote(train_member).options(
        num_cpus=resources["cpu"], num_gpus=resources.get("gpu", 0), max_retries=0
    )
    shared = ray.put(job)

    def start(node: "NodePlan") -> None:
        task.remote(lineage, node.generation, node.member, shared)

    return start


def train_member(lineage: str, generation: int, member: int, job: TrialJob) -> None:
    """Train one member of a lineage's generation."""
    start_run(lineage, job).train(generation, member)


def measure_generation(lineage: str, generation: int, job: TrialJob) -> None:
    """Compute the missing metrics of a trained generation."""
    start_run(lineage, job).measure(generation)


def start_run(lineage: str, job: TrialJob) -> "LineageRun":
    """Return a lineage of the job, ready to be computed in this process."""
    # Set before CUDA starts, because cuBLAS is deterministic only with a fixed workspace.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch

    from model.commands.process import prepare_process
    from model.programs.files import install_programs
    from model.programs.permission import allow_commands
    from sweep.lineage.datasets import load_prepared
    from sweep.lineage.run import LineageRun
    from sweep.planning.plugins import install

    prepare_process(job.device, job.num_threads)
    install(job.plugins)
    install_programs(job.programs)
    allow_commands(job.allow_command)
    if job.device == "cuda":
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    config, card = job.lineages[lineage]
    return LineageRun(
        config=config,
        card=card,
        data=load_prepared(card, job.store),
        store=job.store,
        evaluations=job.evaluations,
        name=lineage,
        device=job.device,
        images_on=job.images_on,
        checkpoint_seconds=job.checkpoint_seconds,
        same_environment=job.same_environment,
    )
