"""The watcher of spot notices, against servers that answer as EC2's and GCE's metadata services."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from metadata_service import Cloud, Ec2, Gce, in_seconds

from sweep.tune.spot import aws_look, gcp_look, watch

HEAD = "10.0.0.9:6379"
# A command `ray` that writes down its words and RAY_ADDRESS, and fails as often as it is told to.
FAKE_RAY = f"""#!{sys.executable} -S
import json, os, pathlib, sys
here = pathlib.Path(__file__).parent
with open(here / "calls.jsonl", "a") as file:
    print(json.dumps([os.environ.get("RAY_ADDRESS"), *sys.argv[1:]]), file=file)
failures = int((here / "failures").read_text())
(here / "failures").write_text(str(failures - 1))
if failures > 0:
    sys.exit("Traceback\\nError: the head is away")
"""


@pytest.fixture
def ec2() -> Iterator[Cloud]:
    cloud = Cloud(Ec2)
    yield cloud
    cloud.stop()


@pytest.fixture
def gce() -> Iterator[Cloud]:
    cloud = Cloud(Gce)
    yield cloud
    cloud.stop()


class Ray:
    """The fake command's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "ray").write_text(FAKE_RAY)
        (folder / "ray").chmod(0o755)
        self.fail(0)

    def fail(self, times: int) -> None:
        (self._folder / "failures").write_text(str(times))

    def calls(self) -> list[list[str]]:
        written = self._folder / "calls.jsonl"
        return [json.loads(x) for x in written.read_text().splitlines()] if written.exists() else []


@pytest.fixture
def ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ray:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return Ray(tmp_path)


class Watcher:
    """`watch` in a thread, and what it says."""

    def __init__(self, look: Callable[[], str | None]) -> None:
        self.lines: list[str] = []
        self._thread = threading.Thread(
            target=watch,
            args=(look, HEAD),
            kwargs={"say": self.lines.append, "pause_seconds": 0.02},
            daemon=True,
        )
        self._thread.start()

    def said(self, words: str) -> int:
        return sum(words in line for line in self.lines)

    def wait_for(self, words: str) -> None:
        until = time.monotonic() + 20
        while not self.said(words):
            assert time.monotonic() < until, self.lines
            time.sleep(0.01)

    def end(self) -> None:
        self._thread.join(20)
        assert not self._thread.is_alive(), self.lines


def option(call: list[str], name: str) -> str:
    return call[call.index(name) + 1]


def test_a_notice_of_ec2_drains_the_node_as_preempted(ec2, ray):
    """The drain names the cluster, the reason that Tune knows, and EC2's own words."""
    ec2.notice = in_seconds(100)
    Watcher(aws_look(ec2.url)).end()
    (call,) = ray.calls()
    assert call[1] == "drain-node"
    assert option(call, "--address") == HEAD
    assert option(call, "--reason") == "DRAIN_NODE_REASON_PREEMPTION"
    assert option(call, "--reason-message") == ec2.notice


def test_ray_is_told_which_cluster_the_node_is_of(ec2, ray):
    """Without RAY_ADDRESS the command would start a cluster of its own where Ray is not up yet."""
    ec2.notice = in_seconds(100)
    Watcher(aws_look(ec2.url)).end()
    assert ray.calls()[0][0] == HEAD


def test_nothing_is_drained_without_a_notice(ec2, ray):
    """A 404 is no notice, nor is a rebalance recommendation."""
    watcher = Watcher(aws_look(ec2.url))
    time.sleep(0.3)
    assert (ray.calls(), watcher.lines) == ([], [])
    ec2.notice = in_seconds(100)
    watcher.end()
    assert len(ray.calls()) == 1


def test_the_deadline_is_over_when_the_machine_is_lost(ec2, ray):
    """Ray counts a loss before the deadline as a failure, and clouds come early at times."""
    ec2.notice = in_seconds(100)
    Watcher(aws_look(ec2.url)).end()
    assert option(ray.calls()[0], "--deadline-remaining-seconds") == "1"


def test_a_preemption_of_gce_drains_the_node(gce, ray):
    """The watcher waits at the server, and a change ends the wait."""
    watcher = Watcher(gcp_look(gce.url, wait_seconds=5))
    time.sleep(0.2)
    assert ray.calls() == []
    gce.notice = "TRUE"
    watcher.end()
    (call,) = ray.calls()
    assert option(call, "--reason") == "DRAIN_NODE_REASON_PREEMPTION"


def test_a_preemption_before_the_watcher_came_is_seen_at_once(gce):
    """The first request names no tag that the server knows, so it does not wait."""
    gce.notice = "TRUE"
    began = time.monotonic()
    assert gcp_look(gce.url, wait_seconds=5)() == "preempted"
    assert time.monotonic() - began < 4


def test_a_wait_that_ends_without_a_change_is_no_notice(gce):
    """The server answers FALSE when the time that was asked for is over."""
    look = gcp_look(gce.url, wait_seconds=1)
    assert (look(), look()) == (None, None)


def test_an_answer_that_is_no_truth_value_is_no_preemption(gce):
    """A login page in the place of the service drains nothing."""
    gce.notice = "<html>"
    with pytest.raises(ValueError, match="instance/preempted must be TRUE or FALSE"):
        gcp_look(gce.url)()


def test_a_service_that_is_away_is_waited_for(ec2, ray):
    """Its absence and its return are one line each, and the notice after them is not missed."""
    watcher = Watcher(aws_look(ec2.url))
    ec2.stop()
    watcher.wait_for("does not answer")
    time.sleep(0.3)
    ec2.start()
    watcher.wait_for("answers again")
    ec2.notice = in_seconds(100)
    watcher.end()
    assert (watcher.said("does not answer"), watcher.said("answers again")) == (1, 1)
    assert len(ray.calls()) == 1


def test_a_drain_that_fails_is_tried_again(ec2, ray):
    """Each failure is a line with Ray's own last words."""
    ray.fail(2)
    ec2.notice = in_seconds(100)
    watcher = Watcher(aws_look(ec2.url))
    watcher.end()
    assert len(ray.calls()) == 3
    assert watcher.said("retried: exit 1, Error: the head is away") == 2
    assert watcher.lines[-1].startswith("drained")


def test_no_proxy_is_asked_for_the_metadata(ec2, monkeypatch):
    """The service is this machine's own, whatever the environment says of the internet."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert aws_look(ec2.url)() is None


def test_the_words_are_ones_that_ray_knows(ray, ec2):
    """The installed Ray has this hidden command with every option that is used."""
    ec2.notice = in_seconds(100)
    Watcher(aws_look(ec2.url)).end()
    from ray.scripts.scripts import drain_node

    drain_node.make_context("drain-node", ray.calls()[0][2:])


def test_watching_needs_no_ray_in_its_process():
    """The watcher lives as long as the machine, so it stays small."""
    heavy = "{'ray', 'torch', 'numpy', 'tyro'}"
    code = f"import sys, sweep.tune.spot; print(sorted({heavy} & {{*sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_machine_without_ray_is_told_so(tmp_path):
    """The mistake shows at once, not two minutes before the machine is lost."""
    sweep = Path(sys.executable).parent / "sweep"
    done = subprocess.run(
        [sweep, "watch-spot", "--cloud", "aws", "--address", HEAD],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "the command ray must be on PATH, got none" in done.stderr
    assert len(done.stderr.splitlines()) == 1
