"""A store's files in a bucket (S3, GCS, Azure), shared by machines that share no disk.

    <url>/records/nodes/<key>.json       one node, done if and only if this exists; written last
    <url>/files/nodes/<key>/             its files, with part of their SHA-256 in the name
    <url>/records/datasets/<key>.json    one prepared data set, with files in files/datasets/<key>/
    <url>/metrics/<key>/<spec>.json      a node's metrics, or a floor of a data set
    <url>/streams|features|selections/   immutable blocks
    <url>/sweeps/<name>.json             settings of sweeps that use this store
    <url>/claims/<key>/<n>.json          which process works on a key
    <url>/scratch/<key>/                 checkpoints of unfinished trainings
    <url>/corrupt/                       records of damaged items

Bucket has the same byte-level methods as sweep.store.folder.Folder. Machines coordinate through one
conditional write: `create` fails if the object exists. Immutable objects are cached locally.
"""

import itertools
import os
import random
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from model.errors import MissingFileError, UsageError
from sweep.config import ResourcesConfig
from sweep.store.cache import GIGABYTE, Cache, cache_root
from sweep.store.credentials import is_look_up, profile_credentials, variable
from sweep.store.folder import (
    PART_BYTES,
    Entry,
    Kind,
    StoreError,
    checked_name,
    explained,
    owner_id,
)
from sweep.store.patience import OUTAGE_SECONDS, Patience

T = TypeVar("T")

SCHEMES = ("s3", "gs", "az")
IMMUTABLE = ("files/", "streams/", "features/", "selections/")
"""Folders whose objects are cached."""

