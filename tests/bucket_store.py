"""Stores in buckets of the tests' own server."""

import uuid
from pathlib import Path

import pytest
from s3_server import Server

from sweep.config import ResourcesConfig
from sweep.object_store import ObjectStore
from sweep.places import open_store


def new_store(server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """A store below a prefix of its own, and the keys to it in the environment."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return open_here(f"s3://bucket/{uuid.uuid4().hex}", folder / "cache")


def open_here(url: str, cache: Path, lease_seconds: int = 60) -> ObjectStore:
    """The store at a URL."""
    resources = ResourcesConfig(cache_dir=str(cache), lease_seconds=lease_seconds)
    store = open_store(url, resources)
    assert isinstance(store, ObjectStore)
    return store


def elsewhere(store: ObjectStore, folder: Path, lease_seconds: int = 60) -> ObjectStore:
    """The same store as another machine sees it: with nothing remembered or cached."""
    return open_here(store.place, folder / uuid.uuid4().hex, lease_seconds)
