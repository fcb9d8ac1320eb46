"""The analysis command, in this process but for what imports it needs."""

import io
import subprocess
import sys

import pandas as pd
import pytest
from results_folder import write_folder

from analysis.__main__ import PROGRAM


def run(*args) -> int:
    return PROGRAM.run([str(arg) for arg in args])


def test_table_prints_kid_and_composition(tmp_path, capsys):
    assert run("table", write_folder(tmp_path / "a")) == 0
    out = capsys.readouterr().out
    assert "**kid/pixels**" in out
    assert "**composition**" in out


def test_table_of_named_metrics_holds_nothing_else(tmp_path, capsys):
    assert run("table", write_folder(tmp_path / "a"), "--metric", "final_loss", "pixel_std") == 0
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line.startswith("**")] == [
        "**final_loss**",
        "**pixel_std**",
    ]


def test_composition_can_be_asked_for_alone(tmp_path, capsys):
    assert run("table", write_folder(tmp_path / "a"), "--metric", "composition") == 0
    assert "kid" not in capsys.readouterr().out


def test_a_sweep_that_has_measured_nothing_yet_shows_its_composition(tmp_path, capsys):
    folder = write_folder(tmp_path / "a", alphas=(1.0,), seeds=(0,), pending=((1.0, 0, 1),))
    assert run("table", folder) == 0
    assert "**composition**" in capsys.readouterr().out


def test_tables_can_go_to_a_file(tmp_path, capsys):
    path = tmp_path / "new" / "table.tex"
    assert run("table", write_folder(tmp_path / "a"), "--format", "latex", "--out", path) == 0
    assert capsys.readouterr().out == ""
    assert r"\begin{table}" in path.read_text()


def test_tidy_is_one_line_for_each_lineage_and_generation(tmp_path, capsys):
    assert run("table", write_folder(tmp_path / "a"), "--tidy") == 0
    assert len(pd.read_csv(io.StringIO(capsys.readouterr().out))) == 2 * 3 * 3


def test_figure_prints_the_paths_it_wrote(tmp_path, capsys):
    folder = write_folder(tmp_path / "a", alphas=(1.0,), seeds=(0,))
    assert run("figure", folder, "--out", tmp_path / "figures") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        str(tmp_path / "figures" / name)
        for name in (
            "curves-kid-pixels.png",
            "grid-real.png",
            "grid-v1.png",
            "grid-alpha-1.png",
        )
    ]


def test_check_of_a_whole_folder_is_0(tmp_path, capsys):
    assert run("check", write_folder(tmp_path / "a")) == 0
    assert capsys.readouterr().out.endswith("0 problems\n")


def test_check_of_a_damaged_folder_is_1_and_names_the_file(tmp_path, capsys):
    folder = write_folder(tmp_path / "a")
    path = next(folder.glob("generations/*/preview.png"))
    path.write_bytes(b"changed")
    assert run("check", folder) == 1
    assert f"problem: {path} must have SHA-256" in capsys.readouterr().out


def test_check_without_weights_says_not_copied(tmp_path, capsys):
    folder = write_folder(tmp_path / "a", alphas=(1.0,), seeds=(0,))
    for path in folder.rglob("*.safetensors"):
        path.unlink()
    assert run("check", folder) == 0
    assert "not copied: the weights (3 files)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["table"], "DIR must be given at least once"),
        (["table", "{empty}"], "sweep.json must exist"),
        (["table", "{empty}/nowhere"], "sweep.json must exist"),
        (["table", "{run}", "--metric", "fidd"], "--metric must be one of"),
        (["table", "{run}", "--by", "alpha"], "--by must be one of"),
        (["table", "{run}", "--confidence", "95"], "--confidence must be in (0, 1), got 95.0"),
        (["table", "{run}", "--tidy", "--format", "md"], "--tidy must be used without"),
        (["table", "{run}", "--out", "{run}"], "must be writable, got 'Is a directory'"),
        (["figure", "{run}", "--out", "{run}/sweep.json"], "must be writable, got 'File exists'"),
        (["figure", "{run}", "--out", "{empty}", "--seed", "9"], "--seed must be one of"),
        (["check", "{empty}"], "sweep.json must exist"),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_status_2(tmp_path, capsys, args, words):
    write_folder(tmp_path / "run", alphas=(1.0,), seeds=(0,), generations=2)
    (tmp_path / "empty").mkdir()
    places = {"run": tmp_path / "run", "empty": tmp_path / "empty"}
    assert run(*[arg.format(**places) for arg in args]) == 2
    streams = capsys.readouterr()
    assert streams.err.startswith("error: ")
    assert words in streams.err
    assert streams.err.count("\n") == 1


def test_tables_and_figures_import_nothing_large_that_they_do_not_need(tmp_path):
    folder = write_folder(tmp_path / "a", alphas=(1.0,), seeds=(0,), generations=2)
    code = (
        "import sys\n"
        "from analysis.__main__ import PROGRAM\n"
        "PROGRAM.run(['table', sys.argv[1]])\n"
        "PROGRAM.run(['figure', sys.argv[1], '--out', sys.argv[2]])\n"
        "heavy = ('torch', 'ray', 'scipy.stats', 'sweep.store', 'model.config')\n"
        "print([m for m in heavy if m in sys.modules])\n"
    )
    command = [sys.executable, "-c", code, str(folder), str(tmp_path / "figures")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path):
    """The pipe's reading end is closed before anything is written."""
    folder = write_folder(tmp_path / "a", alphas=(1.0,), seeds=(0,), generations=2)
    command = [sys.executable, "-m", "analysis", "table", str(folder), "--tidy"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
