"""Watches a cloud's metadata service for spot notices, and has Ray drain this machine in time.

Ray counts the loss of a machine as a failure of its trials unless the machine was drained as
preempted, and does not watch for notices itself. The command `ray` does the draining.
"""

import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from http.client import HTTPException

from model.errors import UsageError

AWS_METADATA = "http://169.254.169.254"
GCP_METADATA = "http://metadata.google.internal"
GCP_WAIT_SECONDS = 60
"""How long the metadata server keeps a request open while nothing changes."""
DRAIN_SECONDS = 30
"""Timeout of a drain, after which it is retried. A drain usually takes 5 to 10 seconds."""
DEADLINE_SECONDS = 1
"""Deadline given to Ray, regardless of the time in the notice. Ray does nothing at the deadline
itself, but counts the loss of a drained machine as a preemption only if it is detected after the
deadline (InferDeathInfo in its gcs_node_manager.cc), and the clouds' times are approximate."""
# Requests to the metadata service must bypass proxies, which cannot reach this machine's service.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


Look = Callable[[], str | None]
"""Makes one request, which may block; returns the text of the notice, or None without one.

Raises OSError, HTTPException or ValueError if the service is unreachable or its answer invalid.
"""


def aws_look(metadata: str = AWS_METADATA) -> Look:
    """Return a function that queries EC2's metadata service (IMDSv2) for an interruption notice.

    Rebalance recommendations are ignored, because most machines that get one are kept.
    """

    def look() -> str | None:
        ttl = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
        token, _ = _request(f"{metadata}/latest/api/token", ttl, method="PUT")
        try:
            text, _ = _request(
                f"{metadata}/latest/meta-data/spot/instance-action",
                {"X-aws-ec2-metadata-token": token},
            )
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise
        return text

    return look


def gcp_look(metadata: str = GCP_METADATA, *, wait_seconds: int = GCP_WAIT_SECONDS) -> Look:
    """Return a function that waits for GCE's metadata server to announce a preemption.

    Each request sends the last entity tag, so that a change between two requests is answered at
    once.
    """
    tag = "0"

    def look() -> str | None:
        nonlocal tag
        text, tag = _request(
            f"{metadata}/computeMetadata/v1/instance/preempted"
            f"?wait_for_change=true&timeout_sec={wait_seconds}&last_etag={tag}",
            {"Metadata-Flavor": "Google"},
            timeout=wait_seconds + 10,
        )
        if text not in ("TRUE", "FALSE"):
            raise UsageError(f"instance/preempted must be TRUE or FALSE, got {text[:80]!r}")
        return "preempted" if text == "TRUE" else None

    return look


CLOUDS = {"aws": aws_look, "gcp": gcp_look}


def watch(look: Look, address: str, *, say: Callable[[str], None], pause_seconds: float) -> None:
    """Wait for a notice and drain this machine's Ray node; returns when it is drained.

    Queries and drains that fail are retried. An unreachable metadata service is logged once.

    Args:
        look: Queries the cloud.
        address: HOST:PORT of the head node of the Ray cluster.
        say: Called with each line of the log.
        pause_seconds: Pause between two queries; at most this, or 1 s, between two drains.
    """
    notice = await_notice(look, say=say, pause_seconds=pause_seconds)
    say(f"notice: {notice}")
    while error := drain(address, notice):
        say(f"ray drain-node failed and is retried: {error}")
        time.sleep(min(1.0, pause_seconds))
    say("drained: Ray starts nothing new here")


def await_notice(look: Look, *, say: Callable[[str], None], pause_seconds: float) -> str:
    """Query repeatedly until there is a notice."""
    away = False
    while True:
        try:
            notice = look()
        except (OSError, HTTPException, ValueError) as error:
            if not away:
                say(f"the metadata service does not answer; retrying: {error}")
            away = True
        else:
            if away:
                say("the metadata service answers again")
            away = False
            if notice is not None:
                return notice
        time.sleep(pause_seconds)


def drain(address: str, message: str) -> str | None:
    """Have Ray drain the node that runs here; returns the last line of the error, if any.

    The command joins the cluster at RAY_ADDRESS to find the node's id. Without RAY_ADDRESS, and if
    Ray has not started here yet, it would start another cluster and drain that one.
    """
    command = ["ray", "drain-node", "--address", address]
    command += ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", message]
    command += ["--deadline-remaining-seconds", str(DEADLINE_SECONDS)]
    try:
        done = subprocess.run(
            command,
            env=os.environ | {"RAY_ADDRESS": address},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=DRAIN_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    lines = (done.stderr + done.stdout).strip().splitlines() or ["no message"]
    return None if done.returncode == 0 else f"exit {done.returncode}, {lines[-1].strip()}"


def watch_here(cloud: str, address: str, *, pause_seconds: float = 5.0) -> None:
    """Watch the metadata service of this machine; the log goes to stderr.

    Raises:
        UsageError: The command `ray` is not on PATH.
    """
    if shutil.which("ray") is None:
        raise UsageError("the command ray must be on PATH, got none; activate its environment")
    say_with_time(f"watching for a spot notice of {cloud} to this machine, for Ray at {address}")
    watch(CLOUDS[cloud](), address, say=say_with_time, pause_seconds=pause_seconds)


def say_with_time(line: str) -> None:
    """Write a line to stderr, with the time in UTC."""
    sys.stderr.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {line}\n")
    sys.stderr.flush()


def _request(
    url: str, headers: dict[str, str], *, method: str = "GET", timeout: float = 2.0
) -> tuple[str, str]:
    """Return the text of the response, and its entity tag."""
    request = urllib.request.Request(url, headers=headers, method=method)  # noqa: S310
    with _OPENER.open(request, timeout=timeout) as answer:
        return answer.read().decode().strip(), answer.headers.get("ETag", "0")
