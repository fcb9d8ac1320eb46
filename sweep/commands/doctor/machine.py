"""Facts about the machine: packages, CPUs, GPUs, memory and whether Ray can start."""

import os
import platform
import resource
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from model.errors import UsageError
from sweep.commands.doctor.facts import Fact
from sweep.config import ResourcesConfig
from sweep.estimate.sizes import format_bytes
from sweep.tune.cpus import CGROUPS, OWN_GROUPS, quotas
from sweep.tune.private_ray import FEW_FILES, temporary_folder
from sweep.tune.resources import local_cpus, num_at_once, trial_resources

NEEDED = ("numpy", "torch", "ray", "safetensors", "scikit-learn", "pillow", "rich")
"""Packages without which no default sweep runs."""
OPTIONAL = ("torchvision", "clean-fid", "transformers", "diffusers", "obstore", "tensorboard")
MODULES = {"scikit-learn": "sklearn", "pillow": "PIL"}
"""Names of the modules of packages, if they differ."""
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Ray keeps its objects
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
LIMITS = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
"""Files of a control group with its limit and its use, of versions 2 and 1."""
UNLIMITED = 2**60
"""Limits of version 1 above this stand for none."""


def python_fact() -> Fact:
    """The interpreter."""
    return Fact(name="Python", text=f"{platform.python_version()}, {sys.executable}")


def packages_fact() -> Fact:
    """Versions of the packages that are installed, and those that are not."""
    found, missing = [], []
    for package in ("collapse-sweep", *NEEDED, *OPTIONAL):
        known = None
        with suppress(PackageNotFoundError):
            known = version(package)
        module = MODULES.get(package, package.replace("-", "_"))
        if package in NEEDED and find_spec(module) is None:
            known = None
        if known is None:
            missing.append(package)
        else:
            found.append(f"{package} {known}")
    absent = [package for package in missing if package in NEEDED]
    text = ", ".join(found) + (f"; not installed: {', '.join(missing)}" if missing else "")
    problem = f"{', '.join(absent)} must be installed; pip install 'collapse-sweep[all]'"
    return Fact(name="packages", text=text, problem=problem if absent else "")


def gpu_fact() -> Fact:
    """The GPUs that torch can use, or why there are none."""
    if find_spec("torch") is None:
        return Fact(name="GPU", text="unknown without torch")
    import torch

    if not torch.cuda.is_available():
        reason = ""
        if NVIDIA_DRIVER.exists():
            reason = f"; a driver is loaded, but torch {torch.__version__} "
            reason += "cannot use it" if torch.version.cuda else "is built without CUDA"
        return Fact(name="GPU", text=f"none that torch can use{reason}; models run on the CPU")
    names = []
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        memory = f"{format_bytes(free)} free of {format_bytes(total)}"
        names.append(f"{facts.name}, {memory}, compute capability {facts.major}.{facts.minor}")
    bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    abilities = [
        f"{name} {'yes' if has else 'no'}"
        for name, has in (("bf16", bf16), ("tf32", torch.cuda.is_tf32_supported()))
    ]
    driver = driver_version()
    text = f"{'; '.join(names)}; CUDA {torch.version.cuda}, driver {driver}; {', '.join(abilities)}"
    return Fact(name="GPU", text=text)


def driver_version() -> str:
    """The version of NVIDIA's driver, as its module or nvidia-smi says it."""
    with suppress(OSError):
        words = NVIDIA_DRIVER.read_text().splitlines()[0].split()
        return next(word for word in words if word[0].isdigit() and "." in word)
    return "unknown"


def num_gpus() -> int:
    """Number of GPUs that torch can use."""
    if find_spec("torch") is None:
        return 0
    import torch

    return torch.cuda.device_count()


def trials_at_once() -> tuple[str, int, int]:
    """Device of a default trial, its threads, and the number of trials at once."""
    resources = ResourcesConfig()
    total = {"CPU": float(local_cpus(resources)), "GPU": float(num_gpus())}
    device, share = trial_resources(resources, total)
    count = num_at_once(share, total, at_most=10**6)
    return device, max(1, int(share["cpu"])), count


def cpu_fact() -> Fact:
    """CPUs of the machine, those that this process may use, and the trials that they allow."""
    parts = [f"{os.cpu_count()} of the machine"]
    if hasattr(os, "sched_getaffinity"):
        parts.append(f"{len(os.sched_getaffinity(0))} by affinity")
    with suppress(OSError):
        granted = min(quotas(OWN_GROUPS.read_text(), CGROUPS), default=None)
        parts.append(
            "no quota is visible"
            if granted is None
            else f"{granted:g} by the control group's quota"
        )
    usable = local_cpus(ResourcesConfig())
    device, threads, count = trials_at_once()
    of_threads = f"{threads} thread{'' if threads == 1 else 's'}"
    runs = f"{count} trial{'' if count == 1 else 's'} of {of_threads} on {device} at once"
    return Fact(name="CPUs", text=f"{', '.join(parts)}; {usable} usable: {runs}")


def memory_fact() -> Fact:
    """Memory that is available, also within the control groups."""
    parts = []
    with suppress(OSError, KeyError, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if ":" in line}
        available, total = sizes["MemAvailable"], sizes["MemTotal"]
        parts.append(f"{format_bytes(available)} available of {format_bytes(total)}")
    with suppress(OSError):
        limits = list(memory_limits(OWN_GROUPS.read_text(), CGROUPS))
        parts.append("no limit is visible")
        if limits:
            free, limit = min(limits)
            parts[-1] = f"control groups allow {format_bytes(limit)}, {format_bytes(free)} unused"
    return Fact(name="memory", text="; ".join(parts) or "unknown on this system")


def memory_limits(own_groups: str, mounted: Path) -> Iterator[tuple[int, int]]:
    """Yield what is unused and the limit of each control group of a process, parents included."""
    for line in own_groups.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = mounted / controllers
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            if not folder.is_relative_to(root):
                break
            for limit_file, usage_file in LIMITS:
                with suppress(OSError, ValueError):  # "max" is no number
                    limit = int((folder / limit_file).read_text())
                    if limit < UNLIMITED:
                        yield max(0, limit - int((folder / usage_file).read_text())), limit


def ray_fact() -> Fact:
    """Whether Ray is installed and finds what it needs to start; it is not started."""
    parts, problem = [], ""
    try:
        parts.append(f"version {version('ray')}, not started here")
    except PackageNotFoundError:
        return Fact(name="Ray", text="not installed")
    try:
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen()
        parts.append("can listen on 127.0.0.1")
    except OSError as error:
        problem = f"127.0.0.1 must allow listening, got {error.strerror!r}; allow loopback"
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    advice = "" if limit >= FEW_FILES else f"; ulimit -n {FEW_FILES} is safer"
    parts.append(f"{limit:,} open files{advice}")
    with suppress(OSError):
        parts.append(f"{format_bytes(shutil.disk_usage(SHARED_MEMORY).free)} in {SHARED_MEMORY}")
    try:
        parts.append(f"its folder in {temporary_folder()}")
    except UsageError as error:
        problem = problem or str(error)
    return Fact(name="Ray", text="; ".join(parts), problem=problem)
