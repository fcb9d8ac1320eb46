"""Facts of `sweep run --log`: csv files and runs of Weights & Biases, made from records."""

import csv
import logging
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from results_folder import SPEC, write_folder
from running_sweep import Running, find, finished_nodes, run_sweep, wait_for, write_sweep
from tiny_sweep import compute, finish, make_lineage, make_sweep, plan_in
from wandb_files import OfflineRun, read_offline_run
from wandb_server import WandbServer, wandb_server

from sweep.__main__ import PROGRAM
from sweep.loggers.background import Loggers
from sweep.loggers.progress import progress_rows, write_csv
from sweep.records import LineageRecord, load_lineages, load_metrics, load_node, node_dir
from sweep.results_folder import fill
from sweep.store.store import open_store

KEY = "0123456789abcdef0123456789abcdef01234567"
"""An API key of the form that W&B gives out."""


def one_lineage(folder: Path, generations: int = 2, **settings: Any) -> tuple[Path, LineageRecord]:
    out = write_folder(folder, alphas=(1.0,), seeds=(0,), generations=generations, **settings)
    (record,) = load_lineages(out)
    return out, record


def read_csv(out: Path) -> dict[str, list[dict[str, str]]]:
    """The rows of each lineage's progress.csv."""
    found = {}
    for path in find(out, "logs/*/progress.csv"):
        with path.open(newline="") as file:
            found[path.parent.name] = list(csv.DictReader(file))
    return found


