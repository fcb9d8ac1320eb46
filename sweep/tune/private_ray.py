"""Restricts a local Ray to the user who started it, with a token and a private folder.

Ray listens on loopback, which every user of the machine can reach, and makes its own folder
world-writable. Anyone who gets in can run code as the user who started Ray.
"""

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

from model.errors import UsageError

MAX_LENGTH = 42
"""Longest path of Ray's folder: socket paths have at most 107 characters, and Ray adds up to 65."""

PREFIX = "sweep-"
LOCK = "collapse-sweep.lock"
"""File that marks a folder made by this module. It is locked while the run is alive."""
RAY_FOLDER = "ray"
LEFT = re.compile(re.escape(PREFIX) + "[a-z0-9_]{8}")
"""Name of such a folder, as tempfile makes it."""

_MAX_BASE_LENGTH = MAX_LENGTH - len(f"/{PREFIX}12345678/{RAY_FOLDER}")


def set_fresh_token() -> None:
    """Put a fresh token into the environment, for the Ray processes that this one starts.

    A token that is already set belongs to another cluster and is replaced.
    """
    mode = os.environ.get("RAY_AUTH_MODE", "token")
    if mode.lower() != "token":
        sys.stderr.write(
            f"RAY_AUTH_MODE={mode} is ignored: Ray on this machine always requires a token\n"
        )
    os.environ.pop("RAY_AUTH_TOKEN_PATH", None)
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))


@contextlib.contextmanager
def private_folder() -> Generator[Path]:
    """Yield a path for Ray's folder, inside a folder with mode 0700 that is deleted at the end.

    Raises:
        UsageError: RAY_TMPDIR is too long for Ray's sockets.
    """
    base = temporary_folder()
    base.mkdir(parents=True, exist_ok=True)
    delete_leftovers(base)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))  # its mode is 0700
    try:
        with (folder / "new").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (folder / "new").rename(folder / LOCK)  # visible to delete_leftovers only once locked
            yield folder / RAY_FOLDER
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def temporary_folder() -> Path:
    """Return where Ray would make its folder, or /tmp if TMPDIR is too long for Ray's sockets."""
    if "RAY_TMPDIR" not in os.environ:
        usual = Path(os.environ.get("TMPDIR", "/tmp")).absolute()  # noqa: S108 - Ray's own default
        return usual if len(str(usual)) <= _MAX_BASE_LENGTH else Path("/tmp")  # noqa: S108
    chosen = Path(os.environ["RAY_TMPDIR"]).absolute()
    if len(str(chosen)) > _MAX_BASE_LENGTH:
        raise UsageError(
            f"RAY_TMPDIR must be at most {_MAX_BASE_LENGTH} characters, got {str(chosen)!r}; "
            "longer paths are too long for the sockets that Ray makes there"
        )
    return chosen


def delete_leftovers(base: Path) -> None:
    """Delete this user's folders of killed runs, whose locks nobody holds any more.

    A folder that holds anything but Ray's folder and the lock is not ours.
    """
    for path in base.glob(f"{PREFIX}*/{LOCK}"):
        folder = path.parent
        with contextlib.suppress(OSError), path.open("rb") as lock:
            is_ours = folder.lstat().st_uid == os.getuid() and LEFT.fullmatch(folder.name)
            if is_ours and {each.name for each in folder.iterdir()} <= {LOCK, RAY_FOLDER}:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
