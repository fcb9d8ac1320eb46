"""Facts of the examples: each adds its variant by itself, and a lineage of it runs to its end."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("own_*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_computes_three_generations(name: str) -> None:
    """As its docstring says to run it."""
    done = subprocess.run(
        [sys.executable, "-m", f"examples.{name}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == ["V_1", "V_2", "V_3"]
    assert all(re.search(r"'kid/pixels': -?\d", line) for line in lines)


def test_there_is_an_example_of_each_seam() -> None:
    """Rule, filter, family and data."""
    assert EXAMPLES == ["own_data", "own_family", "own_filter", "own_pool_rule"]
