"""Facts of `sweep clean`: what is of no use goes, what is done or under way stays."""

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from test_store import claimed
from tiny_sweep import compute, make_sweep, plan_in

from sweep.commands.clean import clean
from sweep.planning.nodes import unique_nodes
from sweep.records import LineageRecord
from sweep.results_folder import fill, write_sweep
from sweep.store.store import open_store

GRID = ({"pool.alpha": [0.5, 2.0]},)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A sweep of two lineages, finished."""
    out = tmp_path / "out"
    store = open_store(out)
    lineages = plan_in(make_sweep(GRID), store)
    write_sweep(out, make_sweep(GRID), "sweep run tiny")
    for lineage in lineages:
        compute(lineage.config, store)
    fill(out, lineages, store)
    return out


def run(out: Path, *, store=None, checkpoints=False, force=False, dry_run=False) -> int:
    return clean(out, store=store, checkpoints=checkpoints, force=force, dry_run=dry_run)


def node_keys(out: Path) -> list[str]:
    return sorted(unique_nodes(x.nodes for x in plan_in(make_sweep(GRID), open_store(out))))


def files_below(out: Path) -> set[str]:
    return {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()}


def make_old(path: Path) -> None:
    then = time.time() - 7200
    os.utime(path, (then, then))


def test_a_finished_sweep_has_nothing_in_vain(out, capsys):
    before = files_below(out)
    assert run(out) == 0
    assert run(out, force=True) == 0
    assert files_below(out) == before
    said = capsys.readouterr()
    assert said.out == "nothing to delete\n" * 2
    assert said.err == ""  # all its files are known as ours


def test_scratch_of_a_finished_model_goes(out, capsys):
    """A process killed between publishing and tidying up leaves it."""
    key = node_keys(out)[0]
    open_store(out).save_scratch(key, "training.safetensors", b"x" * 1000)
    before = files_below(out)
    run(out, dry_run=True)
    assert files_below(out) == before
    run(out)
    assert not (out / "work" / key).exists()
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "would delete      1 checkpoints, 1.04 kB",
        "deleted      1 checkpoints, 1.04 kB",
    ]


def test_a_checkpoint_of_an_unfinished_model_stays_unless_asked_for(out, capsys):
    store, key = open_store(out), node_keys(out)[0]
    for path in (out / "generations" / key).rglob("*"):
        if path.is_file():
            path.unlink()
    store.save_scratch(key, "training.safetensors", b"state")
    run(out)
    assert store.load_scratch(key, "training.safetensors") == b"state"
    assert "--checkpoints deletes them" in capsys.readouterr().err
    run(out, checkpoints=True)
    assert store.load_scratch(key, "training.safetensors") is None


def test_what_a_live_process_works_on_stays(out):
    store, key = open_store(out), node_keys(out)[0]
    store.save_scratch(key, "training.safetensors", b"state")
    with claimed(store, key):
        run(out, checkpoints=True)
        assert store.load_scratch(key, "training.safetensors") == b"state"
        with pytest.raises(ValueError, match="--force must wait until nothing uses"):
            run(out, force=True)


def test_damaged_models_and_unfinished_files_go(out):
    store, key = open_store(out), node_keys(out)[0]
    before = files_below(out)
    weights = out / "generations" / key / "model.safetensors"
    whole = {p: p.read_bytes() for p in weights.parent.rglob("*") if p.is_file()}
    weights.write_bytes(b"damaged")
    assert store.nodes.withdraw(key)
    for path, data in whole.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    old, new = (out / "streams" / f".{name}.0123abcd.tmp" for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"part")
    make_old(old)
    run(out)
    assert files_below(out) == before | {"streams/.new.0123abcd.tmp"}


def test_a_model_that_no_lineage_names_goes_with_force_alone(out):
    other = plan_in(make_sweep(({"seed": [7]},)), open_store(out))[0]
    before = files_below(out)
    compute(other.config, open_store(out))
    run(out)
    assert open_store(out).nodes.has(other.nodes[0].key)
    run(out, force=True)
    kept = ("features/", "claims/")  # a claim's last, empty term stays: no number is used twice
    left = {name for name in files_below(out) if not name.startswith(kept)}
    assert left == {name for name in before if not name.startswith(kept)}


def test_a_store_that_is_not_there_is_an_error(out, tmp_path):
    """A mistyped name has nothing in vain, and would look clean."""
    with pytest.raises(ValueError, match="which does not exist"):
        run(out, store=str(tmp_path / "mistyped"))


def test_without_the_data_set_no_model_can_be_told(out):
    """Its keys hold the fingerprint of the data: without it every model would look unnamed."""
    shutil.rmtree(out / "datasets")
    before = files_below(out)
    for force in (False, True):
        with pytest.raises(ValueError, match="must hold the sweep's data set"):
            run(out, force=force)
    assert files_below(out) == before


def test_a_data_set_that_is_being_prepared_and_a_request_to_stop_stay(out):
    """Neither is a model's scratch, and neither has a claim."""
    store = open_store(out)
    for key in ("another-data-set", "run-0123"):
        store.save_scratch(key, "state", b"x")
    run(out)
    assert store.load_scratch("another-data-set", "state") == b"x"
    assert store.load_scratch("run-0123", "state") == b"x"


def test_models_that_only_records_name_stay_with_force(out):
    """As after a change of numerics: analysis still reads them."""
    record = LineageRecord.load(next((out / "lineages").glob("*.json")))
    other = plan_in(make_sweep(({"seed": [7]},)), open_store(out))[0]
    compute(other.config, open_store(out))
    keys = [[node.key] for node in other.nodes]
    replace(record, id="older", nodes=keys).save(out / "lineages" / "older.json")
    before = files_below(out)
    run(out, force=True)
    assert files_below(out) == before


def test_a_shared_store_keeps_what_other_sweeps_may_need(out, tmp_path):
    (tmp_path / "shared").mkdir()
    with pytest.raises(ValueError, match="belongs to one sweep"):
        run(out, store=str(tmp_path / "shared"), force=True)