RETRY_SECONDS = 4.0
"""Time for which the client itself retries a request, within one attempt of ours. It does not
repeat a `create` or `delete` whose response was lost."""
BACKOFF_SECONDS = 2.0
"""Longest pause between retries; short, to renew claims soon after an outage."""
SILENCE_SECONDS = 30.0
"""Time without any data from the server after which a request has failed."""
LONGEST_SECONDS = 3600.0
"""Time limit of one request, whatever the size of the object."""
QUESTIONS = 16
"""Maximum number of concurrent requests to a remote store."""
UPLOADS = 4
"""Maximum number of parts of a large object that are uploaded concurrently."""
_ANSWERED: set[str] = set()
"""URLs of the buckets that have answered this process."""
CLOCK_SECONDS = 600.0
"""How long a measured offset between the server's clock and this machine's is used."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bucket:
    """The objects below a URL. Every method raises StoreError, with one sentence, on failure.

    It is cheap to create and to pickle. Each process connects separately, with the credentials of
    its environment or machine; this object never contains them.
    """

    url: str
    """s3://bucket/prefix, gs://bucket/prefix or az://container/prefix."""
    cache: Cache
    endpoint: str | None = None
    """URL of an S3-compatible server; None is the cloud provider's own."""
    region: str | None = None
    outage_seconds: float = OUTAGE_SECONDS
    """Time for which a request is retried."""

    is_far: ClassVar[bool] = True
    """Whether requests are slow and billed, so that records are kept in memory once read."""

    def __str__(self) -> str:
        """The URL."""
        return self.url.rstrip("/")

    def record_path(self, kind: Kind, key: str) -> str:
        """Path of a published record."""
        return f"records/{kind}/{checked_name(key)}.json"

    def file_path(self, kind: Kind, key: str, name: str, digest: str) -> str:
        """Path of a file named by a record; it contains the digest, so any re-upload is safe."""
        return f"files/{kind}/{checked_name(key)}/{digest[:16]}-{checked_name(name)}"

    def metrics_path(self, key: str, spec: str, kind: Kind = "nodes") -> str:
        """Path of a node's metrics, or of a floor of a data set."""
        return f"metrics/{checked_name(key)}/{checked_name(spec)}.json"

    def scratch_folder(self, key: str) -> str:
        """Folder of all checkpoints of a key."""
        return f"scratch/{checked_name(key)}/"

    def scratch_path(self, key: str, name: str) -> str:
        """Path of one of this process's checkpoints."""
        return f"{self.scratch_folder(key)}{checked_name(name)}.{owner_id()}"

    def read(self, path: str) -> bytes | None:
        """An object's content, or None if it does not exist."""
        return self._ask(path, lambda client: bytes(client.get(path).bytes()), missing=None)

    def read_parts(self, path: str) -> Iterator[bytes]:
        """Read an object in parts, as it may exceed memory; raises FileNotFoundError."""
        entry = self.find(path)
        if entry is None:
            raise MissingFileError(f"{self}/{path} must exist, got no such object")
        for start in range(0, entry.size, PART_BYTES):
            part = {"start": start, "end": min(start + PART_BYTES, entry.size)}
            yield self._ask(path, lambda client, part=part: bytes(client.get_range(path, **part)))

    def read_checked(self, path: str, accept: Callable[[bytes], T | None]) -> T | None:
        """`accept` applied to an immutable object; None if it is missing or not accepted.

        The object is read from the cache if an accepted copy is there, and cached otherwise.
        """
        with explained(f"{self}/{path}"):
            cached = self.cache.read(path)
            accepted = None if cached is None else accept(cached)
            if accepted is None and (data := self.read(path)) is not None:
                accepted = accept(data)
                if accepted is not None:
                    self.cache.offer(path, data)
            return accepted

    def locate(self, path: str, digest: str) -> Path | None:
        """Path of an object in the cache; None if it is missing or its SHA-256 differs."""
        if self.cache.digest(path) != digest:
            entry = self.find(path)
            if entry is None:
                return None
            self.cache.keep(path, self.read_parts(path), size=entry.size)
            if self.cache.digest(path) != digest:
                self.cache.drop(path)
                return None
        return self.cache.locate(path)

    def find(self, path: str) -> Entry | None:
        """Size and time of an object, or None if it does not exist."""
        return self._ask(path, lambda client: _entry(client.head(path)), missing=None)

    def list(self, prefix: str) -> Iterator[Entry]:
        """Every object below a prefix. The prefix is empty or ends in a slash."""
        pages = self._ask(prefix, lambda client: client.list(prefix or None).collect())
        yield from map(_entry, pages)

    def write(self, path: str, data: bytes | memoryview) -> None:
        """Write or replace an object; it becomes visible only when it is complete."""
        self._ask(path, lambda client: client.put(path, data, max_concurrency=UPLOADS))
        self._keep(path, data)

    def create(self, path: str, data: bytes) -> bool:
        """Write an object unless one exists; False if one does.

        If the response to a request is lost, the retry is refused because of the first attempt. An
        object with the same content is therefore taken for this process's own.
        """
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        def put(client: Any) -> bool:
            try:
                client.put(path, data, mode="create")
            except (AlreadyExistsError, PreconditionError):
                return False
            return True

        created = self._ask(path, put) or self.read(path) == data
        if created:
            self._keep(path, data)
        return created

    def delete(self, paths: Iterable[str]) -> None:
        """Delete objects if they exist."""
        for path in paths:
            self.cache.drop(path)
            self._ask(path, lambda client, path=path: client.delete(path), missing=None)

    def publish(self, record: str, data: bytes, *, files: Mapping[str, bytes | memoryview]) -> bool:
        """Publish the files that a record names, then the record; False if another was first.

        An empty record is replaced. Earlier versions left one after a withdrawal.
        """
        for path, content in files.items():
            self.write(path, content)
        if self.read(record) == b"":
            self.delete([record])
        return self.create(record, data)

    def withdraw(self, record: str) -> bool:
        """Move a record to corrupt/ and delete a node's metrics; False if the record is gone."""
        data = self.read(record)
        if not data:
            return False
        _, kind, name = record.split("/")
        key = name.removesuffix(".json")
        self.write(f"corrupt/{kind}/{key}-{uuid.uuid4().hex[:8]}.json", data)
        self.delete([record])
        if kind == "nodes":
            self.delete([entry.path for entry in self.list(f"metrics/{key}/")])
        return True

    def now(self) -> float:
        """Unix time by the server's clock; by the local clock if the bucket is read-only."""
        try:
            return time.monotonic() + _clock_offset(self, int(time.monotonic() / CLOCK_SECONDS))
        except StoreError:  # the bucket is read-only
            return time.time()

    def free_bytes(self) -> int | None:
        """None, because a bucket has no limit."""
        return None

    def check(self, option: str) -> None:
        """Raise UsageError, naming the option, unless the bucket supports create-once writes.

        On a server that ignores the condition, two machines could publish the same key.
        """
        path = f"clock/{uuid.uuid4().hex}"
        try:
            once = self.create(path, b"1") and not self.create(path, b"2")
            self.delete([path])
        except StoreError as error:
            raise UsageError(f"{option}: {error}") from None
        if not once:
            raise UsageError(
                f"{option} must be on a server that obeys If-None-Match, got {self}; "
                "use another bucket, or a folder on NFS"
            )

    def _keep(self, path: str, data: bytes | memoryview) -> None:
        """Cache an object if it is immutable."""
        if path.startswith(IMMUTABLE):
            self.cache.offer(path, data)

    def _ask(self, path: str, request: Callable[[Any], T], **default: T) -> T:
        """The response to a request, which is retried after a network or server failure."""
        from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

        target = f"{self}/{path}"
        client = _connect(self, os.getpid())
        patience = Patience(str(self), self.outage_seconds)
        for attempt in itertools.count(1):
            started = time.monotonic()
            try:
                response = request(client)
            except (PermissionDeniedError, UnauthenticatedError) as error:
                raise StoreError(
                    f"{target} must be readable and writable, got {_reason(error)}; give this "
                    "machine's role, or the credentials in the environment, access to the bucket"
                ) from None
            except (BaseError, OSError) as error:
                if "NoSuchBucket" in str(error):
                    raise StoreError(
                        f"{self.url} must be in a bucket that exists, got no such bucket; "
                        "create it first"
                    ) from None
                if isinstance(error, FileNotFoundError):
                    _ANSWERED.add(self.url)
                    if "missing" in default:
                        return default["missing"]
                    raise StoreError(f"{target} must exist, got no such object") from None
                if self.url not in _ANSWERED and is_look_up(error):
                    raise StoreError(
                        f"{target} needs credentials, got none ({_reason(error)}); set those of "
                        "the cloud in the environment, or give this machine a role"
                    ) from None
                patience.failed(
                    StoreError(
                        f"{target} must be reachable, got {_reason(error)}; check the bucket, its "
                        "region and the network, and run the same command again"
                    ),
                    started,
                )
                seconds = min(0.5 * 2**attempt, BACKOFF_SECONDS)
                time.sleep(random.uniform(0.2, 1.0) * seconds)  # noqa: S311 - spreads retries
            else:
                patience.succeeded()
                _ANSWERED.add(self.url)
                return response
        raise AssertionError("unreachable")


