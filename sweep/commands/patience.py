"""Progress of a plan that takes longer than a user expects to wait."""

import sys
import time

from model.commands.output import is_quiet

QUIET_SECONDS = 2.0
"""Seconds without a line, at the start and between two lines."""


class PlanProgress:
    """Prints how far one step of a plan is, on stderr; nothing if the step is quick."""

    def __init__(self, step: str) -> None:
        """Start now; `step` says what is done to each of the counted things."""
        self._step = step
        self._start = self._last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """Print a line if QUIET_SECONDS have passed since the last one."""
        now = time.monotonic()
        if now - self._last < QUIET_SECONDS or not done or is_quiet():
            return
        from sweep.estimate.timings import format_seconds

        self._last = now
        left = (now - self._start) / done * (total - done)
        print(
            f"{self._step}: {done:,} of {total:,}, about {format_seconds(left)} left; Ctrl-C stops",
            file=sys.stderr,
            flush=True,
        )
