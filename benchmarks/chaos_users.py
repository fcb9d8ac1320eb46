"""The faults that chaos.py injects as a user would: other commands, signals, moved folders."""

import os
import signal
import subprocess
import time
import uuid

from chaos_faults import damage
from chaos_rounds import Fault, Kinds, Round, ask, is_root, most_lost, training
from running_sweep import MARK, SWEEP, Running, kill, marked_processes

ENDED_BY = (0, *(128 + number for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)))
"""Exit codes of a run that was stopped, or had just ended."""
MOST_BYTES = 80
"""Of each name in a long path."""


def stop(round_: Round, run: Running, fault: Fault, number: signal.Signals) -> None:
    """Stop the run with a signal to its group, and wait for its end."""
    fault.lost_seconds = most_lost(round_, run)
    run.signal_group(number)
    fault.judge(run.wait(60), run.output(), ENDED_BY)


def hang_up(round_: Round, run: Running, fault: Fault) -> bool:
    """SIGHUP to the driver and its group, as from a terminal that is closed."""
    if not training(run):
        return False
    stop(round_, run, fault, signal.SIGHUP)
    return True


def stop_while_starting(round_: Round, run: Running, fault: Fault) -> bool:
    """Stop the run, start it again, and stop that one within its first seconds."""
    stop(round_, run, fault, signal.SIGTERM)
    again = round_.start()
    time.sleep(round_.rng.uniform(0.1, 6.0))
    stop(round_, again, fault, signal.SIGINT)
    return True


def close_pipe(round_: Round, run: Running, fault: Fault) -> bool:
    """Kill the reader of the run's output."""
    if not training(run):
        return False
    run.stop_reading()
    return True


def start_second_driver(round_: Round, run: Running, fault: Fault) -> bool:
    """Give the same command again while it runs; both work on the sweep to its end."""
    if not training(run):
        return False
    ask(round_, fault, "run", *round_.words, "--out", round_.out, allowed=(0,))
    return True


def start_second_folder(round_: Round, run: Running, fault: Fault) -> bool:
    """Start the same sweep into another results folder, on the same store."""
    if not training(run):
        return False
    out = round_.out.with_name(f"{round_.out.name}-{len(round_.others)}")
    round_.others.append(out)
    round_.start(out)
    return True


def fail_evaluation(round_: Round, run: Running, fault: Fault) -> bool:
    """Ask for an evaluation with weights that do not exist, which is refused."""
    if not training(run):
        return False
    words = ("--metrics.names", "fid", "--metrics.extractor", "inception")
    words += ("--metrics.weights", "missing.pt")
    ask(round_, fault, "evaluate", round_.out, *words, allowed=(2,))
    return True


def kill_evaluation(round_: Round, run: Running, fault: Fault) -> bool:
    """Stop the run, and SIGKILL an evaluation with another metric in the middle of its work."""
    if not round_.seen:
        return False
    stop(round_, run, fault, signal.SIGTERM)
    mark = uuid.uuid4().hex
    words = [SWEEP, "evaluate", round_.out, "--metrics.names", "fid", "--metrics.extractor"]
    process = subprocess.Popen(
        [*words, "pixels"],
        env={**os.environ, **round_.environment, MARK: mark},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(round_.rng.uniform(3.0, 20.0))
    while kill(marked_processes(mark)):
        time.sleep(0.1)
    process.wait()
    return True


def clean(round_: Round, run: Running, fault: Fault) -> bool:
    """Delete what nothing needs while the run works, and then models too, which is refused."""
    if not training(run):
        return False
    ask(round_, fault, "clean", round_.out, "--checkpoints", allowed=(0,))
    ask(round_, fault, "clean", round_.out, "--force", allowed=(2,))
    return True


def close_home(round_: Round, run: Running, fault: Fault) -> bool:
    """Stop the run; the next ones have a home that nobody can write to."""
    stop(round_, run, fault, signal.SIGTERM)
    home = round_.out.with_name(f"home{round_.index}")
    home.mkdir(mode=0o555, exist_ok=True)
    if is_root() and not home.is_mount():
        subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", home], check=True)
    round_.environment |= {"HOME": str(home)}
    return True


def move_store(round_: Round, run: Running, fault: Fault) -> bool:
    """Stop the run and move its store; the same command is refused, one with its place goes on."""
    if round_.store is None or not round_.seen or round_.others:
        return False
    stop(round_, run, fault, signal.SIGTERM)
    run.kill_all()
    place = round_.store.with_name(f"{round_.store.name}-moved")
    round_.store.rename(place)
    ask(round_, fault, "run", *round_.words, "--out", round_.out, allowed=(2,))
    words = [str(place) if word == str(round_.store) else word for word in round_.words]
    round_.store, round_.words = place, tuple(words)
    return True


def move_far(round_: Round, run: Running, fault: Fault) -> bool:
    """Stop the run and move its results folder below names that make a long path."""
    stop(round_, run, fault, signal.SIGTERM)
    run.kill_all()
    folder = (
        round_.out.with_name("l" * MOST_BYTES) / ("o" * MOST_BYTES) / ("ng" * (MOST_BYTES // 2))
    )
    folder.mkdir(parents=True, exist_ok=True)
    round_.out = round_.out.rename(folder / round_.out.name)
    return True


BY_USERS: Kinds = {
    "clean": clean,
    "close_pipe": close_pipe,
    "fail_evaluation": fail_evaluation,
    "hang_up": hang_up,
    "kill_evaluation": kill_evaluation,
    "read_only_home": close_home,
    "second_driver": start_second_driver,
    "stop_while_starting": stop_while_starting,
}
ON_STORE: Kinds = {
    "delete_file": damage,
    "long_out": move_far,
    "move_store": move_store,
    "second_folder": start_second_folder,
}
