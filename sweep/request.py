"""From a command's words to a sweep: a preset or file, overrides and axes."""

import ast
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from model.commands.command_line import parse
from model.errors import UsageError
from sweep.config import (
    LineageConfig,
    ResourcesConfig,
    SweepConfig,
    flatten,
    get_value,
    nest,
    to_json,
    unknown,
    updated,
)
from sweep.folder import complete, sweep_from_record
from sweep.presets import preset_of
from sweep.records import RecordError, SweepRecord, read_json

FILE_KEYS = ("name", "description", "base", "grids", "resources")


def read_request(kind: type, name: str, args: list[str], *, prog: str) -> tuple[SweepConfig, Any]:
    """The sweep of a preset or file with a command's overrides, and all of the command's options.

    Args:
        kind: Dataclass of the command's options, with fields `axis`, `base` and `resources`.
        name: Preset, or path of a .toml or .json file.
        args: The command's other words.
        prog: The command, for messages.

    Raises:
        UsageError: Anything in them is not understood or not allowed.
    """
    sweep = load_sweep_file(Path(name)) if is_file(name) else preset_of(name)
    options: Any = parse(with_defaults(kind, sweep), args, prog=prog)
    before = sweep.base
    sweep = replace(sweep, base=options.base, resources=options.resources)
    for text in options.axis:
        sweep = with_axis(sweep, text)
    check_overrides(before, sweep)
    sweep.points()
    return sweep, options


def is_file(name: str) -> bool:
    """Whether a sweep's name is a file's rather than a preset's."""
    return Path(name).suffix in (".toml", ".json")


def with_defaults(kind: type, sweep: SweepConfig) -> type:
    """The options' class, whose defaults are the sweep's settings."""
    from dataclasses import field, make_dataclass

    hints = kind.__annotations__
    for parent in kind.__mro__:
        hints = {**getattr(parent, "__annotations__", {}), **hints}
    made = make_dataclass(
        kind.__name__,
        [
            ("base", hints["base"], field(default_factory=lambda: sweep.base)),
            ("resources", hints["resources"], field(default_factory=lambda: sweep.resources)),
        ],
        bases=(kind,),
        frozen=True,
        kw_only=True,
    )
    made.__doc__ = kind.__doc__
    return made


def check_overrides(before: LineageConfig, sweep: SweepConfig) -> None:
    """Raise UsageError for a changed base setting that every grid's axis overrides in turn."""
    old = dict(flatten(to_json(before)))
    for name, value in flatten(to_json(sweep.base)):
        if value != old[name] and all(name in grid for grid in sweep.grids):
            raise UsageError(
                f"{name} is an axis of this sweep, so that --{name} has no effect; "
                f"use --axis {name}={value}"
            )


def with_axis(sweep: SweepConfig, text: str) -> SweepConfig:
    """The sweep with `pool.alpha=0.5,1,2` in the place of that axis in every grid.

    Values that are lists stand in brackets: `model.widths=[16,32],[32,64]`.

    Raises:
        UsageError: The text or a value is not understood, or the setting does not exist.
    """
    name, equals, values = text.partition("=")
    if not equals or not values:
        raise UsageError(f"--axis must be NAME=VALUE,VALUE,..., got {text!r}")
    parsed = [axis_value(sweep.base, name, word) for word in split_values(values)]
    grids = tuple({**grid, name: parsed} for grid in sweep.grids)
    unique: list[Mapping[str, list[Any]]] = []
    for grid in grids:
        if grid not in unique:
            unique.append(grid)
    return replace(sweep, grids=tuple(unique))


def split_values(text: str) -> list[str]:
    """The words between commas, of which those within brackets set none apart."""
    return re.split(r",(?![^\[]*\])", text)


def axis_value(base: LineageConfig, name: str, word: str) -> Any:
    """One value of an axis, of the setting's type; raises UsageError."""
    check_axis(base, name)
    listed = re.fullmatch(r"\[(.*)\]", word.strip())
    if not isinstance(get_value(base, name), tuple):
        return get_value(updated(base, nest(name, plain_value(word))), name)
    if listed is None:
        hint = f"write --axis '{name}=[A,B],[C]'"
        raise UsageError(f"{name} must have each of its lists in brackets, got {word!r}; {hint}")
    words = [part.strip() for part in listed[1].split(",") if part.strip()]
    try:
        changed = updated(base, nest(name, [plain_value(part) for part in words]))
    except ValueError as error:
        try:  # words that look like numbers
            changed = updated(base, nest(name, words))
        except ValueError:
            raise error from None
    return list(get_value(changed, name))


def plain_value(word: str) -> Any:
    """A word as a number, a truth value or none, where it is one."""
    try:
        value = ast.literal_eval(word)
    except (ValueError, SyntaxError, TypeError, MemoryError):
        value = word
    if isinstance(value, str) and value.lower() in ("nan", "inf", "-inf"):
        return float(value)
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    return value


def check_axis(base: LineageConfig, name: str) -> None:
    """Raise UsageError unless `name` is a dotted setting (not a group of them)."""
    names = [dotted for dotted, _ in flatten(to_json(base))]
    if name not in names:
        raise UsageError(unknown(name, name, names))


def load_sweep_file(path: Path) -> SweepConfig:
    """A sweep of a .toml or .json file: name, description, base, grids, resources.

    A run's own sweep.json is one.

    Raises:
        UsageError: The file is missing, damaged, or holds what is not a setting.
    """
    if path.suffix == ".json":
        data = read_json(path)
        if "schema" in data:
            return sweep_from_record(SweepRecord.load(path), path)
    else:
        try:
            data = tomllib.loads(path.read_text())
        except FileNotFoundError:
            raise UsageError(f"{path} must exist, got no such file") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise RecordError(f"{path} must be TOML: {error}") from None
    for key in data:
        if key not in FILE_KEYS:
            raise RecordError(f"{path}: " + unknown(key, key, list(FILE_KEYS)))
    grids = data.get("grids", [{}])
    is_grid = (
        isinstance(grids, list)
        and grids
        and all(
            isinstance(grid, dict) and all(isinstance(v, list) and v for v in grid.values())
            for grid in grids
        )
    )
    if not is_grid:
        raise RecordError(
            f"{path}: grids must be a list of tables of axis = [values], got {json.dumps(grids)}"
        )
    try:
        sweep = SweepConfig(
            name=str(data.get("name", path.stem)),
            description=str(data.get("description", "")),
            base=updated(LineageConfig(), complete(data.get("base", {}))),
            grids=tuple(grids),
            resources=updated(ResourcesConfig(), data.get("resources", {}), "resources."),
        )
        for axis in sweep.axes():
            check_axis(sweep.base, axis)
    except ValueError as error:
        raise RecordError(f"{path}: {error}") from None
    return sweep
