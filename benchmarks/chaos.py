"""Break small sweeps at random and compare their end with that of one that was left alone.

    uv run --extra all python benchmarks/chaos.py                    (needs root for the full disk)
    uv run --extra all python benchmarks/chaos.py --faults 10 --seed 1

Faults, drawn in turn of a seed: SIGKILL to a trial, to the driver, to all processes; SIGSTOP of a
trial beyond its lease; a disk that is full for seconds; a file of the store cut short, or with one
bit turned; and, on a bucket, a server that answers 500, drops connections, or does not answer at
all. A sweep that ends, or dies, is run again by the same command until it is done; then the next
one begins. Prints a line for each fault and writes benchmarks/results/chaos_<date>.json:

- whether every sweep ended with the weights, samples and numbers of the undisturbed one (but for
  damaged files that nothing has asked for since: `analysis check` tells of those),
- how many finished models were computed again though no fault had touched their files,
- how much training each fault cost: the time since the state that its trial last saved.
"""

import argparse
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from faulty_proxy import FaultyProxy  # noqa: E402
from running_sweep import (  # noqa: E402
    Running,
    digest,
    find,
    finished_nodes,
    results,
    run_sweep,
    write_sweep,
)
from s3_server import running_server  # noqa: E402

from sweep.bucket import Bucket, open_bucket  # noqa: E402

RESULTS = Path(__file__).parent / "results"
CHECKPOINT_SECONDS, LEASE_SECONDS = 1.0, 3.0
STEPS = 1500
MOST_RUNS = 40
"""Of one sweep, until it counts as one that does not end."""
DISK_MEGABYTES = 48
LOOK_SECONDS = 0.5
"""Between looks at what is finished."""


@dataclass(kw_only=True, slots=True)
class Fault:
    """One fault and what it cost."""

    sweep: int
    kind: str
    at_seconds: float
    """Since its sweep began."""
    hit: str = ""
    """The file that was damaged."""
    lost_seconds: float | None = None
    """Training since the last saved state, where a training was killed."""


@dataclass(kw_only=True)
class Round:
    """A sweep under way, and what was seen of it."""

    index: int
    out: Path
    words: tuple[str, ...]
    rng: random.Random
    environment: dict[str, str] = field(default_factory=dict)
    proxy: FaultyProxy | None = None
    bucket: Bucket | None = None
    damaged: set[str] = field(default_factory=set)
    """Keys of models whose files a fault touched."""
    damaged_files: dict[str, str] = field(default_factory=dict)
    """Path and SHA-256 of each file as a fault left it."""
    seen: dict[str, object] = field(default_factory=dict)
    redone: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    num_runs: int = 0
    unread: int = 0
    """Damaged files that nothing has asked for since."""

    def finished(self) -> dict[str, object]:
        """What tells the record of each finished model from one written later."""
        if self.bucket is None:
            return dict(finished_nodes(self.out))
        entries = self.bucket.list("records/nodes/")
        return {entry.path: (entry.version, entry.modified) for entry in entries}

    def note_finished(self) -> None:
        """Keep in mind which models are done, and whether one is so for the second time."""
        for key, identity in self.finished().items():
            if key in self.seen and self.seen[key] != identity and key not in self.damaged:
                self.redone.append(key)
            self.seen[key] = identity


def training(run: Running) -> dict[str, dict]:
    """Claims of trials that have taken a step."""
    alive = run.processes()
    return {
        key: claim
        for key, claim in run.claims().items()
        if claim.get("stage") == "train" and claim.get("step") and claim["pid"] in alive
    }


def lost_seconds(run: Running, key: str) -> float | None:
    """Age of the newest state that a training saved; None where it has not saved one."""
    times = []
    for path in find(run.out, f"work/{key}/*/training.safetensors.*"):
        with suppress(OSError):
            times.append(path.stat().st_mtime)
    return time.time() - max(times) if times else None


def kill_trial(round_: Round, run: Running, fault: Fault) -> bool:
    """SIGKILL to a trial in the middle of a training."""
    claims = training(run)
    if not claims:
        return False
    key = round_.rng.choice(sorted(claims))
    fault.lost_seconds = lost_seconds(run, key)
    with suppress(ProcessLookupError):
        os.kill(claims[key]["pid"], signal.SIGKILL)
    return True


def kill_driver(round_: Round, run: Running, fault: Fault) -> bool:
    """SIGKILL to the driver; what Ray leaves behind ends by itself, or goes on a while."""
    if round_.bucket is None and not training(run):
        return False
    fault.lost_seconds = max((lost_seconds(run, k) or 0.0 for k in training(run)), default=None)
    os.kill(run.process.pid, signal.SIGKILL)
    run.wait()
    return True


