"""The Ray Tune trial: one whole lineage, reporting once per generation."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ray import tune

from sweep.config import LineageConfig
from sweep.records import DatasetCard
from sweep.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialJob:
    """What every trial of a sweep needs; small enough to travel with each."""

    store: Store
    lineages: Mapping[str, tuple[LineageConfig, DatasetCard]]
    device: str
    num_threads: int
    checkpoint_seconds: float


def run_trial(config: Mapping[str, Any], job: TrialJob) -> None:
    """Compute what is missing of the lineage that `config` names, reporting each generation."""
    # Set before CUDA starts: cuBLAS repeats itself only with a fixed workspace.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch

    from sweep.lineage import LineageRun
    from sweep.prepared import load_prepared

    torch.set_num_threads(job.num_threads)
    if job.device == "cuda":
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    lineage = str(config["lineage"])
    settings, card = job.lineages[lineage]
    run = LineageRun(
        config=settings,
        card=card,
        data=load_prepared(card, job.store),
        store=job.store,
        name=lineage,
        device=job.device,
        checkpoint_seconds=job.checkpoint_seconds,
    )
    for generation in run.generations():
        node = generation.node
        values = generation.metrics.values if generation.metrics else {}
        tune.report(
            {
                "node": node.key,
                "generation": node.generation,
                "status": node.status,
                "pid": os.getpid(),
                "cuda_visible_devices": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
                **values,
            }
        )
