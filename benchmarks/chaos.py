"""Inject random faults into small sweeps and compare their results with an undisturbed sweep's.

    uv run --extra all python benchmarks/chaos.py                    (needs root for the full disk)
    uv run --extra all python benchmarks/chaos.py --faults 10 --seed 1

Faults are drawn from a seed, those first that have been rarest at the sweep's place. In a folder:
SIGKILL to a trial, to the driver, or to all processes; SIGSTOP of a trial beyond its lease; a disk
that is full for three seconds; no file descriptor left for as long; a file of the store truncated,
deleted, or with one bit flipped; a terminal or a pipe that is closed; a stop while Ray starts; the
same command twice at once; an evaluation that is refused, or killed; `sweep clean` beside the run;
a home that nobody can write to. With a store elsewhere: a second results folder on it, a store that
is moved, and a results folder that is moved below a long path. On a bucket: a server that for three
seconds answers 500, drops connections, or does not answer; one that is away for longer than the
sweep tolerates; a bucket that is deleted. On a cluster of three nodes: SIGKILL to all processes of
a node, or of the head and the driver on it, followed by a replacement. A sweep that ends or dies
is run again with the same command until it is done; then the next one begins. Prints a line for
each fault and writes benchmarks/results/chaos_seed<seed>.json after each sweep; if the file exists,
the sweeps that it lacks are added to it:

- whether every sweep ended with the weights, samples and numbers of the undisturbed one (except
  damaged files that nothing has read since, which `analysis check` reports), or, without a bucket,
  was refused in one line,
- how many finished models were computed again although no fault had touched their files,
- how many commands ended with another exit code than they must, or with a traceback,
- how much training each fault cost, if the store is a folder: the time since the trial's newest
  saved state, or since it began the model if it has saved none.
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
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from chaos_faults import IN_BUCKET, ON_CLUSTER, ON_DISK, OUTAGE_SECONDS
from chaos_rounds import LEASE_SECONDS, Fault, Round, is_root, start_cluster
from chaos_users import BY_USERS, ON_STORE
from faulty_proxy import FaultyProxy
from running_sweep import Running, digest, results, run_sweep, write_sweep
from s3_server import Server, running_server

from sweep.config import ResourcesConfig
from sweep.store.bucket import Bucket, open_bucket
from sweep.store.folder import sha256

RESULTS = Path(__file__).parent / "results"
CHECKPOINT_SECONDS = 1.0
ALPHAS = (0.5, 1.0, 1.5)
SETTINGS: dict[str, Any] = {
    "base__train__steps": 1500,
    "base__train__precision": "fp32",  # required on a cluster
    "resources__checkpoint_seconds": CHECKPOINT_SECONDS,
    "resources__lease_seconds": LEASE_SECONDS,
    "resources__num_cpus": 2,
    "resources__max_failures": 5,
}
MOST_RUNS = 20
"""Runs of one sweep before it counts as never ending."""
DISK_MEGABYTES = 48
LOOK_SECONDS = 0.5
"""Seconds between checks for finished models."""


PLACES = (
    ("folder", ON_DISK | BY_USERS),
    ("store", ON_STORE),
    ("bucket", IN_BUCKET),
    ("folder", ON_DISK | BY_USERS),
    ("cluster", ON_CLUSTER),
)
"""Where the sweeps run, in turn, and the faults that can happen there."""


def draw(round_: Round, history: list[dict[str, Any]], count: int) -> list[str]:
    """Kinds of faults for a sweep, in random order, those first that were rarest at its place."""
    kinds = sorted(round_.kinds)
    times = Counter(
        fault["kind"]
        for sweep in history
        if sweep["place"] == round_.place
        for fault in sweep["faults"]
    )
    order = sorted(round_.rng.sample(kinds, len(kinds)), key=times.__getitem__)
    return [order[n % len(order)] for n in range(count)]


def play(round_: Round, left: list[str]) -> None:
    """Run a sweep again and again until it is done, and inject faults on the way."""
    with round_.running:
        while round_.num_runs < MOST_RUNS:
            round_.num_runs += 1
            run = round_.start()
            disturb(round_, run, left)
            if not (round_.faults and round_.faults[-1].kind == "kill_driver"):
                run.kill_all()  # the processes of a killed driver may overlap with the next run
            round_.note_finished()
            if run.process.returncode == 0 or round_.gone:
                return
        sys.exit(f"{round_.out} must be done within {MOST_RUNS} runs; see {run.log}")


def end_others(round_: Round) -> None:
    """Run the other sweeps on the store of a round to their ends."""
    for out in round_.others:
        ended = run_sweep("run", *round_.words, "--out", out, cwd=out.parent)
        if ended.returncode:
            sys.exit(f"{out} must be done, got {ended.stderr}")


def disturb(round_: Round, run: Running, left: list[str]) -> None:
    """Inject faults into one run until it ends or none are left."""
    until, looked = time.monotonic() + round_.rng.uniform(4.0, 8.0), 0.0
    while run.process.poll() is None:
        round_.note_begun(run)
        if time.monotonic() - looked > LOOK_SECONDS:
            round_.note_finished()
            looked = time.monotonic()
        if left and time.monotonic() > until:
            inject_one(round_, run, left)
            until = time.monotonic() + round_.rng.uniform(1.0, 4.0)
        time.sleep(0.05)


def inject_one(round_: Round, run: Running, left: list[str]) -> None:
    """Inject the first of the faults that is possible now; a bucket is deleted last."""
    for kind in left:
        if kind == "bucket_gone" and len(left) > 1:
            continue
        at = time.monotonic() - round_.started
        fault = Fault(sweep=round_.index, kind=kind, at_seconds=round(at, 1))
        if round_.kinds[kind](round_, run, fault):
            left.remove(kind)
            round_.faults.append(fault)
            print(json.dumps(asdict(fault)), flush=True)
            return


def set_up(
    index: int, folder: Path, words: tuple[str, ...], seed: int, server: Server, proxy: FaultyProxy
) -> Round:
    """Prepare a sweep in a folder, on a store elsewhere, in a bucket or on a cluster."""
    rng = random.Random(f"{seed} {index}")  # noqa: S311 - for repeatable faults
    place, kinds = PLACES[index % len(PLACES)]
    out = folder / f"out{index}"
    round_ = Round(index=index, place=place, out=out, words=words, rng=rng, kinds=kinds)
    if place == "bucket":
        url = server.make_bucket(f"bucket{index}")
        round_.words += ("--store", url, "--resources.cache-dir", str(folder / f"c{index}"))
        round_.words += ("--resources.outage-seconds", str(OUTAGE_SECONDS))
        round_.words += ("--resources.max-failures", "100")
        round_.environment = server.environment | {"AWS_ENDPOINT_URL": proxy.endpoint}
        round_.server, round_.proxy = server, proxy
        os.environ.update(server.environment)
        round_.bucket = open_bucket(url, ResourcesConfig())
    elif place == "cluster":
        round_.cluster = start_cluster()
    elif place == "store":
        round_.store = folder / f"store{index}"
        round_.words += ("--store", str(round_.store))
    elif is_root():
        round_.out.mkdir()
        size = f"size={DISK_MEGABYTES}m,mode=700"
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", round_.out], check=True)
    else:
        round_.kinds = {kind: inject for kind, inject in kinds.items() if kind != "full_disk"}
    return round_


def tear_down(round_: Round) -> None:
    """Shut down and unmount what set_up started, after the results are compared."""
    for cluster in (*round_.lost_clusters, round_.cluster):
        if cluster is not None:
            cluster.shutdown()
    for folder in (round_.out, round_.out.with_name(f"home{round_.index}")):
        if folder.is_mount():
            subprocess.run(["umount", "-l", folder], check=False)


def is_equal(round_: Round, expected: dict[str, Any]) -> bool:
    """Whether a sweep's results equal the undisturbed ones; differences are printed."""
    parts = results_of(round_.out, expected)
    end = results_of(round_.files, expected) | parts
    if round_.bucket is not None:
        end |= in_bucket(round_.bucket, expected)
    unread = {
        name
        for name, damaged in round_.damaged_files.items()
        if (round_.files / name).exists() and digest(round_.files / name) == damaged
    }
    round_.unread = len(unread)
    for name in unread & {*expected}:  # nothing has read them
        end[name] = expected[name]
    for name in sorted({*end} | {*expected}):
        if end.get(name) != expected.get(name):
            print(f"  differs: {name}", flush=True)
    for out in round_.others:
        if results_of(out, expected) != parts:
            print(f"  differs: {out}", flush=True)
            return False
    return end == expected


