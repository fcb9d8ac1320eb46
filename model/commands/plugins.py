"""Plug-ins: other people's modules that add variants, such as a family, a filter or a metric.

A plug-in is a module with one or more dicts that are named as ours, for example

    FILTERS = {"central": Filter(select=keep_central, version="1")}

It is read only if the user names it (--import), or if an installed package offers it as an entry
point of the group `collapse_sweep.plugins`; never because a record or a settings file names it.
Results contain its name, the version of each variant that they depend on, and digests of its code.
"""

import ast
import atexit
import hashlib
import importlib
import importlib.util
import os
import re
import shutil
import sys
import tempfile
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from itertools import pairwise
from pathlib import Path
from typing import Any

from model.errors import UsageError, findable_path, shown

GROUP = "collapse_sweep.plugins"
"""Group of the entry points that installed packages declare."""
OPTION = "--import"
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
"""Names of variants, which become parts of file names and column names."""
VERSION = re.compile(r"[A-Za-z0-9_.+-]{1,32}")
MOST_BYTES = 64 * 2**20
"""Maximum size of a plug-in's files, which are sent to every process that computes."""


Tables = Mapping[str, str]
"""Name of a dict of variants -> the module of ours that has it."""

TABLES: Tables = {
    "FAMILY_FACTS": "model.family_facts",
    "FAMILIES": "model.families",
    "FILTERS": "model.filters.table",
    "DATASETS": "model.data.datasets",
    "EXTRACTORS": "model.features.extractors",
    "METRICS": "model.metrics.table",
}
"""The dicts of this package that plug-ins can extend. A module is imported only if a plug-in has
its dict, because some import torch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plugin:
    """A plug-in's code, which another process can load without the user's files."""

    module: str
    """Name of the module."""
    files: Mapping[str, bytes]
    """Path relative to a folder of sys.path -> contents."""
    source: str
    """SHA-256 (hex) of the files."""
    code: str
    """SHA-256 (hex) of the files, without comments, docstrings and layout."""
    stamps: tuple[str, ...] = ()
    """The versions of its variants as they stand in keys: `module:version`."""


LOADED: dict[str, Plugin] = {}
"""The plug-ins that this process has loaded, by module."""


def named_imports(args: Sequence[str]) -> list[str]:
    """The values of --import among the arguments of a command, which are parsed later."""
    values = [after for word, after in pairwise(args) if word == OPTION]
    return values + [word.partition("=")[2] for word in args if word.startswith(f"{OPTION}=")]


def load_plugins(words: Iterable[str], tables: Tables) -> None:
    """Load plug-ins that the user names, and those of installed packages.

    Args:
        words: Paths of .py files or of packages' folders, or names of installed modules.
        tables: The dicts that they can extend.

    Raises:
        UsageError: A plug-in cannot be imported, or has an entry that is not valid.
    """
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        package = entry.dist.name if entry.dist else "?"
        _load(entry.module, f"plug-in {entry.name} of package {package}", tables)
    for word in words:
        _load(word, f"{OPTION} {word}", tables, is_named=True)


def install_plugins(plugins: Iterable[Plugin], tables: Tables) -> None:
    """Load plug-ins from the copies that another process has sent, unless they are loaded."""
    for plugin in plugins:
        if plugin.module in LOADED:
            continue
        folder = Path(tempfile.mkdtemp(prefix="collapse-sweep-plugin-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        for name, data in plugin.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        sys.path.insert(0, str(folder))
        importlib.invalidate_caches()
        _register(importlib.import_module(plugin.module), f"plug-in {plugin.module}", tables)
        LOADED[plugin.module] = plugin


def plugins_in(inputs: str) -> dict[str, dict[str, str]]:
    """Digests of the loaded plug-ins on which a result depends, by module.

    Args:
        inputs: All inputs of the result as JSON, in which the versions of variants stand.
    """
    return {
        name: {"source": plugin.source, "code": plugin.code}
        for name, plugin in LOADED.items()
        if any(f'"{stamp}"' in inputs for stamp in plugin.stamps)
    }


def _load(word: str, where: str, tables: Tables, *, is_named: bool = False) -> None:
    """Import a plug-in, add its variants, and remember its code.

    One that the user names must have variants; an installed package may have none for this command.
    """
    is_path = word.endswith(".py") or os.sep in word
    name = _name_of(word, where) if is_path else word
    if name in LOADED:
        return
    module = _import_file(name, word, where) if is_path else _import_module(name, where)
    if is_named and not any(table in vars(module) for table in tables):
        raise UsageError(f"{where} must have at least one of the dicts {', '.join(tables)}")
    stamps = _register(module, where, tables)
    files = _read_files(module, where)
    LOADED[name] = Plugin(
        module=name, files=files, source=_digest(files), code=_digest(_code(files)), stamps=stamps
    )


def _name_of(word: str, where: str) -> str:
    """The module name of a .py file or a package's folder, after checking that it can be used."""
    path = findable_path(OPTION, word)
    file = path / "__init__.py" if path.is_dir() else path
    if not path.exists():
        raise UsageError(f"{where} must be a file or folder that exists, got {shown(word)}")
    if not file.is_file():
        raise UsageError(
            f"{where} must be a .py file, or a folder with __init__.py, or the name of an "
            "installed module"
        )
    name = path.resolve().name.removesuffix(".py")
    if not name.isidentifier():
        raise UsageError(f"{where} must have a name that Python can import, got {shown(name)}")
    if name not in LOADED and importlib.util.find_spec(name) is not None:
        raise UsageError(f"{where} must not have the name of another module; rename it")
    return name


