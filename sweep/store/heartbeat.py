"""The thread that keeps a claim alive while its holder works."""

import threading
from typing import Self

from sweep.files import Json
from sweep.store.claims import Claim, ClaimLost
from sweep.store.folder import StoreError
from sweep.store.patience import Patience


class Heartbeat:
    """A thread that renews a claim and reports progress.

    Sets `lost` if the claim is lost, or if it could not be renewed for too long.
    """

    def __init__(self, claim: Claim, position: Json) -> None:
        self.lost: StoreError | None = None
        self._claim, self._position = claim, position
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the thread."""
        self._stop.set()
        self._thread.join()

    def _beat(self) -> None:
        patience = Patience(str(self._claim.files), self._claim.outage_seconds)
        while not self._stop.wait(self._claim.beat_seconds):
            try:
                self._renew(patience)
            except StoreError as error:
                self.lost = error
                return

    def _renew(self, patience: Patience) -> None:
        """Renew the claim; raises StoreError if it is lost or has failed for too long."""
        lost = None
        with patience.attempt():
            try:
                self._claim.heartbeat(dict(self._position))
            except ClaimLost as error:
                lost = error
        if lost is not None:
            raise lost
