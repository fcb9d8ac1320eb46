"""What keeps Ray on this machine to the user who started it: a token, and a closed folder.

Ray listens on loopback, which every user of a machine can reach, and makes its own folder writable
for all of them. Whoever gets in can run code as the user who started it.
"""

import contextlib
import fcntl
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

from model.errors import UsageError

MAX_LENGTH = 42
"""Characters in the path of Ray's folder: a socket's path has at most 107, Ray adds up to 65."""

PREFIX = "sweep-"
LOCK = "collapse-sweep.lock"
"""Marks a folder of ours; locked while its run is alive."""

_MAX_BASE_LENGTH = MAX_LENGTH - len(f"/{PREFIX}12345678/ray")


def set_fresh_token() -> None:
    """Put a fresh token into the environment, for Ray's processes that are started from here.

    A token that is already set belongs to some other cluster, and Ray here gets another one.
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
    """A path for Ray's folder, in a folder that only we can enter, which is deleted at the end.

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
            (folder / "new").rename(folder / LOCK)  # found by others only once it is locked
            yield folder / "ray"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def temporary_folder() -> Path:
    """Where Ray would make its folder; /tmp if that is TMPDIR and too long for Ray's sockets."""
    if "RAY_TMPDIR" not in os.environ:
        usual = Path(os.environ.get("TMPDIR", "/tmp")).absolute()  # noqa: S108 - Ray's own default
        return usual if len(str(usual)) <= _MAX_BASE_LENGTH else Path("/tmp")  # noqa: S108
    asked = Path(os.environ["RAY_TMPDIR"]).absolute()
    if len(str(asked)) > _MAX_BASE_LENGTH:
        raise UsageError(
            f"RAY_TMPDIR must be at most {_MAX_BASE_LENGTH} characters, got {str(asked)!r}; "
            "longer paths are too long for the sockets that Ray makes there"
        )
    return asked


def delete_leftovers(base: Path) -> None:
    """Delete folders of our own whose run was killed: nobody holds their lock any more."""
    for path in base.glob(f"{PREFIX}*/{LOCK}"):
        with contextlib.suppress(OSError), path.open("rb") as lock:
            if path.parent.lstat().st_uid == os.getuid():
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path.parent, ignore_errors=True)
