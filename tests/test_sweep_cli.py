"""Facts of the command `sweep` at its door: a mistake is one line, and nothing was started."""

import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from running_sweep import SWEEP, write_sweep

from sweep.__main__ import main
from sweep.commands.request import load_sweep_file
from sweep.config import SweepConfig
from sweep.results_folder import write_sweep as write_record

NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
"""Runs a command without root's right to write anywhere."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: tiny.toml, a file, a folder of something else."""
    monkeypatch.chdir(tmp_path)
    write_sweep(tmp_path)
    (tmp_path / "file").write_text("a letter")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").touch()
    return tmp_path


@pytest.fixture
def sweep(folder, monkeypatch, capsys):
    """The command in this process: words to exit code, stdout and stderr."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sweep", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        return int(stop.value.code or 0), *capsys.readouterr()

    return run


def begun(folder: Path, name: str = "begun") -> Path:
    """A results folder of tiny.toml in which nothing was computed yet."""
    out = folder / name
    out.mkdir()
    write_record(out, tiny(folder), "sweep run tiny.toml")
    return out


def tiny(folder: Path) -> SweepConfig:
    return load_sweep_file(folder / "tiny.toml")


def contents(folder: Path) -> dict[str, int]:
    """Every path below a folder, and when it was changed."""
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


WRONG_WORDS = {
    "an unknown axis": (
        "--axis pool.alpa=1",
        "pool.alpa is not a setting; did you mean pool.alpha?",
    ),
    "an axis without values": (
        "--axis pool.alpha",
        "--axis must be NAME=VALUE,VALUE,..., got 'pool.alpha'",
    ),
    "values of an axis in words of their own": (
        "--axis sample.steps 5 20",
        "--axis must be NAME=VALUE,VALUE,..., got 'sample.steps 5 20'; "
        "write --axis sample.steps=5,20",
    ),
    "a split that the data do not have": (
        "--data.split official_train",
        "data.split must be stratified or all for data.name=digits, got 'official_train'; "
        "add --data.split stratified",
    ),
    "a negative alpha": (
        "--pool.alpha -1",
        "pool.alpha must be a finite number of at least 0, got -1.0",
    ),
    "an alpha of nan": (
        "--pool.alpha nan",
        "pool.alpha must be a finite number of at least 0, got nan",
    ),
    "a negative alpha on the axis": (
        "--axis pool.alpha=1,-1",
        "pool.alpha must be a finite number of at least 0, got -1.0",
    ),
    "an alpha of nan on the axis": (
        "--axis pool.alpha=nan",
        "pool.alpha must be a finite number of at least 0, got nan",
    ),
    "no generations": ("--generations 0", "generations must be at least 1, got 0"),
    "a word on the axis": ("--axis pool.alpha=much", "pool.alpha must be a number, got 'much'"),
    "a focal class that does not exist": (
        "--pool.focal_classes rose",
        "pool.focal_classes must name classes of digits, got 'rose'; it has 0, 1, 2",
    ),
    "a missing data.path": (
        "--data.name folder --data.path nowhere",
        "data.path must be an existing folder, got 'nowhere'",
    ),
    "no data.path": (
        "--data.name folder",
        "data.path must be set for data.name=folder, got None",
    ),
    "GPUs where there are none": (
        "--resources.num_gpus 0 --resources.gpus_per_trial 1",
        "resources.gpus_per_trial must be at most the 0 available, got 1; use fewer",
    ),
    "more CPUs than there are": (
        "--resources.num_cpus 2 --resources.cpus_per_trial 3",
        "resources.cpus_per_trial must be at most the 2 available, got 3; use fewer",
    ),
    "an --out that is a file": ("--out file", "--out must be a folder, got the file "),
    "an --out that holds something else": (
        "--out thesis",
        "--out must be new, empty or a sweep's folder, got ",
    ),
    "a --store that is a file": ("--store file", "--store must be a folder, got the file "),
}


@pytest.mark.parametrize("mistake", WRONG_WORDS)
def test_a_mistake_is_one_line_and_changes_nothing(sweep, folder, mistake):
    """Whatever is wrong with the words: exit 2, one line on stderr, no folder made."""
    words, message = WRONG_WORDS[mistake]
    out = [] if "--out" in message else ["--out", "new"]
    before = contents(folder)

    code, printed, said = sweep("run", "tiny.toml", *out, *words.split())

    assert (code, printed, said.count("\n")) == (2, "", 1)
    assert said.startswith(f"error: {message}")
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--out new --train.stepz 3", "--train.steps {None}|INT"),
        ("--out new --generations two", "--generations: the value must be a whole number"),
        ("", "Missing from sweep run: --out DIR"),
    ],
)
def test_words_that_cannot_be_read_are_told_in_a_box(sweep, folder, words, told):
    """With suggestions; nothing is changed either."""
    before = contents(folder)

    code, printed, said = sweep("run", "tiny.toml", *words.split())

    assert (code, printed) == (2, "")
    assert told in " ".join(said.replace("\u2502", "").split())
    assert contents(folder) == before


WRONG_LINES = {
    "an unknown key": (
        "base.train.stepz = 3",
        "train.stepz is not a setting; did you mean train.steps?",
    ),
    "an unknown table": ("bas.seed = 1", "bas is not a setting; did you mean base?"),
    "a negative alpha": (
        "base.pool.alpha = -1",
        "pool.alpha must be a finite number of at least 0, got -1.0",
    ),
    "an alpha of nan": (
        "base.pool.alpha = nan",
        "pool.alpha must be a finite number of at least 0, got nan",
    ),
    "no generations": ("base.generations = 0", "generations must be at least 1, got 0"),
    "a wrong type": (
        'base.generations = "two"',
        "generations must be a whole number, got 'two'",
    ),
    "a number for a table": ("base.train = 3", "train must be a table of settings, got 3"),
}


@pytest.mark.parametrize("mistake", WRONG_LINES)
def test_a_mistake_in_a_file_names_the_file(sweep, folder, mistake):
    """A .toml file's mistakes are one line too, which begins with its name."""
    line, message = WRONG_LINES[mistake]
    (folder / "mine.toml").write_text(f"{line}\n")
    before = contents(folder)

    code, printed, said = sweep("run", "mine.toml", "--out", "new")

    assert (code, printed, said) == (2, "", f"error: mine.toml: {message}\n")
    assert contents(folder) == before


