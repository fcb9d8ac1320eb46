"""Writes a cluster file for machines of one's own, out of cluster.yaml: its commands are those.

python local_file.py KEY HEAD WORKER... > local.yaml

What is changed: the provider; the commands that need the internet are left out or told to use uv's
cache; the machines' numbers of CPUs are given to `ray start`, since there is no provider to know
them. Environment: VENV, an environment that `uv sync` has only to check.
"""

import os
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]


def local_file(key: str, head: str, workers: list[str]) -> dict[str, Any]:
    """The contents of the file."""
    config = installing(yaml.safe_load((ROOT / "cluster.yaml").read_text()))
    for name in ("available_node_types", "head_node_type", "max_workers"):
        del config[name]
    config["cluster_name"] = "collapse-sweep-local"
    config["provider"] = {"type": "local", "head_ip": head, "worker_ips": workers}
    config["auth"] = {"ssh_user": "root", "ssh_private_key": key}
    config["head_start_ray_commands"] = [
        # Ray 2.60's second autoscaler does not know what a local head was started with.
        small(command, before="RAY_enable_autoscaler_v2=0 ", after="--num-cpus=0")
        for command in config["head_start_ray_commands"]
    ]
    config["worker_start_ray_commands"] = [
        small(command, after="--num-cpus=1") for command in config["worker_start_ray_commands"]
    ]
    return config


def installing(config: dict[str, Any]) -> dict[str, Any]:
    """The file with an installation that needs neither the internet nor a GPU."""
    path = os.environ["PATH"]
    return config | {
        "initialization_commands": [],
        "worker_setup_commands": [],
        "file_mounts": {
            to: path if path.startswith("~") else str(ROOT / path)
            for to, path in config["file_mounts"].items()
        },
        "setup_commands": [
            f"grep -q UV_OFFLINE ~/.bashrc || echo 'export UV_OFFLINE=1 PATH={path}' >> ~/.bashrc",
            f"ln -sfn {os.environ['VENV']} ~/collapse-sweep/.venv",
            *config["setup_commands"],
        ],
    }


def small(command: str, *, before: str = "", after: str = "") -> str:
    """A start of Ray with little memory, and with more words; any other command as it is."""
    if "ray start" not in command:
        return command
    command = command.removeprefix("ulimit -n 65536 && ")  # a container may not raise its limit
    command = command.replace("RAY_AUTH_MODE", f"{before}RAY_AUTH_MODE")
    return f"{command} {after} --object-store-memory=100000000"


if __name__ == "__main__":
    key, head, *workers = sys.argv[1:]
    sys.stdout.write(yaml.safe_dump(local_file(key, head, workers), sort_keys=False, width=1000))
