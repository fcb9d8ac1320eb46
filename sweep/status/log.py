"""The log of a results folder: one line per event, with the UTC time.

    2026-11-28T18:50:01Z [host 4711] started: sweep run quickstart --out runs/quickstart

A run whose terminal is gone has told here what it did, how it ended and how to resume it.
"""

import logging
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from model.commands.command_line import SIGNALLED, exit_code, sentence
from model.commands.output import pasteable
from model.commands.signals import last_words
from model.programs.permission import OPTION, commands_allowed
from sweep.environment import versions
from sweep.results_folder import LOG
from sweep.store.folder import StoreError

EVENTS = logging.getLogger("sweep")
"""Events of the run in this process."""


class LogFile(logging.Handler):
    """Appends events to a file. A file that cannot be written, or is gone, ends nothing."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def emit(self, record: logging.LogRecord) -> None:
        """Append one line."""
        text = "".join(c if c.isprintable() else " " for c in record.getMessage().strip())
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        with suppress(OSError, ValueError), _opened(self._path) as file:
            file.write(f"{moment} [{socket.gethostname()} {os.getpid()}] {text}\n")


def _opened(path: Path) -> TextIO:
    """Open a file to append to; an error if it is a named pipe that nobody reads."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK
    return os.fdopen(os.open(path, flags, 0o666), "a", encoding="utf-8")


def logged(out: Path, command: str, work: Callable[[], int], *, kept: str) -> int:
    """Do the work of a command with a log, and say how to resume it if it does not end well.

    Args:
        out: Its results folder.
        command: Its command line.
        work: Returns its exit code.
        kept: What is kept if it is stopped.
    """
    handlers = [LogFile(out / LOG), *([logging.lastResort] if logging.lastResort else [])]
    for handler in handlers:
        EVENTS.addHandler(handler)
    EVENTS.setLevel(logging.INFO)
    EVENTS.propagate = False
    try:
        facts = versions("collapse-sweep", "torch", "numpy", "ray")
        shown = ", ".join(f"{name} {value}" for name, value in facts.items())
        EVENTS.info("started: %s (%s)", command, shown)
        code = work()
        EVENTS.info("ended: exit code %d", code)
    except BaseException as error:
        with last_words() as received:
            code = exit_code(error, received)
            EVENTS.info("%s", described(error, code))
            if code > SIGNALLED or isinstance(error, StoreError):
                EVENTS.info("stopped; %s. To resume: %s", kept, command)
                again = pasteable(command) + f" {OPTION}" * commands_allowed()
                sys.stderr.write(f"\nstopped; {kept}. To resume:\n  {again}\n")
            EVENTS.info("ended: exit code %d", code)
        raise
    finally:
        for handler in handlers:
            EVENTS.removeHandler(handler)
        EVENTS.propagate = True
    return code


def described(error: BaseException, code: int) -> str:
    """One line about an error: its kind, its message, and where it was raised."""
    if code > SIGNALLED:
        return f"received {signal.Signals(code - SIGNALLED).name}"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(frame.filename).name}, line {frame.lineno}, in {frame.name}"
    return f"error: {type(error).__name__}: {sentence(error)} ({where})"
