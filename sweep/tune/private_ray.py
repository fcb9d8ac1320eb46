"""Restricts a local Ray to the user who started it, with a token and a private folder.

Ray listens on loopback, which every user of the machine can reach, and makes its own folder
world-writable. Anyone who gets in can run code as the user who started Ray.
"""

import contextlib
import fcntl
import os
import re
import resource
import secrets
import shutil
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

from model.errors import UsageError, one_line, shortened

RAY_ENVIRONMENT = {
    # Otherwise Ray detects `uv run`, uploads the working directory and starts workers through uv.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_DISABLE_FAILURE_SIGNAL_HANDLER": "1",  # it would abort a driver that gets SIGTERM
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output prints a box at any verbosity
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "1000000",
}
"""Variables that Ray reads when it is imported, or passes on to its workers."""
OURS = ("RAY_TMPDIR", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
"""Further variables that this module reads or sets."""
FLAG_VALUE = re.compile(r"[0-9]+(\.[0-9]+)?|true|false|True|False")
FEW_FILES = 4096
"""Open files below which Ray itself warns."""

MAX_LENGTH = 42
"""Longest path of Ray's folder: socket paths have at most 107 characters, and Ray adds up to 65."""

PREFIX = "sweep-"
LOCK = "collapse-sweep.lock"
"""File that marks a folder made by this module. It is locked while the run is alive."""
RAY_FOLDER = "ray"
LEFT = re.compile(re.escape(PREFIX) + "[a-z0-9_]{8}")
"""Name of such a folder, as tempfile makes it."""

_MAX_BASE_LENGTH = MAX_LENGTH - len(f"/{PREFIX}12345678/{RAY_FOLDER}")


def ignore_environment() -> None:
    """Remove what could lead a Ray that is started here elsewhere, and say so.

    To be called before Ray is imported. Ray's tuning flags (RAY_ and lower case) stay, unless their
    value is neither a number nor true or false, which may end the process in Ray's C++ code.
    """
    names = [
        name
        for name, value in sorted(os.environ.items())
        if name.startswith("RAY_")
        and name not in (*OURS, *RAY_ENVIRONMENT)
        and (name.isupper() or not FLAG_VALUE.fullmatch(value))
    ]
    if "error" in os.environ.get("PYTHONWARNINGS", ""):
        names.append("PYTHONWARNINGS")  # a warning inside Ray would end a trial
    for name in names:
        del os.environ[name]
    if names:
        sys.stderr.write(
            f"ignored: {', '.join(names)}; Ray on this machine is started for this run alone\n"
        )


def start_failure(error: Exception) -> str:
    """One line about a Ray that cannot start on this machine."""
    ways = [f"free space and memory, also in {temporary_folder()} and /dev/shm"]
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit < FEW_FILES:
        ways.append(f"ulimit -n above {limit}")
    flags = [name for name in sorted(os.environ) if re.match("RAY_.*[a-z]", name)]
    if flags:
        ways.append(f"an environment without {', '.join(flags)}")
    reason = shortened(one_line(error)) or type(error).__name__
    return f"Ray must be able to start on this machine, got {reason!r}; try {', or '.join(ways)}"


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
        UsageError: RAY_TMPDIR is too long for Ray's sockets, or the folder cannot be written.
    """
    base = temporary_folder()
    try:
        base.mkdir(parents=True, exist_ok=True)
        delete_leftovers(base)
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))  # its mode is 0700
    except OSError as error:
        raise UsageError(
            f"RAY_TMPDIR, or else TMPDIR, must be a folder that can be written, got {str(base)!r} "
            f"({error.strerror}); set RAY_TMPDIR to one"
        ) from error
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
