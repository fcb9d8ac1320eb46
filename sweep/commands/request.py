"""Builds a sweep from a command's arguments: a preset or file, overrides and axes."""

import os
import re
import shlex
import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from model.commands.settings_file import read_settings
from model.commands.values import parse_value, spelled, split_values, typed
from model.errors import OneLineError, UsageError, check_text, shown
from sweep.commands.patience import PlanProgress
from sweep.config import (
    LineageConfig,
    ResourcesConfig,
    SweepConfig,
    check_setting,
    checked_grids,
    flatten,
    to_json,
    type_of,
    unique,
    unknown,
    updated,
)
from sweep.files import RecordError, complete
from sweep.presets.table import preset_of

RULE, ALPHA = "pool.rule", "pool.alpha"
MOST_NAMED = 6
"""Most changed settings that a description names."""
OPTION = re.compile(r"-[^\d.]")
"""How a word begins that is an option, and not a negative number."""
AXIS_START = re.compile(r"[a-z_]+(\.[a-z_]+)*=")
"""How the text of an axis begins."""
FILE_KEYS = ("name", "description", "base", "grids", "resources")


def find_sweep(name: str) -> SweepConfig:
    """Return the sweep of a preset, or of a .toml or .json file; raises UsageError."""
    is_file = Path(name).suffix in (".toml", ".json")
    return load_sweep_file(Path(name)) if is_file else preset_of(name)


def as_sweep(config: str | os.PathLike[str] | SweepConfig | LineageConfig) -> SweepConfig:
    """Return the sweep that a Python program names, or whose settings it gives."""
    if isinstance(config, SweepConfig):
        return config
    if isinstance(config, LineageConfig):
        return SweepConfig(name="lineage", description="One lineage.", base=config)
    return find_sweep(os.fspath(config))


def requested_sweep(
    name: str, base: LineageConfig, resources: ResourcesConfig, axes: Sequence[str]
) -> SweepConfig:
    """Return the sweep of a preset or file with the settings and axes of a command.

    Raises:
        UsageError: A setting or an axis is not valid.
    """
    preset = find_sweep(name)
    sweep = replace(preset, base=base, resources=resources)
    names = [text.partition("=")[0] for text in axes]
    for axis in unique(names):
        if names.count(axis) > 1:
            raise UsageError(
                f"--axis must be given once for each setting, got {shown(axis)} "
                f"{names.count(axis)} times; write all values in one --axis"
            )
    for text in axes:
        sweep = with_axis(sweep, text)
    sweep = without_idle_alpha(sweep, preset.base, names)
    check_overrides(preset.base, sweep)
    for _ in sweep.each_point(PlanProgress("checking the settings of each point")):
        pass
    return with_changes_named(sweep, preset, names)


def check_axis_words(args: Sequence[str]) -> None:
    """Raise UsageError if several words follow an --axis, with what the user may have meant.

    A shell splits `--axis sample.steps 5 20` and `--axis sample.steps=5, 20` into such words.
    """
    groups: list[list[str]] = []
    is_value = False
    for word in args:
        if OPTION.match(word):
            name, equals, value = word.partition("=")
            is_value = name == "--axis"
            groups += [[value] if equals else []] if is_value else []
        elif is_value:
            groups[-1].append(word)
    for words in groups:
        if len(words) > 1:
            raise UsageError(
                f"--axis must be NAME=VALUE,VALUE,..., got {shown(' '.join(words))}; "
                f"write {joined_axes(words)}"
            )


def joined_axes(words: Sequence[str]) -> str:
    """The options of the axes that are split into words: a word with NAME= begins another one."""
    axes: list[tuple[str, list[str]]] = []
    for word in words:
        if not axes or AXIS_START.match(word):
            name, _, word = word.partition("=")
            axes.append((name, []))
        axes[-1][1].append(word.strip("=,"))
    texts = [f"{name}={','.join(filter(None, values))}" for name, values in axes]
    return " ".join(f"--axis {shlex.quote(text)}" for text in texts)


def with_changes_named(sweep: SweepConfig, preset: SweepConfig, axes: Sequence[str]) -> SweepConfig:
    """Return the sweep with a description that names what a command has changed.

    Args:
        sweep: The sweep with the command's settings and axes.
        preset: The preset or file.
        axes: Names of the command's axes.
    """
    before, now = (dict(flatten(to_json(each.base))) for each in (preset, sweep))
    names = unique([*(name for name in now if now[name] != before[name]), *axes])
    if not names:
        return sweep
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    changes = f"(changed: {', '.join(names[:MOST_NAMED])}{more})"
    return replace(sweep, description=f"{preset.description} {changes}".strip())


def check_overrides(before: LineageConfig, sweep: SweepConfig) -> None:
    """Raise UsageError for a changed base setting that is an axis of every grid."""
    old = dict(flatten(to_json(before)))
    for name, value in flatten(to_json(sweep.base)):
        if value != old[name] and all(name in grid for grid in sweep.grids):
            raise UsageError(
                f"{name} is an axis of this sweep, so --{name} has no effect; "
                f"use --axis {shlex.quote(f'{name}={spelled(value)}')}"
            )


