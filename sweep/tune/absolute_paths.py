"""Makes the paths of settings absolute, because Ray's processes work in other folders."""

import re
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from model.config import FilterConfig, MetricsConfig
from sweep.config import LineageConfig

Judge = TypeVar("Judge", MetricsConfig, FilterConfig)
OF_MEMBER = re.compile(r"(?<!\S)filter\.weights=(\S+)")
"""A path in a string of ensemble.members."""


def with_absolute_paths(config: LineageConfig, folder: Path) -> LineageConfig:
    """The settings with absolute paths of the weights of feature extractors, which no key has.

    Data are read by the driver, and the other paths are absolute in any plan.

    Args:
        config: The settings.
        folder: Folder to which relative paths belong.
    """

    def absolute(found: re.Match[str]) -> str:
        return f"filter.weights={_absolute(found[1], folder)}"

    members = tuple(OF_MEMBER.sub(absolute, text) for text in config.ensemble.members)
    return replace(
        config,
        metrics=with_absolute_weights(config.metrics, folder),
        filter=with_absolute_weights(config.filter, folder),
        ensemble=replace(config.ensemble, members=members),
    )


def with_absolute_weights(judge: Judge, folder: Path) -> Judge:
    """The settings of metrics or a filter with an absolute path of the extractor's weights."""
    if judge.weights is None:
        return judge
    return replace(judge, weights=_absolute(judge.weights, folder))


def _absolute(path: str, folder: Path) -> str:
    return str(folder / Path(path).expanduser())
