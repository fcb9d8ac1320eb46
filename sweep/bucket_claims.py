"""Claims on a bucket: claims/<key>.json, taken, renewed and freed by conditional writes alone.

The same promises as sweep.claims, on one object for each key. A free claim is an empty object, not
a missing one: a bucket cannot delete on a condition, and an unconditional delete could hit the next
holder's. Must not know what is computed.
"""

import json
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from sweep.bucket import QUESTIONS, Bucket, Entry, Version
from sweep.claims import ClaimInfo, ClaimLost
from sweep.leases import Lease, is_live, parse_lease, this_process
from sweep.records import dump_json

FOLDER = "claims/"
FREE = b""
BEATS_PER_LEASE = 6
"""Renewals in the time after which a claim is stale; more would be paid for and tell no more."""


@dataclass(kw_only=True)
class BucketClaim:
    """A held claim; a context manager that releases it (sweep.claims.Claim)."""

    key: str
    owner: str
    bucket: Bucket
    token: str
    ttl_seconds: float
    version: Version
    _progress: dict[str, Any]
    _beat_at: float

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._num_beats = 0

    def heartbeat(self, progress: dict[str, Any] | None = None) -> None:
        """Say that this process still works, at most BEATS_PER_LEASE times in a lease."""
        with self._lock:
            self._progress = self._progress if progress is None else progress
            if time.monotonic() - self._beat_at < self.ttl_seconds / BEATS_PER_LEASE:
                return
            started = time.monotonic()
            self._num_beats += 1
            data = dump_claim(
                self.token,
                self.owner,
                self._progress,
                self._num_beats,
                ttl_seconds=self.ttl_seconds,
            )
            self._put(data)
            self._beat_at = started

    def release(self) -> None:
        """Free the key, if it is still ours; a second call does nothing."""
        with self._lock, suppress(ClaimLost):
            self._put(FREE)

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

    def _put(self, data: bytes) -> None:
        """Replace the claim, if it is still ours; raises ClaimLost where it is not.

        It is ours in another version than we know after a heartbeat whose answer never came.
        """
        path = claim_path(self.key)
        version = self.bucket.replace(path, data, self.version)
        if version is None:
            found = self.bucket.read(path)
            if found is not None and found[0] != FREE and _lease(*found).token == self.token:
                version = self.bucket.replace(path, data, found[1].version)
            if version is None:
                raise self._lost(found)
        self.version = version

    def _lost(self, found: tuple[bytes, Entry] | None) -> ClaimLost:
        holder = "no claim" if found is None or found[0] == FREE else _lease(*found).owner
        return ClaimLost(
            f"{self.bucket}/{claim_path(self.key)} must be held by {self.owner}, got {holder}; "
            "another process took over after a pause without heartbeat"
        )


def acquire(bucket: Bucket, key: str, owner: str, *, ttl_seconds: float) -> BucketClaim | None:
    """Claim a key, or None while a live process holds it; see sweep.claims.acquire."""
    path, token = claim_path(key), uuid.uuid4().hex
    data = dump_claim(token, owner, {}, 0, ttl_seconds=ttl_seconds)
    started = time.monotonic()
    version = bucket.create(path, data)
    if version is None:
        found = bucket.read(path)
        if found is None or (found[0] != FREE and _is_live(*found, bucket.now(), ttl_seconds)):
            return None
        started = time.monotonic()
        version = bucket.replace(path, data, found[1].version)
    if version is None:
        return None
    return BucketClaim(
        key=key,
        owner=owner,
        bucket=bucket,
        token=token,
        ttl_seconds=ttl_seconds,
        version=version,
        _progress={},
        _beat_at=started,
    )


def read_claims(bucket: Bucket, *, ttl_seconds: float) -> dict[str, ClaimInfo]:
    """Every claim of a bucket by key."""
    held = [entry for entry in bucket.list(FOLDER) if entry.size > 0]
    now = bucket.now() if held else 0.0
    found: dict[str, ClaimInfo] = {}
    with ThreadPoolExecutor(QUESTIONS) as pool:
        contents = list(pool.map(lambda entry: bucket.read(entry.path), held))
    for entry, content in zip(held, contents, strict=True):
        if content is None or content[0] == FREE:  # released meanwhile
            continue
        lease = _lease(*content)
        found[entry.path.removeprefix(FOLDER).removesuffix(".json")] = ClaimInfo(
            owner=lease.owner,
            host=lease.host,
            pid=lease.pid,
            age_seconds=max(0.0, now - lease.modified),
            live=_is_live(*content, now, ttl_seconds),
            progress=_progress(content[0]),
        )
    return found


def claim_path(key: str) -> str:
    """Path of a key's claim."""
    return f"{FOLDER}{key}.json"


def dump_claim(
    token: str, owner: str, progress: dict[str, Any], num_beats: int, *, ttl_seconds: float
) -> bytes:
    """Bytes of a claim; no two are equal, since versions are hashes of contents on some servers."""
    return dump_json(
        {
            "token": token,
            "owner": owner,
            **this_process(),
            "beat": num_beats,
            "ttl_seconds": ttl_seconds,
            "progress": progress,
        }
    )


def _lease(data: bytes, entry: Entry) -> Lease:
    return parse_lease(data, modified=entry.modified, token_of_garbage=f"garbage-{entry.version}")


def _is_live(data: bytes, entry: Entry, now: float, ttl_seconds: float) -> bool:
    """As sweep.leases.is_live; a holder that promised fewer beats is given the time for them."""
    own = _parse(data).get("ttl_seconds")
    if isinstance(own, (int, float)):
        ttl_seconds = max(ttl_seconds, own)
    return is_live(_lease(data, entry), now, ttl_seconds=ttl_seconds)


def _progress(data: bytes) -> dict[str, Any]:
    progress = _parse(data).get("progress")
    return progress if isinstance(progress, dict) else {}


def _parse(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
