"""`sweep status --watch`: shows a sweep that another process runs, until it ends.

The display is redrawn in place on a terminal. Otherwise lines are printed when something changes,
and every PLAIN_SECONDS.
"""

import shlex
import time
from pathlib import Path

from model.errors import check_finite
from sweep.records import load_lineages, load_sweep
from sweep.status.display import PLAIN_SECONDS, Screen
from sweep.status.report import print_lineages, track
from sweep.status.tracker import Snapshot, Tracker
from sweep.store.folder import StoreError


def watch(out: Path, *, store: str | None, period: float) -> int:
    """Show a sweep until it is finished; returns 0, or 1 if lineages failed or diverged.

    Args:
        out: Results folder of the sweep.
        store: Store of its models, if that is not `out`.
        period: Seconds between looks.

    Raises:
        UsageError: `period` is less than 0.1 s, or `out` is not a results folder.
        KeyboardInterrupt: Ctrl-C. The sweep itself continues.
    """
    check_finite("--watch", period, 0.1)
    load_sweep(out)  # its error is clearer than that of stat below
    planned = 0
    with Screen(stderr=False) as screen:
        shown = _News(screen)
        while True:
            if planned != (changed := (out / "sweep.json").stat().st_mtime_ns):
                planned = changed  # first look, or sweep.json was extended
                followed = track(out, store=store)
                name, tracker = followed.name, followed.tracker
            try:
                snapshot, drivers = tracker.look(), followed.drivers()
            except StoreError as error:  # the store may be reachable again at the next look
                shown.show([f"cannot read the store: {error}"], news=str(error))
            else:
                dead = not (snapshot.at_work or drivers)
                if is_finished(out, tracker, dead=dead):
                    break
                lines = resuming(out) if dead else snapshot.lines()
                news = (snapshot.num_ended, snapshot.num_done, dead)
                shown.show([f"{name}: {describe(tracker, snapshot)}", *lines], news=news)
            time.sleep(period)
    records = print_lineages(name, tracker, snapshot, out=out)
    return 1 if any(record.status != "done" for record in records) else 0


def is_finished(out: Path, tracker: Tracker, *, dead: bool) -> bool:
    """Whether every lineage is done or diverged, or has failed and nothing runs any more."""
    open_ones = {lineage.id for lineage in tracker.lineages} - tracker.ended.keys()
    if not open_ones or not dead:
        return not open_ones
    return open_ones <= {record.id for record in load_lineages(out) if record.status == "failed"}


def describe(tracker: Tracker, snapshot: Snapshot) -> str:
    """Return lineages ended, models done, speed and time left as one line."""
    return f"{snapshot.num_ended} of {len(tracker.lineages)} lineages ended, {snapshot.summary()}"


def resuming(out: Path) -> list[str]:
    """Return the line for a sweep that is not running, with the command that resumes it."""
    commands = [line for line in load_sweep(out).commands if line.startswith("sweep run")]
    command = commands[-1] if commands else f"sweep run ... --out {shlex.quote(str(out))}"
    return [f"not running; resume with: {command}"]


class _News:
    """Shows lines on a screen; without a terminal, only what is new."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._news: object = None
        self._printed = float("-inf")

    def show(self, lines: list[str], *, news: object) -> None:
        """Show a headline and the lines below it; without a terminal, only if `news` changes."""
        text, now = "\n  ".join(lines), time.monotonic()
        if self._screen.is_live:
            self._screen.draw(text)
        elif news != self._news or now - self._printed >= PLAIN_SECONDS:
            self._news, self._printed = news, now
            self._screen.draw(f"[{time.strftime('%H:%M:%S')}] {text}")
