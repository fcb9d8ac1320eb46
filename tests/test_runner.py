"""Facts of a sweep on Ray: what it prints, what its trials are given, how it ends."""

import re
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from running_sweep import (
    SWEEP,
    Running,
    copy_results,
    finished_nodes,
    pasted,
    run_sweep,
    tune_results,
    wait_for,
    write_sweep,
)

from sweep.commands.request import load_sweep_file
from sweep.lineage.datasets import prepare_dataset
from sweep.planning.lineages import plan_sweep
from sweep.records import load_lineages
from sweep.store.store import open_store

pytestmark = pytest.mark.ray

ENDS_WITHIN_SECONDS = 15
"""From Ctrl-C to the end; about 2 s on a quiet machine."""

LINEAGE = r"grow-alpha[\d.]+-steps\d+-seed\d-[0-9a-f]{8}"
TIME = r"\[(\d+ min )?\d+ s\]"
LINES = (
    rf"{TIME} {LINEAGE}  V_\d (done|reused)  kid/pixels -?[\d.e-]+",
    rf"{TIME} \d of \d models done.*",
    rf"  {LINEAGE}  V_\d of \d  .*",
    r"(loading|starting|planning|preparing|checking) .* \.\.\.",
)
"""Every line that a good run may write to stderr: progress, and stages that take long."""


def test_a_run_beside_stray_modules_succeeds(finished):
    """Modules named model.py, sweep.py and analysis/, which raise, lie where it is started."""
    assert (finished.run.returncode, finished.plan.returncode) == (0, 0)


def test_a_good_run_says_only_where_it_stands(finished):
    """Ray and Tune say nothing, and nothing warns."""
    said = finished.run.stderr.splitlines()

    assert [line for line in said if not any(re.fullmatch(form, line) for form in LINES)] == []


def test_a_good_run_prints_its_table_and_where_to_look_further(finished):
    lines = finished.run.stdout.splitlines()

    assert lines[0] == "**kid/pixels**"
    assert lines[-3:] == [
        "figures:      out/figures/",
        "TensorBoard:  "
        + pasted(
            "tensorboard --logdir out/tensorboard --samples_per_plugin images=100",
            finished.out.parent,
        ),
        "report:       out/figures/report.html",
    ]


def test_the_first_run_trains_as_many_models_as_planned(finished):
    """Two lineages of two generations that share V_1."""
    assert "3 unique of 4 without sharing; 0 done, 3 to train" in finished.plan.stdout
    assert len(finished_nodes(finished.out)) == 3


def test_nothing_is_left_in_work(finished):
    """No claim, no training state."""
    assert list((finished.out / "work").rglob("*")) == []


def test_the_same_command_again_computes_nothing(finished, tmp_path):
    """It starts no Ray, and shows the table again."""
    write_sweep(tmp_path)
    out = copy_results(finished.out, tmp_path / "out")
    before = (finished_nodes(out), len(list(out.glob("tune/*"))))

    again = run_sweep("run", "tiny.toml", "--out", "out", cwd=tmp_path)

    assert (again.returncode, again.stdout) == (0, finished.run.stdout)
    assert again.stderr == "nothing to compute: all models and metrics exist\n"
    assert (finished_nodes(out), len(list(out.glob("tune/*")))) == before


@pytest.mark.slow
def test_a_damaged_sweep_json_may_be_deleted(finished, tmp_path):
    """The error on a damaged one says so; the same command then finds every model done."""
    write_sweep(tmp_path)
    out = copy_results(finished.out, tmp_path / "out")
    (out / "sweep.json").unlink()

    again = run_sweep("run", "tiny.toml", "--out", "out", cwd=tmp_path)

    assert (again.returncode, again.stderr) == (
        0,
        "nothing to compute: all models and metrics exist\n",
    )


@pytest.mark.slow
def test_an_extension_computes_what_was_planned_and_no_more(finished, tmp_path):
    """One alpha, one seed and one generation more: the new models are those of `sweep plan`."""
    write_sweep(tmp_path)
    out = copy_results(finished.out, tmp_path / "out")
    before = finished_nodes(out)
    words = ["tiny.toml", "--out", "out", "--axis", "pool.alpha=0.5,1,2", "--axis", "seed=0,1"]
    words += ["--generations", "3"]

    plan = run_sweep("plan", *words, cwd=tmp_path)
    run = run_sweep("run", *words, cwd=tmp_path)

    # Per seed: V_1, and V_2 and V_3 of 3 alphas: 7 of 9 models. Seed 0 has 3 of them.
    assert "lineages     6\n" in plan.stdout
    assert "14 unique of 18 without sharing; 3 done, 11 to train" in plan.stdout
    assert (run.returncode, len(finished_nodes(out))) == (0, 14)
    assert {key: finished_nodes(out)[key] for key in before} == before


