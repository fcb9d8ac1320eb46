"""CPUs and GPUs that a trial reserves, and how many trials run at once.

Imports torch only if the settings request GPUs.
"""

import math

from model.errors import UsageError
from sweep.config import ResourcesConfig
from sweep.tune.cpus import usable_cpus


def cluster_total(resources: ResourcesConfig, there: dict[str, float]) -> dict[str, float]:
    """Return `CPU` and `GPU` of a running cluster, or of the size it may grow to if that is set.

    Raises:
        UsageError: The cluster has no machine for trials yet, and resources.num_cpus is not set.
    """
    capacity = {"CPU": resources.num_cpus, "GPU": resources.num_gpus}
    total = there | {name: float(count) for name, count in capacity.items() if count is not None}
    if not total.get("CPU"):
        raise UsageError(
            "resources.num_cpus must be set if the cluster has no machine for trials, got None; "
            "use the size it may grow to, e.g. --resources.num-cpus 32 --resources.num-gpus 8"
        )
    return total


def trial_resources(
    resources: ResourcesConfig, total: dict[str, float]
) -> tuple[str, dict[str, float]]:
    """Return the device of a trial, and the CPUs and GPUs it reserves out of `total`.

    Raises:
        UsageError: One trial needs more CPUs or GPUs than there are.
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
                f"resources.{name}_per_trial must be at most the {there:g} available, "
                f"got {share:g}; use fewer" + (", or --resources.device cpu" if on_gpu else "")
            )
    return ("cuda" if on_gpu else "cpu"), {"cpu": cpus, "gpu": gpus}


def num_at_once(per_trial: dict[str, float], total: dict[str, float], *, at_most: int) -> int:
    """Return how many trials run in parallel: as many as fit, but at least one."""
    fits = [
        math.floor(total.get(name.upper(), 0) / share + 1e-9)
        for name, share in per_trial.items()
        if share > 0
    ]
    return max(1, min([at_most, *fits]))


def local_cpus(resources: ResourcesConfig) -> int:
    """Return how many CPUs a Ray that is started here may use."""
    return usable_cpus() if resources.num_cpus is None else resources.num_cpus


def check_machine(resources: ResourcesConfig) -> None:
    """Raise UsageError, before Ray starts, if this machine is too small for one trial."""
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
    total = {"CPU": float(local_cpus(resources)), "GPU": float(num_gpus)}
    trial_resources(resources, total)