def results_of(out: Path, expected: dict[str, Any]) -> dict[str, Any]:
    """The results in a folder, without those of faults, such as another metric."""
    return {name: value for name, value in results(out).items() if name in expected}


def in_bucket(bucket: Bucket, expected: dict[str, Any]) -> dict[str, str]:
    """SHA-256 of samples and weights, which a results folder lacks if its store is a bucket."""
    paths = {name: name for name in expected if name.startswith("streams/")}
    for name in expected:
        if name.startswith("generations/") and name.endswith(".safetensors"):
            _, key, file = name.split("/")
            stored = [entry.path for entry in bucket.list(f"files/nodes/{key}/")]
            paths[name] = next((path for path in stored if path.endswith(f"-{file}")), "none")
    contents = {name: bucket.read(path) for name, path in paths.items()}
    return {name: sha256(data) for name, data in contents.items() if data is not None}


def recorded(round_: Round) -> dict[str, Any]:
    """What the result file holds of a sweep."""
    return {
        "place": round_.place,
        "runs": round_.num_runs,
        "equal": round_.equal,
        "bucket_gone": round_.gone,
        "computed_again": len(round_.redone),
        "unread": round_.unread,
        "faults": [asdict(fault) for fault in round_.faults],
    }


def summary(history: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    """All numbers of the result file."""
    faults = [fault for sweep in history for fault in sweep["faults"]]
    lost = [fault["lost_seconds"] for fault in faults if fault["lost_seconds"] is not None]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": platform.machine(),
        "versions": {name: version(name) for name in ("ray", "torch", "obstore")},
        "seed": seed,
        "checkpoint_seconds": CHECKPOINT_SECONDS,
        "lease_seconds": LEASE_SECONDS,
        "faults": dict(sorted(Counter(fault["kind"] for fault in faults).items())),
        "num_faults": len(faults),
        "sweeps": len(history),
        "sweeps_equal_to_the_undisturbed": sum(sweep["equal"] for sweep in history),
        "sweeps_refused_without_their_bucket": sum(sweep["bucket_gone"] for sweep in history),
        "commands_that_ended_wrongly": sum(fault["wrong"] for fault in faults),
        "finished_models_computed_again": sum(sweep["computed_again"] for sweep in history),
        "damaged_files_that_nobody_read": sum(sweep["unread"] for sweep in history),
        "most_lost_seconds": max(lost, default=0.0),
        "every_sweep": history,
    }


