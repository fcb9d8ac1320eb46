"""Writes files that a user named, and replaces only files that the same command wrote."""

import errno
import os
import uuid
from collections.abc import Callable
from pathlib import Path

from model.errors import UsageError, writing

FIGURES_FOLDER = "figures"
"""Folder of figures inside a results folder."""
LARGEST = 64 * 2**20
"""Size in bytes above which a file is none of ours."""


def check_folder(folder: Path) -> None:
    """Check that --out can be a folder for figures.

    Raises:
        UsageError: It is a file, or in a results folder but not in its figures/.
    """
    with writing(folder):
        if folder.exists():
            folder.mkdir(exist_ok=True)  # raises if it is a file
        _check_place(folder)


def check_file(path: Path, *, is_ours: Callable[[bytes], bool], option: str = "--out") -> None:
    """Check that a file is new, or that the same command wrote it.

    Args:
        path: The file.
        is_ours: Whether the content of an existing file is one that the same command wrote.
        option: The option that names it, for error messages.

    Raises:
        UsageError: The file exists and is another one, or is in a results folder but not in its
            figures/.
    """
    with writing(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        _check_place(path, option)
        if path.exists() and not (path.is_file() and is_ours(_content(path))):
            raise UsageError(
                f"{option} must be new, or unchanged since this command wrote it, got {path}; "
                "name another, or move the old one away"
            )


def write_file(path: Path, content: bytes) -> None:
    """Write a file, and missing folders above it; readers see the old content or the new one.

    Raises:
        UsageError: It cannot be written.
    """
    with writing(path):
        target = Path(os.path.realpath(path))  # replaces the target of a link, not the link
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{uuid.uuid4().hex[:16]}.tmp")
        try:
            temporary.write_bytes(content)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


def is_in_figures(path: Path) -> bool:
    """Whether a path is in the folder of figures of a results folder."""
    real = Path(os.path.realpath(path))
    return any(
        _is_results(folder) and real.relative_to(folder).parts[:1] == (FIGURES_FOLDER,)
        for folder in real.parents
    )


def _content(path: Path) -> bytes:
    """The content of a file; of one that is too large, as much as shows that it is none of ours."""
    with path.open("rb") as file:
        return file.read(LARGEST)


def _check_place(path: Path, option: str = "--out") -> None:
    """Raise UsageError if a path is in a results folder, but not in its folder of figures."""
    real = Path(os.path.realpath(path))
    for folder in (real, *real.parents):
        if _is_results(folder) and not is_in_figures(path):
            raise UsageError(
                f"{option} must not be in a results folder, got {path}; "
                f"use {folder / FIGURES_FOLDER} or a folder elsewhere"
            )


def _is_results(folder: Path) -> bool:
    return (folder / "sweep.json").is_file() and (folder / "lineages").is_dir()
