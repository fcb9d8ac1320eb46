"""Facts of a whole sweep whose store is a bucket, and of the keys to it."""

import time
from pathlib import Path
from subprocess import CompletedProcess
from typing import NamedTuple

import pytest
from running_sweep import Running, find_text, results, run_sweep, wait_for, write_sweep
from s3_server import running_server

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SECRET = "a-secret-of-this-test"  # noqa: S105 - opens nothing


class Runs(NamedTuple):
    """Two runs, a look at the first, and what was seen of Ray's files while it ran."""

    folder: Path
    first: Running
    second: CompletedProcess[str]
    status: CompletedProcess[str]
    num_ray_files: int
    leaked: set[Path]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """tiny.toml twice on one bucket, from two folders, with two caches: as two machines would."""
    folder = tmp_path_factory.mktemp("bucket")
    write_sweep(folder)
    with running_server() as server:
        url = server.make_bucket("bucket") + "/prefix"
        environment = server.environment | {"AWS_SECRET_ACCESS_KEY": SECRET}
        words = ("tiny.toml", "--store", url, "--resources.cache-dir")
        with Running(
            out=folder / "out0", words=(*words, "cache0"), environment=environment
        ) as first:
            ray_files = wait_for(first.ray_folder, "Ray's start")
            num_files, leaked = 0, set()
            while first.process.poll() is None:
                num, holding = find_text(SECRET, ray_files)
                num_files, leaked = max(num_files, num), leaked.union(holding)
                time.sleep(0.2)
            first.wait()
        second = run_sweep("run", *words, "cache1", "--out", "out1", cwd=folder, **environment)
        status = run_sweep("status", "out0", "--store", url, cwd=folder, **environment)
    return Runs(folder, first, second, status, num_files, leaked)


def test_it_ends_as_a_sweep_in_a_folder_does(runs, finished):
    """Pools, curves, previews and numbers are the same, bit for bit; weights stay in the bucket."""
    assert runs.first.wait() == 0, runs.first.output()
    there = results(runs.folder / "out0")
    expected = results(finished.out)
    assert there == {
        name: value
        for name, value in expected.items()
        if not name.startswith("streams/") and not name.endswith(".safetensors")
    }


def test_another_machine_computes_nothing(runs):
    assert runs.second.returncode == 0, runs.second.stderr
    assert "nothing to compute" in runs.second.stderr
    assert results(runs.folder / "out1") == results(runs.folder / "out0")


def test_status_is_read_from_the_bucket(runs):
    assert "3 of 3 models done" in runs.status.stdout


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
    num_files, holding = find_text(SECRET, runs.folder)
    assert num_files > 50
    assert holding == []
    assert runs.num_ray_files > 20
    assert runs.leaked == set()
