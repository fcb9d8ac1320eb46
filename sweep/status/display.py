"""Progress of a sweep on a screen: while it runs, and in `sweep status --watch` until it ends.

The lines are redrawn in place on a terminal, and printed one below the other elsewhere.
"""

import logging
import signal
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from model.commands.command_line import MISSING, SIGNALLED
from model.commands.output import is_abandoned, is_quiet
from model.errors import check_at_most, check_finite, printable
from sweep.config import SECONDS
from sweep.estimate.timings import format_seconds
from sweep.finished import record_of
from sweep.planning.lineages import PlannedLineage
from sweep.records import load_lineages, load_sweep
from sweep.status.drivers import Driver
from sweep.status.live_board import LiveBoard
from sweep.status.report import print_lineages, recorded_errors, resuming, track
from sweep.status.states import counts, started_lineages
from sweep.status.time_left import TimeLeft
from sweep.status.tracker import Tracker
from sweep.store.store import Store

LOG = logging.getLogger(__name__)
"""What a run says is an event of its log."""
REDRAW_SECONDS = 1.0
PLAIN_SECONDS = 30.0
"""Seconds between progress lines without a terminal."""


@dataclass(slots=True)
class Screen:
    """Lines that replace the previous ones on a terminal, and are printed one by one elsewhere."""

    stream: TextIO
    live: Any = None
    """The display of rich that replaces lines; None without a terminal."""
    _news: object = None
    _news_time: float = float("-inf")

    def draw(self, text: str) -> None:
        """Replace the previous lines, or print new ones."""
        if self.live is None:
            print(text, file=self.stream, flush=True)
        else:
            from rich.text import Text

            self.live.update(Text(text), refresh=True)

    def draw_news(self, text: str, *, news: object) -> None:
        """Draw lines; without a terminal, only if `news` changes or after PLAIN_SECONDS."""
        now = time.monotonic()
        if self.live is not None:
            self.draw(text)
        elif news != self._news or now - self._news_time >= PLAIN_SECONDS:
            self._news, self._news_time = news, now
            self.draw(f"[{time.strftime('%H:%M:%S')}] {text}")

    def say(self, line: str) -> None:
        """Print a permanent line, which is also an event of the run's log."""
        LOG.info(line)
        if is_quiet():
            return
        if self.live is None:
            print(line, file=self.stream, flush=True)
        else:
            self.live.console.print(line, markup=False, highlight=False)


@contextmanager
def opened_screen(*, stderr: bool) -> Generator[Screen]:
    """Open a screen on stdout or stderr; what was drawn on a terminal is cleared at the end."""
    stream = sys.stderr if stderr else sys.stdout
    if not stream.isatty():
        yield Screen(stream)
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=stderr), auto_refresh=False, transient=True) as live:
        yield Screen(stream, live)


@contextmanager
def progress_screen(
    lineages: list[PlannedLineage], store: Store, driver: Driver, board: LiveBoard
) -> Generator[Screen]:
    """Show a sweep's progress while it runs here; yields the screen, for permanent lines."""
    time_left, done = TimeLeft(lineages), threading.Event()
    records = [record_of(lineage) for lineage in lineages]
    tracker = Tracker(records, store, streams=time_left.streams)
    with opened_screen(stderr=True) as screen:
        thread = threading.Thread(
            target=_keep_drawing,
            args=(screen, tracker, time_left, driver, board, done),
            daemon=True,
        )
        thread.start()
        try:
            yield screen
        finally:
            done.set()
            thread.join(timeout=5)
            with suppress(OSError):
                board.close()


def _keep_drawing(
    screen: Screen,
    tracker: Tracker,
    time_left: TimeLeft,
    driver: Driver,
    board: LiveBoard,
    done: threading.Event,
) -> None:
    started = time.monotonic()
    while not done.wait(PLAIN_SECONDS if screen.live is None else REDRAW_SECONDS):
        with suppress(OSError, ValueError):  # a display must not end a sweep
            snapshot = tracker.look()
            driver.seconds_left = time_left.seconds(tracker, snapshot)
            snapshot = replace(snapshot, seconds_left=driver.seconds_left)
            board.write({key: claim for key, claim in snapshot.claims.items() if claim.live})
            elapsed = format_seconds(time.monotonic() - started)
            states = snapshot.states(set(driver.started), dict(driver.errors)).values()
            if is_quiet():
                continue
            summary = f"[{elapsed}] {snapshot.summary()}; lineages: {counts(states)}"
            screen.draw("\n  ".join([summary, *snapshot.lines()]))


def watch(out: Path, *, store: str | None, period: float) -> int:
    """Show a sweep until it is finished; returns 0, or 1 if lineages failed or diverged.

    Returns 141, as for SIGPIPE, once nobody reads the output any more.

    Args:
        out: Results folder of the sweep.
        store: Store of its models, if that is not `out`.
        period: Seconds between looks.

    Raises:
        UsageError: `period` is less than 0.1 s, or `out` is not a results folder.
        StoreError: The store has failed for too long.
        KeyboardInterrupt: Ctrl-C. The sweep itself continues.
    """
    check_finite("--watch", period, 0.1)
    check_at_most("--watch", period, SECONDS["most"])
    read_as = load_sweep(out)
    followed = track(out, store=store)
    patience = followed.store.patience()
    with opened_screen(stderr=False) as screen:
        while not is_abandoned():
            with patience.attempt():
                if read_as != (record := load_sweep(out)):  # the sweep was extended
                    read_as, followed = record, track(out, store=store)
                tracker = followed.tracker
                drivers, snapshot = followed.look()
                dead = not (snapshot.at_work or drivers)
                if is_finished(out, tracker, dead=dead):
                    break
                states = snapshot.states(started_lineages(drivers), recorded_errors(out))
                lines = [
                    f"{printable(followed.name)}: {snapshot.num_ended} of {len(states)} lineages "
                    f"ended, {snapshot.summary()}; lineages: {counts(states.values())}",
                    *([resuming(out)] if dead else snapshot.lines()),
                ]
                news = (snapshot.num_ended, snapshot.num_done, dead)
                screen.draw_news("\n  ".join(lines), news=news)
            time.sleep(period)
        else:
            return SIGNALLED + signal.SIGPIPE
    states = print_lineages(followed, snapshot, drivers, recorded_errors(out))
    return MISSING if set(states.values()) - {"done"} else 0


def is_finished(out: Path, tracker: Tracker, *, dead: bool) -> bool:
    """Whether every lineage is done or diverged, or nothing runs and the run has ended the rest."""
    unended = {lineage.id for lineage in tracker.lineages} - tracker.ended.keys()
    if not unended or not dead:
        return not unended
    return unended <= {record.id for record in load_lineages(out) if record.error}
