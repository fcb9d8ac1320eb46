"""Stores in buckets: of the tests' own server, or in this process's memory."""

import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from s3_server import Server

from sweep.config import ResourcesConfig
from sweep.store.bucket import Bucket
from sweep.store.cache import Cache
from sweep.store.folder import Folder
from sweep.store.store import Store, open_store


def new_store(server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store below a prefix of its own, and the keys to it in the environment."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return open_here(f"s3://bucket/{uuid.uuid4().hex}", folder / "cache")


def open_here(url: str, cache: Path, lease_seconds: float = 60) -> Store:
    """The store at a URL."""
    return open_store(url, ResourcesConfig(cache_dir=str(cache), lease_seconds=lease_seconds))


def memory_bucket(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A bucket in this process's memory, which obeys the same conditions as a server."""
    from obstore.store import MemoryStore

    clients: dict[str, Any] = {}
    monkeypatch.setattr(
        "sweep.store.bucket._connect",
        lambda bucket, pid: clients.setdefault(bucket.url, MemoryStore()),
    )
    url = f"memory://{uuid.uuid4().hex}"
    return Bucket(url=url, cache=Cache(root=folder / "cache", limit_bytes=10**9, bucket=url))


def store_of(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store in a folder, or in a bucket in memory."""
    if kind == "folder":
        return open_store(folder / "store")
    return Store(memory_bucket(folder, monkeypatch))


def bucket_of(store: Store) -> Bucket:
    """The bucket that a store lies in."""
    assert isinstance(store.files, Bucket)
    return store.files


def elsewhere(store: Store, folder: Path, lease_seconds: float = 60) -> Store:
    """The same store as another machine sees it: with nothing remembered or cached."""
    if isinstance(store.files, Folder):
        return Store(store.files, lease_seconds=lease_seconds)
    cache = replace(store.files.cache, root=folder / uuid.uuid4().hex)
    return Store(replace(store.files, cache=cache), lease_seconds=lease_seconds)
