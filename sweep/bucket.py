"""Objects of a bucket (S3, GCS, Azure) by their paths: read, written, created once, replaced.

What several machines rely on is two conditional writes: `create` fails where an object exists, and
`replace` where it is no longer the version that was read. Must not know what an object holds.
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
from functools import cache, partial
from typing import Any, TypeVar

from model.errors import UsageError
from sweep.files import StoreError

T = TypeVar("T")

SCHEMES = ("s3", "gs", "az")
Version = tuple[tuple[str, str], ...]
"""Of an object's content, as its server tells versions apart."""

ATTEMPTS = 4
"""Of one request; each is itself repeated for RETRY_SECONDS where the server is not reached."""
RETRY_SECONDS = 20.0
SILENCE_SECONDS = 30.0
"""After which an answer that does not come, or comes no further, has failed."""
LONGEST_SECONDS = 3600.0
"""Of one request, however large the object."""
QUESTIONS = 16
"""Asked of a far store at a time."""
PART_BYTES = 16 * 2**20
"""Of a large object that is read a part at a time."""
UPLOADS = 4
"""Parts of a large object that are on their way at once."""
CLOCK_SECONDS = 600.0
"""For which a comparison of the server's clock with this machine's is good."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """An object without its content."""

    path: str
    size: int
    """Bytes."""
    modified: float
    """Seconds since 1970, by the server's clock; S3 tells whole seconds."""
    version: Version


@dataclass(frozen=True, kw_only=True, slots=True)
class Bucket:
    """The objects below a URL; every method raises StoreError, one sentence, where it cannot.

    Cheap to make and to pickle: each process connects on its own, with the credentials of its
    environment or machine, which are never part of this object.
    """

    url: str
    """s3://bucket/prefix, gs://bucket/prefix or az://container/prefix."""
    endpoint: str | None = None
    """Of a server other than the cloud's own."""
    region: str | None = None

    def read(self, path: str) -> tuple[bytes, Entry] | None:
        """An object's content and what is known of it, or None where there is none."""

        def get(store: Any) -> tuple[bytes, Entry]:
            found = _obstore().get(store, path)
            return bytes(found.bytes()), _entry(found.meta)

        return self._ask(path, get, missing=None)

    def read_parts(self, path: str, size: int) -> Iterator[bytes]:
        """An object of a known size, a part at a time: it may be larger than memory."""

        def get(store: Any, start: int) -> bytes:
            end = min(start + PART_BYTES, size)
            return bytes(_obstore().get_range(store, path, start=start, end=end))

        for start in range(0, size, PART_BYTES):
            yield self._ask(path, partial(get, start=start))

    def find(self, path: str) -> Entry | None:
        """What is known of an object, or None where there is none."""
        return self._ask(path, lambda store: _entry(_obstore().head(store, path)), missing=None)

    def write(self, path: str, data: bytes | memoryview) -> None:
        """Write an object, whatever was there; a large one in parts, seen only when it is whole."""
        self._ask(path, lambda store: _obstore().put(store, path, data, max_concurrency=UPLOADS))

    def create(self, path: str, data: bytes) -> Version | None:
        """Write an object unless one exists; None where one does, with other content."""
        return self._put_if(path, data, "create")

    def replace(self, path: str, data: bytes, version: Version) -> Version | None:
        """Write an object that is still of a version; None where it is not, or is gone."""
        return self._put_if(path, data, dict(version))

    def list(self, prefix: str) -> Iterator[Entry]:
        """Every object below a prefix, which ends at a slash or is empty."""
        pages = self._ask(prefix, lambda store: _obstore().list(store, prefix or None).collect())
        yield from map(_entry, pages)

    def delete(self, paths: Iterable[str]) -> None:
        """Delete objects, if they are there."""
        for path in paths:
            self._ask(path, lambda store, path=path: _obstore().delete(store, path), missing=None)

    def now(self) -> float:
        """Seconds since 1970 by the server's clock; by our own where nothing can be written."""
        try:
            return time.monotonic() + _clock_offset(self, int(time.monotonic() / CLOCK_SECONDS))
        except StoreError:  # a bucket that can only be read
            return time.time()

    def check(self, name: str) -> None:
        """Raise UsageError, naming the option, unless the bucket can be written to conditionally.

        A server that ignores the conditions would let two machines publish one key.
        """
        path = f"clock/{uuid.uuid4().hex}"
        try:
            version = self.create(path, b"1")
            again = self.create(path, b"2")
            new = None if version is None else self.replace(path, b"3", version)
            old = None if version is None else self.replace(path, b"4", version)
            self.delete([path])
        except StoreError as error:
            raise UsageError(f"{name}: {error}") from None
        if version is None or again is not None or new is None or old is not None:
            raise UsageError(
                f"{name} must be on a server that obeys If-None-Match and If-Match, got {self}; "
                "use another bucket, or a folder on NFS"
            )

    def __str__(self) -> str:
        """The URL."""
        return self.url

    def _put_if(self, path: str, data: bytes, mode: Any) -> Version | None:
        """Put on a condition.

        A request whose answer was lost is repeated, and then refused on account of itself; so what
        is there after a refusal tells whose it is.
        """
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        def put(store: Any) -> Version | None:
            try:
                return _version(_obstore().put(store, path, data, mode=mode))
            except (AlreadyExistsError, PreconditionError):
                return None

        version = self._ask(path, put)
        if version is None and (found := self.read(path)) is not None and found[0] == data:
            return found[1].version
        return version

    def _ask(self, path: str, request: Callable[[Any], T], **default: T) -> T:
        """The answer to a request, asked again after a failure of the net or the server."""
        from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

        place = f"{self.url.rstrip('/')}/{path}"
        client = _connect(self, os.getpid())
        for attempt in itertools.count(1):
            try:
                return request(client)
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise StoreError(_no_bucket(self.url)) from None
                if "missing" in default:
                    return default["missing"]
                raise StoreError(f"{place} must exist, got no such object") from None
            except (PermissionDeniedError, UnauthenticatedError) as error:
                raise StoreError(
                    f"{place} must be readable and writable, got {_reason(error)}; give this "
                    "machine's role, or the credentials in the environment, access to the bucket"
                ) from None
            except (BaseError, OSError) as error:
                if "NoSuchBucket" in str(error):
                    raise StoreError(_no_bucket(self.url)) from None
                if attempt == ATTEMPTS:
                    raise StoreError(
                        f"{place} must be reachable, got {_reason(error)}; look at the bucket, its "
                        "region and the net, and run the same command again"
                    ) from error
                time.sleep(random.uniform(0.1, 0.5) * 2**attempt)  # noqa: S311 - spreads retries
        raise AssertionError("unreachable")


