"""Facts of the import contracts in pyproject.toml: each of them fails if its rule is broken."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("model", "sweep", "analysis")
LINT = Path(sys.executable).with_name("lint-imports")

VIOLATIONS = {
    "model imports neither sweep nor analysis": ("model/job.py", "sweep.config"),
    "modules of model that a plan uses need no torch": ("model/training/length.py", "torch"),
    "tyro only where commands are declared": ("sweep/commands/run.py", "tyro"),
    "model.data imports only settings, errors, randomness and images of model": (
        "model/data/splits.py",
        "model.checkpoint",
    ),
    "ray only in sweep.tune": ("sweep/lineage/progress.py", "ray"),
    "sweep.store needs neither torch nor ray": ("sweep/store/cache.py", "torch"),
    "analysis imports only records, files, errors, sizes, bands, events, and doors of commands": (
        "analysis/reading/results.py",
        "sweep.config",
    ),
    "sweep.records imports only errors, files, environment and specifications": (
        "sweep/records.py",
        "model.config",
    ),
    "analysis: the report above tables and figures, above statistics, above reading": (
        "analysis/reading/results.py",
        "analysis.figures.drawing.style",
    ),
    "sweep: each package imports only those below it": (
        "sweep/store/store.py",
        "sweep.lineage.datasets",
    ),
    "model: each package imports only those below it": (
        "model/networks/unet.py",
        "model.training.trainer",
    ),
}
"""For each contract a module, and an import in it that breaks the contract."""


def contracts() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return [contract["name"] for contract in project["tool"]["importlinter"]["contracts"]]


def test_every_contract_has_a_violation() -> None:
    assert list(VIOLATIONS) == contracts()


@pytest.mark.slow
@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_forbidden_import_breaks_its_contract(name: str, tmp_path: Path) -> None:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    module, forbidden = VIOLATIONS[name]
    with (tmp_path / module).open("a") as file:
        file.write(f"\nimport {forbidden}\n")
    done = subprocess.run(
        [LINT, "--no-cache"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 1, done.stdout + done.stderr
    assert any(line.startswith(name) and " BROKEN" in line for line in lines), done.stdout
