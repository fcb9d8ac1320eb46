"""A store by where it is: a folder, or the URL of a bucket."""

from pathlib import Path

from sweep.bucket import open_bucket
from sweep.cache import GIGABYTE, Cache, default_cache
from sweep.config import ResourcesConfig
from sweep.object_store import ObjectStore
from sweep.store import LocalStore, Store


def open_store(place: Path | str, resources: ResourcesConfig | None = None) -> Store:
    """The store at a folder, or at the URL of a bucket.

    Args:
        place: A folder, or s3://bucket/prefix, gs://..., az://...
        resources: How long a silent claim is live, and the cache of what is read from a bucket.

    Raises:
        ValueError: The URL is none of a bucket, or its region is not known.
    """
    resources = resources or ResourcesConfig()
    ttl_seconds = resources.lease_seconds
    if "://" not in str(place):
        return LocalStore(place, ttl_seconds=ttl_seconds)
    bucket, folder = open_bucket(str(place)), resources.cache_dir
    cache = Cache(
        root=Path(folder).expanduser().absolute() if folder else default_cache(),
        limit_bytes=int(resources.cache_gigabytes * GIGABYTE),
        bucket=bucket.url,
    )
    return ObjectStore(bucket, cache, ttl_seconds=ttl_seconds)
