"""Facts of this process that are recorded with every model and measurement."""

import platform
import sys

import torch

from model.commands.plugins import plugins_in
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


def environment(inputs: str = "") -> Json:
    """Versions of what this process has imported so far, and what its CPU can do.

    Args:
        inputs: All inputs of a result as JSON, which tell on which plug-ins it depends.
    """
    used = (package for module, package in PACKAGES.items() if module in sys.modules)
    return versions("collapse-sweep", "numpy", *used) | {
        "torch": torch.__version__,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        **({"plugins": found} if (found := plugins_in(inputs)) else {}),
    }


def computed_on(device: str, inputs: str) -> Json:
    """The fields of a record that say where a result with these inputs was computed."""
    return {
        "device": device_name(device),
        "num_threads": torch.get_num_threads(),
        "environment": environment(inputs),
    }


def device_name(device: str) -> str:
    """A readable name of the device."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({platform.machine()})"


def current_environment(device: str, inputs: str) -> str:
    """This process's environment for a result with these inputs, as one line."""
    return describe_environment(
        environment(inputs), device=device_name(device), threads=torch.get_num_threads()
    )
