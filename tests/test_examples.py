"""Facts of the examples: each plug-in runs by the command of its docstring, outside the project."""

import shlex
import shutil
from pathlib import Path

import pytest
from running_sweep import run_sweep

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("own_*.py"))
SMALL = {
    "--model.family": "gaussian",
    "--filter.extractor": "pixels",
    "--metrics.extractor": "pixels",
}
"""Settings that let a sweep end within seconds, unless a command sets them."""


def command_of(example: Path) -> list[str]:
    """The first command of an example's docstring, without `sweep`."""
    text = example.read_text().split('"""')[1]
    _, _, after = text.replace("\\\n", " ").partition("\nsweep ")
    return shlex.split(after.partition("\n")[0])


def test_there_is_an_example_of_each_kind() -> None:
    names = [path.stem.removeprefix("own_") for path in EXAMPLES]
    kinds = ["data", "extractor", "family", "filter", "metric", "pool_rule", "preset"]
    assert names == kinds


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_by_the_command_of_its_docstring(example: Path, tmp_path: Path) -> None:
    """In a folder where there is nothing of the project but this file."""
    (tmp_path / "examples").mkdir()
    shutil.copy(example, tmp_path / "examples")
    words = command_of(example)
    small = [word for pair in SMALL.items() if pair[0] not in words for word in pair]
    done = run_sweep(*words, *small, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "V3" in done.stdout
