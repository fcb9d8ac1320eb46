"""Builds a sweep from a command's arguments: a preset or file, overrides and axes."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from model.errors import OneLineError, UsageError
from sweep.config import (
    LineageConfig,
    ResourcesConfig,
    SweepConfig,
    check_setting,
    checked_grids,
    flatten,
    parse_setting,
    to_json,
    unique,
    unknown,
    updated,
)
from sweep.files import RecordError, read_json, read_toml
from sweep.presets import preset_of
from sweep.records import SweepRecord
from sweep.results_folder import complete, sweep_from_record

FILE_KEYS = ("name", "description", "base", "grids", "resources")


def find_sweep(name: str) -> SweepConfig:
    """Return the sweep of a preset, or of a .toml or .json file; raises UsageError."""
    is_file = Path(name).suffix in (".toml", ".json")
    return load_sweep_file(Path(name)) if is_file else preset_of(name)


def requested_sweep(
    name: str, base: LineageConfig, resources: ResourcesConfig, axes: Sequence[str]
) -> SweepConfig:
    """Return the sweep of a preset or file with the settings and axes of a command.

    Raises:
        UsageError: A setting or an axis is not valid.
    """
    preset = find_sweep(name)
    sweep = replace(preset, base=base, resources=resources)
    for text in axes:
        sweep = with_axis(sweep, text)
    check_overrides(preset.base, sweep)
    sweep.points()
    return sweep


def check_overrides(before: LineageConfig, sweep: SweepConfig) -> None:
    """Raise UsageError for a changed base setting that is an axis of every grid."""
    old = dict(flatten(to_json(before)))
    for name, value in flatten(to_json(sweep.base)):
        if value != old[name] and all(name in grid for grid in sweep.grids):
            raise UsageError(
                f"{name} is an axis of this sweep, so --{name} has no effect; "
                f"use --axis {name}={value}"
            )


def with_axis(sweep: SweepConfig, text: str) -> SweepConfig:
    """Return the sweep with an axis, given as `pool.alpha=0.5,1,2`, added to all of its grids.

    Values that are lists are written in brackets: `model.widths=[16,32],[32,64]`.

    Raises:
        UsageError: The text or a value cannot be parsed, or the setting does not exist.
    """
    name, equals, values = text.partition("=")
    if not equals or not values:
        raise UsageError(f"--axis must be NAME=VALUE,VALUE,..., got {text!r}")
    parsed = [axis_value(sweep.base, name, word.strip()) for word in split_values(values)]
    return replace(sweep, grids=tuple(unique({**grid, name: parsed} for grid in sweep.grids)))


def split_values(text: str) -> list[str]:
    """Split at commas, except inside brackets."""
    return re.split(r",(?![^\[]*\])", text)


def axis_value(base: LineageConfig, name: str, word: str) -> Any:
    """Parse one value of an axis, with the setting's type; raises UsageError."""
    value = parse_setting(base, name, word)
    if not isinstance(value, tuple):
        return value
    if not (word.startswith("[") and word.endswith("]")):
        hint = f"write --axis '{name}=[A,B],[C]'"
        raise UsageError(f"{name} must have each of its lists in brackets, got {word!r}; {hint}")
    return list(value)


def load_sweep_file(path: Path) -> SweepConfig:
    """Load a sweep from a .toml or .json file with name, description, base, grids and resources.

    The sweep.json of a results folder works too.

    Raises:
        UsageError: The file is missing or damaged, or holds something that is not a setting.
    """
    if path.suffix == ".json":
        data = read_json(path)
        if "schema" in data:
            return sweep_from_record(SweepRecord.load(path), path)
    else:
        data = read_toml(path)
    for key in data:
        if key not in FILE_KEYS:
            raise RecordError(f"{path}: " + unknown(key, key, list(FILE_KEYS)))
    try:
        sweep = SweepConfig(
            name=str(data.get("name", path.stem)),
            description=str(data.get("description", "")),
            base=updated(LineageConfig(), complete(data.get("base", {}))),
            grids=checked_grids(data.get("grids", [{}])),
            resources=updated(ResourcesConfig(), data.get("resources", {}), "resources."),
        )
        for axis in sweep.axes():
            check_setting(sweep.base, axis)
    except OneLineError as error:
        raise RecordError(f"{path}: {error}") from None
    return sweep
