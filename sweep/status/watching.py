"""`sweep status --watch`: a sweep that another process runs, followed to its end.

On a terminal it is redrawn in place; elsewhere a line is printed when something changes, and one
now and then.
"""

import shlex
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from model.errors import check_finite
from sweep.records import load_lineages, load_sweep
from sweep.status.display import PLAIN_SECONDS
from sweep.status.report import print_lineages, track
from sweep.status.tracker import Snapshot, Tracker
from sweep.store.folder import StoreError


def watch(out: Path, *, store: str | None, period: float) -> int:
    """Show a sweep until it is finished; returns 0, or 1 where lineages failed or diverged.

    Args:
        out: Its results folder.
        store: Where its models are, where not there.
        period: Seconds between looks.

    Raises:
        UsageError: `period` is no time, or `out` is not a results folder.
        KeyboardInterrupt: Ctrl-C; the sweep is not touched.
    """
    check_finite("--watch", period, 0.1)
    load_sweep(out)  # whose error says more than that of a missing file
    planned = 0
    with _Screen() as screen:
        while True:
            if planned != (changed := (out / "sweep.json").stat().st_mtime_ns):
                planned = changed  # new, or extended meanwhile
                followed = track(out, store=store)
                name, tracker = followed.name, followed.tracker
            try:
                snapshot, drivers = tracker.look(), followed.drivers()
            except StoreError as error:  # a far store may be back at the next look
                screen.show([f"cannot look: {error}"], news=str(error))
            else:
                dead = not (snapshot.at_work or drivers)
                if is_finished(out, tracker, dead=dead):
                    break
                lines = resuming(out) if dead else snapshot.lines()
                news = (snapshot.num_ended, snapshot.num_done, dead)
                screen.show([f"{name}: {describe(tracker, snapshot)}", *lines], news=news)
            time.sleep(period)
    records = print_lineages(name, tracker, snapshot, out=out)
    return 1 if any(record.status != "done" for record in records) else 0


def is_finished(out: Path, tracker: Tracker, *, dead: bool) -> bool:
    """Whether every lineage is done or diverged, or has failed and nobody works on it."""
    open_ones = {lineage.id for lineage in tracker.lineages} - tracker.ended.keys()
    if not open_ones or not dead:
        return not open_ones
    return open_ones <= {record.id for record in load_lineages(out) if record.status == "failed"}


def describe(tracker: Tracker, snapshot: Snapshot) -> str:
    """Lineages ended, models done, speed and time left."""
    return f"{snapshot.num_ended} of {len(tracker.lineages)} lineages ended, {snapshot.summary()}"


def resuming(out: Path) -> list[str]:
    """What to say of a sweep that nobody works on."""
    commands = [line for line in load_sweep(out).commands if line.startswith("sweep run")]
    command = commands[-1] if commands else f"sweep run ... --out {shlex.quote(str(out))}"
    return [f"not running; resume with: {command}"]


class _Screen:
    """Shows lines in the place of the last ones on a terminal, one after the other elsewhere."""

    def __init__(self) -> None:
        self._live = None
        self._news: object = None
        self._printed = float("-inf")
        if sys.stdout.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(), auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        """Begin to show."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Clear what was drawn in place."""
        if self._live is not None:
            self._live.stop()

    def show(self, lines: list[str], *, news: object) -> None:
        """Show a head and what stands below it; `news` is what counts as a change."""
        text, now = "\n  ".join(lines), time.monotonic()
        if self._live is not None:
            from rich.text import Text

            self._live.update(Text(text), refresh=True)
        elif news != self._news or now - self._printed >= PLAIN_SECONDS:
            self._news, self._printed = news, now
            print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)
