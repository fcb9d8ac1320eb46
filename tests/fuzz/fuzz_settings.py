"""Cases of settings: every field of every dataclass of settings, with words that its type forbids.

Nothing here names a setting: fields, types, choices and registries are looked up, so that a new
setting is fuzzed as soon as it exists.
"""

import json
import sys
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

import tyro
from fuzz_case import Case, Rule

import sweep.commands.plan  # noqa: F401 - imports the registries
from model.__main__ import PROGRAM as MODEL
from sweep.__main__ import PROGRAM as SWEEP
from sweep.config import LineageConfig, ResourcesConfig

OURS = ("model.", "sweep.")
LONG = "x" * 5000
DIGITS = "9" * 500
NUMBERS = [
    "nan",
    "inf",
    "-inf",
    "-1",
    "1_0",
    "+7",
    " 7 ",
    "0x10",
    "\u0663",
    "7\u00b2",
    "true",
    DIGITS,
]
"""Words that no number may be."""
INTEGERS = [*NUMBERS, "1.5", "1e400", "1" + "0" * 30, "-1e3", "1e23", "7/2"]
FLOATS = [*NUMBERS, "1e400", "-1e-9", "1e-320", "1e308", "1,5", "0." + "1" * 400]
TEXTS = ["a\nb", "\x1b[31mred", "caf\udce9", "a\tb"]
"""Words that are not text in one line."""
FILE_VALUES: list[tuple[str, Any]] = [
    ("true", True),
    ("false", False),
    ("number", -1),
    ("negative fraction", -0.5),
    ("too large", 10**40),
    ("beyond floats", 10**400),
    ("denormal", 1e-320),
    ("string", "zzqx"),
    ("numeral", "7"),
    ("list", []),
    ("nested list", [[[]]]),
    ("list of lists", [["a"], ["b"]]),
    ("long list", [7] * 2_000),
    ("table", {}),
    ("table of tables", {"a": {"b": {}}}),
]


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """One setting or option."""

    flag: str
    """Its flag, or "" for a positional argument."""
    dotted: str
    """Its name in axes and files."""
    hint: Any
    """Its type, without None."""
    optional: bool
    default: Any

    @property
    def names(self) -> tuple[str, ...]:
        """What a message may call it."""
        return (self.dotted, self.flag or self.dotted)


def leaves(kind: Any, flag: str = "--", dotted: str = "") -> Iterator[Leaf]:
    """All options of a dataclass, with those of the dataclasses in it."""
    hints = typing.get_type_hints(kind, include_extras=True)
    for f in fields(kind):
        hint, marks = hints[f.name], []
        while typing.get_origin(hint) is typing.Annotated:
            hint, *more = typing.get_args(hint)
            marks += more
        name = next((m.name for m in marks if getattr(m, "name", None) is not None), f.name)
        if is_dataclass(hint):
            prefix = f"{flag}{name.replace('_', '-')}." if name else flag
            yield from leaves(hint, prefix, f"{dotted}{f.name}." if name else dotted)
            continue
        optional = type(None) in typing.get_args(hint)
        if optional and typing.get_origin(hint) in (typing.Union, types.UnionType):
            (hint,) = (each for each in typing.get_args(hint) if each is not type(None))
            while typing.get_origin(hint) is typing.Annotated:
                hint, *_ = typing.get_args(hint)
        positional = tyro.conf.Positional in marks
        yield Leaf(
            flag="" if positional else flag + name.replace("_", "-"),
            dotted=dotted + f.name,
            hint=hint,
            optional=optional,
            default=f.default,
        )


def registries() -> list[set[str]]:
    """The names in every registry: a dictionary in capitals, by strings, in a module of ours."""
    modules = [module for name, module in sys.modules.items() if name.startswith(OURS)]
    found = []
    for name, value in [pair for module in modules for pair in vars(module).items()]:
        is_table = name.isupper() and isinstance(value, dict) and len(value) > 2
        if is_table and all(isinstance(key, str) for key in value):
            found.append(set(value))
    return found


REGISTRIES = registries()


def is_choice(default: Any) -> bool:
    """Whether a string setting names an entry of a registry, because its default does."""
    return isinstance(default, str) and any(default in names for names in REGISTRIES)