def main() -> None:
    """Run the sweeps, compare, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--faults", type=int, default=75)
    parser.add_argument("--per-sweep", type=int, default=5, help="faults per sweep")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    # A shell starts what runs in the background with SIGINT ignored, which runs would inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    path = RESULTS / f"chaos_seed{options.seed}.json"
    history = json.loads(path.read_text())["every_sweep"] if path.exists() else []
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    words = (str(write_sweep(folder, ALPHAS, **SETTINGS)),)
    undisturbed = folder / "undisturbed"
    ended = run_sweep("run", *words, "--out", str(undisturbed), cwd=folder)
    if ended.returncode:
        sys.exit(ended.stderr)
    expected = results(undisturbed)
    with running_server() as server, FaultyProxy(server.endpoint) as proxy:
        while sum(len(sweep["faults"]) for sweep in history) < options.faults:
            round_ = set_up(len(history), folder, words, options.seed, server, proxy)
            try:
                play(round_, draw(round_, history, options.per_sweep))
                end_others(round_)
                round_.equal = not round_.gone and is_equal(round_, expected)
            finally:
                tear_down(round_)
            how = "refused without its bucket" if round_.gone else f"equal: {round_.equal}"
            print(f"sweep {round_.index}: {round_.num_runs} runs, {how}", flush=True)
            history.append(recorded(round_))
            path.write_text(json.dumps(summary(history, options.seed), indent=1) + "\n")
    result = summary(history, options.seed)
    print(json.dumps({k: v for k, v in result.items() if k != "every_sweep"}, indent=1))
    shutil.rmtree(folder, ignore_errors=True)
    sound = all(sweep["equal"] or sweep["bucket_gone"] for sweep in history)
    wrong = result["finished_models_computed_again"] + result["commands_that_ended_wrongly"]
    sys.exit(0 if sound and not wrong else 1)


if __name__ == "__main__":
    main()