def test_a_file_that_is_not_toml_is_an_error(sweep, folder):
    (folder / "mine.toml").write_text("base = [")

    code, _, said = sweep("run", "mine.toml", "--out", "new")

    assert (code, said.count("\n")) == (2, 1)
    assert said.startswith("error: mine.toml must be TOML: ")


def test_a_misspelt_preset_is_an_error_with_a_suggestion(sweep):
    code, _, said = sweep("run", "quickstat", "--out", "new")

    assert (code, said.count("\n")) == (2, 1)
    assert said.endswith("got 'quickstat'; did you mean 'quickstart'?\n")


def test_a_base_setting_that_differs_is_an_error_naming_both_values(sweep, folder):
    """Into an existing --out only the grid may grow."""
    out = begun(folder)
    before = contents(folder)

    code, _, said = sweep("run", "tiny.toml", "--out", out, "--train.lr", 0.01)

    assert (code, said.count("\n")) == (2, 1)
    assert said.startswith(f"error: train.lr must be 0.001 as in {out / 'sweep.json'}, got 0.01; ")
    assert contents(folder) == before


@pytest.mark.parametrize("command", ["run tiny.toml --out begun", "plan tiny.toml --out begun"])
def test_a_truncated_sweep_json_is_an_error_that_names_it(sweep, folder, command):
    path = begun(folder) / "sweep.json"
    path.write_bytes(path.read_bytes()[:300])
    before = contents(folder)

    code, printed, said = sweep(*command.split())

    assert (code, printed, said.count("\n")) == (2, "", 1)
    assert said.startswith(f"error: {path} must be a whole JSON file, got a damaged one")
    assert contents(folder) == before


