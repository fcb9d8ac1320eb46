"""What holds for every test: one thread, no windows, nothing written into the home folder.

Must not import torch or ray: a test of analysis runs without them.
"""

import os

import hypothesis
import pytest

# Read by torch, numpy and ray when they are first imported, in pytest-xdist's workers too.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "Agg"
os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # on loopback; otherwise ~/.ray is written to
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

# The same examples every time, and no time limit for one of them: a busy machine is no failure.
hypothesis.settings.register_profile(
    "repeatable", database=None, deadline=None, derandomize=True, print_blob=True
)
hypothesis.settings.load_profile("repeatable")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give all tests that start Ray to one worker: two clusters at once starve each other."""
    for item in items:
        if item.get_closest_marker("ray"):
            item.add_marker(pytest.mark.xdist_group("ray"))
