"""What keeps a running training safe: a claim that is renewed, and a saved state in the store.

Must not know what is trained, nor Ray.
"""

import threading

from sweep.claims import Claim, ClaimLost
from sweep.records import Json
from sweep.store import Store

STATE = "training.safetensors"
"""Name of a running training's saved state in its scratch."""


class NodeScratch:
    """A training's saved state in the store (model.job.Scratch)."""

    def __init__(self, store: Store, key: str) -> None:
        self.store, self.key = store, key

    def load(self) -> bytes | None:
        """The newest whole state that any process left."""
        return self.store.load_scratch(self.key, STATE)

    def save(self, data: bytes) -> None:
        """Keep a state."""
        self.store.save_scratch(self.key, STATE, data)


class Heartbeat:
    """A thread that keeps a claim alive and shows progress; `lost` tells that it was taken over."""

    def __init__(self, claim: Claim, position: Json, seconds: float) -> None:
        self.lost: ClaimLost | None = None
        self._claim, self._position, self._seconds = claim, position, seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> "Heartbeat":
        """Start beating."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop beating."""
        self._stop.set()
        self._thread.join()

    def _beat(self) -> None:
        while True:
            try:
                self._claim.heartbeat(dict(self._position))
            except ClaimLost as error:
                self.lost = error
                return
            except OSError:
                pass  # a full or slow disk: the next beat may pass
            if self._stop.wait(self._seconds):
                return
