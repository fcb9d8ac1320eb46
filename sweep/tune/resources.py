"""What a trial reserves of a machine or cluster, and how many fit at once.

Must not import ray, nor torch unless GPUs are asked for.
"""

import math
import os

from model.errors import UsageError
from sweep.config import ResourcesConfig


def cluster_total(resources: ResourcesConfig, there: dict[str, float]) -> dict[str, float]:
    """`CPU` and `GPU` of a running cluster, or what it may grow to where the settings say that.

    Raises:
        UsageError: It has no machine for trials yet, and nothing says what it may grow to.
    """
    asked = {"CPU": resources.num_cpus, "GPU": resources.num_gpus}
    total = there | {name: float(count) for name, count in asked.items() if count is not None}
    if not total.get("CPU"):
        raise UsageError(
            "resources.num_cpus must say what the cluster may grow to where it has no machine for "
            "trials yet, got none; use for example --resources.num-cpus 32 --resources.num-gpus 8"
        )
    return total


def trial_resources(
    resources: ResourcesConfig, total: dict[str, float]
) -> tuple[str, dict[str, float]]:
    """The device of a trial and what it reserves, of all `CPU` and `GPU` there are.

    Raises:
        UsageError: There are fewer CPUs or GPUs than one trial asks for.
    """
    num_gpus, num_cpus = total.get("GPU", 0.0), total.get("CPU", 0.0)
    on_gpu = resources.device == "cuda" or (resources.device == "auto" and num_gpus > 0)
    gpus = resources.gpus_per_trial
    if gpus is None:
        gpus = 1.0 if on_gpu else 0.0
    cpus = resources.cpus_per_trial
    if cpus is None:
        cpus = max(1.0, num_cpus * gpus // max(num_gpus, 1)) if on_gpu else 1.0
    for name, share, there in (("gpus", gpus, num_gpus), ("cpus", cpus, num_cpus)):
        if share > there:
            raise UsageError(
                f"resources.{name}_per_trial must be at most the {there:g} there are, "
                f"got {share:g}; use fewer" + (", or --resources.device cpu" if on_gpu else "")
            )
    return ("cuda" if on_gpu else "cpu"), {"cpu": cpus, "gpu": gpus}


def num_at_once(
    resources: ResourcesConfig,
    per_trial: dict[str, float],
    total: dict[str, float],
    *,
    num_lineages: int,
) -> int:
    """Most trials at once: as many as the resources hold, and as the user allows."""
    fits = [
        math.floor(total.get(name.upper(), 0) / share + 1e-9)
        for name, share in per_trial.items()
        if share > 0
    ]
    return max(1, min([num_lineages, *fits, math.ceil(resources.max_concurrent or num_lineages)]))


def check_machine(resources: ResourcesConfig) -> None:
    """Raise UsageError, before Ray starts, where this machine cannot hold one trial."""
    num_gpus = resources.num_gpus or 0
    if resources.device == "cuda" or resources.gpus_per_trial or num_gpus:
        import torch

        usable = torch.cuda.device_count()
        if usable == 0 and (
            resources.device == "cuda" or (resources.device == "auto" and num_gpus)
        ):
            raise UsageError(
                "resources.device must be cpu on a machine without a GPU that torch can use, "
                f"got {resources.device!r}"
            )
        num_gpus = usable if resources.num_gpus is None else num_gpus
    num_cpus = resources.num_cpus if resources.num_cpus is not None else os.cpu_count() or 1
    trial_resources(resources, {"CPU": float(num_cpus), "GPU": float(num_gpus)})
