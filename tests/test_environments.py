"""Results of different environments are never mixed without a word."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from results_folder import rewrite, write_folder
from tiny_sweep import compute, finish, make_lineage, make_run, make_sweep

from analysis.reading.integrity import inspect_folder
from model.errors import UsageError
from sweep.environment import describe_environment, differing_facts
from sweep.lineage import environment
from sweep.lineage.progress import NodeScratch
from sweep.records import load_lineages, load_node, node_dir
from sweep.store.store import open_store

OLD = {"torch": "2.14.0", "numpy": "2.4.6", "python": "3.11.7"}
DIFFERENCE = f"torch 2.14.0 (1) and {torch.__version__} ("


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A finished run, whose first model comes from an earlier torch."""
    out = finish(tmp_path / "run", make_sweep())
    (lineage,) = load_lineages(out)
    (key,) = lineage.nodes[0]
    first = load_node(out, key)
    assert first is not None
    rewrite(node_dir(out, key) / "record.json", environment={**first.environment, **OLD})
    return out


def test_only_facts_that_can_change_numbers_are_described():
    line = describe_environment(OLD, device="cpu (x86_64)", threads=1)
    assert line == "torch=2.14.0, numpy=2.4.6, device=cpu (x86_64), threads=1"


def test_differences_are_counted_and_unknown_facts_are_none():
    lines = ["torch=2.14.0, threads=1"] * 2 + ["torch=2.15.0, threads=1", "torch=2.15.0, scipy=1.2"]
    assert differing_facts(lines) == "torch 2.14.0 (2) and 2.15.0 (2)"
    assert differing_facts([*lines[:2], "scipy=1.3"]) == ""
    assert differing_facts([]) == ""


def test_run_says_what_is_mixed_or_refuses_it(ask, mixed):
    words = ("run", mixed / "sweep.json", "--out", mixed)
    code, said = ask("sweep", *words)
    assert (code, DIFFERENCE in said) == (0, True)
    code, said = ask("sweep", *words, "--require-same-environment")
    assert code == 2
    assert said.startswith("error: --require-same-environment must find one environment, got ")


def test_a_run_that_goes_on_in_another_environment_counts_its_own(ask, tmp_path, monkeypatch):
    out = finish(tmp_path / "run", make_sweep())
    here = environment.environment()
    monkeypatch.setattr(environment, "environment", lambda: {**here, "torch": "9.9"})
    words = ("run", out / "sweep.json", "--out", out, "--generations", 3)
    code, said = ask("sweep", *words, "--require-same-environment")
    assert code == 2
    assert "and 9.9 (1)" in said
    assert load_lineages(out)[0].num_done == 2


def test_status_check_and_table_say_it_too(ask, mixed):
    assert DIFFERENCE in ask("sweep", "status", mixed)[1]
    assert DIFFERENCE in " ".join(inspect_folder(mixed).notes)
    code, said = ask("analysis", "table", mixed)
    assert (code, DIFFERENCE in said) == (0, True)
    code, said = ask("analysis", "table", mixed, "--require-same-environment")
    assert code == 2
    assert "must find one environment" in said


def test_one_environment_is_no_word(ask, tmp_path):
    out = finish(tmp_path / "run", make_sweep())
    for program, word in (("sweep", "status"), ("analysis", "check")):
        assert "environment" not in ask(program, word, out)[1]


def test_a_table_names_its_one_environment(ask, tmp_path):
    said = ask("analysis", "table", finish(tmp_path / "run", make_sweep()))[1]
    assert "environment: torch=" in said
    assert "different environments" not in said


def test_joined_runs_of_different_environments_are_told(ask, tmp_path):
    folders = [write_folder(tmp_path / name, seeds=(n,)) for n, name in enumerate("ab")]
    for folder, version in zip(folders, ("2.14.0", "2.15.0"), strict=True):
        for path in folder.glob("generations/*/record.json"):
            rewrite(path, environment={"torch": version})
    said = ask("analysis", "table", *folders)[1]
    assert "different environments (models): torch 2.14.0 (" in said


def test_a_training_that_goes_on_elsewhere_says_so(tmp_path):
    """Its saved states name every environment so far, and so does the record of the model."""
    store, config = open_store(tmp_path), make_lineage()
    node = make_run(config, store).nodes[0]
    NodeScratch(store, node.key, "torch=1.0").save(b"state")
    again = NodeScratch(store, node.key, "torch=2.0")
    assert (again.load(), again.resumed_from) == (b"state", ["torch=1.0"])
    again.save(b"later")
    third = NodeScratch(store, node.key, "torch=2.0")
    assert (third.load(), third.resumed_from) == (b"later", ["torch=1.0"])
    generation = compute(config, open_store(tmp_path / "other"))[0].node
    both = replace(generation, resumed_from=["torch=1.0"]).environments()
    assert differing_facts(both).startswith("torch 1.0 (1) and 2.")


def test_a_state_of_another_environment_is_refused_on_request(tmp_path):
    """Before the training goes on from it."""
    store, config = open_store(tmp_path), make_lineage()
    run = make_run(config, store)
    NodeScratch(store, run.nodes[0].key, "torch=1.0").save(b"state")
    run.same_environment = True
    with pytest.raises(UsageError, match=r"must find one environment, got torch 1\.0 \(1\) and"):
        run.train(1, 0)


def test_a_state_of_an_earlier_version_is_read(tmp_path):
    store = open_store(tmp_path)
    store.save_scratch("a" * 64, "training.safetensors", b"no head")
    scratch = NodeScratch(store, "a" * 64, "torch=2.0")
    assert (scratch.load(), scratch.resumed_from) == (b"no head", [])
