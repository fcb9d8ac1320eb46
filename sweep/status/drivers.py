"""Finds the drivers of a sweep and asks them to stop, through the store, from any machine.

A driver is a process that runs a sweep. It holds a claim meanwhile and polls for stop requests.
"""

import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from model.commands.signals import check_received
from sweep.config import SweepConfig, flatten, to_json
from sweep.files import Json, dump_json
from sweep.results_folder import read_sweep, store_location
from sweep.status.tracker import SECONDS_LEFT
from sweep.store.claims import ClaimInfo
from sweep.store.folder import StoreError, sha256
from sweep.store.heartbeat import Heartbeat
from sweep.store.store import Store, existing_store

REQUEST = "stop"
LOOK_SECONDS = 3.0
"""Seconds between a driver's polls for a stop request."""
PATIENCE_SECONDS = 180.0
"""Seconds that `sweep stop` waits for drivers."""


def run_key(out: Path, sweep: SweepConfig) -> str:
    """Return the name of a sweep in its store, which is the same on every machine.

    Extending a sweep keeps its key, so that drivers from before the extension are found, and so
    does moving its data. Machines that each run a part of a sweep share its key.
    """
    base = flatten(to_json(replace(sweep.base, data=replace(sweep.base.data, path=None))))
    facts = {
        "out": out.absolute().name,
        "name": sweep.name,
        "base": [each for each in base if each[0] != "generations"],
    }
    return f"run-{sha256(dump_json(facts))[:32]}"


@dataclass(slots=True)
class Driver:
    """This process as the driver of a sweep."""

    position: Json = field(default_factory=lambda: {SECONDS_LEFT: None})
    """What its claim says: the lineages whose trials it has started and that have not ended, and
    the time left."""
    errors: dict[str, str] = field(default_factory=dict)
    """Why lineages have failed, by id."""
    failure: StoreError | None = None
    """Why it can no longer be reached through the store."""

    @property
    def started(self) -> list[str]:
        """Ids of the lineages whose trials have started and not ended."""
        return self.position.get("lineages", [])

    @property
    def seconds_left(self) -> float | None:
        """Its estimate of the remaining time of the sweep; None if that is unknown."""
        return self.position[SECONDS_LEFT]

    @seconds_left.setter
    def seconds_left(self, seconds: float | None) -> None:
        self.position[SECONDS_LEFT] = seconds

    def start(self, lineage: str) -> None:
        """Note that a lineage's trial has started."""
        self.position["lineages"] = sorted({*self.started, lineage})

    def end(self, lineage: str) -> None:
        """Note that a lineage's trial has ended."""
        self.position["lineages"] = [each for each in self.started if each != lineage]

    def check(self) -> None:
        """End the run if this process was told to stop, or if its store has failed for too long.

        Raises:
            KeyboardInterrupt: It received a signal.
            StoreError: The store has failed.
        """
        check_received()
        if self.failure is not None:
            raise self.failure


@contextmanager
def present(store: Store, key: str) -> Generator[Driver]:
    """Hold a driver's claim on a sweep; a stop request sends SIGTERM to this process.

    A claim that cannot be released, because the store fails, ends with the process or its lease.
    """
    store.claims.sweep(f"{key}-")  # claims of killed drivers
    others = running(store, key)
    if not others:
        store.drop_scratch(key)  # an old stop request
    for other in others:
        print(
            f"note: process {other.pid} on {other.host} runs this sweep too; each lineage is "
            "computed by one of them",
            file=sys.stderr,
        )
    claim = store.claims.take(f"{key}-{uuid.uuid4().hex[:8]}")
    assert claim is not None
    driver, done, is_reachable = Driver(), threading.Event(), True
    listener = threading.Thread(target=_listen, args=(store, key, driver, done), daemon=True)
    try:
        with Heartbeat(claim, driver.position):
            listener.start()
            yield driver
    except StoreError:
        is_reachable = False
        raise
    finally:
        done.set()
        if is_reachable and not store.is_failing:
            listener.join(LOOK_SECONDS)
            claim.release()
            store.claims.sweep(f"{key}-")


def running(store: Store, key: str) -> list[ClaimInfo]:
    """Return the live drivers of a sweep."""
    claims = store.claims.read_some(lambda name: name.startswith(f"{key}-"))
    return [claim for claim in claims.values() if claim.live]


def stop(out: Path, *, store: str | None) -> int:
    """Ask the drivers of a sweep to stop and wait; returns 0, or 1 if one has not stopped.

    Args:
        out: Results folder of the sweep, or a copy of it.
        store: Store of its models, if that is not `out`.
    """
    sweep = read_sweep(out)
    kept = existing_store(store_location(out, store), sweep.resources)
    key = run_key(out, sweep)
    drivers = running(kept, key)
    if not drivers:
        print(f"nothing to stop: {out} is not running")
        return 0
    kept.save_scratch(key, REQUEST, b"")
    for driver in drivers:
        print(f"asked process {driver.pid} on {driver.host} to stop", file=sys.stderr)
    deadline, alive = time.monotonic() + PATIENCE_SECONDS, drivers
    patience = kept.patience()
    while alive and time.monotonic() < deadline:
        time.sleep(0.5)
        with patience.attempt():
            alive = running(kept, key)
    kept.drop_scratch(key)
    for driver in alive:
        print(
            f"process {driver.pid} on {driver.host} must stop within "
            f"{PATIENCE_SECONDS:.0f} s, got a heartbeat {driver.age_seconds:.0f} s ago; "
            "kill it on that machine",
            file=sys.stderr,
        )
    if not alive:
        print("stopped; finished models are kept. Resume with the same sweep run command")
    return 1 if alive else 0


def _listen(store: Store, key: str, driver: Driver, done: threading.Event) -> None:
    patience, request = store.patience(), None
    try:
        while request is None and not done.wait(LOOK_SECONDS):
            with patience.attempt():
                request = store.load_scratch(key, REQUEST)
    except StoreError as error:
        driver.failure = error
    if request is not None and not done.is_set():
        os.kill(os.getpid(), signal.SIGTERM)
