"""Files that the command `model` writes: atomically, and without replacing existing --out files."""

import hashlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from model.commands.shared_folders import check_shared
from model.errors import UsageError, writing


def check_new(path: Path, *others: Path, folder: bool = False) -> None:
    """Check that a command's --out can be written, before any work is done.

    Its parent folder is created if it is missing. A warning names other users who could change it,
    or one of the `others`, files beside it that the command uses.

    Raises:
        UsageError: The path exists (except, with `folder`, as an empty folder), or its parent
            folder is not writable.
    """
    is_empty_folder = path.is_dir() and not any(path.iterdir())
    if path.exists() and not (folder and is_empty_folder):
        rule = "be new or an empty folder" if folder else "be a new file"
        raise UsageError(f"--out must {rule}, got {str(path)!r}, which exists; name another")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UsageError(
            f"--out must be in a folder that can be written, got {str(path)!r} ({error.strerror})"
        ) from None
    check_shared({"--out": [path, *others]}, allow_everyone=True)


def write_file(path: Path, data: bytes) -> None:
    """Write a file atomically: readers see either the old state or the complete new file."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with writing(path), temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_folder(path: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """Write a new folder of files (name, content), which appears once all files are written.

    A name may have one sub-folder, as in 7/000000.png.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    with writing(path):
        temporary.mkdir()
    try:
        for name, data in files:
            with writing(path):
                (temporary / name).parent.mkdir(exist_ok=True)
                (temporary / name).write_bytes(data)
        with writing(path):
            temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class StateFile:
    """The saved state of a running training, in a file (model.job.Scratch).

    The file begins with a line of JSON: the settings it belongs to, and the SHA-256 of the rest.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        self._settings = json.loads(json.dumps(settings))

    def load(self) -> bytes | None:
        """The saved state, or None.

        Raises:
            UsageError: The file is damaged, or belongs to a training with other settings.
        """
        if not self.path.exists():
            return None
        head, _, state = self.path.read_bytes().partition(b"\n")
        way_out = f"delete {self.path} to train from the start"
        try:
            header = json.loads(head)
            saved, digest = dict(header["settings"]), header["sha256"]
        except (ValueError, KeyError, TypeError, RecursionError):
            saved, digest = {}, None
        if hashlib.sha256(state).hexdigest() != digest:
            raise UsageError(
                f"{self.path} must be an intact saved training, got a damaged one; {way_out}"
            )
        for name in sorted(saved.keys() | self._settings.keys()):
            old, new = saved.get(name), self._settings.get(name)
            if old != new:
                raise UsageError(
                    f"{name} must be {old!r}, as in the training to be resumed, got {new!r}; "
                    f"{way_out}"
                )
        return state

    def save(self, data: bytes) -> None:
        """Save a state, replacing the previous one."""
        header = {"settings": self._settings, "sha256": hashlib.sha256(data).hexdigest()}
        write_file(self.path, json.dumps(header, sort_keys=True).encode() + b"\n" + data)

    def remove(self) -> None:
        """Delete the file if it exists."""
        self.path.unlink(missing_ok=True)
