"""Facts of a sweep whose bucket goes away: for longer than it tolerates, or for good."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from faulty_proxy import FaultyProxy
from running_sweep import Running, results, run_sweep, wait_for, write_sweep
from s3_server import Server, running_server

pytestmark = [pytest.mark.ray, pytest.mark.slow]

TOLERATED_SECONDS = 15
"""Longer than the ten seconds after which a failure is said."""
ENDS_WITHIN_SECONDS = 90
"""From the start of the failure; about 40 s on a quiet machine."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A run that its bucket has ended."""

    run: Running
    words: tuple[str, ...]
    seconds: float
    environment: dict[str, str]

    def log(self) -> str:
        return (self.run.out / "log.txt").read_text()


def run_until_failure(
    folder: Path, server: Server, proxy: FaultyProxy, fail: Callable[[], None]
) -> Ended:
    """A sweep on a bucket that fails after V_1."""
    write_sweep(folder)
    url = server.make_bucket("bucket") + "/prefix"
    words = ("tiny.toml", "--store", url, "--resources.cache-dir", str(folder / "cache"))
    words += ("--resources.outage-seconds", str(TOLERATED_SECONDS))
    words += ("--resources.max-failures", "100")  # the driver gives up, not its trials
    environment = server.environment | {"AWS_ENDPOINT_URL": proxy.endpoint}
    with Running(out=folder / "out", words=words, environment=environment) as run:
        wait_for(lambda: "V_1 done" in run.output(), "a first model")
        fail()
        started = time.monotonic()
        run.wait()
        seconds = time.monotonic() - started
    return Ended(run=run, words=words, seconds=seconds, environment=environment)


def assert_it_ended_with_a_word(ended: Ended) -> None:
    """A line after ten seconds, an error, how to resume, and exit code 2; in the log too."""
    said = ended.run.output()
    assert ended.run.process.returncode == 2, said
    assert ended.seconds < ENDS_WITHIN_SECONDS
    assert "Traceback" not in said
    for text in (said, ended.log()):
        assert "the store has not answered for 1" in text
        assert f"resources.outage_seconds is {TOLERATED_SECONDS}" in text
        assert "stopped; finished models are kept. To resume:" in text
        assert f"sweep run {' '.join(ended.words)} --out {ended.run.out}\n" in text
    assert ended.log().rstrip().endswith("ended: exit code 2")


def test_a_bucket_that_is_deleted_ends_a_run(tmp_path: Path) -> None:
    """It waited for ever, without a word."""
    with running_server() as server, FaultyProxy(server.endpoint) as proxy:
        ended = run_until_failure(tmp_path, server, proxy, server.delete_buckets)
    assert_it_ended_with_a_word(ended)
    assert "no such bucket" in ended.run.output()


def test_a_bucket_that_is_away_for_too_long_ends_a_run_that_can_be_resumed(
    tmp_path: Path, finished
) -> None:
    """The same command ends as if nothing had happened."""
    with running_server() as server, FaultyProxy(server.endpoint) as proxy:

        def drop() -> None:
            proxy.mode = "drop"

        ended = run_until_failure(tmp_path, server, proxy, drop)
        assert_it_ended_with_a_word(ended)
        proxy.mode = "well"
        again = run_sweep("run", *ended.words, "--out", "out", cwd=tmp_path, **ended.environment)
    assert again.returncode == 0, again.stderr
    expected = {
        name: value
        for name, value in results(finished.out).items()
        if not name.startswith("streams/") and not name.endswith(".safetensors")
    }
    assert results(tmp_path / "out") == expected
