"""Claims: which process works on a key, so that no two processes compute the same thing.

    claims/<key>/<n>.json     term n: its holder, lease, heartbeat count and progress

A key is claimed by creating term n + 1, where n is the highest term; only one process can succeed.
Only the holder rewrites its term, and a higher term means that it has lost the key. A key is
released by creating an empty term. Only terms below the highest are deleted, so no number is used
twice: a holder that was suspended in term 1 cannot mistake a new term 1 for its own.

A claim is taken over if its term has not changed for the duration of its lease, as measured by the
watching process while it could reach the store. It is taken over at once if its process ran on this
machine and is dead. Claims only save work: results do not depend on them, because publishing is
atomic and the first process wins.
"""

import json
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Self

from sweep.files import Json
from sweep.store.bucket import QUESTIONS
from sweep.store.folder import Entry, Folder, StoreError, checked_name, owner_id, sha256
from sweep.store.patience import OUTAGE_SECONDS
from sweep.store.published import Files

FOLDER = "claims/"
TERM = re.compile(r"claims/([^/]+)/([1-9][0-9]*)\.json")
FREE = b""
"""Content of a term that no process holds."""
BEATS_PER_LEASE = 6
"""Number of heartbeats per lease."""
NEAR_BEAT_SECONDS = 1.0
"""Longest time between heartbeats in a folder, where they are cheap and keep progress current."""
LISTING_SECONDS = 2.0
"""How long a slow listing of claims is reused, because a scheduler lists them far more often."""
MANY_TERMS = 1000
"""Number of terms above which listing a folder counts as slow; released keys keep a term."""

Term = tuple[str, int, Entry]
"""Key, number and file of a term."""

Silences = Mapping[str, tuple[str, float]]
"""Version of each claim's term, and the seconds for which it has not changed, by key."""


class ClaimLost(StoreError):
    """Another process now holds the key; stop and read what it publishes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimInfo:
    """A claim as others see it: what its term's file says about the holder."""

    lease_seconds: float
    age_seconds: float = 0.0
    """Time since the last heartbeat, by the store's clock."""
    owner: str = "unknown"
    host: str = "unknown"
    machine: str | None = None
    """Boot id and process namespace; None if unknown."""
    pid: int = 0
    started: str | None = None
    """Start time of the process, in clock ticks since boot."""
    progress: Json = field(default_factory=dict)

    @classmethod
    def parse(cls, data: bytes, lease_seconds: float, age_seconds: float = 0.0) -> Self:
        """Parse a term; invalid bytes give a claim with this lease and an unknown holder."""
        try:
            term = json.loads(data)
            return cls(
                lease_seconds=float(term["lease_seconds"]),
                age_seconds=age_seconds,
                owner=str(term["owner"]),
                host=str(term["host"]),
                machine=term["machine"],
                pid=int(term["pid"]),
                started=term["started"],
                progress=dict(term["progress"]),
            )
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return cls(lease_seconds=lease_seconds, age_seconds=age_seconds)

    @property
    def live(self) -> bool:
        """Whether its age is within the lease and its process is not known to be dead."""
        return self.age_seconds <= self.lease_seconds and not self.is_dead()

    def is_dead(self) -> bool:
        """Whether the holder's process is known to be dead; False if that cannot be known.

        A process is identified by host, boot, process namespace, pid and start time. A reused pid,
        or the same pid in another container, is therefore not mistaken for the holder.
        """
        this = this_process()
        if self.machine is None or (self.host, self.machine) != (this["host"], this["machine"]):
            return False
        try:
            started = _process_start(self.pid)
            if started is not None:
                return started != self.started
            os.kill(self.pid, 0)  # /proc may hide other users' processes
        except (ProcessLookupError, OverflowError):
            return True
        except OSError:  # no permission to signal it, or no file descriptor left to read /proc
            return False
        return True  # a zombie: it accepts signals, but has no start time


