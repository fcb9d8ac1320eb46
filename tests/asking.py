"""Commands of sweep and analysis in this process, without what `sweep run` prints at its end."""

from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.__main__ import PROGRAM as ANALYSIS
from sweep.__main__ import PROGRAM as SWEEP
from sweep.commands import run

Ask = Callable[..., tuple[int, str]]
"""A command's words to its exit code, and everything it prints."""


def asker(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ask:
    """A function that asks one of the programs, which is the first word."""
    monkeypatch.setattr(run, "conclude", lambda out, records: 0)

    def ask(program: str, *words: object) -> tuple[int, str]:
        capfd.readouterr()
        code = {"sweep": SWEEP, "analysis": ANALYSIS}[program].run(list(map(str, words)))
        return code, "".join(capfd.readouterr())

    return ask


def files_of(out: Path) -> dict[Path, bytes]:
    """Every file below a folder, with its content."""
    return {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
