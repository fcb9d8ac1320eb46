"""What a command does before there is progress to show, if it takes longer than a user expects."""

import sys
import threading
from types import TracebackType
from typing import Self

from model.commands.output import is_quiet

STAGE_SECONDS = 1.0
"""Seconds after which a stage is named."""
CLEAR = "\r\x1b[K"
"""Moves a terminal's cursor to the start of its line, and clears the line."""


class Stage:
    """Names on stderr what the block does, once it has taken STAGE_SECONDS.

    On a terminal, the line disappears at the end of the block, or under the next line.
    """

    def __init__(self, what: str) -> None:
        """`what` says what is done, as in `starting Ray`."""
        self._text = f"{what} ..."
        self._timer = threading.Timer(STAGE_SECONDS, self._show)
        self._timer.daemon = True
        self._lock, self._ended, self._shown = threading.Lock(), False, False

    def __enter__(self) -> Self:
        """Start now."""
        if not is_quiet():
            self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Clear the line."""
        self._timer.cancel()
        with self._lock:
            self._ended = True
            if self._shown and sys.stderr.isatty():
                sys.stderr.write(CLEAR)
                sys.stderr.flush()

    def _show(self) -> None:
        with self._lock:
            if not self._ended:
                sys.stderr.write(f"{self._text}\r" if sys.stderr.isatty() else f"{self._text}\n")
                sys.stderr.flush()
                self._shown = True