def kill_all(round_: Round, run: Running, fault: Fault) -> bool:
    """SIGKILL to every process, as when a machine loses power."""
    if round_.bucket is None and not training(run):
        return False
    fault.lost_seconds = max((lost_seconds(run, k) or 0.0 for k in training(run)), default=None)
    run.kill_all()
    return True


def stop_trial(round_: Round, run: Running, fault: Fault) -> bool:
    """A trial sleeps beyond its lease and wakes up again."""
    claims = training(run)
    if not claims:
        return False
    pid = claims[round_.rng.choice(sorted(claims))]["pid"]
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        time.sleep(LEASE_SECONDS + 2.0)
        os.kill(pid, signal.SIGCONT)
    return True


def fill_disk(round_: Round, run: Running, fault: Fault) -> bool:
    """The disk of the store has no room for three seconds."""
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
    time.sleep(3.0)
    filler.unlink(missing_ok=True)
    return True


def damage(round_: Round, run: Running, fault: Fault) -> bool:
    """A file of the store is cut short, or one of its bits is turned."""
    patterns = ("generations/*/model.safetensors", "generations/*/pool.json", "streams/*/*")
    patterns += ("work/*/*/training.safetensors.*", "features/*/*")
    found = sorted(path for pattern in patterns for path in find(round_.out, pattern))
    if not found:
        return False
    path = round_.rng.choice(found)
    try:
        data = bytearray(path.read_bytes())
        if fault.kind == "cut_file":
            data = data[: round_.rng.randrange(len(data))]
        else:
            data[round_.rng.randrange(len(data))] ^= 1 << round_.rng.randrange(8)
        identity = path.stat()
        path.write_bytes(data)
        os.utime(path, ns=(identity.st_atime_ns, identity.st_mtime_ns))
    except (OSError, ValueError, IndexError):  # gone, or empty, meanwhile
        return False
    round_.damaged_files[str(path.relative_to(round_.out))] = digest(path)
    fault.hit = "/".join(part[:24] for part in path.relative_to(round_.out).parts)
    if path.parts[-3] == "generations":
        round_.damaged.add(path.parts[-2])
    return True


def break_server(round_: Round, run: Running, fault: Fault) -> bool:
    """The bucket's server is out of order for three seconds."""
    if round_.proxy is None:
        return False
    round_.proxy.mode = fault.kind
    time.sleep(3.0)
    round_.proxy.mode = "well"
    return True


ON_DISK: dict[str, Callable[[Round, Running, Fault], bool]] = {
    "kill_trial": kill_trial,
    "kill_driver": kill_driver,
    "kill_all": kill_all,
    "stop_trial": stop_trial,
    "full_disk": fill_disk,
    "cut_file": damage,
    "turn_bit": damage,
}
IN_BUCKET: dict[str, Callable[[Round, Running, Fault], bool]] = {
    "kill_driver": kill_driver,
    "kill_all": kill_all,
    "answer_500": break_server,
    "drop": break_server,
    "hang": break_server,
    "lose_answer": break_server,
}


def play(round_: Round, kinds: dict, num_faults: int) -> None:
    """Run a sweep again and again until it is done, with so many faults on the way."""
    left = [round_.rng.choice(sorted(kinds)) for _ in range(num_faults)]
    os.environ.update(round_.environment)
    with ExitStack() as runs:
        while round_.num_runs < MOST_RUNS:
            round_.num_runs += 1
            run = runs.enter_context(Running(out=round_.out, words=round_.words))
            disturb(round_, run, kinds, left)
            if not (round_.faults and round_.faults[-1].kind == "kill_driver"):
                run.kill_all()  # what a killed driver leaves behind overlaps with the next one
            round_.note_finished()
            if run.process.returncode == 0:
                return
        sys.exit(f"{round_.out} must end in {MOST_RUNS} runs; see {run.log}")


