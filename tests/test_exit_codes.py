"""What each command's exit code says, and what stands on stderr with it.

0: every requested result exists. 1: a result is missing, or contradicts a published one. 2: the
user must change something; a line says what, or a box about words that cannot be read. 70: a bug
of ours, with its traceback.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from results_folder import SPEC, node_key, write_folder
from tiny_sweep import compute, make_lineage, make_sweep

from analysis.__main__ import PROGRAM as ANALYSIS
from model.__main__ import PROGRAM as MODEL
from sweep.__main__ import PROGRAM as SWEEP
from sweep.lineage.datasets import prepare_dataset
from sweep.planning.lineages import plan_sweep
from sweep.records import HYPOTHESES, HypothesisPair, HypothesisRecord
from sweep.results_folder import fill, write_sweep
from sweep.store.store import open_store

Run = Callable[[str], tuple[int, str, str]]
PROGRAMS = {program.name: program for program in (MODEL, SWEEP, ANALYSIS)}
TOLD = (
    "--name more --hypothesis damage --expected greater --generation 3 "
    "--contrast pool.alpha=2 --against pool.alpha=0.5"
)
TRAIN = "model train --data.train-limit 64 --train.epochs None --train.steps 2 --model.widths 4 8"

FINE = [
    "model --help",
    "model --version",
    "model train --help",
    f"{TRAIN} --out {{new}}.safetensors",
    "model sample {weights} --out {new} --num-images 2",
    "model evaluate --images {images} --metrics.extractor pixels",
    "sweep --help",
    "sweep --version",
    "sweep presets",
    "sweep data digits",
    "sweep plan quickstart",
    f"sweep preregister quickstart --out {{new}} {TOLD}",
    "sweep run {done}/sweep.json --out {done}",
    "sweep status {begun}",
    "sweep status --store {done}",
    "sweep status {done} --watch",
    "sweep evaluate {done} --metrics.extractor pixels --metrics.num-images 16 --metrics.names kid",
    "sweep stop {begun}",
    "sweep clean {done} --dry-run",
    "sweep doctor --help",
    "sweep reproduce",
    "sweep watch-spot --help",
    "analysis --help",
    "analysis --version",
    "analysis table {results}",
    "analysis figure {results} --out {new}",
    "analysis report {results} --out {new}.html",
    "analysis report {published} --out {new}-ledger.html --metric kid --step low:alpha=0.5",
    "analysis board {results} --out {new}",
    "analysis verdict {told}",
    "analysis ledger {published} --metric kid --step low:alpha=0.5 --step high:alpha=2",
    "analysis check {results}",
]
PRINTING = [words for words in FINE if not words.startswith(("sweep run", "sweep evaluate"))]
"""Those whose tables are not printed by another process."""
INCOMPLETE = [
    f"{TRAIN} --out {{new}}.safetensors --train.lr 1e30",
    "sweep run {diverged}/sweep.json --out {diverged}",
    "sweep status {diverged} --watch",
    "analysis verdict {asked}",
    "analysis check {cut}",
]
MISTAKES = [
    "sweep presets all",
    "model train --out {new}.pt",
    f"{TRAIN} --out {{file}}/new.safetensors",
    "model sample {new} --out {new}",
    "model sample {file} --out {new}",
    "model evaluate --images {new}",
    "model evaluate --images {file}",
    "sweep data {new}",
    "sweep data {file}",
    "sweep data {images} --sheet {new}.jpg",
    "sweep data {images} --data.split official_train",
    "sweep plan quickstat",
    "sweep plan {new}.toml",
    "sweep plan {file}",
    "sweep plan {directory}.toml",
    "sweep plan quickstart --axis seed=a",
    "sweep plan quickstart --prices {new}.toml",
    "sweep plan quickstart --prices {directory}.toml",
    "sweep plan quickstart --timings {new}",
    f"sweep preregister quickstart --out {{file}} {TOLD}",
    f"sweep preregister quickstart --out {{new}} {TOLD} --metric recall",
    "sweep run quickstart --out {file}",
    "sweep run quickstart --out {file}/new",
    "sweep run quickstart --out {new} --generations 0",
    pytest.param(
        "sweep run {begun}/sweep.json --out {new} --address nonsense", marks=pytest.mark.ray
    ),
    "sweep status",
    "sweep status {new}",
    "sweep evaluate {new}",
    "sweep evaluate {done} --metrics.names kidd",
    "sweep stop {new}",
    "sweep clean {new}",
    "sweep reproduce nothing",
    "sweep watch-spot --cloud aws --address here:1",
    "analysis table {new}",
    "analysis table {results} --confidence 2",
    "analysis table {results} --out {file}/new",
    "analysis figure {results} --out {file}",
    "analysis report {new}",
    "analysis report {results} --out {file}",
    "analysis report {results} --out {new}.html --forecast {file}",
    "analysis board {results} --out {file}",
    "analysis verdict {results}",
    "analysis ledger {results} --metric kid --step only:alpha=1",
    "analysis ledger {results}",
    "analysis check {new}",
]
UNREADABLE = [
    "model",
    "model trian",
    "model train",
    "model sample",
    "model evaluate",
    "sweep",
    "sweep presets quickstart all",
    "sweep data",
    "sweep data digits --sheet",
    "sweep plan",
    "sweep preregister quickstart",
    "sweep run quickstart",
    "sweep run quickstart --out {new} --log json",
    "sweep status {done} --wacht",
    "sweep evaluate",
    "sweep stop",
    "sweep clean {done} --force yes",
    "sweep doctor --format xml",
    "sweep reproduce --format xml",
    "sweep watch-spot --cloud ibm --address here:1",
    "analysis",
    "analysis table {results} --format pdf",
    "analysis figure {results}",
    "analysis report {results} --max-size large",
    "analysis board {results}",
    "analysis verdict",
    "analysis ledger {results} --format pdf",
    "analysis check",
]
BUGS = [
    f"{TRAIN} --out {{new}}.safetensors",
    "model sample {weights} --out {new}",
    "model evaluate --images {images} --metrics.extractor pixels",
    "sweep plan quickstart",
    "sweep run quickstart --out {new}",
    "analysis table {results}",
    "analysis figure {results} --out {new}",
]


def write_hypothesis(out: Path, *, seeds: tuple[int, ...]) -> None:
    """A hypothesis about V_2 of the alphas 1 and 0.5."""
    HypothesisRecord(
        name="more",
        text="More images do more damage",
        metric="kid/pixels",
        spec=SPEC,
        contrast=["pool.alpha=1"],
        against=["pool.alpha=0.5"],
        generation=2,
        expected="greater",
        margin=0.0,
        confidence=0.95,
        pairs=[
            HypothesisPair(
                seed=seed,
                split_seed=0,
                arm=node_key(1.0, 40, seed, 2),
                control=node_key(0.5, 40, seed, 2),
            )
            for seed in seeds
        ],
        post_hoc=False,
        written="2026-01-01T00:00:00+00:00",
    ).save(out / HYPOTHESES / "more.json")


def make_results(out: Path, **settings: object) -> Path:
    """A results folder of one lineage, computed as far as it goes."""
    sweep = make_sweep(base=make_lineage(settings))
    write_sweep(out, sweep, f"sweep run {out}/sweep.json --out {out}")
    store = open_store(out)
    compute(sweep.base, store)
    fill(out, plan_sweep(sweep, lambda data: prepare_dataset(data, store)), store)
    return out


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files and folders that the words name."""
    root = tmp_path_factory.mktemp("places")
    here = {name: root / name for name in ("begun", "file", "images", "weights", "cut")}
    here["results"] = write_folder(root / "results", alphas=(1.0,), seeds=(0,), generations=2)
    write_folder(here["cut"], alphas=(1.0,), seeds=(0,), generations=2)
    for name, seeds in (("told", (0, 1)), ("asked", (0, 1, 2))):
        here[name] = write_folder(root / name, seeds=(0, 1), generations=2)
        write_hypothesis(here[name], seeds=seeds)
    next(here["cut"].glob("generations/*/config.json")).unlink()
    here["file"].write_text("no model, no images and no settings")
    here["published"] = Path(__file__).parents[1] / "experiments" / "quickstart"
    here["directory"] = root / "directory"
    (root / "directory.toml").mkdir()
    write_sweep(here["begun"], make_sweep(), "sweep run tiny.toml --out begun")
    here["done"] = make_results(root / "done")
    here["diverged"] = make_results(root / "diverged", **{"train.lr": 1e30})
    weights = root / "gaussian.safetensors"
    data = ("--data.train-limit", "64", "--model.family", "gaussian")
    assert MODEL.run(["train", "--out", str(weights), *data]) == 0
    here["weights"] = weights
    drawn = ("--out", str(here["images"]), "--num-images", "40")
    assert MODEL.run(["sample", str(weights), *drawn]) == 0
    return here


