"""The faults that chaos.py injects into a running sweep, and what it records."""

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))  # for chaos.py too, which imports this module first

from faulty_proxy import FaultyProxy  # noqa: E402
from running_sweep import (  # noqa: E402
    Running,
    digest,
    find,
    finished_nodes,
    parent,
    use_token,
)

from sweep.store.bucket import Bucket  # noqa: E402

LEASE_SECONDS = 3.0


@dataclass(kw_only=True, slots=True)
class Fault:
    """One fault and what it cost."""

    sweep: int
    kind: str
    at_seconds: float
    """Seconds since its sweep began."""
    hit: str = ""
    """The damaged file."""
    lost_seconds: float | None = None
    """Training since the last saved state, or since it began; None if none was killed."""


@dataclass(kw_only=True)
class Round:
    """A running sweep, and what was recorded about it."""

    index: int
    out: Path
    words: tuple[str, ...]
    rng: random.Random
    kinds: "Kinds"
    """The faults that can be injected."""
    environment: dict[str, str] = field(default_factory=dict)
    proxy: FaultyProxy | None = None
    bucket: Bucket | None = None
    cluster: Any = None
    """The Ray cluster on which the trials run; None if the driver starts Ray."""
    lost_clusters: list[Any] = field(default_factory=list)
    """Clusters whose head was killed; their nodes run on for a while."""
    damaged: set[str] = field(default_factory=set)
    """Keys of models whose files a fault damaged."""
    damaged_files: dict[str, str] = field(default_factory=dict)
    """Path and SHA-256 of each damaged file."""
    seen: dict[str, object] = field(default_factory=dict)
    redone: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    started_at: float = field(default_factory=time.time)
    began: dict[tuple[str, int], float] = field(default_factory=dict)
    """When each trial was first seen to hold a key, by key and process."""
    num_runs: int = 0
    equal: bool = False
    unread: int = 0
    """Number of damaged files that nothing has read since."""

    def finished(self) -> dict[str, object]:
        """The identity of each finished model's record, which changes if it is written again."""
        if self.bucket is None:
            return dict(finished_nodes(self.out))
        entries = self.bucket.list("records/nodes/")
        return {entry.path: (entry.size, entry.modified) for entry in entries}

    def note_begun(self, run: Running) -> None:
        """Record which trial works on which key, for trials that have saved nothing yet."""
        for key, claim in run.claims().items():
            self.began.setdefault((key, claim["pid"]), time.time())

    def sleep(self, run: Running, seconds: float) -> None:
        """Wait, and record the trials that begin meanwhile."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.note_begun(run)
            time.sleep(0.05)

    def note_finished(self) -> None:
        """Record which models are done, and which undamaged ones were computed again."""
        for key, identity in self.finished().items():
            if key in self.seen and self.seen[key] != identity and key not in self.damaged:
                self.redone.append(key)
            self.seen[key] = identity


def training(run: Running) -> dict[str, dict]:
    """Claims of trials that have taken a step."""
    return {
        key: claim
        for key, claim in run.claims().items()
        if claim.get("stage") == "train"
        and claim.get("step")
        and Path(f"/proc/{claim['pid']}").exists()
    }


def lost_seconds(round_: Round, run: Running, key: str) -> float:
    """Training lost if a trial ends now: since its newest saved state, or since it began."""
    times = [round_.began.get((key, run.claims().get(key, {}).get("pid")), round_.started_at)]
    for path in find(run.out, f"work/{key}/*/training.safetensors.*"):
        with suppress(OSError):
            times.append(path.stat().st_mtime)
    return time.time() - max(times)


def most_lost(round_: Round, run: Running) -> float | None:
    """The most that any training loses if all end now; None if there is none."""
    return max((lost_seconds(round_, run, key) for key in training(run)), default=None)


def kill_trial(round_: Round, run: Running, fault: Fault) -> bool:
    """SIGKILL to a trial in the middle of a training."""
    claims = training(run)
    if not claims:
        return False
    key = round_.rng.choice(sorted(claims))
    fault.lost_seconds = lost_seconds(round_, run, key)
    with suppress(ProcessLookupError):
        os.kill(claims[key]["pid"], signal.SIGKILL)
    return True


def kill_driver(round_: Round, run: Running, fault: Fault) -> bool:
    """SIGKILL to the driver; Ray's other processes end by themselves, or run on for a while."""
    if round_.bucket is None and not training(run):
        return False
    fault.lost_seconds = most_lost(round_, run)
    os.kill(run.process.pid, signal.SIGKILL)
    run.wait()
    return True