def run_side_by_side(folder: Path, num: int, **settings: Any) -> tuple[Running, list[set[int]]]:
    """A run of `num` seeds' V_1 on machines' worth of CPUs that Ray is told of.

    Returns:
        The run, ended; and the sets of processes that were seen to train different models at once.
    """
    path = write_sweep(
        folder,
        (0.5,),
        base__generations=1,
        base__metrics__names=[],
        resources__device="cpu",
        resources__num_cpus=num,
        **settings,
    )
    words = (str(path), "--axis", "seed=" + ",".join(map(str, range(num))))
    seen: list[set[int]] = []
    with Running(out=folder / "out", words=words) as run:
        while run.process.poll() is None:
            training = [c for c in run.claims().values() if c.get("stage") == "train"]
            seen.append({claim["pid"] for claim in training})
            time.sleep(0.05)
        assert run.wait() == 0
    return run, seen


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> tuple[Running, list[set[int]]]:
    """Four trials, each on one of 4 GPUs (so Ray is told)."""
    return run_side_by_side(
        tmp_path_factory.mktemp("four"),
        4,
        base__train__steps=300,
        resources__num_gpus=4,
        resources__gpus_per_trial=1,
    )


@pytest.mark.slow
def test_each_trial_sees_a_gpu_of_its_own(four):
    """4 trials on 4 GPUs at once have 4 different CUDA_VISIBLE_DEVICES."""
    run, _ = four
    results = tune_results(run.out)

    assert sorted(r["cuda_visible_devices"] for r in results) == ["0", "1", "2", "3"]
    assert len({r["pid"] for r in results}) == 4


@pytest.mark.slow
def test_trials_work_on_different_models_at_once(four):
    """All four were seen to hold claims on different models at the same moment."""
    run, seen = four

    assert max(seen, key=len) == {result["pid"] for result in tune_results(run.out)}


@pytest.mark.slow
def test_two_trials_share_a_gpu_at_half_each(tmp_path):
    """With half a GPU per trial 8 run at once on 4, two on each."""
    run, seen = run_side_by_side(
        tmp_path,
        8,
        base__train__steps=1200,
        resources__num_gpus=4,
        resources__gpus_per_trial=0.5,
    )
    devices = Counter(result["cuda_visible_devices"] for result in tune_results(run.out))

    assert devices == {"0": 2, "1": 2, "2": 2, "3": 2}
    assert max(map(len, seen)) == 8


@pytest.mark.slow
def test_ctrl_c_in_a_terminal_ends_within_seconds(tmp_path):
    """Exit code 130, the command that resumes is printed, no process and no Ray folder is left."""
    path = write_sweep(tmp_path)
    with Running(out=tmp_path / "out", words=(str(path),), in_terminal=True) as run:
        wait_for(lambda: run.training(1, saved_step=20), "training")
        ray_folder = run.ray_folder()
        pressed = time.monotonic()
        run.press(b"\x03")
        code = run.wait(60)
        seconds = time.monotonic() - pressed
        left = run.processes()

    assert (code, left) == (130, {})
    assert ray_folder is not None
    assert not ray_folder.parent.exists()
    assert seconds < ENDS_WITHIN_SECONDS
    said = run.output().replace("\r\n", "\n")
    assert "stopped; finished models are kept. To resume:\n" in said
    assert f"sweep run {path} --out {run.out}\n" in said  # the program may be named by its path
    assert "Traceback" not in said


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_ends_within_seconds(tmp_path, number):
    """As a shell or a batch system sends it; the output is as after Ctrl-C."""
    path = write_sweep(tmp_path)
    with Running(out=tmp_path / "out", words=(str(path),)) as run:
        wait_for(lambda: run.training(1, saved_step=20), "training")
        sent = time.monotonic()
        run.signal_group(number)
        code = run.wait(60)
        seconds = time.monotonic() - sent
        left = run.processes()

    assert (code, left) == (128 + number, {})
    assert seconds < ENDS_WITHIN_SECONDS
    assert run.output().endswith(
        f"stopped; finished models are kept. To resume:\n"
        f"  {pasted(f'sweep run {path} --out {run.out}', run.out.parent)}\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize("program", ["gcs_server", "raylet"])
def test_a_signal_to_the_whole_group_while_ray_starts_ends_within_seconds(tmp_path, program):
    """Without Ray's processes, Ray waited for a minute, and then ended the run with code 1."""
    path = write_sweep(tmp_path)
    with Running(out=tmp_path / "out", words=(str(path),)) as run:
        wait_for(lambda: program in " ".join(run.processes().values()), "the start of Ray")
        sent = time.monotonic()
        run.signal_group(signal.SIGTERM)
        code = run.wait(90)
        seconds = time.monotonic() - sent
        left = run.processes()
    assert (code, left) == (143, {})
    assert seconds < ENDS_WITHIN_SECONDS
    assert "Traceback" not in run.output()


@pytest.mark.slow
def test_a_closed_terminal_ends_within_seconds(tmp_path):
    """Exit code 129 and how to resume are in the log, as nobody sees them; no process is left."""
    path = write_sweep(tmp_path)
    with Running(out=tmp_path / "out", words=(str(path),), in_terminal=True) as run:
        wait_for(lambda: run.training(1, saved_step=20), "training")
        closed = time.monotonic()
        run.process.kill()  # it holds the terminal
        wait_for(lambda: not run.processes(), "the end of all processes", 60)
        seconds = time.monotonic() - closed
    assert seconds < ENDS_WITHIN_SECONDS
    *_, received, stopped, ended = (run.out / "log.txt").read_text().splitlines()
    assert received.endswith("received SIGHUP")
    assert stopped.endswith(f"To resume: sweep run {path} --out {run.out}")
    assert ended.endswith("ended: exit code 129")


@pytest.mark.slow
def test_nobody_who_reads_is_no_reason_to_stop(tmp_path):
    """Output goes to a reader that leaves after a line; the exit code is that of the sweep."""
    write_sweep(tmp_path)
    command = f"{SWEEP} run tiny.toml --out out 2>&1 | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.count("\n"), done.stderr) == (0, 1, "")
    assert len(finished_nodes(tmp_path / "out")) == 3


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess]:
    """Two lineages; a file lies where the samples of the second V_2 belong, to be measured."""
    folder = tmp_path_factory.mktemp("failed")
    path = write_sweep(folder, base__model__family="gaussian", resources__max_failures=0)
    store = open_store(folder / "store")
    lineages = plan_sweep(load_sweep_file(path), lambda data: prepare_dataset(data, store))
    (Path(store.location) / "streams").mkdir()
    (Path(store.location) / "streams" / lineages[1].nodes[1].stream).write_text("in the way")
    words = ("run", "tiny.toml", "--out", "out", "--store", "store")
    return folder, run_sweep(*words, cwd=folder)