@pytest.fixture
def run(places: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """A command's words to its exit code, stdout and stderr."""

    def run(words: str) -> tuple[int, str, str]:
        program, *args = words.format(**places, new=tmp_path / "new").split()
        capfd.readouterr()
        return PROGRAMS[program].run(args), *capfd.readouterr()

    return run


def names(program: str) -> set[str]:
    return {f"{program} {name}" for name in PROGRAMS[program].commands}


@pytest.mark.parametrize("table", [FINE, MISTAKES, UNREADABLE])
def test_the_tables_have_every_command(table: list) -> None:
    told = {" ".join(words.split()[:2]) for words in table if isinstance(words, str)}
    commands = set.union(*map(names, PROGRAMS))
    able = commands - {"sweep presets", "sweep doctor"} if table is MISTAKES else commands
    assert able <= told


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("words", FINE)
def test_0_is_all_that_was_asked_for(words: str, run) -> None:
    code, printed, said = run(words)
    assert (code, said if code else "") == (0, "")
    assert printed


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("words", PRINTING)
def test_1_is_output_that_found_no_room(words: str, run, monkeypatch) -> None:
    """Standard error, whose lines were not asked for, may be full."""
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        monkeypatch.setattr("sys.stdout", full)
        code, _, said = run(words)
    assert code == 1
    assert "stdout must be writable, got 'No space left on device'; the output is" in said


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("words", PRINTING)
def test_output_that_nobody_reads_changes_no_code(words: str, run, monkeypatch) -> None:
    """The reader of stdout has gone, and stderr is full."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as gone, open("/dev/full", "w") as full:  # noqa: PTH123
        monkeypatch.setattr("sys.stdout", gone)
        monkeypatch.setattr("sys.stderr", full)
        code, _, _ = run(words)
    assert code == 0


@pytest.mark.parametrize("words", INCOMPLETE)
def test_1_is_something_missing(words: str, run) -> None:
    code, printed, said = run(words)
    assert code == 1
    missing = ("diverged", "problem: ", "without a number: ")
    assert any(word in printed + said for word in missing)


@pytest.mark.parametrize("words", MISTAKES)
def test_2_is_a_line_that_tells_what_to_change(words: str, run, monkeypatch) -> None:
    if "watch-spot" in words:
        monkeypatch.setenv("PATH", "")  # without the command ray
    code, printed, said = run(words)
    assert (code, printed, said.count("\n")) == (2, "", 1)
    assert said.startswith("error: ")


@pytest.mark.parametrize("words", UNREADABLE)
def test_2_is_a_box_about_words_that_cannot_be_read(words: str, run) -> None:
    code, printed, said = run(words)
    assert (code, printed) == (2, "")
    assert not said.startswith("error: ")
    assert "--help" in said


@pytest.mark.parametrize("words", BUGS)
def test_70_is_a_bug_with_its_traceback(words: str, run, monkeypatch) -> None:
    """A ValueError out of numpy is never taken for a mistake of the user's."""

    def fail(*args: object, **settings: object) -> None:
        raise ValueError("injected")

    with monkeypatch.context() as patch:
        for name in ("arange", "array", "asarray", "concatenate", "flatnonzero", "zeros"):
            patch.setattr(np, name, fail)
        code, _, said = run(words)
    assert code == 70
    assert "Traceback" in said
    assert "ValueError: injected" in said
    assert "please report it with this traceback" in said


@pytest.mark.parametrize("program", sorted(PROGRAMS))
def test_a_process_ends_with_the_code(program: str, places: dict[str, Path]) -> None:
    """The console commands hand it on."""
    command = Path(sys.executable).with_name(program)
    done = subprocess.run([command, "nothing"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Available subcommands" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_process_as_a_shell_expects(number, places: dict[str, Path]) -> None:
    """With 128 and its number; or by the signal itself, which a shell calls the same."""
    command = [Path(sys.executable).with_name("sweep"), "status", places["begun"], "--watch"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        os.kill(process.pid, number)
        process.communicate(timeout=60)
    assert process.returncode in (128 + number, -number)
