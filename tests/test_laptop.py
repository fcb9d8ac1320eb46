"""The package as a laptop has it: without extras, in an environment of its own."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
UV = shutil.which("uv")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(UV is None, reason="no uv to make an environment"),
]


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of an environment with this package."""
    assert UV is not None
    folder = tmp_path_factory.mktemp("laptop")
    environment = {**os.environ, "VIRTUAL_ENV": str(folder / "venv")}
    for words in (["venv", "-q", folder / "venv"], ["pip", "install", "-q", ROOT]):
        subprocess.run([UV, *words], env=environment, cwd=folder, check=True)
    return folder / "venv" / "bin"


def test_neither_torch_nor_ray_is_installed(laptop: Path) -> None:
    check = "import importlib.util as u; print([n for n in ('torch', 'ray') if u.find_spec(n)])"
    python = [laptop / "python", "-c", check]
    assert subprocess.run(python, capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(
    "words",
    [
        ("table", "experiments/rules"),
        ("table", "experiments/rules", "--against", "rule=grow"),
        ("table", "experiments/rules", "--format", "latex"),
        ("figure", "experiments/rules", "--out", "figures"),
        ("report", "experiments/rules", "--out", "report.html"),
        ("report", "experiments/why", "--step", "fit:family=exact-gaussian,rule=grow,steps=20"),
        ("ledger", "experiments/rules", "--metric", "kid", "--step", "pool:rule=grow"),
        ("check", "experiments/rules"),
    ],
    ids=" ".join,
)
def test_every_command_of_analysis_works(words: tuple[str, ...], laptop: Path, tmp_path) -> None:
    """The wheel holds what the page of a report is made of."""
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    done = subprocess.run(
        [laptop / "analysis", *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
    assert done.stdout
