"""The Ray Tune trial: one whole lineage, reporting once per generation; and measuring alone."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ray import tune

from model.config import MetricsConfig
from sweep.config import LineageConfig
from sweep.records import DatasetCard
from sweep.store import Store

if TYPE_CHECKING:
    from sweep.lineage import LineageRun


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialJob:
    """What every trial of a sweep needs; small enough to travel with each."""

    store: Store
    lineages: Mapping[str, tuple[LineageConfig, DatasetCard]]
    evaluations: tuple[MetricsConfig, ...]
    """What is measured beside each lineage's own metrics."""
    device: str
    num_threads: int
    checkpoint_seconds: float


def run_trial(config: Mapping[str, Any], job: TrialJob) -> None:
    """Compute what is missing of the lineage that `config` names, reporting each generation."""
    run = start_run(str(config["lineage"]), job)
    for generation in run.generations():
        node = generation.node
        # The lineage's own metrics come first: a later evaluation does not stand in their place.
        values = {k: v for record in generation.metrics[::-1] for k, v in record.values.items()}
        tune.report(
            {
                "node": node.key,
                "generation": node.generation,
                "member": node.member if generation.num_members > 1 else None,
                "status": node.status,
                "pid": os.getpid(),
                "cuda_visible_devices": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
                **values,
            }
        )


def measure_generation(lineage: str, generation: int, job: TrialJob) -> None:
    """Compute what is missing of the metrics of a lineage's trained generation."""
    start_run(lineage, job).measure(generation)


def start_run(lineage: str, job: TrialJob) -> "LineageRun":
    """A lineage of the job, ready to be computed in this process."""
    # Set before CUDA starts: cuBLAS repeats itself only with a fixed workspace.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch

    from sweep.lineage import LineageRun
    from sweep.prepared import load_prepared

    torch.set_num_threads(job.num_threads)
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
        checkpoint_seconds=job.checkpoint_seconds,
    )