def bad_words(leaf: Leaf, hint: Any = None) -> Iterator[tuple[str, str, Rule]]:
    """(word, what is wrong with it, what must happen) for a setting's type."""
    hint = leaf.hint if hint is None else hint
    if hint is int:
        yield from ((word, f"int {word[:12]!r}", "refuse") for word in INTEGERS)
    elif hint is float:
        yield from ((word, f"float {word[:12]!r}", "refuse") for word in FLOATS)
        yield "-0.0", "float -0.0", "any"
    elif typing.get_origin(hint) is Literal:
        choices = typing.get_args(hint)
        for word in ("zzqx", LONG, str(choices[0]) + " ", str(choices[0]).swapcase()):
            yield word, "choice", "refuse"
    elif typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)[0]
        for word, kind, rule in bad_words(leaf, inner):
            yield word, f"item {kind}", rule
    elif hint is str:
        yield from ((word, "text", "refuse") for word in TEXTS)
        choice = is_choice(leaf.default)
        yield "zzqx", "registry" if choice else "string", "refuse" if choice else "any"
        yield LONG, "long registry" if choice else "long string", "refuse" if choice else "any"
    elif issubclass(hint, Path):
        yield from bad_paths()


def bad_paths() -> Iterator[tuple[str, str, Rule]]:
    """Words that are no path that a command can use."""
    yield "", "empty path", "refuse"
    yield "missing/folder", "missing path", "any"
    yield "a-pipe", "pipe", "any"
    yield "a-loop", "loop of links", "any"
    yield "a-file", "file", "any"
    yield "a-folder", "folder", "any"
    yield "/dev/null", "device", "any"
    yield "/dev/full", "full device", "any"
    yield "n" * 300, "long name", "any"
    yield "d/" * 3000, "long path", "any"
    yield "~nobody-at-all/x", "no such user", "any"
    yield "a\nb", "newline", "refuse"
    yield "caf\udce9", "not UTF-8", "refuse"
    yield "\x1b[31mred", "escape", "refuse"
    yield ".", "dot", "any"
    yield "..", "dots", "any"
    yield "/proc/self/mem", "memory", "any"


PATHS = (
    ("pipe", "a-pipe", b""),
    ("link", "a-loop", b"a-loop"),
    ("file", "a-file", b"text\n"),
    ("file", "a-folder/inside.txt", b"text\n"),
)
"""What the names in bad_paths lead to."""

COMMANDS = {
    ("sweep", "plan"): ("quickstart",),
    ("sweep", "run"): ("quickstart", "--out", "new"),
    ("sweep", "evaluate"): ("run",),
    ("model", "train"): (
        "--out",
        "new.safetensors",
        "--train.epochs",
        "None",
        "--train.steps",
        "2",
    ),
    ("model", "sample"): ("checkpoint.safetensors", "--out", "new", "--num-images", "2"),
    ("model", "evaluate"): ("--images", "flat", "--metrics.extractor", "pixels"),
}
"""Commands with settings, and words with which they are valid."""
NEEDED = {
    ("sweep", "evaluate"): (("copy", "run", b"run"),),
    ("model", "sample"): (("copy", "checkpoint.safetensors", b"checkpoint.safetensors"),),
    ("model", "evaluate"): (("copy", "flat", b"flat"),),
}
"""Files of these commands."""


def groups_of(kind: Any) -> list[str]:
    """Names of a dataclass's groups of settings."""
    hints = typing.get_type_hints(kind)
    return [f.name for f in fields(kind) if is_dataclass(hints[f.name])]


def flag_cases() -> Iterator[Case]:
    """Flags of every command that has settings."""
    programs = {"sweep": SWEEP, "model": MODEL}
    for (program, command), valid in COMMANDS.items():
        for leaf in leaves(programs[program].commands[command]):
            if "." not in leaf.dotted and not hasattr(LineageConfig, leaf.dotted):
                continue  # an option, not a setting
            steps = NEEDED.get((program, command), ())
            for word, kind, rule in bad_words(leaf):
                if rule == "any" and command == "run":
                    continue  # it might be valid
                yield Case(
                    words=(program, command, *valid, f"{leaf.flag}={word}"),
                    kind=f"flag: {kind}",
                    rule=rule,
                    names=leaf.names,
                    steps=steps,
                )
            if leaf.optional:
                yield Case(
                    words=(program, command, *valid, leaf.flag, "NONE"),
                    kind="flag: none",
                    steps=steps,
                )


