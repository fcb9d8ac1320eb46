"""Locations that are no store, and buckets without credentials, which are not waited for."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from bucket_store import memory_bucket

from model.errors import UsageError
from sweep.config import ResourcesConfig
from sweep.store.bucket import open_bucket
from sweep.store.folder import StoreError
from sweep.store.patience import OutageError
from sweep.store.store import existing_store, open_store

NO_CREDENTIALS = (
    "Generic GCS error: Error performing token request: Error performing GET "
    "http://169.254.169.254/computeMetadata/v1/instance/service-accounts/default/token in 5s - "
    "Server returned non-2xx status code: 403 Forbidden"
)


class Refusing:
    """A client on a machine that the cloud gives no credentials."""

    def __init__(self) -> None:
        self.requests = 0

    def head(self, path: str) -> None:
        from obstore.exceptions import GenericError

        self.requests += 1
        raise GenericError(NO_CREDENTIALS)


@pytest.mark.parametrize(
    "location", ["s3:/x", "S3://b/x", "s3:", "gs:/b", "GS://b", "ftp://x/y", "s3:///x", "://"]
)
def test_what_is_no_url_of_a_bucket_is_no_folder_either(location: str) -> None:
    for function in (open_store, existing_store):
        with pytest.raises(UsageError, match=r"^--store must "):
            function(location, ResourcesConfig())


def test_a_store_may_be_in_the_users_home(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_store("~/models").location == str(tmp_path / "models")


def test_a_machine_without_credentials_is_told_so_at_once(monkeypatch, tmp_path: Path) -> None:
    """An outage would be waited for."""
    client = Refusing()
    bucket = memory_bucket(tmp_path, monkeypatch)
    monkeypatch.setattr("sweep.store.bucket._connect", lambda bucket, pid: client)
    with pytest.raises(StoreError, match="/x needs credentials, got none ") as error:
        bucket.find("x")
    assert not isinstance(error.value, OutageError)
    assert client.requests == 1


def test_a_machine_that_had_credentials_waits_for_them(monkeypatch, tmp_path: Path) -> None:
    """The cloud may not answer for a moment."""
    bucket = replace(memory_bucket(tmp_path, monkeypatch), outage_seconds=0.2)
    assert bucket.find("x") is None
    client = Refusing()
    monkeypatch.setattr("sweep.store.bucket._connect", lambda bucket, pid: client)
    with pytest.raises(OutageError):
        bucket.find("x")
    assert client.requests > 1


def test_a_missing_account_is_one_line(monkeypatch) -> None:
    for name in ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_CONNECTION_STRING"):
        monkeypatch.delenv(name, raising=False)
    started = time.monotonic()
    with pytest.raises(StoreError, match=r"^az://b/x must be a bucket .*Account must be specified"):
        open_bucket("az://b/x", ResourcesConfig()).find("y")
    assert time.monotonic() - started < 10


def test_a_variable_that_is_no_text_is_named(monkeypatch) -> None:
    monkeypatch.setenv("AWS_REGION", "caf\udce9")
    with pytest.raises(UsageError, match=r"^AWS_REGION must be UTF-8 text"):
        open_bucket("s3://b/x", ResourcesConfig())


def test_a_named_pipe_in_a_store_is_not_waited_for(tmp_path: Path) -> None:
    """Nobody may ever write into it."""
    os.mkfifo(tmp_path / "x")
    files = open_store(tmp_path).files
    for read in (files.read, lambda path: list(files.read_parts(path))):
        with pytest.raises(UsageError, match=r"x must be a file, got a named pipe$"):
            read("x")
