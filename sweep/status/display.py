"""Progress display of a running sweep: models done, what each trial does, and the time left.

The display is redrawn in place on a terminal, and printed as plain lines otherwise.
"""

import sys
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

from sweep.estimate.timings import format_seconds
from sweep.planning.lineages import PlannedLineage
from sweep.status.tracker import Tracker
from sweep.store.store import Store

REDRAW_SECONDS = 1.0
PLAIN_SECONDS = 30.0
"""Seconds between progress lines without a terminal."""


class Display:
    """Context manager that shows a sweep's progress while it runs."""

    def __init__(self, lineages: list[PlannedLineage], store: Store) -> None:
        self._tracker = Tracker(lineages, store)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True)
        self._live = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        """Start the display."""
        if self._live is not None:
            self._live.start()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the display and clear the terminal."""
        self._stop.set()
        self._thread.join(timeout=5)
        if self._live is not None:
            self._live.stop()

    def say(self, line: str) -> None:
        """Print a permanent line."""
        if self._live is not None:
            self._live.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)

    def _show(self) -> None:
        started = time.monotonic()
        period = REDRAW_SECONDS if self._live is not None else PLAIN_SECONDS
        while not self._stop.wait(period):
            with suppress(OSError, ValueError):  # a display must not end a sweep
                snapshot = self._tracker.look()
                elapsed = format_seconds(time.monotonic() - started)
                lines = [f"[{elapsed}] {snapshot.summary()}", *map("  {}".format, snapshot.lines())]
                if self._live is None:
                    print("\n".join(lines), file=sys.stderr, flush=True)
                else:
                    from rich.text import Text

                    self._live.update(Text("\n".join(lines)), refresh=True)
