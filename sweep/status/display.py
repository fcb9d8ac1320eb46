"""Progress display of a running sweep: models done, what each trial does, and the time left.

The display is redrawn in place on a terminal, and printed as plain lines otherwise.
"""

import sys
import threading
import time
from contextlib import suppress
from typing import Self

from sweep.estimate.timings import format_seconds
from sweep.planning.lineages import PlannedLineage
from sweep.status.tracker import Tracker
from sweep.store.store import Store

REDRAW_SECONDS = 1.0
PLAIN_SECONDS = 30.0
"""Seconds between progress lines without a terminal."""


class Screen:
    """Lines that replace the previous ones on a terminal, and are printed one by one elsewhere."""

    def __init__(self, *, stderr: bool) -> None:
        self._stream = sys.stderr if stderr else sys.stdout
        self._live = None
        if self._stream.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=stderr), auto_refresh=False, transient=True)

    @property
    def is_live(self) -> bool:
        """Whether lines are replaced."""
        return self._live is not None

    def __enter__(self) -> Self:
        """Start the display."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Clear what was drawn."""
        if self._live is not None:
            self._live.stop()

    def draw(self, text: str) -> None:
        """Replace the previous lines, or print new ones."""
        if self._live is None:
            print(text, file=self._stream, flush=True)
        else:
            from rich.text import Text

            self._live.update(Text(text), refresh=True)

    def say(self, line: str) -> None:
        """Print a permanent line."""
        if self._live is not None:
            self._live.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=self._stream, flush=True)


class Display:
    """Context manager that shows a sweep's progress while it runs."""

    def __init__(self, lineages: list[PlannedLineage], store: Store) -> None:
        self._tracker = Tracker(lineages, store)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True)
        self._screen = Screen(stderr=True)
        self.say = self._screen.say

    def __enter__(self) -> Self:
        """Start the display."""
        self._screen.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the display and clear the terminal."""
        self._stop.set()
        self._thread.join(timeout=5)
        self._screen.__exit__()

    def _show(self) -> None:
        started = time.monotonic()
        period = REDRAW_SECONDS if self._screen.is_live else PLAIN_SECONDS
        while not self._stop.wait(period):
            with suppress(OSError, ValueError):  # a display must not end a sweep
                snapshot = self._tracker.look()
                elapsed = format_seconds(time.monotonic() - started)
                lines = [f"[{elapsed}] {snapshot.summary()}", *map("  {}".format, snapshot.lines())]
                self._screen.draw("\n".join(lines))
