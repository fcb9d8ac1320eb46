"""One malformed input, and how the folder of a case is built from it; imports nothing of ours."""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Rule = Literal["any", "refuse", "accept", "not ok"]
"""What must happen: nothing in particular, exit code 2, exit code 0, or any code except 0."""
Step = tuple[str, str, bytes]
"""How a file is made: (what, path, content or target)."""

READ_ONLY = {
    "sweep": ("plan", "status", "presets"),
    "analysis": ("table", "figure", "check"),
}
"""Commands that must not change a byte of what they are given."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A command line and the files it meets, in an otherwise empty working folder."""

    words: tuple[str, ...]
    """The program and its arguments."""
    kind: str
    """What is wrong."""
    rule: Rule = "any"
    steps: tuple[Step, ...] = ()
    names: tuple[str, ...] = ()
    """A refusal must contain one of these, which name the field or file."""
    environment: tuple[tuple[str, bytes], ...] = ()
    protected: bool = False
    """Whether nothing may be written into the working folder."""

    @property
    def command(self) -> str:
        """The program and its command."""
        is_named = len(self.words) > 1 and not self.kind.startswith("no command")
        return " ".join(self.words[: 1 + is_named])

    @property
    def reads(self) -> bool:
        """Whether it must change nothing."""
        program, *args = self.words
        if "--help" in args or "-h" in args or not args:
            return True
        if args[0] == "clean":
            return "--dry-run" in args
        if args[0] == "table" and any(word.startswith("--out") for word in args):
            return False
        return args[0] in READ_ONLY.get(program, ()) and args[0] != "figure"

    @property
    def inputs(self) -> list[str]:
        """Texts that no message may repeat in full length."""
        return [word for word in self.words if len(word) > 200]


def build(folder: Path, steps: Sequence[Step], templates: Path) -> None:
    """Make a case's files."""
    for what, name, content in steps:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        BUILDERS[what](path, content, templates)


def _copy(path: Path, content: bytes, templates: Path) -> None:
    source = templates / os.fsdecode(content)
    (shutil.copytree if source.is_dir() else shutil.copy2)(source, path)


def _remove(path: Path, content: bytes, templates: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _exchange(path: Path, content: bytes, templates: Path) -> None:
    other = path.parent / os.fsdecode(content)
    first, second = path.read_bytes(), other.read_bytes()
    path.write_bytes(second)
    other.write_bytes(first)


BUILDERS: dict[str, Callable[[Path, bytes, Path], object]] = {
    "file": lambda path, content, templates: path.write_bytes(content),
    "folder": lambda path, content, templates: path.mkdir(exist_ok=True),
    "pipe": lambda path, content, templates: os.mkfifo(path),
    "link": lambda path, content, templates: path.symlink_to(os.fsdecode(content)),
    "copy": _copy,
    "remove": _remove,
    "exchange": _exchange,
}
