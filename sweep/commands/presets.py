"""The list of presets, and a sweep as a TOML file to edit, which commands read back."""

import json
from typing import Any

from sweep.config import LineageConfig, ResourcesConfig, SweepConfig, flatten, to_json
from sweep.presets.table import PRESETS, question


def list_presets() -> str:
    """The presets and the question that each one answers, a line each."""
    width = max(map(len, PRESETS))
    return "".join(f"{name:{width}}  {question(name)}\n" for name in PRESETS)


def sweep_toml(sweep: SweepConfig) -> str:
    """The settings of a sweep that are not defaults, and its grids."""
    lines = [f"name = {_value(sweep.name)}", f"description = {_value(sweep.description)}"]
    lines += ["", "[base]", *_changes(sweep.base, LineageConfig())]
    if resources := _changes(sweep.resources, ResourcesConfig()):
        lines += ["", "[resources]", *resources]
    for grid in sweep.grids:
        lines += ["", "[[grids]]", *(f"{_value(axis)} = {_value(v)}" for axis, v in grid.items())]
    return "\n".join(lines) + "\n"


def _changes(config: Any, default: Any) -> list[str]:
    """The lines of the settings that differ from the defaults."""
    usual = dict(flatten(to_json(default)))
    settings = flatten(to_json(config))
    return [f"{name} = {_value(value)}" for name, value in settings if value != usual[name]]


def _value(value: Any) -> str:
    """A value in TOML, which has no null: settings that may be None accept "none"."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    return '"none"' if value is None else json.dumps(value, ensure_ascii=False)
