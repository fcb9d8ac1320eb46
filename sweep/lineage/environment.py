"""Facts of this process that are recorded with every model and measurement."""

import platform
import sys

import torch

from sweep.environment import describe_environment, versions
from sweep.files import Json

PACKAGES = {
    "torchvision": "torchvision",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "transformers": "transformers",
    "diffusers": "diffusers",
    "cleanfid": "clean-fid",
}
"""Modules that may compute something, and their packages."""


def environment() -> Json:
    """Versions of what this process has imported so far, and what its CPU can do."""
    used = (package for module, package in PACKAGES.items() if module in sys.modules)
    return versions("collapse-sweep", "numpy", *used) | {
        "torch": torch.__version__,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def computed_on(device: str) -> Json:
    """The fields of a record that say where it was computed."""
    return {
        "device": device_name(device),
        "num_threads": torch.get_num_threads(),
        "environment": environment(),
    }


def device_name(device: str) -> str:
    """A readable name of the device."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({platform.machine()})"


def current_environment(device: str) -> str:
    """This process's environment as one line."""
    return describe_environment(
        environment(), device=device_name(device), threads=torch.get_num_threads()
    )
