"""Signals that end a command: Ctrl-C, SIGTERM, and SIGHUP when its terminal is closed.

Each raises KeyboardInterrupt in the main thread. A signal that was ignored at the start (SIGHUP
under nohup) stays ignored.
"""

import os
import signal
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import ClassVar

from model.errors import Terminated

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
REPEAT_SECONDS = 1.0
"""Signals within this time are one request: a terminal and a launcher may both send one."""


@dataclass(slots=True)
class Ending:
    """The first ending signal that the command received."""

    current: ClassVar["Ending | None"] = None
    """That of the command that runs in this process."""

    number: int | None = None
    is_deaf: bool = False
    """Whether further signals are ignored."""
    _last: float = float("-inf")
    """Time of the last signal that raised."""

    def receive(self, number: int, frame: object) -> None:
        """Handle a signal."""
        self.number = self.number or number
        if not self.is_deaf and time.monotonic() - self._last >= REPEAT_SECONDS:
            self._last = time.monotonic()
            self.end()

    def end(self) -> None:
        """Raise the exception of the signal that was received."""
        if self.number is None or self.number == signal.SIGINT:
            raise KeyboardInterrupt
        raise Terminated(self.number)


@contextmanager
def last_words() -> Generator[int | None]:
    """Ignore ending signals during the block; yields the one that was received before."""
    ending = Ending.current or Ending()
    ending.is_deaf = True
    try:
        yield ending.number
    finally:
        ending.is_deaf = False


@contextmanager
def ended_by_signals() -> Generator[Ending]:
    """Let the ending signals raise KeyboardInterrupt during the block.

    Once one has been received, those after the block are ignored, because the process is ending.
    """
    ending = Ending()
    if threading.current_thread() is not threading.main_thread():
        yield ending
        return
    usual = (signal.SIG_DFL, signal.default_int_handler)
    before = {n: signal.getsignal(n) for n in ENDING if signal.getsignal(n) in usual}
    outer, Ending.current = Ending.current, ending
    try:
        for number in before:
            signal.signal(number, ending.receive)
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if ending.number is None else signal.SIG_IGN)
        Ending.current = outer


@contextmanager
def signals_held(what: str) -> Generator[None]:
    """Hold back ending signals during the block; the first one is delivered at its end.

    For code that an exception would leave half done. A second signal ends the block at once.

    Args:
        what: What the first signal waits for.
    """
    notice = f"\nstopping after {what}; press Ctrl-C again to stop at once\n".encode()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[tuple[float, int]] = []

    def hold(number: int, frame: object) -> None:
        now = time.monotonic()
        if held and now - held[0][0] >= REPEAT_SECONDS:
            raise KeyboardInterrupt
        if not held:
            with suppress(OSError):
                os.write(2, notice)  # a handler may have interrupted a print
        held.append((now, number))

    before = {n: signal.getsignal(n) for n in ENDING if callable(signal.getsignal(n))}
    try:
        for number in before:
            signal.signal(number, hold)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if held:
            signal.raise_signal(held[0][1])


def check_received() -> None:
    """Raise KeyboardInterrupt if an ending signal was received.

    A library's callback may have swallowed the exception that the signal raised.
    """
    if Ending.current is not None and Ending.current.number is not None:
        Ending.current.end()