@dataclass(kw_only=True)
class Claim:
    """A held claim; as a context manager it releases itself at the end."""

    files: Files
    key: str
    number: int
    """Number of its term."""
    lease_seconds: float
    outage_seconds: float = OUTAGE_SECONDS
    """Time for which heartbeats may fail before the holder gives up."""
    owner: str = field(default_factory=owner_id)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._token = uuid.uuid4().hex  # identifies our term if its creation is retried
        self._num_beats = 0
        self._progress: Json = {}

    @property
    def beat_seconds(self) -> float:
        """Time between heartbeats."""
        seconds = self.lease_seconds / BEATS_PER_LEASE
        return seconds if self.files.is_far else min(seconds, NEAR_BEAT_SECONDS)

    def heartbeat(self, progress: Json | None = None) -> None:
        """Renew the claim and report progress. Any thread may call this.

        Args:
            progress: Shown by `sweep status`; None keeps the previous value.

        Raises:
            ClaimLost: Another process took over, or the claim was released.
        """
        with self._lock:
            self._progress = self._progress if progress is None else progress
            self._num_beats += 1
            # Write first: an NFS client sees others' changes to a folder only after writing to it.
            self.files.write(_path(self.key, self.number), self._content())
            self._look()

    def release(self) -> None:
        """Free the key if this process still holds it; a second call does nothing."""
        with self._lock, suppress(ClaimLost):
            self.files.create(_path(self.key, self.number + 1), FREE)
            self._look()

    def begin(self) -> bool:
        """Create the term; False if another process was first or has created a higher one."""
        with suppress(ClaimLost):
            if self.files.create(_path(self.key, self.number), self._content()):
                self._look()
                return True
        return False

    def __enter__(self) -> Self:
        """The claim itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        """Release the claim, also after an exception.

        If the store has failed, this may fail too: the claim then ends with its process or lease.
        """
        with suppress(StoreError) if isinstance(error, StoreError) else nullcontext():
            self.release()

    def _content(self) -> bytes:
        term = {
            "token": self._token,
            "owner": self.owner,
            **this_process(),
            "lease_seconds": self.lease_seconds,
            "beat": self._num_beats,
            "progress": self._progress,
        }
        return json.dumps(term, indent=1).encode()  # allows nan, which a loss may be

    def _look(self) -> None:
        """Delete the terms below the highest; raises ClaimLost if the highest is not ours."""
        numbers = _numbers(self.files, self.key)
        highest = max(numbers, default=self.number)
        self.files.delete(_path(self.key, number) for number in numbers if number < highest)
        if highest > self.number:
            path = _path(self.key, highest)
            data = self.files.read(path)
            raise ClaimLost(
                f"{self.files}/{path} must be held by {self.owner}, got "
                f"{ClaimInfo.parse(data, 0).owner if data else 'no claim'}; "
                "another process took over after a pause without heartbeats"
            )


@dataclass(slots=True)
class _Silence:
    """How long a claim's term has not changed."""

    version: str
    seconds: float
    seen_at: float
    """Time of the last look, by this process's monotonic clock."""


