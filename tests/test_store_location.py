"""Facts of where a results folder's store is: each command knows it without being told."""

import shutil
from pathlib import Path

import pytest
from tiny_sweep import compute, make_sweep, plan_in

from model.errors import UsageError
from sweep.commands.clean import clean
from sweep.commands.plan import look_ahead
from sweep.results_folder import check_store, fill, store_location, write_sweep
from sweep.status.drivers import present, run_key, stop
from sweep.status.report import print_status
from sweep.store.store import open_store


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A finished sweep with a store elsewhere."""
    out, store = tmp_path / "out", open_store(tmp_path / "store")
    compute(make_sweep().base, store)
    lineages = plan_in(make_sweep(), store)
    write_sweep(out, make_sweep(), "sweep run tiny", store=store.location, lineages=lineages)
    fill(out, lineages, store)
    return out


def test_it_is_the_one_that_was_used(out: Path, caplog) -> None:
    """That is said in one line."""
    assert store_location(out) == str(out.with_name("store"))
    (line,) = caplog.messages
    assert line == f"using the store {out.with_name('store')}, as in {out / 'sweep.json'}"


def test_a_store_on_the_command_line_comes_first(out: Path, caplog) -> None:
    assert store_location(out, "elsewhere") == "elsewhere"
    assert caplog.messages == []


def test_without_one_it_is_the_folder_itself(tmp_path: Path) -> None:
    """As in records of earlier versions."""
    assert store_location(tmp_path) == str(tmp_path)
    write_sweep(tmp_path, make_sweep(), "sweep run tiny")
    assert store_location(tmp_path) == str(tmp_path)


def test_a_store_that_is_not_here_is_not_made_anew(out: Path) -> None:
    """A disk may not be mounted; a run would train everything again."""
    shutil.rmtree(out.with_name("store"))
    with pytest.raises(UsageError, match=r"--store must be set, because .* does not exist here"):
        store_location(out)


def test_stop_finds_the_driver_without_being_told(out: Path, monkeypatch, capsys) -> None:
    """It said that nobody runs it, while it ran."""
    monkeypatch.setattr("sweep.status.drivers.PATIENCE_SECONDS", 0.1)
    store = open_store(out.with_name("store"))
    with present(store, run_key(out, make_sweep())):
        assert stop(out, store=None) == 1
    assert "asked process" in capsys.readouterr().err


def test_status_plan_and_clean_know_it(out: Path, capsys) -> None:
    print_status(out, store=None)
    assert "2 of 2 models done" in capsys.readouterr().out
    look_ahead(make_sweep(), out=out).print()
    assert "2 done, 0 to train" in capsys.readouterr().out
    assert clean(out, store=None, checkpoints=False, force=False, dry_run=True) == 0
    assert capsys.readouterr().out == "nothing to delete\n"


def test_a_store_without_the_models_is_refused(out: Path, tmp_path: Path) -> None:
    """Otherwise a run would train them again."""
    with pytest.raises(UsageError, match=r"--store must hold .* without 2 of 2; use the place"):
        check_store(out, open_store(tmp_path / "new"))


def test_a_place_from_which_the_store_was_moved_is_refused(out: Path, tmp_path: Path) -> None:
    """Although it is the one that sweep.json names."""
    (tmp_path / "store").rename(tmp_path / "moved")
    with pytest.raises(UsageError, match="without 2 of 2; use the place where the store is now"):
        check_store(out, open_store(tmp_path / "store"))


def test_a_store_that_was_moved_is_accepted(out: Path, tmp_path: Path, caplog) -> None:
    """With a line."""
    (tmp_path / "store").rename(tmp_path / "moved")
    check_store(out, open_store(tmp_path / "moved"))
    (line,) = caplog.messages
    assert line == f"the store of {out} is now {tmp_path / 'moved'}, not {tmp_path / 'store'}"


def test_the_same_store_is_not_worth_a_word(out: Path, tmp_path: Path, caplog) -> None:
    check_store(out, open_store(tmp_path / "store"))
    check_store(tmp_path / "new", open_store(tmp_path / "store"))
    assert caplog.messages == []