def _import_file(name: str, word: str, where: str) -> types.ModuleType:
    """Import a .py file or a package's folder as a module."""
    path = Path(word).resolve()
    file, folders = (path / "__init__.py", [str(path)]) if path.is_dir() else (path, None)
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=folders)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    # Bytecode of a file that is edited within the same second would be taken for the new one's.
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise _failed(where, error) from error
    finally:
        sys.dont_write_bytecode = writes
    return module


def _import_module(name: str, where: str) -> types.ModuleType:
    """Import an installed module."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0]:
            raise _failed(where, error) from error
        raise UsageError(
            f"{where} must be the name of an installed module, or the path of a file or folder; "
            f"write ./{name}.py for a file in the working directory"
        ) from None
    except Exception as error:
        raise _failed(where, error) from error


def _failed(where: str, error: Exception) -> UsageError:
    """What to say if a plug-in's own code fails while it is imported."""
    if isinstance(error, UsageError):
        return error
    line = error.__traceback__
    while line is not None and line.tb_next is not None:
        line = line.tb_next
    place = "" if line is None else f" ({line.tb_frame.f_code.co_filename}, line {line.tb_lineno})"
    place = "" if isinstance(error, SyntaxError) else place  # its message has the line
    return UsageError(
        f"{where} must be imported without an error, got {type(error).__name__}: {error}{place}"
    )


def _register(module: types.ModuleType, where: str, tables: Tables) -> tuple[str, ...]:
    """Add a plug-in's variants to our dicts, and return the stamps of their versions."""
    own = {name: vars(module)[name] for name in tables if name in vars(module)}
    ours = {name: vars(importlib.import_module(tables[name]))[name] for name in own}
    for table, entries in own.items():
        label = f"{table} of {where}"
        if entries is ours[table]:
            raise UsageError(f"{label} must be a dict of its own, not the imported one")
        if not isinstance(entries, dict):
            raise UsageError(f"{label} must be a dict, got {shown(entries)}")
        for name, entry in entries.items():
            _check_entry(label, name, entry, ours[table])
    if set(own.get("FAMILIES", {})) != set(own.get("FAMILY_FACTS", {})):
        raise UsageError(f"{where} must have the same names in FAMILIES and in FAMILY_FACTS")
    stamps = {}
    for table, entries in own.items():
        for name, entry in entries.items():
            if hasattr(entry, "version"):
                stamp = f"{module.__name__}:{entry.version}"
                stamps[stamp] = None
                entry = replace(entry, version=stamp)
            ours[table][name] = entry
    return tuple(stamps)


def _check_entry(label: str, name: object, entry: Any, known: Mapping[str, object]) -> None:
    """Raise UsageError unless a plug-in may add this entry."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise UsageError(
            f"{label} must have names of letters, digits and _ . - that begin with a letter, "
            f"got {shown(name)}"
        )
    if name in known:
        raise UsageError(f"{label} must have new names, got {shown(name)}, which exists already")
    kind = type(next(iter(known.values())))
    if not isinstance(entry, kind):
        raise UsageError(
            f"{label} must have values of type {kind.__name__}, got {shown(entry)} as {name!r}"
        )
    version = getattr(entry, "version", "none")
    if not isinstance(version, str) or not VERSION.fullmatch(version):
        raise UsageError(
            f"{label} must have a version for {name!r} that is text of letters, digits and "
            f'_ . + -, got {shown(version)}; start with version="1", and change it whenever the '
            "same settings give other results"
        )


def _read_files(module: types.ModuleType, where: str) -> dict[str, bytes]:
    """The files of a module, or of the whole package that it belongs to."""
    package = sys.modules[module.__name__.partition(".")[0]]
    if not hasattr(package, "__path__"):
        assert package.__file__ is not None
        path = Path(package.__file__)
        return {path.name: path.read_bytes()}
    files, size = {}, 0
    for root in map(Path, package.__path__):
        for path in sorted(root.rglob("*")):
            relative = path.relative_to(root)
            is_hidden = any(p.startswith(".") or p == "__pycache__" for p in relative.parts)
            if is_hidden or not path.is_file():
                continue
            size += path.stat().st_size
            if size > MOST_BYTES:
                raise UsageError(
                    f"{where} must belong to a package of at most {MOST_BYTES >> 20} MiB, got "
                    f"more in {root}; put it into a file or package of its own"
                )
            files[f"{package.__name__}/{relative.as_posix()}"] = path.read_bytes()
    return files


def _code(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files, with Python code in a form without comments, docstrings and layout."""
    return {name: _plain(data) if name.endswith(".py") else data for name, data in files.items()}


def _plain(data: bytes) -> bytes:
    """Python code without comments, docstrings and layout."""
    tree = ast.parse(data)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if not isinstance(body, list):
            continue
        node.body = [  # ty: ignore[missing-attribute]
            line
            for line in body
            if not (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
        ]
    return ast.unparse(tree).encode()


def _digest(files: Mapping[str, bytes]) -> str:
    """SHA-256 (hex) of names and contents."""
    digest = hashlib.sha256()
    for name, data in sorted(files.items()):
        digest.update(f"{name} {len(data)}\n".encode() + data)
    return digest.hexdigest()
