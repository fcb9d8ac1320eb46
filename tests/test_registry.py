"""Facts of a store that knows its sweeps: who has it needs no results folder."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from bucket_store import elsewhere, new_store
from running_sweep import run_sweep, write_sweep
from test_tracking import publish
from tiny_sweep import make_sweep, plan_in

from sweep.__main__ import main
from sweep.config import to_json
from sweep.records import SweepRecord
from sweep.status.drivers import present, run_key
from sweep.status.known_sweeps import joined, note, print_sweeps
from sweep.store.store import Store, open_store

pytestmark = pytest.mark.xdist_group("s3")

GRIDS = ({"pool.alpha": [0.5, 2.0]},)
OUT = Path("out")


def record_of(*grids: dict, name: str = "tiny") -> SweepRecord:
    """What `sweep run` would write into sweep.json."""
    return SweepRecord(
        name=name,
        description="",
        base=to_json(make_sweep().base),
        grids=[dict(grid) for grid in grids],
        commands=[f"sweep run {name}.toml --out out"],
    )


def test_what_is_noted_is_read_back_from_either_kind_of_store(s3, tmp_path, monkeypatch) -> None:
    """By another machine."""
    bucket = new_store(s3, tmp_path, monkeypatch)
    for store in (open_store(tmp_path / "store"), bucket):
        assert store.list_sweeps() == []
        for name in ("run-a.1", "run-a.2", "run-b.1"):
            store.note_sweep(name, record_of(*GRIDS, name=name))
        store.note_sweep("run-b.1", record_of(name="again"))
        assert store.list_sweeps() == ["run-a.1", "run-a.2", "run-b.1"]
        assert store.read_sweep("run-a.2") == record_of(*GRIDS, name="run-a.2")
        assert store.read_sweep("run-b.1") == record_of(name="again")
    assert elsewhere(bucket, tmp_path).read_sweep("run-a.1") == bucket.read_sweep("run-a.1")


def test_two_machines_with_a_part_of_the_grid_each_are_one_sweep(tmp_path) -> None:
    """Neither forgets what the other asks for, in whatever order they note it, or at once."""
    store = open_store(tmp_path)
    parts = ({"pool.alpha": [0.5]}, {"pool.alpha": [2.0]})
    key, other = (run_key(OUT, make_sweep((part,))) for part in parts)
    assert key == other
    for part in (*parts, *parts):
        note(store, key, record_of(part))
    names = store.list_sweeps()
    assert len(names) == 2
    noted = joined([store.read_sweep(name) for name in names])
    assert sorted(grid["pool.alpha"] for grid in noted.grids) == [[0.5], [2.0]]


def test_a_joined_sweep_has_all_generations_evaluations_and_commands() -> None:
    """Of a run, its extension, and a later evaluation."""
    short, longer, evaluated = (
        replace(record_of(*GRIDS), base={"generations": n}, evaluations=e, commands=c)
        for n, e, c in (
            (2, [], ["sweep run a"]),
            (5, [], ["sweep run a", "sweep run b"]),
            (2, [{"names": ["recall"]}], ["sweep run a", "sweep evaluate out"]),
        )
    )
    found = joined([short, longer, evaluated])
    assert found.base == {"generations": 5}
    assert found.evaluations == [{"names": ["recall"]}]
    assert found.commands == ["sweep run a", "sweep run b", "sweep evaluate out"]
    assert found.grids == list(GRIDS)


def test_an_extended_sweep_is_the_same_one_and_another_is_not() -> None:
    """More points or generations, against other settings or another folder."""
    sweep = make_sweep(GRIDS)
    longer = replace(sweep, base=replace(sweep.base, generations=9))
    changed = replace(sweep, base=replace(sweep.base, train=replace(sweep.base.train, lr=0.5)))
    assert run_key(OUT, make_sweep()) == run_key(OUT, sweep) == run_key(OUT, longer)
    assert run_key(OUT, sweep) != run_key(OUT, changed)
    assert run_key(OUT, sweep) != run_key(Path("other"), sweep)


@pytest.fixture(params=["folder", "bucket"])
def store(request, tmp_path, monkeypatch) -> Store:
    """One of each kind."""
    if request.param == "folder":
        return open_store(tmp_path / "store")
    return new_store(request.getfixturevalue("s3"), tmp_path, monkeypatch)


def test_each_sweep_is_shown_with_how_far_it_is_and_who_runs_it(store, capsys) -> None:
    """One that is run now, and one that nobody runs."""
    sweep = make_sweep(GRIDS)
    key = run_key(OUT, sweep)
    note(store, key, record_of(*GRIDS))
    note(store, run_key(Path("other"), sweep), record_of({"pool.alpha": [0.5]}, name="small"))
    publish(store, plan_in(sweep, store)[0].nodes[0])
    with present(store, key):
        print_sweeps(store.location)
    small, tiny = capsys.readouterr().out.split("tiny: ")
    assert small.startswith("small: 1 of 2 models done")
    assert "not running" in small
    assert tiny.startswith("1 of 3 models done")
    assert "not running" not in tiny
    assert tiny.endswith("sweep run tiny.toml --out out\n")


def test_the_commands_shown_are_all_that_fill_a_folder(store, capsys) -> None:
    """Of an extended and evaluated sweep."""
    commands = ["sweep run a --out out", "sweep run b --out out", "sweep evaluate out"]
    note(store, "run-a", replace(record_of(*GRIDS), commands=commands))
    print_sweeps(store.location)
    assert capsys.readouterr().out.splitlines()[2:] == ["  " + line for line in commands[:2]]


def test_a_sweep_that_cannot_be_read_or_planned_does_not_hide_the_others(store, capsys) -> None:
    """A damaged note, and one whose data only another machine has; and it stops no run."""
    base = to_json(make_sweep().base)
    data = {"name": "folder", "path": "/none"}
    absent = replace(record_of({"seed": [0]}, name="absent"), base=base | {"data": data})
    note(store, "run-a", absent)
    note(store, "run-b", record_of(*GRIDS))
    store.files.write("sweeps/run-c.1.json", b"{")
    note(store, "run-b", record_of(*GRIDS))
    print_sweeps(store.location)
    damaged, hidden, *shown = capsys.readouterr().out.splitlines()
    assert "must be a whole JSON file" in damaged
    assert hidden.startswith("absent: ")
    assert "/none" in hidden
    assert shown[0].startswith("tiny: 0 of 3 models done")


def test_a_store_without_sweeps_says_so(tmp_path, capsys) -> None:
    """As one from before they were noted."""
    print_sweeps(str(tmp_path))
    assert "has no record of a sweep" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "sweep status needs a results folder, or only --store to show every sweep"),
        (("--store", "{}/none"), "which does not exist"),
        (("--store", "{}", "--watch"), "sweep status needs a results folder"),
    ],
)
def test_what_cannot_be_shown_is_an_error(words, told, tmp_path, monkeypatch, capsys) -> None:
    """One line, with the way out."""
    words = [word.format(tmp_path) for word in words]
    monkeypatch.setattr("sys.argv", ["sweep", "status", *words])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert told in capsys.readouterr().err


@pytest.mark.ray
@pytest.mark.slow
def test_a_lost_results_folder_is_filled_again_by_the_command_that_is_shown(tmp_path) -> None:
    """What the store knows is enough."""
    write_sweep(tmp_path)
    words = ("run", "tiny.toml", "--store", "store", "--out", "out")
    first = run_sweep(*words, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    shutil.rmtree(tmp_path / "out")
    shown = run_sweep("status", "--store", "store", cwd=tmp_path)
    assert "3 of 3 models done" in shown.stdout
    command = shown.stdout.splitlines()[-1].split()
    assert command == ["sweep", *words]
    again = run_sweep(*command[1:], cwd=tmp_path)
    assert "nothing to compute" in again.stderr
    assert again.stdout == first.stdout
