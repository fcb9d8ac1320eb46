"""What a running sweep shows: models done, what each trial does, and the time left.

A snapshot is made of the plan and the store's claims, so that `sweep status` in another terminal
sees the same as `sweep run`. On a terminal it is redrawn in place, elsewhere plain lines are
printed.
"""

import sys
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

from sweep.claims import ClaimInfo
from sweep.plan import PlannedLineage, unique_nodes
from sweep.store import Store

REDRAW_SECONDS = 1.0
PLAIN_SECONDS = 30.0
"""Between progress lines where there is no terminal."""


def format_seconds(seconds: float) -> str:
    """Seconds as 42 s, 3 min 20 s or 5 h 12 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Snapshot:
    """Where a sweep stands at one moment."""

    def __init__(self, lineages: list[PlannedLineage], store: Store) -> None:
        tree = unique_nodes(lineage.nodes for lineage in lineages)
        claims = store.read_claims()
        self.done = {key for key in tree if store.has_node(key)}
        self.num_models = len(tree)
        self.claims = [claim for claim in claims.values() if claim.live and claim.progress]
        running = {
            key: claim.progress for key, claim in claims.items() if claim.live and key in tree
        }
        self.images_left = sum(
            node.images_seen * (1 - share_done(running.get(key, {})))
            for key, node in tree.items()
            if key not in self.done
        )
        self.images_per_second = sum(
            progress.get("images_per_second", 0.0)
            for progress in running.values()
            if progress.get("stage") == "train"
        )

    def summary(self) -> str:
        """Models done, speed and time left, in a line."""
        text = f"{len(self.done)} of {self.num_models} models done"
        if self.images_per_second > 0 and self.images_left > 0:
            left = format_seconds(self.images_left / self.images_per_second)
            text += f", {self.images_per_second:,.0f} training images/s, about {left} left"
        return text

    def lines(self) -> list[str]:
        """One line per trial at work."""
        return [describe_claim(claim) for claim in self.claims]


def share_done(progress: dict) -> float:
    """Share of a node's training that is over."""
    if progress.get("stage") != "train" or not progress.get("num_steps"):
        return 0.0
    return progress.get("step", 0) / progress["num_steps"]


def describe_claim(claim: ClaimInfo) -> str:
    """What a trial is doing: lineage, generation, stage, step, speed, time left."""
    at = claim.progress
    text = (
        f"{at.get('lineage', '?')}  V_{at.get('generation', '?')} of {at.get('generations', '?')}"
        f"  {at.get('stage', '?')}"
    )
    if "step" in at:
        text += f"  step {at['step']:,}/{at['num_steps']:,}"
    if at.get("images_per_second"):
        text += f"  {at['images_per_second']:,.0f} images/s"
    if at.get("stage") == "train" and at.get("step") and at.get("images_per_second"):
        text += f"  loss {at['loss']:.4f}"
    return text


class Display:
    """Shows a sweep while it runs; a context manager around the run."""

    def __init__(self, lineages: list[PlannedLineage], store: Store) -> None:
        self._lineages, self._store = lineages, store
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True)
        self._live = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        """Begin to show."""
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
        """Stop showing, and clear what was drawn in place."""
        self._stop.set()
        self._thread.join(timeout=5)
        if self._live is not None:
            self._live.stop()

    def say(self, line: str) -> None:
        """Print a line that stays."""
        if self._live is not None:
            self._live.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)

    def _show(self) -> None:
        started = time.monotonic()
        period = REDRAW_SECONDS if self._live is not None else PLAIN_SECONDS
        while not self._stop.wait(period):
            with suppress(OSError, ValueError):  # a display must not end a sweep
                snapshot = Snapshot(self._lineages, self._store)
                elapsed = format_seconds(time.monotonic() - started)
                lines = [f"[{elapsed}] {snapshot.summary()}", *map("  {}".format, snapshot.lines())]
                if self._live is None:
                    print("\n".join(lines), file=sys.stderr, flush=True)
                else:
                    from rich.text import Text

                    self._live.update(Text("\n".join(lines)), refresh=True)
