"""Patience with a store that fails: for a limited time, and never without a word."""

import logging
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from sweep.config import ResourcesConfig
from sweep.store.folder import StoreError

LOG = logging.getLogger(__name__)
"""Its warnings go to standard error, and to the log of a run."""

OUTAGE_SECONDS = ResourcesConfig().outage_seconds
"""Time for which failures are tolerated by default."""
NOTICE_SECONDS = 10.0
"""How long a store fails before that is said."""


class OutageError(StoreError):
    """The store has failed for longer than is tolerated."""


@dataclass(slots=True)
class Patience:
    """How long one place that repeats its requests has been failing.

    What several places of a process notice at the same time is said once.
    """

    store: str
    """Location of the store."""
    seconds: float
    """Time for which failures are tolerated."""
    _since: float | None = None
    """Start of the first failed attempt since the last success."""

    @contextmanager
    def attempt(self) -> Generator[None]:
        """Tolerate a StoreError of the block.

        Raises:
            OutageError: The failures have lasted too long.
        """
        started = time.monotonic()
        try:
            yield
        except StoreError as error:
            self.failed(error, started)
        else:
            self.succeeded()

    def failed(self, error: Exception, started: float) -> None:
        """Note a failed attempt, given its start; raises OutageError after the time limit."""
        if self._since is None:
            self._since = started
        waited = time.monotonic() - self._since
        if waited >= self.seconds:
            if isinstance(error, OutageError):
                raise error
            raise OutageError(
                f"{error} (it has failed for {waited:.0f} s; "
                f"resources.outage_seconds is {self.seconds:g})"
            ) from error
        if waited >= NOTICE_SECONDS and NOTICES.is_first(self.store, self.seconds):
            LOG.warning(
                "the store has not answered for %.0f s: %s; retrying for another %.0f s",
                waited,
                error,
                self.seconds - waited,
            )

    def succeeded(self) -> None:
        """Note an attempt that succeeded."""
        if self._since is not None:
            self._since = None
            if NOTICES.end(self.store):
                LOG.warning("%s answers again", self.store)


class Notices:
    """The stores whose failure this process has reported."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: dict[str, float] = {}
        """Time until which the failure of a store is not reported again."""

    def is_first(self, store: str, seconds: float) -> bool:
        """Whether the failure of a store was not reported within this time; now it is."""
        with self._lock:
            now = time.monotonic()
            if now < self._until.get(store, now):
                return False
            self._until[store] = now + seconds
            return True

    def has(self, store: str) -> bool:
        """Whether the failure of a store was reported, and it has not answered since."""
        return store in self._until

    def end(self, store: str) -> bool:
        """Forget the report about a store; returns whether there was one."""
        with self._lock:
            return self._until.pop(store, None) is not None


NOTICES = Notices()