@pytest.mark.slow
def test_a_lineage_that_fails_leaves_the_others_done(failed):
    """The exit code is 1, and each lineage's file tells how it ended."""
    folder, run = failed
    lineages = load_lineages(folder / "out")

    assert run.returncode == 1
    assert {x.config["pool"]["alpha"]: x.status for x in lineages} == {
        0.5: "done",
        1.0: "unmeasured",
    }


@pytest.mark.slow
def test_a_failure_may_end_the_run(tmp_path):
    """A file lies where the samples belong that three lineages need; two are not begun."""
    settings = {"base__model__family": "gaussian", "resources__max_failures": 0}
    path = write_sweep(tmp_path, alphas=(0.5, 1.0, 2.0), resources__max_concurrent=1, **settings)
    store = open_store(tmp_path / "out")
    lineages = plan_sweep(load_sweep_file(path), lambda data: prepare_dataset(data, store))
    (tmp_path / "out" / "streams").mkdir()
    (tmp_path / "out" / "streams" / lineages[0].nodes[0].stream).write_text("in the way")

    run = run_sweep("run", "tiny.toml", "--out", "out", "--fail-fast", cwd=tmp_path)

    assert run.returncode == 1
    assert "Traceback" not in run.stderr
    statuses = {x.id: x.status for x in load_lineages(tmp_path / "out")}
    assert sorted(statuses.values()) == ["failed", "pending", "pending"]
    assert f"{min(statuses, key=statuses.__getitem__)} failed: " in run.stderr
    assert len(finished_nodes(tmp_path / "out")) == 1


@pytest.mark.slow
def test_status_says_why_a_lineage_failed(failed):
    folder, _ = failed

    status = run_sweep("status", "out", "--store", "store", cwd=folder)

    assert status.returncode == 0
    assert re.search(r"unmeasured +2 of 2 ", status.stdout)
    assert "must be inside folders, got a file" in status.stdout


@pytest.mark.slow
def test_a_failure_is_said_without_a_traceback(failed):
    """Its line names the log that has it, which is still there after Ray's end."""
    _, run = failed

    assert "Traceback" not in run.stderr
    said = re.search(rf"{LINEAGE} failed: .*must be inside folders.*\(log: (.*)\)", run.stderr)
    assert said is not None
    assert "must be inside folders" in Path(said[1]).read_text()


@pytest.mark.slow
def test_a_copy_of_out_needs_no_store(failed):
    """With --store each done model's record, metrics and curves are copied into --out."""
    folder, _ = failed
    names = {path.name for path in (folder / "out").glob("generations/*/*")}

    assert {"record.json", "metrics", "pool.json", "preview.png"} <= names
    assert "model.safetensors" not in names