def open_bucket(url: str, resources: ResourcesConfig) -> Bucket:
    """Open a bucket by URL, with the region and endpoint of this process's environment.

    The resources provide the folder and the size of its cache.

    Raises:
        UsageError: The URL is not a bucket URL, or the region is unknown.
    """
    parts = urllib.parse.urlsplit(url)
    more = "@" in parts.netloc or parts.query or parts.fragment  # may be credentials
    scheme = url.partition("://")[0]  # that of `parts` is in lower case
    if scheme not in SCHEMES or not parts.netloc or more:
        shown = f"{scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        raise UsageError(
            f"--store must be a folder, or a URL such as s3://bucket/prefix, got {shown!r}"
            f"{' and more' if more else ''}; "
            f"the schemes are {', '.join(SCHEMES)}"
        )
    outage = resources.outage_seconds
    limit_bytes = int(resources.cache_gigabytes * GIGABYTE)
    cache = Cache(root=cache_root(resources.cache_dir), limit_bytes=limit_bytes, bucket=url)
    if parts.scheme != "s3":
        return Bucket(url=url, cache=cache, outage_seconds=outage)
    endpoint = variable("AWS_ENDPOINT_URL_S3") or variable("AWS_ENDPOINT_URL")
    region = variable("AWS_REGION") or variable("AWS_DEFAULT_REGION")
    if region is None and endpoint is None:
        raise UsageError(
            f"--store {url} needs the region of its bucket, got none; export AWS_REGION=..."
        )
    return Bucket(url=url, cache=cache, endpoint=endpoint, region=region, outage_seconds=outage)


@cache
def _connect(bucket: Bucket, pid: int) -> Any:
    """A client for this process; a forked process must not share its parent's threads."""
    from obstore.exceptions import BaseError
    from obstore.store import from_url

    options: dict[str, Any] = {}
    if bucket.endpoint is not None:
        options["endpoint"] = bucket.endpoint
    if bucket.url.startswith("s3://"):
        options["region"] = bucket.region or "us-east-1"
        if profile := variable("AWS_PROFILE"):
            options["credential_provider"] = profile_credentials(profile)
    plain = (bucket.endpoint or "").startswith("http://")
    try:
        return from_url(
            bucket.url,
            client_options={
                "allow_http": plain,
                "read_timeout": timedelta(seconds=SILENCE_SECONDS),
                "timeout": timedelta(seconds=LONGEST_SECONDS),
            },
            retry_config={
                "max_retries": 1000,
                "retry_timeout": timedelta(seconds=min(RETRY_SECONDS, bucket.outage_seconds)),
                "backoff": {"max_backoff": timedelta(seconds=BACKOFF_SECONDS)},
            },
            **options,
        )
    except BaseError as error:
        raise StoreError(
            f"{bucket} must be a bucket that can be reached, got {_reason(error)}; set the account "
            "and credentials of the cloud in the environment"
        ) from None


@cache
def _clock_offset(bucket: Bucket, period: int) -> float:
    """Offset of the server's clock to the local monotonic clock, measured once per period."""
    path = f"clock/{uuid.uuid4().hex}"
    bucket.write(path, b"")
    before = time.monotonic()
    entry = bucket.find(path)
    bucket.delete([path])
    return (time.time() if entry is None else entry.modified) - before


def _entry(meta: Mapping[str, Any]) -> Entry:
    modified = meta["last_modified"].timestamp()
    return Entry(path=meta["path"], size=meta["size"], modified=modified)


def _reason(error: Exception) -> str:
    """The first line of an error, without the client's debugging details."""
    text = str(error).split("\n", 1)[0].rsplit(" - Server returned ", 1)
    return text[-1].split(": <?xml", 1)[0].strip()[:200]
