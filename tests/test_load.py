"""Results in Python: `analysis.load`, its columns in the documentation, and the notebook."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient
from results_folder import write_folder

import analysis
from analysis.reading.columns import METRIC_COLUMNS, NODE_COLUMNS, RUN_COLUMNS
from analysis.reading.results import load_class_results, load_results
from model.errors import UsageError

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "examples" / "results.ipynb"


def test_load_reads_what_the_tables_are_made_of(tmp_path):
    folder = write_folder(tmp_path / "a", classes=("cat", "dog"))
    pd.testing.assert_frame_equal(analysis.load(str(folder)), load_results([folder]))
    by_class = analysis.load(folder, classes=True)
    pd.testing.assert_frame_equal(by_class, load_class_results([folder]))


def test_several_folders_are_joined(tmp_path):
    folders = [write_folder(tmp_path / name, seeds=(seed,)) for seed, name in enumerate("ab")]
    assert set(analysis.load(*folders)["seed"]) == {0, 1}
    with pytest.raises(UsageError, match="DIR must be given at least once"):
        analysis.load()


def test_every_column_is_described():
    described = (ROOT / "docs" / "results-format.md").read_text().split("## The tidy table")[1]
    for name in (*RUN_COLUMNS, *NODE_COLUMNS, *METRIC_COLUMNS):
        assert f"`{name}`" in described


def test_importing_the_package_imports_no_library():
    """It is also the folder of commands that answer at once."""
    check = "import sys, analysis; print({'pandas', 'numpy', 'torch', 'ray'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_notebook_is_stored_without_outputs():
    """They would be older than the code."""
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]


@pytest.mark.slow
def test_the_notebook_runs_to_its_end():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(
        notebook, timeout=120, resources={"metadata": {"path": NOTEBOOK.parent}}
    ).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs for cell in code)
    assert "image/png" in code[-1].outputs[-1].data
