"""The files of a program: read once, hashed, and laid out again wherever the program runs.

What runs is therefore what was hashed, also on other machines and after the user edits a file.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from model.config import ModelConfig
from model.errors import MissingFileError, UsageError, reading, shown, user_path
from model.programs.settings import PROGRAM

MOST_BYTES = 64 * 2**20
"""Maximum size of a program's files, which are sent to every process that computes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """The files of a program."""

    named: tuple[str, ...]
    """The setting that names them."""
    files: Mapping[str, bytes]
    """Path in the folder in which the program runs -> contents."""
    executable: frozenset[str]
    """Paths of the files that are executable."""

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of paths, modes and contents."""
        digest = hashlib.sha256()
        for name, data in sorted(self.files.items()):
            digest.update(f"{name} {name in self.executable} {len(data)}\n".encode() + data)
        return digest.hexdigest()

    def lay_out(self, folder: Path) -> None:
        """Write the files into a folder."""
        for name, data in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            if name in self.executable:
                path.chmod(0o700)


READ: dict[tuple[str, ...], Program] = {}
"""The programs that this process has read or was sent, by the setting that names their files."""


def program_of(named: tuple[str, ...]) -> Program:
    """The program whose files a setting names; read once per process.

    Raises:
        UsageError: A file is missing or cannot be read, two have the same place, or they are too
            large.
    """
    if named not in READ:
        READ[named] = _read(named)
    return READ[named]


def program_inputs(model: ModelConfig) -> dict[str, str]:
    """The hash of a program's files, for keys; empty without files."""
    return {"program": program_of(model.program).digest} if model.program else {}


def install_programs(programs: Iterable[Program]) -> None:
    """Use the copies of programs that another process has sent."""
    READ.update({program.named: program for program in programs})


def is_safe(name: str) -> bool:
    """Whether a name is a path of a file inside a folder."""
    parts = PurePosixPath(name).parts
    return bool(parts) and name == "/".join(parts) and not {"..", "/"} & set(parts)


def _read(named: tuple[str, ...]) -> Program:
    files: dict[str, bytes] = {}
    executable: set[str] = set()
    size = 0
    for text in named:
        root = user_path(PROGRAM, text).absolute()
        if not root.exists():
            raise MissingFileError(f"{PROGRAM} must name files and folders, got {shown(text)}")
        for path in sorted(root.rglob("*")) if root.is_dir() else [root]:
            inside = path.relative_to(root).parts
            if any(part.startswith(".") or part == "__pycache__" for part in inside):
                continue
            if not path.is_file():
                continue
            size += path.stat().st_size
            if size > MOST_BYTES:
                raise UsageError(
                    f"{PROGRAM} must have at most {MOST_BYTES >> 20} MiB, got more with {path}; "
                    "leave out data, and name them in the command line"
                )
            name = path.relative_to(root.parent).as_posix()
            if name in files:
                raise UsageError(f"{PROGRAM} must have one file called {name}, got two")
            with reading(path):
                files[name] = path.read_bytes()
            if os.access(path, os.X_OK):
                executable.add(name)
    return Program(named=named, files=files, executable=frozenset(executable))
