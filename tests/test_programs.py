"""Facts of lineages whose models are other people's programs (family `command`)."""

import os
import sys
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
from tiny_sweep import compute, make_lineage, make_run, make_sweep, plan

from model.errors import UsageError
from model.programs.files import READ
from model.programs.images import ProgramFailed
from model.programs.permission import allow_commands
from sweep.store.store import open_store

EXAMPLES = Path(__file__).parents[1] / "examples"
TWO = {
    "model.family": "command",
    "model.program": [str(EXAMPLES / "command_gaussian.py")],
    "train.command": f"{sys.executable} command_gaussian.py train {{images}} {{out}}",
    "sample.command": f"{sys.executable} command_gaussian.py sample {{model}} {{out}} "
    "{num_images} {seed}",
}
"""Settings of the example, which has two commands."""


@pytest.fixture(autouse=True)
def _allowed(tmp_path, monkeypatch) -> Generator[None]:
    """Allow programs, which run in a folder of the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    READ.clear()
    allow_commands(True)
    yield
    allow_commands(False)
    READ.clear()


def test_a_lineage_of_a_program(tmp_path) -> None:
    run = make_run(make_lineage(TWO), open_store(tmp_path / "store"))
    generations = list(run.generations())
    assert [each.node.status for each in generations] == ["done", "done"]
    print(generations[0].node, generations[0].metrics)
