"""The environment of a computation: what can change its numbers although the settings are equal.

Results of one sweep may come from several machines, and from runs before and after an upgrade.
Their numbers are then equal in distribution only, which readers should know.
"""

import functools
import platform
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from sweep.files import Json

NUMERIC = (
    *("torch", "torchvision", "numpy", "scipy", "scikit-learn"),
    *("transformers", "diffusers", "clean-fid", "cpu_capability"),
)
"""Facts of a record's environment that can change numbers; a package is there if it was used."""
PLUGIN = "plugin."
"""Begins the name of a fact that is the digest of a plug-in's source."""
SEPARATOR = ", "


def describe_environment(environment: Json, **more: object) -> str:
    """The facts that can change numbers, as one line: `torch=2.15.0, device=cpu, threads=1`.

    Args:
        environment: What `sweep.lineage.environment.environment` returned.
        more: The device and the number of threads, if known.
    """
    facts = {name: environment[name] for name in NUMERIC if name in environment} | more
    for name, digests in environment.get("plugins", {}).items():
        facts[f"{PLUGIN}{name}"] = digests["source"][:12]
    return SEPARATOR.join(f"{name}={value}" for name, value in facts.items())


def differing_facts(environments: Iterable[str]) -> str:
    """What differs between environments, as `torch 2.14.0 (2) and 2.15.0 (6)`; empty if nothing.

    Args:
        environments: One line of `describe_environment` per model or measurement. A fact that one
            of them does not have is not a difference.
    """
    return ", ".join(
        f"{name} " + " and ".join(f"{value} ({n})" for value, n in sorted(values.items()))
        for name, values in _count_values(environments).items()
        if len(values) > 1
    )


def common_facts(environments: Iterable[str]) -> str:
    """The facts of which environments have one value, as `describe_environment` names them.

    Args:
        environments: As for `differing_facts`.
    """
    known = _count_values(environments)
    return SEPARATOR.join(
        f"{name}={value}" for name, values in known.items() for value in values if len(values) == 1
    )


def plugin_facts(environment: str) -> list[str]:
    """The facts of an environment that are about plug-ins."""
    return [fact for fact in environment.split(SEPARATOR) if fact.startswith(PLUGIN)]


def _count_values(environments: Iterable[str]) -> dict[str, Counter[str]]:
    """How many environments have each value of each fact."""
    known: dict[str, Counter[str]] = {}
    for line, count in Counter(environments).items():
        for fact in line.split(SEPARATOR):
            name, _, value = fact.partition("=")
            known.setdefault(name, Counter())[value] += count
    return known


def versions(*packages: str) -> Json:
    """Versions of Python, the platform and those of the packages that are installed."""
    facts: Json = {"python": platform.python_version(), "platform": platform.platform()}
    for package in packages:
        with suppress(PackageNotFoundError):
            facts[package] = _version(package)
    return facts


_version = functools.cache(version)
"""Versions are read once per process, because they are recorded with every model."""
