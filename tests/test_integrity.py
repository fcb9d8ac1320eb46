"""A results folder against its own records."""

import dataclasses

import pytest
from results_folder import SPEC, node_key, write_folder

from analysis.reading.integrity import inspect_folder
from sweep.records import load_lineages


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "a", alphas=(1.0,), seeds=(0,), generations=2)


def test_a_whole_folder_has_no_problems(folder):
    """2 nodes of 3 files, 2 metrics, and 5 records."""
    found = inspect_folder(folder)
    assert found.problems == []
    assert found.notes == ["not copied: the blocks of samples (1 files)"]
    assert (found.num_lineages, found.num_nodes, found.num_files) == (1, 2, 13)


def test_weights_that_were_not_copied_are_no_problem(folder):
    for path in folder.rglob("*.safetensors"):
        path.unlink()
    found = inspect_folder(folder)
    assert found.problems == []
    assert "not copied: the weights (2 files)" in found.notes


def test_another_missing_file_is_a_problem(folder):
    path = folder / "generations" / node_key(1.0, 40, 0, 1) / "preview.png"
    path.unlink()
    (problem,) = inspect_folder(folder).problems
    assert problem.startswith(f"{path} must exist")


def test_a_changed_byte_is_a_problem(folder):
    path = folder / "generations" / node_key(1.0, 40, 0, 1) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    (problem,) = inspect_folder(folder).problems
    assert problem.startswith(f"{path} must have SHA-256")


def test_a_lineage_without_its_node_is_a_problem(folder):
    key = node_key(1.0, 40, 0, 2)
    (folder / "generations" / key).rename(folder / "elsewhere")
    (problem,) = inspect_folder(folder).problems
    assert problem.startswith("V2 of lineage alpha-1.0-epochs-40-seed-0 must be in")


def test_a_generation_that_was_not_measured_is_a_problem(folder):
    path = folder / "generations" / node_key(1.0, 40, 0, 2) / "metrics" / f"{SPEC}.json"
    path.unlink()
    (problem,) = inspect_folder(folder).problems
    place = "V2 of lineage alpha-1.0-epochs-40-seed-0"
    assert problem.startswith(f"the metrics of {place} must be in")


def test_a_damaged_record_is_a_problem_and_the_rest_is_checked(folder):
    (folder / "generations" / node_key(1.0, 40, 0, 2) / "record.json").write_text("[]")
    found = inspect_folder(folder)
    assert found.num_nodes == 1
    assert len(found.problems) == 2


def test_a_missing_data_set_is_a_problem(folder):
    (folder / "datasets" / "data0" / "card.json").unlink()
    (problem,) = inspect_folder(folder).problems
    assert "card.json must exist" in problem


def test_a_diverged_generation_needs_no_metrics(tmp_path):
    out = write_folder(tmp_path / "a", alphas=(1.0,), seeds=(0,), diverged=((1.0, 0, 2),))
    assert inspect_folder(out).problems == []


def test_a_sweep_without_metrics_needs_none(folder):
    """Data without reference images are measured by nothing: the specification's name is empty."""
    for path in folder.rglob("metrics/*.json"):
        path.unlink()
    (lineage,) = load_lineages(folder)
    path = folder / "lineages" / f"{lineage.id}.json"
    dataclasses.replace(lineage, metrics_spec="").save(path)
    assert inspect_folder(folder).problems == []
