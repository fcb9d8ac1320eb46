"""The faults of machines, disks and servers that chaos.py injects into a running sweep."""

import os
import random
import resource
import signal
from contextlib import suppress
from pathlib import Path

from chaos_rounds import (
    LEASE_SECONDS,
    Fault,
    Kinds,
    Round,
    ask,
    lost_seconds,
    most_lost,
    start_cluster,
    training,
)
from running_sweep import Running, digest, find, parent

OUTAGE_SECONDS = 12
"""resources.outage_seconds of a sweep in a bucket."""


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
    """Truncate a file of the store, flip one of its bits, or delete it."""
    patterns = ("generations/*/model.safetensors", "generations/*/pool.json", "streams/*/*")
    patterns += ("work/*/*/training.safetensors.*", "features/*/*")
    paths = sorted(path for pattern in patterns for path in find(round_.files, pattern))
    if not paths:
        return False
    path = round_.rng.choice(paths)
    name = path.relative_to(round_.files)
    try:
        if fault.kind == "delete_file":
            path.unlink()
        else:
            _change(path, fault.kind, round_.rng)
            round_.damaged_files[str(name)] = digest(path)
    except (OSError, ValueError, IndexError):  # deleted or emptied meanwhile
        return False
    fault.hit = "/".join(part[:24] for part in name.parts)
    if name.parts[0] == "generations":
        round_.damaged.add(name.parts[1])
    return True


def _change(path: Path, kind: str, rng: random.Random) -> None:
    """Damage a file and keep its times."""
    data = bytearray(path.read_bytes())
    if kind == "cut_file":
        data = data[: rng.randrange(len(data))]
    else:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    identity = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(identity.st_atime_ns, identity.st_mtime_ns))


def break_server(round_: Round, run: Running, fault: Fault) -> bool:
    """Make the bucket's server fail for three seconds."""
    if round_.proxy is None:
        return False
    round_.proxy.mode = fault.kind
    round_.sleep(run, 3.0)
    round_.proxy.mode = "well"
    return True


def stay_away(round_: Round, run: Running, fault: Fault) -> bool:
    """Make the bucket's server drop connections until the run gives up."""
    if round_.proxy is None or not round_.seen:
        return False
    round_.proxy.mode = "drop"
    code = run.wait()
    round_.proxy.mode = "well"
    fault.judge(code, run.output(), (2,))
    return True


def lose_bucket(round_: Round, run: Running, fault: Fault) -> bool:
    """Delete the bucket; the run ends, and so does the next one."""
    if round_.server is None or not round_.seen:
        return False
    round_.server.delete_buckets()
    round_.gone = True
    fault.judge(run.wait(), run.output(), (2,))
    ask(round_, fault, "run", *round_.words, "--out", round_.out, allowed=(2,))
    return True


def forbid_files(round_: Round, run: Running, fault: Fault) -> bool:
    """Let neither a trial nor the driver open another file for three seconds."""
    claims = training(run)
    if not claims:
        return False
    pids = [run.process.pid, claims[round_.rng.choice(sorted(claims))]["pid"]]
    with suppress(ProcessLookupError, FileNotFoundError):
        limits = {}
        for pid in pids:
            num_open = len(list(Path(f"/proc/{pid}/fd").iterdir()))
            before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            limits[pid] = before
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (num_open, before[1]))
        round_.sleep(run, 3.0)
        for pid, before in limits.items():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    return True


ON_DISK: Kinds = {
    "kill_trial": kill_trial,
    "kill_driver": kill_driver,
    "kill_all": kill_all,
    "stop_trial": stop_trial,
    "full_disk": fill_disk,
    "cut_file": damage,
    "turn_bit": damage,
    "delete_file": damage,
    "no_descriptors": forbid_files,
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
    "away_too_long": stay_away,
    "bucket_gone": lose_bucket,
}
