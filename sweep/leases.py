"""Leases: the small files that say which process holds a claim, and whether it still lives.

A process is told apart by host, boot, process namespace, pid and start time, so that a pid that was
given again, or the same pid in another container, is not taken for the holder. Must not know how a
claim is taken or what it is for.
"""

import json
import os
import re
import socket
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from model.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """Who holds a claim, and when its last heartbeat was."""

    token: str
    """Of this claim alone: the same process may hold another one later."""
    owner: str
    host: str
    machine: str | None
    """Boot and process namespace; None where they cannot be known."""
    pid: int
    started: str | None
    """Start of the process, in clock ticks since boot."""
    modified: float
    """Time of the last heartbeat, in seconds by the file system's clock."""


def file_system_time(folder: Path) -> float:
    """Now in seconds by the clock that stamps the folder's files (a server's, on NFS)."""
    probe = folder / f".clock.{uuid.uuid4().hex[:8]}.tmp"
    try:
        with probe.open("xb") as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return time.time()  # a folder that can only be read
    finally:
        with suppress(OSError):
            probe.unlink()


def is_live(lease: Lease, now: float, *, ttl_seconds: float) -> bool:
    """Whether a lease holds: its heartbeat is young enough, its process not known to be dead."""
    return now - lease.modified <= ttl_seconds and not _is_dead(lease)


def _is_dead(lease: Lease) -> bool:
    """Whether the holder's process is known to be gone; False where it cannot be known."""
    here = this_process()
    if lease.machine is None or (lease.host, lease.machine) != (here["host"], here["machine"]):
        return False
    started = _process_start(lease.pid)
    if started is not None:
        return started != lease.started
    try:
        os.kill(lease.pid, 0)  # /proc may hide other users' processes
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        return False
    return True  # in /proc no more, or a zombie


def this_process() -> dict[str, Any]:
    """What a lease says of the process that writes it: host, machine, pid and started."""
    return _this_process(os.getpid())


@cache
def _this_process(pid: int) -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "machine": _machine(),
        "pid": pid,
        "started": _process_start(pid),
    }


def _machine() -> str | None:
    """Boot and process namespace in which a pid means something; None where there is no /proc."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None


def _process_start(pid: int) -> str | None:
    """Start of a process in clock ticks since boot; None where it is gone or a zombie.

    Fields 3 (state) and 22 (starttime) of /proc/<pid>/stat, proc(5); field 2 may hold anything, up
    to the last closing parenthesis.
    """
    try:
        values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if values[0] in "ZXx" else values[19]
    except (OSError, IndexError):
        return None


def read_lease(path: Path) -> Lease | None:
    """The lease in a file, or None where there is none; garbage is freed by its age alone."""
    try:
        # Opening, unlike stat, makes an NFS client ask the server for the time of the heartbeat.
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            text = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    token = f"garbage-{status.st_ino}-{status.st_mtime_ns}"
    return parse_lease(text, modified=status.st_mtime, token_of_garbage=token)


def parse_lease(text: bytes, *, modified: float, token_of_garbage: str) -> Lease:
    """The lease of a file's bytes; what is no lease has a nobody for its holder."""
    try:
        data = json.loads(text)
        if not re.fullmatch(r"[0-9a-f]{32}", data["token"]):
            raise UsageError("no token")
        return Lease(
            token=data["token"],
            owner=str(data["owner"]),
            host=str(data["host"]),
            machine=data["machine"],
            pid=int(data["pid"]),
            started=data["started"],
            modified=modified,
        )
    except (ValueError, KeyError, TypeError):
        return Lease(
            token=token_of_garbage,
            owner="unknown",
            host="unknown",
            machine=None,
            pid=0,
            started=None,
            modified=modified,
        )