def send(out: Path, *ids: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Send lineages to W&B, as a run does."""
    words = [sys.executable, "-P", "-m", "sweep.loggers.wandb_runs", str(out)]
    own = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    return subprocess.run(
        words,
        input="\n".join(ids),
        env={**own, "WANDB_MODE": "offline", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def offline_runs(out: Path) -> list[OfflineRun]:
    return [read_offline_run(path) for path in find(out, "logs/wandb/offline-run-*")]


def test_a_row_has_the_numbers_of_the_records(tmp_path) -> None:
    """Those of the model and its metrics, in full precision."""
    out = finish(tmp_path / "out", make_sweep())
    (lineage,) = load_lineages(out)
    write_csv(out, lineage)
    rows = read_csv(out)[lineage.id]
    assert [row["generation"] for row in rows] == ["1", "2"]
    for row, (key,) in zip(rows, lineage.nodes, strict=True):
        node, metrics = load_node(out, key), load_metrics(out, key, lineage.metrics_spec)
        assert node is not None
        assert metrics is not None
        assert float(row["kid/pixels"]) == metrics.values["kid/pixels"]
        assert float(row["pixels/pixel_std"]) == metrics.values["pixel_std"]
        assert int(row["pool/num_images"]) == node.num_images
        assert float(row["train/final_loss"]) == node.final_loss


def test_a_generation_has_its_row_once_it_is_measured(tmp_path) -> None:
    """W&B's history only grows: a row without metrics would stay without them."""
    out, lineage = one_lineage(tmp_path / "out")
    path = node_dir(out, lineage.nodes[1][0]) / "metrics" / f"{SPEC}.json"
    content = path.read_bytes()
    path.unlink()
    assert [row["generation"] for row in progress_rows(out, lineage)] == [1]
    path.write_bytes(content)
    assert [row["generation"] for row in progress_rows(out, lineage)] == [1, 2]


def test_a_diverged_generation_is_the_last_row(tmp_path) -> None:
    """Without metrics, which it does not have."""
    out, lineage = one_lineage(tmp_path / "out", 3, diverged=((1.0, 0, 2),))
    write_csv(out, lineage)
    (rows,) = read_csv(out).values()
    assert [(row["generation"], row["kid/pixels"]) for row in rows] == [("1", "1.0"), ("2", "")]


def test_members_and_their_mixture_have_columns_of_their_own(tmp_path) -> None:
    base = make_lineage({"model.family": "gaussian", "ensemble.size": 2}, generations=1)
    out = finish(tmp_path / "out", make_sweep(({},), base))
    (row,) = progress_rows(out, load_lineages(out)[0])
    names = {name.removesuffix("kid/pixels") for name in row if name.endswith("kid/pixels")}
    assert names == {"member-0/", "member-1/", "mixture/"}
    assert row["member-0/pool/num_images"] == 40


def test_metrics_of_another_number_of_images_are_named_by_it(tmp_path) -> None:
    """As in tables and in TensorBoard."""
    config = make_lineage(generations=1)
    again = replace(config.metrics, num_images=6)
    store = open_store(tmp_path)
    compute(config, store, evaluations=(again,))
    sweep = replace(make_sweep(({},), config), evaluations=(again,))
    (lineage,) = fill(tmp_path, plan_in(sweep, store), store)
    (row,) = progress_rows(tmp_path, lineage)
    assert {"kid/pixels", "kid/pixels@6"} <= row.keys()


def test_a_file_with_the_same_rows_is_not_written_again(tmp_path) -> None:
    out, lineage = one_lineage(tmp_path / "out")
    write_csv(out, lineage)
    (path,) = find(out, "logs/*/progress.csv")
    before = path.stat()
    write_csv(out, lineage)
    assert path.stat().st_ino == before.st_ino


def test_a_csv_file_that_cannot_be_written_is_noted_once(tmp_path, caplog) -> None:
    """And ends nothing."""
    out, lineage = one_lineage(tmp_path / "out")
    (out / "logs").write_text("in the way")
    loggers = Loggers(out, ["csv"])
    with caplog.at_level(logging.WARNING, "sweep"):
        loggers.update([lineage])
        loggers.finish([lineage])
    (said,) = caplog.messages
    assert said.startswith("--log csv has failed, and the sweep goes on: ")
    assert "\n" not in said


def test_a_missing_package_is_one_line_before_anything_starts(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)
    words = ["run", "quickstart", "--out", str(tmp_path / "out"), "--log", "csv", "wandb"]
    assert PROGRAM.run(words) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: --log wandb must have the package wandb, got none; ")
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_an_offline_run_is_the_lineage(tmp_path) -> None:
    """Its id and name, its settings as they are, and the rows by generation."""
    out, lineage = one_lineage(tmp_path / "out")
    done = send(out, lineage.id)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (run,) = offline_runs(out)
    assert (run.id, run.name, run.project) == (lineage.id, lineage.id, "test")
    assert run.rows == progress_rows(out, lineage)
    assert run.steps == [1, 2]
    assert run.axes == {"generation": "", "*": "generation"}
    assert run.config["pool.alpha"] == 1.0
    assert run.config.keys() - {"_wandb"} >= {"train.epochs", "seed", "metrics.names"}


@pytest.mark.slow
def test_a_longer_lineage_continues_its_run_without_repeating_a_row(tmp_path) -> None:
    """One folder with each generation once; a call without news writes nothing."""
    out, lineage = one_lineage(tmp_path / "out", 2)
    others = write_folder(tmp_path / "out", alphas=(2.0,), seeds=(0,))
    assert send(out, lineage.id).returncode == 0
    (first,) = find(out, "logs/wandb/offline-run-*")
    before = first.stat().st_mtime_ns
    assert send(out, lineage.id).returncode == 0
    assert [path.stat().st_mtime_ns for path in find(out, "logs/wandb/offline-run-*")] == [before]
    write_folder(others, alphas=(1.0,), seeds=(0,), generations=4)
    assert send(out, lineage.id).returncode == 0
    (run,) = offline_runs(out)
    assert run.id == lineage.id
    assert run.steps == [1, 2, 3, 4]
    assert [row["generation"] for row in run.rows] == [1, 2, 3, 4]


@pytest.mark.slow
def test_what_a_killed_process_did_not_note_is_sent_again_and_replaced(tmp_path) -> None:
    """It was killed between the end of the run and the note of it."""
    out, lineage = one_lineage(tmp_path / "out")
    send(out, lineage.id)
    (first,) = find(out, "logs/wandb/offline-run-*")
    first.rename(first.with_name(f"offline-run-20200101_000000-{lineage.id}"))
    (out / "logs" / "wandb" / f"{lineage.id}.json").unlink()
    assert send(out, lineage.id).returncode == 0
    (run,) = offline_runs(out)
    assert run.steps == [1, 2]


def sync(server: WandbServer, out: Path) -> None:
    """Upload what `wandb sync` has not uploaded yet."""
    program = Path(sys.executable).with_name("wandb")
    command = [program, "sync", "--yes", *find(out, "logs/wandb/offline-run-*")]
    environment = {**os.environ, "WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY}
    subprocess.run(command, cwd=out, env=environment, capture_output=True, check=True)


def generations(server: WandbServer, lineage: LineageRecord) -> list[tuple[int, int]]:
    """Step and generation of each row that a server has."""
    return [(row["_step"], row["generation"]) for row in server.rows(lineage.id)]


@pytest.mark.slow
def test_offline_runs_are_uploaded_without_repeating_a_row(tmp_path) -> None:
    """At any time, also with `wandb clean` in between, and with an online end."""
    with wandb_server() as server:
        for num_done in (1, 2, 3, 4):
            out, lineage = one_lineage(tmp_path / "out", num_done)
            assert send(out, lineage.id).returncode == 0
            if num_done > 1:
                sync(server, out)
                assert generations(server, lineage) == [(n, n) for n in range(1, num_done + 1)]
            if num_done == 2:
                for folder in find(out, "logs/wandb/offline-run-*"):
                    shutil.rmtree(folder)
        out, lineage = one_lineage(tmp_path / "out", 6)
        done = send(
            out, lineage.id, WANDB_MODE="online", WANDB_BASE_URL=server.url, WANDB_API_KEY=KEY
        )
        assert done.returncode == 0
        assert generations(server, lineage) == [(n, n) for n in range(1, 7)]


@pytest.mark.slow
def test_an_online_run_is_resumed_where_it_stopped(tmp_path) -> None:
    """With the note of what was sent, and without; telemetry is off."""
    with wandb_server() as server:
        environment = {"WANDB_MODE": "online", "WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY}
        for num_done in (2, 3, 5):
            out, lineage = one_lineage(tmp_path / "out", num_done)
            if num_done == 5:
                (out / "logs" / "wandb" / f"{lineage.id}.json").unlink()
            done = send(out, lineage.id, **environment)
            assert done.returncode == 0, done.stderr
            assert "WARNING" not in done.stderr
            assert generations(server, lineage) == [(n, n) for n in range(1, num_done + 1)]
        rows = [
            {name: value for name, value in row.items() if not name.startswith("_")}
            for row in server.rows(lineage.id)
        ]
        assert rows == progress_rows(out, lineage)
        assert not [path for path in server.paths if "otel" in path]
    assert server.project == "test"
    assert len(find(out, "logs/wandb/run-*")) == 1


@pytest.mark.slow
def test_a_server_that_no_longer_answers_is_given_up(tmp_path) -> None:
    """Here after 5 seconds; wandb itself would try for days."""
    out, lineage = one_lineage(tmp_path / "out")
    code = "import sys, sweep.loggers.wandb_runs as w; w.LONGEST_SECONDS = 5; sys.exit(w.main())"
    with wandb_server() as server:
        server.is_silent = True
        environment = {"WANDB_MODE": "online", "WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY}
        done = subprocess.run(
            [sys.executable, "-P", "-c", code, str(out)],
            input=lineage.id,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "no answer from the server for 5 s"


@pytest.mark.slow
def test_what_wandb_was_told_not_to_write_is_written_later(tmp_path) -> None:
    out, lineage = one_lineage(tmp_path / "out")
    assert send(out, lineage.id, WANDB_MODE="disabled").returncode == 0
    assert offline_runs(out) == []
    assert send(out, lineage.id).returncode == 0
    assert [run.steps for run in offline_runs(out)] == [[1, 2]]


@pytest.mark.slow
def test_the_project_can_be_named_by_the_environment(tmp_path) -> None:
    out, lineage = one_lineage(tmp_path / "out")
    assert send(out, lineage.id, WANDB_PROJECT="mine").returncode == 0
    assert [run.project for run in offline_runs(out)] == ["mine"]


@pytest.mark.slow
def test_without_a_key_it_is_one_line_and_no_question(tmp_path) -> None:
    """Wandb would ask in a terminal."""
    out, lineage = one_lineage(tmp_path / "out")
    done = send(out, lineage.id, WANDB_MODE="online", HOME=str(tmp_path))
    assert done.returncode == 1
    assert "No API key" in done.stderr
    assert done.stderr.count("\n") == 1


def bytes_below(folder: Path) -> bytes:
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(paths) > 20
    return b"\n".join(path.read_bytes() for path in paths)


@pytest.mark.ray
@pytest.mark.slow
def test_a_killed_run_is_continued_and_the_key_is_in_no_file(tmp_path) -> None:
    """Kill -9 of the driver while V_2 trains; W&B writes offline."""
    write_sweep(tmp_path, alphas=(1.0,))
    out = tmp_path / "out"
    environment = {"WANDB_MODE": "offline", "WANDB_API_KEY": KEY}
    words = ("tiny.toml", "--log", "csv", "wandb")
    with Running(out=out, words=words, environment=environment) as run:
        wait_for(lambda: read_csv(out), "V_1's row")
        run.kill_all()
    assert len(finished_nodes(out)) == 1
    (rows,) = read_csv(out).values()
    assert [row["generation"] for row in rows] == ["1"]
    with Running(out=out, words=words, environment=environment) as run:
        assert run.wait() == 0
        said = run.output()
    (lineage,) = load_lineages(out)
    (rows,) = read_csv(out).values()
    assert [row["generation"] for row in rows] == ["1", "2"]
    (sent,) = offline_runs(out)
    assert sent.id == lineage.id
    assert sent.rows == progress_rows(out, lineage)
    assert KEY.encode() not in bytes_below(out)
    assert KEY not in said
    assert f"logs:         {out.name}/logs/" in said


@pytest.mark.ray
@pytest.mark.slow
def test_a_logger_that_fails_is_noted_once_and_fails_no_sweep(tmp_path) -> None:
    """No key: wandb refuses every lineage, at each try."""
    write_sweep(tmp_path)
    environment = {"WANDB_MODE": "online", "HOME": str(tmp_path / "home")}
    words = ("run", "tiny.toml", "--out", "out", "--log", "wandb")
    done = run_sweep(*words, cwd=tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    note = "--log wandb has failed, and the sweep goes on: "
    assert done.stderr.count(note) == 1
    assert (tmp_path / "out" / "log.txt").read_text().count(note) == 1
    assert [record.status for record in load_lineages(tmp_path / "out")] == ["done", "done"]
    shutil.rmtree(tmp_path / "out" / "logs")
    again = run_sweep(*words, cwd=tmp_path, WANDB_MODE="offline")
    assert again.returncode == 0
    assert len(offline_runs(tmp_path / "out")) == 2
