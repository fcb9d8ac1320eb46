"""Facts of a whole sweep whose store is a bucket, and of the keys to it."""

from pathlib import Path

import pytest
from running_sweep import results, run_sweep, write_sweep
from s3_server import running_server

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SECRET = "a-secret-of-this-test"  # noqa: S105 - opens nothing


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """tiny.toml twice on one bucket, from two folders, with two caches: as two machines would."""
    folder = tmp_path_factory.mktemp("bucket")
    write_sweep(folder)
    started = set(Path("/tmp/ray").glob("session_*"))  # noqa: S108 - Ray's own place
    with running_server() as server:
        url = server.make_bucket("bucket") + "/prefix"
        environment = server.environment | {"AWS_SECRET_ACCESS_KEY": SECRET}
        runs = [
            run_sweep(
                *("run", "tiny.toml", "--out", f"out{i}", "--store", url),
                *("--resources.cache-dir", f"cache{i}"),
                cwd=folder,
                **environment,
            )
            for i in range(2)
        ]
        status = run_sweep("status", "out0", "--store", url, cwd=folder, **environment)
    sessions = [p for p in Path("/tmp/ray").glob("session_*") if p not in started]  # noqa: S108
    return folder, runs, status, sessions


def test_it_ends_as_a_sweep_in_a_folder_does(runs, finished):
    """Pools, curves, previews and numbers are the same, bit for bit; weights stay in the bucket."""
    folder, (first, _), _, _ = runs
    assert first.returncode == 0, first.stderr
    there = results(folder / "out0")
    expected = results(finished.out)
    assert there == {
        name: value
        for name, value in expected.items()
        if not name.startswith("streams/") and not name.endswith(".safetensors")
    }


def test_another_machine_computes_nothing(runs):
    folder, (_, second), _, _ = runs
    assert second.returncode == 0, second.stderr
    assert "nothing to compute" in second.stderr
    assert results(folder / "out1") == results(folder / "out0")


def test_status_is_read_from_the_bucket(runs):
    _, _, status, _ = runs
    assert "3 of 3 models done" in status.stdout


def test_the_quickstart_is_computed_once_for_two_machines(tmp_path):
    """The README's own command, with its store in a bucket: the second time nothing is left."""
    with running_server() as server:
        words = ("run", "quickstart", "--store", server.make_bucket("bucket"))
        first, second = (
            run_sweep(
                *(*words, "--out", f"out{i}", "--resources.cache-dir", f"cache{i}"),
                cwd=tmp_path,
                **server.environment,
            )
            for i in range(2)
        )
    assert first.returncode == 0, first.stderr
    assert second.returncode == 0, second.stderr
    assert "nothing to compute" not in first.stderr
    assert "nothing to compute" in second.stderr
    assert results(tmp_path / "out0") == results(tmp_path / "out1")
    assert "**kid/" in first.stdout
    assert first.stdout.replace("out0", "") == second.stdout.replace("out1", "")


def test_a_secret_is_in_no_file(runs):
    """Neither in results, nor in Ray's logs and files of the run."""
    folder, _, _, sessions = runs
    assert sessions != []
    files = [p for root in (folder, *sessions) for p in root.rglob("*") if p.is_file()]
    assert len(files) > 50
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