def open_bucket(url: str) -> Bucket:
    """A bucket by its URL, with the region and endpoint of this process's environment.

    Raises:
        UsageError: The URL is none of a bucket, or the region is not known.
    """
    parts = urllib.parse.urlsplit(url)
    more = "@" in parts.netloc or parts.query or parts.fragment  # credentials, perhaps
    if parts.scheme not in SCHEMES or not parts.netloc or more:
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        raise UsageError(
            f"--store must be a folder, or a URL such as s3://bucket/prefix, got {shown!r}"
            f"{' and more' if more else ''}; "
            f"the schemes are {', '.join(SCHEMES)}"
        )
    if parts.scheme != "s3":
        return Bucket(url=url)
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region is None and endpoint is None:
        raise UsageError(
            f"--store {url} needs the region of its bucket, got none; export AWS_REGION=..."
        )
    return Bucket(url=url, endpoint=endpoint, region=region)


@cache
def _connect(bucket: Bucket, pid: int) -> Any:
    """A client of this process: a forked one must not share its parent's threads."""
    from obstore.store import from_url

    options: dict[str, Any] = {}
    if bucket.endpoint is not None:
        options["endpoint"] = bucket.endpoint
    if bucket.url.startswith("s3://"):
        options["region"] = bucket.region or "us-east-1"
        if profile := os.environ.get("AWS_PROFILE"):
            options["credential_provider"] = _profile_credentials(profile)
    plain = (bucket.endpoint or "").startswith("http://")
    store: Any = from_url(
        bucket.url,
        client_options={
            "allow_http": plain,
            "read_timeout": timedelta(seconds=SILENCE_SECONDS),
            "timeout": timedelta(seconds=LONGEST_SECONDS),
        },
        retry_config={"max_retries": 1000, "retry_timeout": timedelta(seconds=RETRY_SECONDS)},
        **options,
    )
    return store


@cache
def _clock_offset(bucket: Bucket, period: int) -> float:
    """What to add to this machine's monotonic time; measured anew in each period."""
    path = f"clock/{uuid.uuid4().hex}"
    bucket.write(path, b"")
    before = time.monotonic()
    found = bucket.find(path)
    bucket.delete([path])
    return (time.time() if found is None else found.modified) - before


def _profile_credentials(profile: str) -> Any:
    """Credentials of a profile in ~/.aws, which the client itself does not read."""
    try:
        import boto3
        from botocore.exceptions import BotoCoreError
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        raise StoreError(
            f"AWS_PROFILE must be unset where boto3 is not installed, got {profile!r}; "
            "uv pip install boto3"
        ) from None
    try:
        return Boto3CredentialProvider(boto3.Session(profile_name=profile))
    except (BotoCoreError, ValueError) as error:
        raise StoreError(f"AWS_PROFILE must have credentials, got {profile!r}: {error}") from None


def _obstore() -> Any:
    import obstore

    return obstore


def _entry(meta: Mapping[str, Any]) -> Entry:
    return Entry(
        path=meta["path"],
        size=meta["size"],
        modified=meta["last_modified"].timestamp(),
        version=_version(meta),
    )


def _version(meta: Mapping[str, Any]) -> Version:
    return tuple((name, meta[name]) for name in ("e_tag", "version") if meta.get(name))


def _reason(error: Exception) -> str:
    """The first line of an error, without what the client adds for its own debugging."""
    text = str(error).split("\n", 1)[0].rsplit(" - Server returned ", 1)
    return text[-1].split(": <?xml", 1)[0].strip()[:200]


def _no_bucket(url: str) -> str:
    return f"{url} must be in a bucket that exists, got no such bucket; make it first"