def axis_cases() -> Iterator[Case]:
    """Axes, with one wrong value, a repeated one, and malformed lists."""
    for leaf in leaves(LineageConfig):
        listed = typing.get_origin(leaf.hint) is tuple
        for word, kind, rule in bad_words(leaf):
            value = f"[{word}]" if listed else word
            if word != word.strip() or "," in word:
                rule = "any"  # spaces around values are allowed, and commas separate values
            yield axis_case(leaf, f"{leaf.dotted}={value}", f"axis: {kind}", rule)
        good = "[1]" if listed else {int: "2", float: "0.5", bool: "true"}.get(leaf.hint, "zzqx")
        yield axis_case(leaf, f"{leaf.dotted}={good},{good}", "axis: value twice", "refuse")
        for text in ("", "=", "=,", "=[", "=]", "=[[]]", "=[1", "=,,,", "==1", "=" + "[" * 5000):
            yield axis_case(leaf, leaf.dotted + text, "axis: malformed", "any")
        twice = ("--axis", f"{leaf.dotted}={good}")
        yield Case(
            words=("sweep", "plan", "quickstart", *twice, *twice), kind="axis: twice", rule="refuse"
        )


def axis_case(leaf: Leaf, text: str, kind: str, rule: Rule) -> Case:
    """One --axis of sweep plan."""
    words = ("sweep", "plan", "quickstart", "--axis", text)
    return Case(words=words, kind=kind, rule=rule, names=leaf.names)


def member_cases() -> Iterator[Case]:
    """Settings of members, in ensemble.members."""
    for leaf in leaves(LineageConfig):
        for word, kind, rule in bad_words(leaf):
            if word.split() != [word]:
                continue  # words of members end at white space
            members = (f"share=0.5 {leaf.dotted}={word}", "share=0.5")
            yield Case(
                words=("sweep", "plan", "quickstart", "--ensemble.members", *members),
                kind=f"member: {kind}",
                rule=rule,
                names=(leaf.dotted, "ensemble.members"),
            )


def repeated_member_cases() -> Iterator[Case]:
    """Settings that a member sets twice."""
    for leaf in leaves(LineageConfig):
        value = {int: "2", float: "0.5", bool: "true"}.get(leaf.hint, "zzqx")
        for name in (leaf.dotted, "share", "data"):
            twice = " ".join([f"{name}={value}"] * 2)
            yield Case(
                words=("sweep", "plan", "quickstart", "--ensemble.members", twice),
                kind="member: twice",
                rule="refuse",
            )


def file_cases() -> Iterator[Case]:
    """Sweep files in TOML and JSON with a value of another type or size."""
    groups = ((LineageConfig, "base"), (ResourcesConfig, "resources"))
    for kind, table in groups:
        for leaf in leaves(kind):
            for name, value in FILE_VALUES:
                data: dict[str, Any] = {"base": {"pool": {"alpha": 1.0}}, "resources": {}}
                inner = data[table]
                *parents, last = leaf.dotted.split(".")
                for parent in parents:
                    inner = inner.setdefault(parent, {})
                inner[last] = value
                rule = "any" if fits(value, leaf) else "refuse"
                yield from both_files(data, f"value: {name}", rule, leaf.names)
            if kind is LineageConfig:
                for name, value in FILE_VALUES:
                    data = {"base": {"pool": {"alpha": 1.0}}, "grids": [{leaf.dotted: [value]}]}
                    rule = "any" if fits(value, leaf) else "refuse"
                    yield from both_files(data, f"grid: {name}", rule, (*leaf.names, "grids"))


def fits(value: Any, leaf: Leaf) -> bool:
    """Whether a value has a setting's type, so that it need not be refused."""
    if typing.get_origin(leaf.hint) is tuple:
        return value == [] or not isinstance(value, (list, dict))
    if leaf.hint is bool:
        return isinstance(value, bool)
    return leaf.hint is str and isinstance(value, str)


def both_files(
    data: dict[str, Any], kind: str, rule: Rule, names: tuple[str, ...]
) -> Iterator[Case]:
    """The same sweep file in TOML and in JSON."""
    for suffix, text in (("toml", to_toml(data)), ("json", json.dumps(data))):
        name = f"mine.{suffix}"
        yield Case(
            words=("sweep", "plan", name),
            kind=f"{suffix} {kind}",
            rule=rule,
            names=(*names, name),
            steps=(("file", name, text.encode("utf-8", "surrogateescape")),),
        )


def to_toml(data: dict[str, Any]) -> str:
    """A file of settings in TOML, with all tables inline."""
    return "".join(f"{json.dumps(name)} = {toml_value(value)}\n" for name, value in data.items())


def toml_value(value: Any) -> str:
    """A value in TOML."""
    if isinstance(value, dict):
        pairs = (f"{json.dumps(name)} = {toml_value(each)}" for name, each in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    return json.dumps(value)


def setting_cases() -> Iterator[Case]:
    """All cases of settings."""
    yield from flag_cases()
    yield from axis_cases()
    yield from member_cases()
    yield from repeated_member_cases()
    yield from file_cases()