class Claims:
    """The claims of a store."""

    def __init__(
        self, files: Files, *, lease_seconds: float, outage_seconds: float = OUTAGE_SECONDS
    ) -> None:
        self.files = files
        self.lease_seconds = lease_seconds
        self.outage_seconds = outage_seconds
        self._silences: dict[str, _Silence] = {}
        self._infos: dict[str, ClaimInfo] = {}
        self._fresh_until = float("-inf")

    def take(self, key: str) -> Claim | None:
        """Claim a key; None if another process holds it.

        The caller must then check again whether the key is published, because the previous holder
        may just have finished.
        """
        number = max(_numbers(self.files, key), default=0)
        if number and not self._is_free(key, number):
            return None
        claim = Claim(
            files=self.files,
            key=key,
            number=number + 1,
            lease_seconds=self.lease_seconds,
            outage_seconds=self.outage_seconds,
        )
        return claim if claim.begin() else None

    def read(self) -> dict[str, ClaimInfo]:
        """All held claims by key, even of dead processes; reused briefly if listing is slow."""
        if time.monotonic() < self._fresh_until:
            return self._infos
        terms = list(_terms(self.files, FOLDER))
        infos = self._held(terms)
        silences = list(self._silences.items())
        self._silences = {key: silence for key, silence in silences if key in infos}
        is_slow = self.files.is_far or len(terms) > MANY_TERMS
        self._fresh_until = time.monotonic() + (LISTING_SECONDS if is_slow else 0.0)
        self._infos = infos
        return infos

    def read_some(self, is_wanted: Callable[[str], bool]) -> dict[str, ClaimInfo]:
        """The held claims on some keys; in a folder, the terms of other keys are not listed.

        A released key keeps a term, so that a folder has many more of them than held claims.
        """
        if not isinstance(self.files, Folder):
            return {key: claim for key, claim in self.read().items() if is_wanted(key)}
        keys = filter(is_wanted, self.files.names(FOLDER))
        return self._held([term for key in keys for term in _terms(self.files, f"{FOLDER}{key}/")])

    def _held(self, terms: Iterable[Term]) -> dict[str, ClaimInfo]:
        """Those of the terms that are the highest of their keys and are held, by key."""
        by_number = sorted(terms, key=lambda term: term[1])
        highest = {key: (key, number, entry) for key, number, entry in by_number}
        held = [(key, number, entry) for key, number, entry in highest.values() if entry.size]
        now = self.files.now() if held else 0.0
        with ThreadPoolExecutor(QUESTIONS) as pool:
            contents = list(pool.map(lambda term: self.files.read(term[2].path), held))
        infos = {}
        for (key, number, entry), data in zip(held, contents, strict=True):
            if data:  # otherwise it has just been released
                age = max(0.0, now - entry.modified)
                infos[key] = ClaimInfo.parse(data, self.lease_seconds, age)
                self._note(key, number, data, infos[key].lease_seconds)
        return infos

    def sweep(self, prefix: str) -> None:
        """Delete the claims on keys with a prefix that no live process holds.

        These keys must never be claimed again, because their terms would start at 1 again.
        """
        for key in {key for key, _, _ in _terms(self.files, FOLDER) if key.startswith(prefix)}:
            if self.take(key) is not None:
                self.files.delete(_path(key, number) for number in _numbers(self.files, key))

    def silences(self) -> Silences:
        """How long each claim has been silent, for another process to inherit."""
        silences = list(self._silences.items())
        return {key: (silence.version, silence.seconds) for key, silence in silences}

    def inherit(self, silences: Silences) -> None:
        """Continue from another process's observations instead of waiting for a full lease."""
        now = time.monotonic()
        for key, (version, seconds) in silences.items():
            self._silences[key] = _Silence(version=version, seconds=seconds, seen_at=now)

    def _is_free(self, key: str, number: int) -> bool:
        data = self.files.read(_path(key, number))
        if data is None:  # deleted, because there is a higher term
            return False
        if data == FREE:
            return True
        claim = ClaimInfo.parse(data, self.lease_seconds)
        silent_seconds = self._note(key, number, data, claim.lease_seconds)
        return claim.is_dead() or silent_seconds > claim.lease_seconds

    def _note(self, key: str, number: int, data: bytes, lease_seconds: float) -> float:
        """Record a look at a term and return the seconds for which it has not changed.

        At most one heartbeat's time is added for each look, because the store may have been
        unreachable since the previous look, for the holder as well.
        """
        version, now = f"{number}-{sha256(data)[:16]}", time.monotonic()
        last, seconds = self._silences.get(key), 0.0
        if last is not None and last.version == version:
            seconds = last.seconds + min(now - last.seen_at, lease_seconds / BEATS_PER_LEASE)
        self._silences[key] = _Silence(version=version, seconds=seconds, seen_at=now)
        return seconds


def this_process() -> Json:
    """The entries of a term that identify this process: host, machine, pid and started."""
    return _this_process(os.getpid())


@cache
def _this_process(pid: int) -> Json:
    return {
        "host": socket.gethostname(),
        "machine": _machine(),
        "pid": pid,
        "started": _process_start(pid),
    }


def _machine() -> str | None:
    """Boot id and process namespace in which a pid is valid; None if there is no /proc."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None


def _process_start(pid: int) -> str | None:
    """Start time of a process in clock ticks since boot; None if it is gone or a zombie.

    It reads fields 3 (state) and 22 (starttime) of /proc/<pid>/stat; see proc(5). Field 2 ends at
    the last closing parenthesis and may contain any characters.
    """
    try:
        values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if values[0] in "ZXx" else values[19]
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return None


def _path(key: str, number: int) -> str:
    return f"{FOLDER}{checked_name(key)}/{number}.json"


def _numbers(files: Files, key: str) -> list[int]:
    """Numbers of a key's terms."""
    return [number for _, number, _ in _terms(files, f"{FOLDER}{checked_name(key)}/")]


def _terms(files: Files, folder: str) -> Iterator[Term]:
    """Every term in a folder."""
    for entry in files.list(folder):
        if match := TERM.fullmatch(entry.path):
            yield match[1], int(match[2]), entry