def kill_all(round_: Round, run: Running, fault: Fault) -> bool:
    """SIGKILL to every process, as if the machine lost power."""
    if round_.bucket is None and not training(run):
        return False
    fault.lost_seconds = most_lost(round_, run)
    run.kill_all()
    return True


def kill_node(round_: Round, run: Running, fault: Fault) -> bool:
    """Kill a node of the cluster in the middle of a training, and add a new one."""
    claims = training(run)
    if not claims:
        return False
    key = round_.rng.choice(sorted(claims))
    raylets = {
        node.all_processes["raylet"][0].process.pid: node for node in round_.cluster.worker_nodes
    }
    try:
        node = raylets[parent(claims[key]["pid"])]
    except (OSError, KeyError):  # the trial has ended meanwhile
        return False
    fault.lost_seconds = lost_seconds(round_, run, key)
    round_.cluster.remove_node(node, allow_graceful=False)
    round_.cluster.add_node(num_cpus=1)
    return True


def kill_head(round_: Round, run: Running, fault: Fault) -> bool:
    """Kill the cluster's head with the driver on it, and start another cluster."""
    if not training(run):
        return False
    fault.lost_seconds = most_lost(round_, run)
    os.kill(run.process.pid, signal.SIGKILL)
    run.wait()
    round_.cluster.remove_node(round_.cluster.head_node, allow_graceful=False)
    round_.lost_clusters.append(round_.cluster)
    round_.cluster = start_cluster()
    return True


def start_cluster() -> Any:
    """Start a head without CPUs, and two nodes with one CPU each."""
    use_token()
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    return cluster


def stop_trial(round_: Round, run: Running, fault: Fault) -> bool:
    """Stop a trial until its lease has expired, and let it continue."""
    claims = training(run)
    if not claims:
        return False
    pid = claims[round_.rng.choice(sorted(claims))]["pid"]
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        round_.sleep(run, LEASE_SECONDS + 2.0)
        os.kill(pid, signal.SIGCONT)
    return True


def fill_disk(round_: Round, run: Running, fault: Fault) -> bool:
    """Fill the disk of the store for three seconds."""
    if not round_.out.is_mount():
        return False
    filler = round_.out / ".filler"
    try:
        with filler.open("wb") as file:
            while True:
                file.write(b"\0" * 65536)
                file.flush()
    except OSError:
        pass
    round_.sleep(run, 3.0)
    filler.unlink(missing_ok=True)
    return True


def damage(round_: Round, run: Running, fault: Fault) -> bool:
    """Truncate a file of the store, or flip one of its bits."""
    patterns = ("generations/*/model.safetensors", "generations/*/pool.json", "streams/*/*")
    patterns += ("work/*/*/training.safetensors.*", "features/*/*")
    paths = sorted(path for pattern in patterns for path in find(round_.out, pattern))
    if not paths:
        return False
    path = round_.rng.choice(paths)
    try:
        data = bytearray(path.read_bytes())
        if fault.kind == "cut_file":
            data = data[: round_.rng.randrange(len(data))]
        else:
            data[round_.rng.randrange(len(data))] ^= 1 << round_.rng.randrange(8)
        identity = path.stat()
        path.write_bytes(data)
        os.utime(path, ns=(identity.st_atime_ns, identity.st_mtime_ns))
    except (OSError, ValueError, IndexError):  # deleted or emptied meanwhile
        return False
    round_.damaged_files[str(path.relative_to(round_.out))] = digest(path)
    fault.hit = "/".join(part[:24] for part in path.relative_to(round_.out).parts)
    if path.parts[-3] == "generations":
        round_.damaged.add(path.parts[-2])
    return True


def break_server(round_: Round, run: Running, fault: Fault) -> bool:
    """Make the bucket's server fail for three seconds."""
    if round_.proxy is None:
        return False
    round_.proxy.mode = fault.kind
    round_.sleep(run, 3.0)
    round_.proxy.mode = "well"
    return True


Kinds = dict[str, Callable[[Round, Running, Fault], bool]]
"""Each function injects a fault, or returns False if that is impossible now."""

ON_DISK: Kinds = {
    "kill_trial": kill_trial,
    "kill_driver": kill_driver,
    "kill_all": kill_all,
    "stop_trial": stop_trial,
    "full_disk": fill_disk,
    "cut_file": damage,
    "turn_bit": damage,
}
ON_CLUSTER: Kinds = {
    "kill_trial": kill_trial,
    "kill_driver": kill_driver,
    "kill_head": kill_head,
    "kill_node": kill_node,
    "stop_trial": stop_trial,
}
IN_BUCKET: Kinds = {
    "kill_driver": kill_driver,
    "kill_all": kill_all,
    "answer_500": break_server,
    "drop": break_server,
    "hang": break_server,
    "lose_answer": break_server,
}
