"""One sweep that chaos.py disturbs, and what it records about it."""

import os
import random
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))  # for the other modules too, which import this one first

from faulty_proxy import FaultyProxy  # noqa: E402
from running_sweep import Running, find, finished_nodes, run_sweep, use_token  # noqa: E402
from s3_server import Server  # noqa: E402

from sweep.store.bucket import Bucket  # noqa: E402

LEASE_SECONDS = 3.0


@dataclass(kw_only=True, slots=True)
class Fault:
    """One fault, what it cost, and how a command that it ended or caused has ended."""

    sweep: int
    kind: str
    at_seconds: float
    """Seconds since its sweep began."""
    hit: str = ""
    """The damaged or deleted file."""
    lost_seconds: float | None = None
    """Training since the last saved state, or since it began; None if none was killed."""
    answer: str = ""
    """Exit code and last line of a command that the fault ended, or that is the fault."""
    wrong: bool = False
    """Whether that command ended with another code than it must, or with a traceback."""

    def judge(self, code: int, said: str, allowed: tuple[int, ...]) -> None:
        """Record how a command ended, and whether it may end so."""
        last = said.strip().rpartition("\n")[2]
        self.answer = f"{code}: {last[:200]}"
        self.wrong |= code not in allowed or "Traceback" in said


@dataclass(kw_only=True)
class Round:
    """A running sweep, and what was recorded about it."""

    index: int
    place: str
    """Where it runs: in a folder, on a store elsewhere, in a bucket or on a cluster."""
    out: Path
    words: tuple[str, ...]
    rng: random.Random
    kinds: "Kinds"
    """The faults that can be injected."""
    store: Path | None = None
    """The folder of its models if that is not `out`."""
    environment: dict[str, str] = field(default_factory=dict)
    server: Server | None = None
    proxy: FaultyProxy | None = None
    bucket: Bucket | None = None
    cluster: Any = None
    """The Ray cluster on which the trials run; None if the driver starts Ray."""
    lost_clusters: list[Any] = field(default_factory=list)
    """Clusters whose head was killed; their nodes run on for a while."""
    others: list[Path] = field(default_factory=list)
    """Results folders of further sweeps on the same store."""
    running: ExitStack = field(default_factory=ExitStack)
    """Ends every run of the round."""
    damaged: set[str] = field(default_factory=set)
    """Keys of models whose files a fault damaged or deleted."""
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
    gone: bool = False
    """Whether its bucket was deleted for good, after which every run must be refused."""
    unread: int = 0
    """Number of damaged files that nothing has read since."""

    @property
    def files(self) -> Path:
        """The folder that holds its models, unless a bucket does."""
        return self.store or self.out

    def start(self, out: Path | None = None) -> Running:
        """Start the sweep's command, through a pipe; into another results folder if given."""
        words = self.words
        if self.cluster is not None:
            words += ("--address", self.cluster.address)
        running = Running(
            out=out or self.out,
            store=self.store,
            words=words,
            piped=True,
            environment=self.environment,
        )
        return self.running.enter_context(running)

    def finished(self) -> dict[str, object]:
        """The identity of each finished model's record, which changes if it is written again."""
        if self.bucket is None:
            return dict(finished_nodes(self.files))
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
        if self.gone:
            return
        for key, identity in self.finished().items():
            if key in self.seen and self.seen[key] != identity and key not in self.damaged:
                self.redone.append(key)
            self.seen[key] = identity


def ask(round_: Round, fault: Fault, *words: object, allowed: tuple[int, ...]) -> None:
    """Run a command of `sweep` to its end, and record how it ended."""
    done = run_sweep(*words, cwd=round_.out.parent, **round_.environment)
    fault.judge(done.returncode, done.stderr, allowed)


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
    for path in find(run.files, f"work/{key}/*/training.safetensors.*"):
        with suppress(OSError):
            times.append(path.stat().st_mtime)
    return time.time() - max(times)


def most_lost(round_: Round, run: Running) -> float | None:
    """The most that any training loses if all end now; None if there is none."""
    return max((lost_seconds(round_, run, key) for key in training(run)), default=None)


def start_cluster() -> Any:
    """Start a head without CPUs, and two nodes with one CPU each."""
    use_token()
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    return cluster


def is_root() -> bool:
    """Whether this process may mount disks."""
    return os.geteuid() == 0


Kinds = dict[str, Callable[[Round, Running, Fault], bool]]
"""Each function injects a fault, or returns False if that is impossible now."""