def test_status_of_a_folder_without_a_sweep_is_an_error(sweep):
    code, printed, said = sweep("status", "thesis")

    assert (code, printed) == (2, "")
    assert said == (
        "error: thesis/sweep.json must exist; is its folder the --out of a sweep run?\n"
    )


def test_status_of_a_sweep_that_has_not_begun_shows_its_lineages(sweep, folder):
    begun(folder)

    code, printed, _ = sweep("status", "begun")

    assert code == 0
    assert "0 of 3 models done" in printed
    assert printed.count("pending") == 2


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    """Also where the command runs as somebody who may read all but write nothing."""
    as_nobody: tuple[str, ...] = ()
    if os.geteuid() == 0:  # who may write anywhere
        as_nobody = NOBODY
        trial = [*NOBODY, SWEEP, "presets"]
        if not shutil.which("setpriv") or subprocess.run(trial, capture_output=True).returncode:
            pytest.skip("run by root, who cannot run the command as somebody else here")
    with tempfile.TemporaryDirectory() as name:
        locked = Path(name)
        write_sweep(locked)
        locked.chmod(0o555)

        done = subprocess.run(
            [*as_nobody, SWEEP, "run", locked / "tiny.toml", "--out", locked / "new"],
            capture_output=True,
            text=True,
            check=False,
        )

        locked.chmod(0o755)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: --out must be in a folder that can be written, got {locked / 'new'}; "
        "choose another folder\n"
    )


def test_a_disk_too_small_for_the_plan_is_an_error(sweep, folder):
    """Room is compared with the plan before anything is written."""
    small = folder / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", small]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can make a small disk")
    try:
        code, printed, said = sweep("run", "tiny.toml", "--out", small / "new")
        left = list(small.iterdir())
    finally:
        subprocess.run(["umount", small], check=True)

    assert (code, printed, said.count("\n"), left) == (2, "", 1, [])
    assert said.startswith(f"error: {small / 'new'} must have room for the sweep's ")
    assert said.endswith("131 kB free; free some space or use another --out or --store\n")


def test_a_changed_preset_says_what_is_changed(sweep):
    """Its question may be about other data, or another number of generations."""
    _, printed, _ = sweep("plan", "tiny.toml", "--generations", "3", "--axis", "seed=1,2")
    assert "(changed: generations, seed)\n" in printed


def test_help_begins_with_what_every_run_needs(sweep):
    """Then come the command's other options, the settings by group, and the machine's resources."""
    code, printed, _ = sweep("run", "quickstart", "--help")
    options = re.findall(r"^\W+--([\w.]+)", printed, re.MULTILINE)
    groups = re.findall(r"^\W+(\w+) options \W", printed, re.MULTILINE)

    assert code == 0
    assert options[:3] == ["out", "axis", "address"]
    assert (groups[0], groups[-1]) == ("data", "resources")


@pytest.mark.parametrize(
    "words", ["sweep --help", "sweep run --help", "sweep plan paper", "analysis --help"]
)
def test_help_and_plan_answer_without_torch_and_ray(words):
    """They load neither, and take less than 1.5 s of processor time."""
    program, *rest = words.split()
    script = f"""
import sys
from {program}.__main__ import main
sys.argv = {[program, *rest]!r}
try:
    main()
finally:
    sys.stderr.write(" ".join(name for name in ("ray", "torch") if name in sys.modules))
"""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)

    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=False
    )

    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    said = [line for line in done.stderr.splitlines() if "are not here" not in line]
    assert (done.returncode, said) == (0, [])
    assert seconds < 1.5
