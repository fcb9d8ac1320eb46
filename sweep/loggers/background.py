"""The loggers of a run; their failures are noted once and end nothing."""

import logging
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

from model.errors import UsageError, one_line
from sweep.loggers.progress import write_csv
from sweep.records import LineageRecord

LOG = logging.getLogger(__name__)
PERIOD_SECONDS = 20.0
"""Time between two processes that send to Weights & Biases."""


def check_loggers(names: Sequence[str]) -> None:
    """Raise UsageError if a logger's package is missing."""
    if "wandb" in names and find_spec("wandb") is None:
        raise UsageError(
            "--log wandb must have the package wandb, got none; "
            "install it with pip install 'collapse-sweep[wandb]', or use --log csv"
        )


class Loggers:
    """Writes the progress of lineages where --log says, while a sweep runs and at its end."""

    def __init__(self, out: Path, names: Sequence[str]) -> None:
        self._out, self._names = out, names
        self._noted: set[str] = set()
        self._waiting: set[str] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._send_often, daemon=True)
        if "wandb" in names:
            self._thread.start()

    def update(self, lineages: Iterable[LineageRecord]) -> None:
        """Write lineages of which a generation has ended."""
        for lineage in lineages:
            self._waiting.add(lineage.id)
            if "csv" in self._names:
                try:
                    write_csv(self._out, lineage)
                except (OSError, ValueError) as error:
                    self._note("csv", one_line(error))

    def finish(self, lineages: Sequence[LineageRecord]) -> None:
        """Write all lineages, also those of earlier runs that were killed."""
        self.update(lineages)
        if "wandb" in self._names:
            self._ended.set()
            self._thread.join()
            self._send()

    def _send_often(self) -> None:
        """Send what is waiting from time to time, until that fails."""
        while not self._ended.wait(PERIOD_SECONDS) and "wandb" not in self._noted:
            self._send()

    def _send(self) -> None:
        ids = set()
        while self._waiting:
            ids.add(self._waiting.pop())
        if not ids:
            return
        # -P, so that a user's own wandb/ in the working directory is not imported.
        command = [sys.executable, "-P", "-m", "sweep.loggers.wandb_runs", str(self._out)]
        try:
            done = subprocess.run(
                command,
                input="\n".join(ids),
                capture_output=True,
                text=True,
                check=False,
                process_group=0,  # Ctrl-C is for the sweep; what is being sent may end
            )
            failure = done.stderr.strip().splitlines()[-1:] if done.returncode else []
            if done.returncode:
                self._note("wandb", *(failure or [f"exit code {done.returncode}"]))
        except OSError as error:  # no memory, or too many processes
            self._note("wandb", one_line(error))

    def _note(self, name: str, reason: str) -> None:
        if name not in self._noted:
            self._noted.add(name)
            LOG.warning(
                "--log %s has failed, and the sweep goes on: %s; the same command sends what is "
                "missing when it ends",
                name,
                reason,
            )