def disturb(round_: Round, run: Running, kinds: dict, left: list[str]) -> None:
    """Faults on one run, until it ends or none is left."""
    until, looked = time.monotonic() + round_.rng.uniform(4.0, 8.0), 0.0
    while run.process.poll() is None:
        if time.monotonic() - looked > LOOK_SECONDS:
            round_.note_finished()
            looked = time.monotonic()
        if left and time.monotonic() > until:
            kind = left[0]
            at = time.monotonic() - round_.started
            fault = Fault(sweep=round_.index, kind=kind, at_seconds=round(at, 1))
            if kinds[kind](round_, run, fault):
                left.pop(0)
                round_.faults.append(fault)
                print(json.dumps(asdict(fault)), flush=True)
            elif kind == "full_disk" and not round_.out.is_mount():
                left.pop(0)  # it takes root to have a disk of our own
            until = time.monotonic() + round_.rng.uniform(1.0, 4.0)
        time.sleep(0.05)


def main() -> None:
    """Break, compare, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--faults", type=int, default=50)
    parser.add_argument("--per-sweep", type=int, default=5, help="faults of one sweep")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    settings: dict[str, Any] = {
        "base__train__steps": STEPS,
        "resources__checkpoint_seconds": CHECKPOINT_SECONDS,
        "resources__lease_seconds": LEASE_SECONDS,
        "resources__num_cpus": 2,
        "resources__max_failures": 5,
    }
    words = (str(write_sweep(folder, **settings)),)
    alone = folder / "alone"
    ended = run_sweep("run", *words, "--out", str(alone), cwd=folder)
    if ended.returncode:
        sys.exit(ended.stderr)
    expected = results(alone)
    rounds: list[Round] = []
    equal: list[bool] = []
    with running_server() as server, FaultyProxy(server.endpoint) as proxy:
        while sum(len(each.faults) for each in rounds) < options.faults:
            index = len(rounds)
            rng = random.Random(f"{options.seed} {index}")  # noqa: S311 - repeats itself
            in_bucket = index % 3 == 2
            out = folder / f"out{index}"
            round_ = Round(index=index, out=out, words=words, rng=rng)
            if in_bucket:
                url = server.make_bucket(f"bucket{index}")
                round_.words += ("--store", url, "--resources.cache-dir", str(folder / f"c{index}"))
                round_.environment = server.environment | {"AWS_ENDPOINT_URL": proxy.endpoint}
                round_.proxy = proxy
                os.environ.update(server.environment)
                round_.bucket = open_bucket(url)
            elif os.geteuid() == 0:
                out.mkdir()
                size = f"size={DISK_MEGABYTES}m"
                subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", out], check=True)
            rounds.append(round_)
            try:
                play(round_, IN_BUCKET if in_bucket else ON_DISK, options.per_sweep)
                end = {k: v for k, v in results(out).items() if k in expected}
                unread = [
                    name
                    for name, found in round_.damaged_files.items()
                    if (out / name).exists() and digest(out / name) == found
                ]
                round_.unread = len(unread)
                for name in {*unread} & {*expected}:  # nobody has asked for them
                    end[name] = expected[name]
                wanted = {
                    k: v
                    for k, v in expected.items()
                    if not (in_bucket and (k.startswith("streams/") or k.endswith(".safetensors")))
                }
                equal.append(end == wanted)
                for name in sorted({*end} | {*wanted}):
                    if end.get(name) != wanted.get(name):
                        print(f"  differs: {name}", flush=True)
                print(f"sweep {index}: {round_.num_runs} runs, equal: {equal[-1]}", flush=True)
            finally:
                if out.is_mount():
                    subprocess.run(["umount", "-l", out], check=False)
    faults = [fault for each in rounds for fault in each.faults]
    lost = [fault.lost_seconds for fault in faults if fault.lost_seconds is not None]
    date = datetime.now(UTC).date().isoformat()
    result = {
        "date": date,
        "machine": platform.machine(),
        "versions": {name: version(name) for name in ("ray", "torch", "obstore")},
        "seed": options.seed,
        "checkpoint_seconds": CHECKPOINT_SECONDS,
        "lease_seconds": LEASE_SECONDS,
        "faults": dict(sorted(Counter(fault.kind for fault in faults).items())),
        "num_faults": len(faults),
        "sweeps": len(rounds),
        "sweeps_equal_to_the_undisturbed": sum(equal),
        "finished_models_computed_again_undamaged": sum(len(each.redone) for each in rounds),
        "damaged_files_that_nobody_read": sum(each.unread for each in rounds),
        "most_lost_seconds": max(lost, default=0.0),
        "every_fault": [asdict(fault) for fault in faults],
    }
    shown = {name: value for name, value in result.items() if name != "every_fault"}
    print(json.dumps(shown, indent=1))
    (RESULTS / f"chaos_{date}.json").write_text(json.dumps(result, indent=1) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    good = all(equal) and not result["finished_models_computed_again_undamaged"]
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