def without_idle_alpha(
    sweep: SweepConfig, before: LineageConfig, axes: Collection[str]
) -> SweepConfig:
    """Return the sweep without pool.alpha where a rule that the user chose does not use it.

    A line on standard error says so. If the user has named pool.alpha, nothing changes.

    Args:
        sweep: The sweep with the command's settings and axes.
        before: The base settings of the preset or file.
        axes: Names of the command's axes.
    """
    from sweep.planning.rules import POOL_RULES

    pool, is_chosen = sweep.base.pool, RULE in axes or sweep.base.pool.rule != before.pool.rule
    if not is_chosen or ALPHA in axes or pool.alpha != before.pool.alpha:
        return sweep
    grids, idle = [], []
    for grid in sweep.grids:
        rules = grid.get(RULE, [pool.rule])
        without = [rule for rule in rules if rule in POOL_RULES and not POOL_RULES[rule].uses_alpha]
        if ALPHA not in grid and pool.alpha is None:
            without = []
        idle += without
        for own, is_idle in (([r for r in rules if r not in without], False), (without, True)):
            if own:
                changed = {RULE: own} if RULE in grid else {}
                grids.append({**grid, **changed, **({ALPHA: [None]} if is_idle else {})})
    if not idle:
        return sweep
    names = ", ".join(unique(idle))
    print(f"note: {ALPHA} is left out with {RULE}={names}, which does not use it", file=sys.stderr)
    return replace(sweep, grids=tuple(unique(grids)))


def with_axis(sweep: SweepConfig, text: str) -> SweepConfig:
    """Return the sweep with an axis, given as `pool.alpha=0.5,1,2`, added to all of its grids.

    Values that are lists are written in brackets: `model.widths=[16,32],[32,64]`. Text that
    contains a comma or a bracket is written as a JSON string: `filter.reward_class="a, b",c`.

    Raises:
        UsageError: The text or a value cannot be parsed, or the setting does not exist.
    """
    name, equals, values = text.partition("=")
    if not equals or not values:
        raise UsageError(f"--axis must be NAME=VALUE,VALUE,..., got {shown(text)}")
    kind = type_of(sweep.base, name)
    parsed = [axis_value(kind, name, word.strip()) for word in split_values(values)]
    check_once(name, parsed)
    return replace(sweep, grids=tuple(unique({**grid, name: parsed} for grid in sweep.grids)))


def check_once(name: str, values: Sequence[Any]) -> None:
    """Raise UsageError if an axis has a value twice."""
    seen: set[str] = set()
    for value in values:
        if repr(value) in seen:
            raise UsageError(f"axis {name} must have each value once, got {shown(value)} twice")
        seen.add(repr(value))


def axis_value(kind: Any, name: str, word: str) -> Any:
    """Parse one value of an axis, with the setting's type; raises UsageError."""
    value = parse_value(word, kind, name)
    if not isinstance(value, tuple):
        return value
    if not (word.startswith("[") and word.endswith("]")):
        hint = f"write --axis '{name}=[A,B],[C]'"
        raise UsageError(
            f"{name} must have each of its lists in brackets, got {shown(word)}; {hint}"
        )
    return list(value)


def load_sweep_file(path: Path) -> SweepConfig:
    """Load a sweep from a .toml or .json file with name, description, base, grids and resources.

    The sweep.json of a results folder works too.

    Raises:
        UsageError: The file is missing or damaged, or holds something that is not a setting.
    """
    data = read_settings(path)
    if "schema" in data:
        from sweep.records import SweepRecord
        from sweep.results_folder import sweep_from_record

        return sweep_from_record(SweepRecord.of_json(data, path), path)
    for key in data:
        if key not in FILE_KEYS:
            raise RecordError(f"{path}: " + unknown(key, key, list(FILE_KEYS)))
    try:
        sweep = SweepConfig(
            name=name_of(data.get("name", path.stem)),
            description=" ".join(typed(data.get("description", ""), str, "description").split()),
            base=updated(LineageConfig(), complete(data.get("base", {}))),
            grids=checked_grids(data.get("grids", [{}])),
            resources=updated(ResourcesConfig(), data.get("resources", {}), "resources."),
        )
        check_text("description", sweep.description)
        for axis in sweep.axes():
            check_setting(sweep.base, axis)
        for grid in sweep.grids:
            for axis, values in grid.items():
                kind = type_of(sweep.base, axis)
                check_once(axis, [typed(value, kind, axis) for value in values])
    except OneLineError as error:
        raise RecordError(f"{path}: {error}") from None
    return sweep


def name_of(value: Any) -> str:
    """Return the name of a sweep; raises UsageError unless it is text."""
    name = typed(value, str, "name")
    check_text("name", name)
    if not name.strip():
        raise UsageError(f"name must not be empty, got {name!r}; leave it out for the file's name")
    return name
