"""Claims: who works on a key, so that no two processes compute one thing.

A claim is a lease file work/<key>/claim.json. It is never rewritten by its holder: a heartbeat only
touches it, and progress lies beside it, so a holder that was asleep cannot take it back from its
successor. A claim saves work; that results are right rests on publishing alone, so the windows of
microseconds that remain cost a second computation at most. Must not know what is computed.
"""

import json
import os
import threading
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from sweep.files import StoreError, create_file, explained, remove_empty
from sweep.leases import Lease, file_system_time, is_live, read_lease, this_process
from sweep.records import dump_json, write_bytes

LEASE = "claim.json"
PROGRESS = "progress.json"
LOCK_PREFIX = "steal-"


class ClaimLost(StoreError):
    """The claim is somebody else's by now: stop, and read what they publish."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimInfo:
    """A claim as others see it."""

    owner: str
    host: str
    pid: int
    age_seconds: float
    """Since the last heartbeat, by the file system's clock."""
    live: bool
    progress: dict[str, Any]


class Claim(Protocol):
    """A held claim, of a store of any kind; a context manager that releases it."""

    key: str
    owner: str

    def heartbeat(self, progress: dict[str, Any] | None = None) -> None:
        """Say that this process still works, and how far it is; any thread may.

        Args:
            progress: Shown by `sweep status`; None keeps the last.

        Raises:
            ClaimLost: Another process took over, or the claim was released or removed.
        """
        ...

    def release(self) -> None:
        """Free the key, if it is still ours; a second call does nothing."""
        ...

    def __enter__(self) -> Self:
        """The claim itself."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release the claim, whatever happened."""
        ...


class FileClaim:
    """A Claim that is a lease file."""

    def __init__(self, key: str, owner: str, *, path: Path, token: str) -> None:
        self.key = key
        self.owner = owner
        self._path = path
        self._token = token
        self._lock = threading.Lock()

    def heartbeat(self, progress: dict[str, Any] | None = None) -> None:
        """See Claim."""
        with self._lock, explained(self._path):
            lease = read_lease(self._path)
            if lease is None or lease.token != self._token:
                self._raise_lost(lease)
            try:
                os.utime(self._path)
            except FileNotFoundError:
                self._raise_lost(None)
            if progress is not None:
                with suppress(OSError):  # a display must not stop a training
                    self._write_progress(progress)

    def release(self) -> None:
        """See Claim."""
        with self._lock, explained(self._path):
            try:
                with _Handover(self._path, self._token) as nobody_else:
                    lease = read_lease(self._path)
                    if nobody_else and lease is not None and lease.token == self._token:
                        self._path.with_name(PROGRESS).unlink(missing_ok=True)
                        self._path.unlink()
            except FileNotFoundError:
                return
            remove_empty(self._path.parent)

    def __enter__(self) -> Self:
        """The claim itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release the claim, whatever happened."""
        self.release()

    def _raise_lost(self, lease: Lease | None) -> None:
        raise ClaimLost(
            f"{self._path} must be held by {self.owner}, got "
            f"{'no claim' if lease is None else lease.owner}; "
            "another process took over after a pause without heartbeat"
        )

    def _write_progress(self, progress: dict[str, Any]) -> None:
        path = self._path.with_name(PROGRESS)
        temporary = path.with_name(f".{PROGRESS}.{self._token}")
        # Not durable on purpose (no fsync): it must cost a training step nothing.
        temporary.write_text(json.dumps({"token": self._token, "progress": progress}))
        temporary.replace(path)


class _Handover:
    """Right to remove or replace the lease with one token: True for one process at a time."""

    def __init__(self, path: Path, token: str, *, ttl_seconds: float = float("inf")) -> None:
        self._folder = path.with_name(f"{LOCK_PREFIX}{token}")
        self._ttl_seconds = ttl_seconds
        self._held = False

    def __enter__(self) -> bool:
        try:
            self._folder.mkdir()
            self._held = True
        except FileExistsError:
            now = file_system_time(self._folder.parent)
            if now - self._folder.stat().st_mtime > self._ttl_seconds:  # its maker died in between
                remove_empty(self._folder)
        return self._held

    def __exit__(self, *_: object) -> None:
        if self._held:
            remove_empty(self._folder)


def acquire(folder: Path, owner: str, *, ttl_seconds: float) -> FileClaim | None:
    """Claim the key of a work folder, or None while a live process holds it.

    A claim is live until its process is seen dead (same machine: at once) or its last heartbeat is
    older than `ttl_seconds`.
    """
    path = folder / LEASE
    token = uuid.uuid4().hex
    data = dump_json({"token": token, "owner": owner, **this_process()})
    claim = FileClaim(folder.name, owner, path=path, token=token)
    with explained(path):
        for _ in range(10):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                now = file_system_time(folder)  # before reading: a pause in between is no age
                lease = read_lease(path)
                if lease is None:
                    if create_file(path, data):
                        return claim
                elif is_live(lease, now, ttl_seconds=ttl_seconds):
                    return None
                elif _replace_stale(path, lease, data=data, ttl_seconds=ttl_seconds):
                    return claim
                else:
                    return None
            except FileNotFoundError:  # released, and its folder removed, while we looked
                continue
    return None


def read_claims(work: Path, *, ttl_seconds: float) -> dict[str, ClaimInfo]:
    """Every claim under a work folder by key; what vanishes while reading is left out."""
    with explained(work):
        try:
            folders = sorted(path for path in work.iterdir() if path.is_dir())
        except FileNotFoundError:
            return {}
        now = file_system_time(work)
        leases = {folder: read_lease(folder / LEASE) for folder in folders}
    return {
        folder.name: ClaimInfo(
            owner=lease.owner,
            host=lease.host,
            pid=lease.pid,
            age_seconds=max(0.0, now - lease.modified),
            live=is_live(lease, now, ttl_seconds=ttl_seconds),
            progress=_read_progress(folder / PROGRESS, lease.token),
        )
        for folder, lease in leases.items()
        if lease is not None
    }


def _replace_stale(path: Path, lease: Lease, *, data: bytes, ttl_seconds: float) -> bool:
    with _Handover(path, lease.token, ttl_seconds=ttl_seconds) as alone:
        if not alone or read_lease(path) != lease:  # somebody else's, or a heartbeat came after all
            return False
        write_bytes(path, data)
        return True


def _read_progress(path: Path, token: str) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
        return dict(data["progress"]) if data["token"] == token else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
