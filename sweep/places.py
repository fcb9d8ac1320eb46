"""A store by where it is: a folder, or the URL of a bucket."""

import re
from pathlib import Path

from model.errors import UsageError
from sweep.bucket import open_bucket
from sweep.cache import GIGABYTE, Cache, default_cache
from sweep.config import ResourcesConfig
from sweep.local_store import LocalStore
from sweep.object_store import ObjectStore
from sweep.store import Store


def existing_store(out: Path, store: str | None, resources: ResourcesConfig) -> Store:
    """The store of a run: at `store`, or in its results folder.

    Raises:
        UsageError: There is no such folder or bucket.
    """
    place = store or str(out)
    if "://" not in place and not Path(place).is_dir():
        raise UsageError(f"--store must be the one of the run, got {place}, where there is none")
    found = open_store(place, resources)
    found.read_claims()  # raises where there is no such bucket
    return found


def open_store(place: Path | str, resources: ResourcesConfig | None = None) -> Store:
    """The store at a folder, or at the URL of a bucket.

    Args:
        place: A folder, or s3://bucket/prefix, gs://bucket/prefix or az://container/prefix
        resources: How long a silent claim is live, and the cache of what is read from a bucket.

    Raises:
        UsageError: The URL is none of a bucket, or its region is not known.
    """
    resources = resources or ResourcesConfig()
    ttl_seconds = resources.lease_seconds
    if re.match(r"[a-z0-9]+:/(?!/)", str(place)):
        raise UsageError(f"--store must have two slashes in a URL, got {str(place)!r}")
    if "://" not in str(place):
        return LocalStore(place, ttl_seconds=ttl_seconds)
    bucket, folder = open_bucket(str(place)), resources.cache_dir
    cache = Cache(
        root=Path(folder).expanduser().absolute() if folder else default_cache(),
        limit_bytes=int(resources.cache_gigabytes * GIGABYTE),
        bucket=bucket.url,
    )
    return ObjectStore(bucket, cache, ttl_seconds=ttl_seconds)
