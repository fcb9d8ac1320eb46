"""Who runs a sweep, and how to ask them to stop, through the store: from any machine that sees it.

A driver holds a claim while it runs, and looks for a request to stop. Must not import torch or ray.
"""

import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from sweep.config import EXTENDABLE, SweepConfig, flatten, to_json
from sweep.records import dump_json
from sweep.results_folder import read_sweep
from sweep.store.claims import ClaimInfo, Heartbeat
from sweep.store.folder import StoreError, sha256
from sweep.store.store import Store, existing_store

REQUEST = "stop"
LOOK_SECONDS = 3.0
"""Between a driver's looks for a request."""
PATIENCE_SECONDS = 180.0
"""That `sweep stop` waits for them."""


def run_key(out: Path, sweep: SweepConfig) -> str:
    """Name, in a store, of a sweep and its runs: the same on every machine with a copy of it.

    An extended sweep is the same one, so that whoever started before the extension is found; and
    so are the parts of one that several machines run.
    """
    facts = {
        "out": out.absolute().name,
        "name": sweep.name,
        "base": [each for each in flatten(to_json(sweep.base)) if each[0] not in EXTENDABLE],
    }
    return f"run-{sha256(dump_json(facts))[:32]}"


@contextmanager
def present(store: Store, key: str) -> Generator[None]:
    """Hold a claim as a driver of a sweep; a request to stop acts as SIGTERM on this process."""
    store.claims.sweep(f"{key}-")  # drivers that were killed
    if not running(store, key):
        store.drop_scratch(key)  # a request from before
    claim = store.claims.take(f"{key}-{uuid.uuid4().hex[:8]}")
    assert claim is not None
    done = threading.Event()
    listener = threading.Thread(target=_listen, args=(store, key, done), daemon=True)
    try:
        with claim, Heartbeat(claim, {}):
            listener.start()
            try:
                yield
            finally:
                done.set()
                listener.join()
    finally:
        store.claims.sweep(f"{key}-")


def running(store: Store, key: str) -> list[ClaimInfo]:
    """The drivers that run a sweep now."""
    claims = store.claims.read().items()
    return [claim for name, claim in claims if name.startswith(f"{key}-") and claim.live]


def stop(out: Path, *, store: str | None) -> int:
    """Ask whoever runs a sweep to stop, and wait until they have; returns 0, or 1 if they do not.

    Args:
        out: Results folder of the sweep, or a copy of it.
        store: Where its models are, where not there.
    """
    sweep = read_sweep(out)
    kept = existing_store(out, store, sweep.resources)
    key = run_key(out, sweep)
    drivers = running(kept, key)
    if not drivers:
        print(f"nothing to stop: nobody runs {out}")
        return 0
    kept.save_scratch(key, REQUEST, b"")
    for driver in drivers:
        print(f"asked process {driver.pid} on {driver.host} to stop", file=sys.stderr)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (left := running(kept, key)) and time.monotonic() < deadline:
        time.sleep(0.5)
    kept.drop_scratch(key)
    for driver in left:
        print(
            f"process {driver.pid} on {driver.host} must have stopped within "
            f"{PATIENCE_SECONDS:.0f} s, got a heartbeat {driver.age_seconds:.0f} s ago; "
            "end it there",
            file=sys.stderr,
        )
    if not left:
        print("stopped; finished models are kept, and the same sweep run command resumes")
    return 1 if left else 0


def _listen(store: Store, key: str, done: threading.Event) -> None:
    while not done.wait(LOOK_SECONDS):
        with suppress(StoreError):  # a store that is away for a while
            if store.load_scratch(key, REQUEST) is not None:
                os.kill(os.getpid(), signal.SIGTERM)
                return
