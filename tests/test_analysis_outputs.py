"""What --out of the analysis command may replace: only what the same command wrote."""

import os
import re
import resource
from pathlib import Path

import pytest
from results_folder import write_folder

from analysis.__main__ import PROGRAM
from analysis.tables.render import COMMENTS, as_file, is_table

FORMATS = ("md", "csv", "parquet", "html", "latex")


def run(*args) -> int:
    return PROGRAM.run([str(arg) for arg in args])


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_folder(tmp_path / "run", alphas=(1.0,), seeds=(0,), generations=2)


@pytest.mark.parametrize("style", FORMATS)
def test_a_table_replaces_the_table_it_wrote(folder, tmp_path, style):
    out = tmp_path / "table"
    assert run("table", folder, "--format", style, "--out", out) == 0
    first = out.read_bytes()
    assert run("table", folder, "--format", style, "--metric", "final_loss", "--out", out) == 0
    assert out.read_bytes() != first


def test_a_tidy_table_and_one_of_another_format_are_tables_of_ours(folder, tmp_path):
    out = tmp_path / "table"
    assert run("table", folder, "--tidy", "--out", out) == 0
    assert run("table", folder, "--out", out) == 0
    assert run("table", folder, "--format", "csv", "--out", out) == 0


@pytest.mark.parametrize("style", COMMENTS)
def test_a_table_that_its_user_changed_is_kept(folder, tmp_path, capsys, style):
    out = tmp_path / "table"
    run("table", folder, "--format", style, "--out", out)
    changed = out.read_text().replace("kid", "KID")
    out.write_text(changed)
    assert run("table", folder, "--format", style, "--out", out) == 2
    assert out.read_text() == changed
    assert "--out must be new, or unchanged since this command wrote it" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["sweep.json", "lineages/x.json", "table.md", "tensorboard/t.md"])
def test_nothing_of_a_results_folder_is_replaced_or_added(folder, capsys, name):
    before = contents(folder)
    assert run("table", folder, "--out", folder / name) == 2
    assert run("figure", folder, "--out", folder / name) == 2
    assert contents(folder) == before
    error = capsys.readouterr().err
    assert error.count(f"--out must not be in a results folder, got {folder / name}; use") >= 1
    assert "delete" not in error


def test_a_link_does_not_lead_into_a_results_folder(folder, tmp_path):
    link = tmp_path / "table.md"
    link.symlink_to(folder / "sweep.json")
    before = contents(folder)
    assert run("table", folder, "--out", link) == 2
    assert contents(folder) == before


def test_a_link_to_a_table_stays_a_link(folder, tmp_path):
    target, link = tmp_path / "target.md", tmp_path / "table.md"
    link.symlink_to(target)
    assert run("table", folder, "--out", link) == 0
    assert run("table", folder, "--out", link) == 0
    assert link.is_symlink()
    assert is_table(target.read_bytes())


def test_the_figures_of_a_run_may_be_drawn_again_and_hold_tables(folder):
    """Also over figures of versions that did not mark them."""
    figures = folder / "figures"
    figures.mkdir()
    (figures / "grid-real.png").write_bytes(b"drawn by an earlier version")
    assert run("figure", folder, "--out", figures) == 0
    assert run("figure", folder, "--out", figures) == 0
    assert (figures / "grid-real.png").read_bytes().startswith(b"\x89PNG")
    assert run("table", folder, "--out", figures / "table.md") == 0


@pytest.mark.parametrize("image_format", ["png", "pdf", "svg"])
def test_figures_replace_figures_and_nothing_else(folder, tmp_path, capsys, image_format):
    out = tmp_path / "figures"
    words = ("figure", folder, "--kind", "curves", "--format", image_format, "--out", out)
    assert run(*words) == 0
    assert run(*words) == 0
    (path,) = out.iterdir()
    path.write_bytes(b"a picture of their own")
    assert run(*words) == 2
    assert contents(out) == {str(path): b"a picture of their own"}
    assert "--out must be new" in capsys.readouterr().err


def test_a_refused_figure_leaves_the_others_as_they_were(folder, tmp_path):
    out = tmp_path / "figures"
    run("figure", folder, "--out", out)
    (out / "grid-alpha-1.png").write_bytes(b"a picture of their own")
    (out / "grid-real.png").unlink()
    before = contents(out)
    assert run("figure", folder, "--out", out) == 2
    assert contents(out) == before


def test_what_is_no_file_is_refused(folder, tmp_path, capsys):
    """A named pipe is not read: that would never end."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, Path(os.devnull)):
        assert run("table", folder, "--out", path) == 2
    pipe_error, device_error = capsys.readouterr().err.splitlines()
    assert f"{pipe} must be" in pipe_error
    assert f"--out must be new, or unchanged since this command wrote it, got {os.devnull}" in (
        device_error
    )


@pytest.mark.parametrize("name", ["x" * 300, "file/table.md"])
def test_a_path_that_cannot_be_written_is_one_line(folder, tmp_path, capsys, name):
    (tmp_path / "file").write_text("a file")
    before = contents(tmp_path)
    assert run("table", folder, "--out", tmp_path / name) == 2
    assert run("figure", folder, "--out", tmp_path / name) == 2
    streams = capsys.readouterr()
    lines = streams.err.splitlines()
    assert [line[:7] for line in lines] == ["error: "] * 2
    assert all(re.search("must be (writable|valid)", line) for line in lines)
    assert contents(tmp_path) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_without_the_right_to_write_is_one_line(folder, tmp_path, capsys):
    closed = tmp_path / "closed"
    closed.mkdir(0o500)
    assert run("table", folder, "--out", closed / "table.md") == 2
    assert run("figure", folder, "--out", closed) == 2
    assert capsys.readouterr().err.count("must be writable, got 'Permission denied'") == 2


def test_a_full_disk_leaves_the_old_table(folder, tmp_path, capsys):
    """A limit on the size of files stands for the full disk."""
    out = tmp_path / "table.md"
    run("table", folder, "--out", out)
    before, limits = contents(tmp_path), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))
    try:
        assert run("table", folder, "--out", out) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert capsys.readouterr().err == f"error: {out} must be writable, got 'File too large'\n"
    assert contents(tmp_path) == before


@pytest.mark.parametrize("text", ["", "a\n", "run,lineage\n", "metric,value\n", "a\r\nb"])
def test_texts_of_others_are_no_tables(text):
    assert not is_table(text.encode())
    assert not is_table(b"\xff" + text.encode())


@pytest.mark.parametrize("style", COMMENTS)
@pytest.mark.parametrize("text", ["", "a\n", "a\n\nb\n", "a\u2028b\n"])
def test_a_marked_text_is_a_table(text, style):
    assert is_table(as_file(text, style))
