"""Facts of `analysis board`: event files of results folders and of copies without weights."""

import shlex
import sys
from pathlib import Path

import pytest
from results_folder import rewrite, write_folder
from running_sweep import wait_for
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard_server import Ask, serving
from tiny_sweep import compute, make_lineage, make_sweep, plan_in

from analysis.__main__ import PROGRAM
from analysis.reading.results import load_results
from sweep.records import load_lineages
from sweep.results_folder import fill, write_sweep
from sweep.store.store import open_store
from sweep.tensorboard import FOLDER, write_whole_board

RULES = Path(__file__).parents[1] / "experiments" / "rules"


def run(*args: object) -> int:
    return PROGRAM.run(["board", *map(str, args)])


def events(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def content(folder: Path) -> dict[str, list]:
    """What TensorBoard reads from each run of a folder: (tag, step, value or picture)."""
    runs = {}
    for path in sorted({path.parent for path in folder.rglob("events.*")}):
        found = events(path)
        tags = found.Tags()
        numbers = [(t, e.step, e.value) for t in tags["scalars"] for e in found.Scalars(t)]
        pictures = [
            (t, e.step, e.encoded_image_string) for t in tags["images"] for e in found.Images(t)
        ]
        plugins = {t: m.plugin_data.content for t, m in found.summary_metadata.items()}
        settings = sorted(item for item in plugins.items() if item[0].startswith("_hparams_"))
        runs[path.relative_to(folder).as_posix()] = [numbers, pictures, settings]
    return runs


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_it_is_the_board_of_the_run(tmp_path: Path) -> None:
    """Every number, picture and setting, but for the time at which a trial started."""
    out, store = tmp_path / "out", open_store(tmp_path / "out")
    sweep = make_sweep(({"pool.alpha": [0.5, 2.0]},), make_lineage({"train.steps": 6}))
    for _, config in sweep.points():
        compute(config, store)
    write_sweep(out, sweep, "sweep run tiny")
    write_whole_board(out, fill(out, plan_in(sweep, store), store))
    assert run(out, "--out", tmp_path / "board") == 0
    live, made = content(out / FOLDER), content(tmp_path / "board")
    assert made.keys() == live.keys()
    assert len(made) == 3
    for name, (numbers, pictures, _) in live.items():
        assert made[name][:2] == [numbers, pictures]
        assert [tag for tag, _ in made[name][2]] == [tag for tag, _ in live[name][2]]


def test_the_command_that_shows_it_is_printed(tmp_path, capsys) -> None:
    """With the images of 100 generations; TensorBoard would choose ten at random."""
    out = tmp_path / "a b"
    assert run(write_folder(tmp_path / "run"), "--out", out) == 0
    words = shlex.split(capsys.readouterr().out)
    assert Path(words[0]).name == "tensorboard"
    assert words[1:] == ["--logdir", str(out), "--samples_per_plugin", "images=100"]


def test_several_folders_are_joined_by_their_names(tmp_path) -> None:
    """HPARAMS has the settings that vary between them, although neither sweep has such an axis."""
    one = write_folder(tmp_path / "one", alphas=(1.0,), seeds=(0,), settings={"note": {"a": 1}})
    two = write_folder(tmp_path / "two", alphas=(2.0,), seeds=(0,), settings={"note": {"a": 2}})
    assert run(one, two, "--out", tmp_path / "board") == 0
    names = {path.name for path in (tmp_path / "board").iterdir()}
    assert names == {
        "one-alpha-1.0-epochs-40-seed-0",
        "two-alpha-2.0-epochs-40-seed-0",
        "overview",
    }
    found = events(tmp_path / "board" / "overview")
    shown = found.SummaryMetadata("_hparams_/experiment").plugin_data.content
    assert all(name in shown for name in (b"note.a", b"pool.alpha", b"seed"))
    assert b"train.epochs" not in shown


def test_a_second_call_replaces_what_the_first_one_wrote(tmp_path) -> None:
    """Lineages that are not in the second one are gone, and nothing else is left."""
    first = write_folder(tmp_path / "first", alphas=(1.0,), seeds=(0, 1))
    second = write_folder(tmp_path / "second", alphas=(1.0,), seeds=(0,))
    board = tmp_path / "board"
    assert run(first, "--out", board) == 0
    assert len(content(board)) == 3
    for _ in range(2):
        assert run(second, "--out", board) == 0
        assert content(board).keys() == {"alpha-1.0-epochs-40-seed-0", "overview"}
        assert len(list(board.iterdir())) == 2


@pytest.mark.parametrize(
    "name",
    [
        "notes.txt",
        "run/notes.txt",
        "run/events.out.tfevents.1700000000.host.17.0",
        "run/events.out.tfevents.1700000000.host.17.0.v2",
        "events.out.tfevents.1700000000.V1-0123abcd",
    ],
)
def test_a_folder_with_files_of_others_is_refused(name: str, tmp_path, capsys) -> None:
    """And stays as it is; this command writes no file beside the folders of lineages."""
    board = tmp_path / "board"
    assert run(write_folder(tmp_path / "run"), "--out", board) == 0
    (board / name).parent.mkdir(exist_ok=True)
    (board / name).write_text("mine")
    before = files(board)
    assert run(tmp_path / "run", "--out", board) == 2
    said = capsys.readouterr().err
    assert f"--out must be new, or hold only files of this command, got {board} with" in said
    assert files(board) == before


def test_a_missing_package_is_one_line(tmp_path, monkeypatch, capsys) -> None:
    """On a laptop without the extra."""
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    assert run(write_folder(tmp_path / "run"), "--out", tmp_path / "board") == 2
    said = capsys.readouterr().err
    assert "must have the package tensorboard, got none; pip install" in said
    assert said.count("\n") == 1


def test_a_results_folder_is_no_place_for_it(tmp_path, capsys) -> None:
    folder = write_folder(tmp_path / "run")
    assert run(folder, "--out", folder / FOLDER) == 2
    assert "--out must not be in a results folder" in capsys.readouterr().err
    assert not (folder / FOLDER).exists()


def test_a_run_that_is_not_finished_is_shown_as_far_as_it_is(tmp_path) -> None:
    """V_1 without metrics, which were not copied, and V_2 not at all."""
    folder = write_folder(
        tmp_path / "run", alphas=(1.0,), seeds=(0,), generations=2, pending=((1.0, 0, 2),)
    )
    next(folder.glob("generations/*/metrics/*.json")).unlink()
    assert run(folder, "--out", tmp_path / "board") == 0
    numbers, pictures, _ = content(tmp_path / "board")["alpha-1.0-epochs-40-seed-0"]
    assert {step for _, step, _ in numbers} == {1}
    assert not any(tag.startswith("kid/") for tag, _, _ in numbers)
    assert {tag for tag, _, _ in pictures} == {"samples/real", "samples/same_noise"}


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", b"mine"])
def test_a_damaged_preview_is_one_line_and_no_board(data: bytes, tmp_path, capsys) -> None:
    folder = write_folder(tmp_path / "run")
    path = next(folder.glob("generations/*/preview.png"))
    path.write_bytes(data)
    assert run(folder, "--out", tmp_path / "board") == 2
    said = capsys.readouterr().err
    assert f"{path} must be a sheet of samples" in said
    assert said.count("\n") == 1
    assert list((tmp_path / "board").iterdir()) == []


def test_a_lineage_named_by_dots_writes_nothing_outside(tmp_path, capsys) -> None:
    folder = write_folder(tmp_path / "run", alphas=(1.0,), seeds=(0,))
    (path,) = (folder / "lineages").iterdir()
    rewrite(path, id="..")
    path.rename(path.with_name("...json"))
    before = set(tmp_path.rglob("*"))
    assert run(folder, "--out", tmp_path / "board") == 2
    assert "must hold an id with a letter or digit" in capsys.readouterr().err
    assert set(tmp_path.rglob("*")) - before <= {tmp_path / "board"}


def complete(ask: Ask, names: set[str], kid: str) -> bool:
    """Whether a server has loaded four generations of each lineage, and the overview."""
    tags = ask("scalars/tags")
    return (
        all(kid in tags.get(name, ()) for name in names)
        and all(len(ask(f"scalars/scalars?run={name}&tag={kid}")) == 4 for name in names)
        and bool(ask("custom_scalars/layout"))
    )


@pytest.mark.slow
def test_tensorboard_shows_a_committed_run(tmp_path) -> None:
    """Its runs, numbers, pictures, settings and charts, as the server's API returns them."""
    assert run(RULES, "--out", tmp_path / "board") == 0
    table = load_results([RULES])
    names = {record.id for record in load_lineages(RULES)}
    first = min(names)
    kid = "kid/efficientnet-lite0-64"
    with serving(tmp_path / "board", "--samples_per_plugin", "images=100") as ask:
        wait_for(lambda: complete(ask, names, kid), "every lineage's numbers")
        series = ask(f"scalars/scalars?run={first}&tag={kid}")
        pictures = ask("images/tags")
        sheets = ask(f"images/images?run={first}&tag=samples/same_noise")
        experiment = ask("hparams/experiment", {"experimentName": ""})
        layout = ask("custom_scalars/layout")
    rows = table[table["lineage"] == first].sort_values("generation")
    assert [step for _, step, _ in series] == rows["generation"].tolist()
    assert [value for _, _, value in series] == pytest.approx(rows[kid].tolist(), rel=1e-6)
    assert all({"samples/real", "samples/same_noise"} == set(pictures[name]) for name in names)
    assert [sheet["step"] for sheet in sheets] == [1, 2, 3, 4]
    assert {info["name"] for info in experiment["hparamInfos"]} >= {"pool.rule", "seed"}
    assert experiment["metricInfos"][0]["name"]["tag"] == kid
    assert layout["category"][0]["chart"][0]["title"] == kid
