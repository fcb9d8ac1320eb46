"""A record that holds anything at all is read, or is an error of one line that names the file."""

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from results_folder import rewrite, write_folder

from analysis.__main__ import PROGRAM
from sweep.sealed import CHECKSUM

RECORDS = (
    "sweep.json",
    "lineages/*.json",
    "generations/*/record.json",
    "generations/*/metrics/*.json",
    "datasets/*/card.json",
)
DEEP: list = []
for _ in range(50):
    DEEP = [DEEP]
HOSTILE: tuple[Any, ...] = (
    *(None, True, -1, 0, 0.5, -0.0, 2**63, 10**30, 1e308, 1e-320),
    *("", "x", "../../x", "\x1b[31m\udce9", "$\\", "9" * 400),
    *([], [[]], [1, "a"], ["x"], {}, {"": None}, {"a": {"a": 1}}, DEEP),
)
"""Values of any type, which take the place of a value in a record."""

Path_ = tuple[str | int, ...]


def places(data: Any, above: Path_ = ()) -> Iterator[Path_]:
    """The place of every value in a JSON document, and of every table and list."""
    items = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in list(items):
        yield (*above, key)
        if isinstance(value, (dict, list)):
            yield from places(value, (*above, key))


def changed(data: dict, place: Path_, value: Any) -> dict:
    """A document with another value, or without it, at a place."""
    result = copy.deepcopy(data)
    inner: Any = result
    for key in place[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two lineages with metrics per class; their records have no checksum, as older ones."""
    out = tmp_path_factory.mktemp("hostile") / "run"
    write_folder(out, seeds=(0,), splits=(0,), generations=2, classes=("a", "b"))
    for pattern in RECORDS:
        for path in out.glob(pattern):
            data = json.loads(path.read_text())
            data.pop(CHECKSUM)
            path.write_text(json.dumps(data))
    return out


def mutations(folder: Path) -> list[tuple[Path, Path_]]:
    """Every place of one record of each kind, whose kinds are those of RECORDS."""
    found = []
    for pattern in RECORDS:
        path = max(folder.glob(pattern))
        found += [(path, place) for place in places(json.loads(path.read_text()))]
    return found


def check(folder: Path, path: Path, place: Path_, value: Any, capsys, out: Path) -> None:
    """Run every command on a folder with a changed record, and restore the record."""
    before = path.read_text()
    words = [
        ["table", folder],
        ["table", folder, "--tidy"],
        ["table", folder, "--classes", "--format", "latex"],
        ["table", folder, "--metric", "final_loss", "contraction", "--by", "seed", "member"],
        ["figure", folder, "--kind", "grids", "--out", out],
    ]
    try:
        path.write_text(json.dumps(changed(json.loads(before), place, value)))
        for command in words:
            code = PROGRAM.run([str(word) for word in command])
            error = capsys.readouterr().err
            lines = [line for line in error.splitlines() if not line.startswith("note: ")]
            assert code in (0, 2), (command[0], path.name, place, value, error[-2000:])
            assert len(lines) == (code == 2), (command, path.name, place, value, error)
    finally:
        path.write_text(before)
        shutil.rmtree(out, ignore_errors=True)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=10)
@given(data=st.data())
def test_a_changed_record_is_read_or_one_line(folder, capsys, tmp_path, data):
    path, place = data.draw(st.sampled_from(mutations(folder)))
    value = data.draw(st.sampled_from([..., *HOSTILE]))
    check(folder, path, place, value, capsys, tmp_path / "figures")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_no_place_of_a_record_can_hold_what_fails(folder, capsys, tmp_path):
    """In each place each third of the values, which differ from place to place."""
    for number, (path, place) in enumerate(mutations(folder)):
        for value in (..., *HOSTILE)[number % 3 :: 3]:
            check(folder, path, place, value, capsys, tmp_path / "figures")


@pytest.mark.parametrize(
    ("pattern", "changes", "words"),
    [
        ("lineages/*", {"nodes": [["a"], []]}, "nodes with the same members in each generation"),
        ("lineages/*", {"nodes": [["../a"]]}, "names of files in its own folder, got '../a'"),
        ("lineages/*", {"nodes": [], "config": {"generations": 10**12}}, "config.generations from"),
        ("lineages/*", {"mixture_specs": [["a"]]}, "2 or no mixture_specs, got 1"),
        ("lineages/*", {"member_specs": [["a"], []]}, "1 or no member_specs, got 2"),
        ("lineages/*", {"config": {"ensemble": 3}}, "the ensemble, model and pool of a lineage"),
        ("generations/*/record.json", {"num_images": 2**63}, "num_images from 0 to 2^63 - 1"),
        ("generations/*/record.json", {"num_images": 7}, "origins that sum to num_images=7"),
        ("generations/*/record.json", {"seconds": 1e300}, "a number of at most 1e+150 as seconds"),
        ("generations/*/metrics/*", {"values": {"kid/x": -1e200}}, "at most 1e+150 as kid/x"),
        (
            "generations/*/metrics/*",
            {"values": {"run": 1}},
            "no name of another column of the table",
        ),
        ("generations/*/metrics/*", {"values": {"a@b": 1}}, "metrics without '@' in their names"),
    ],
)
def test_a_record_that_contradicts_itself_is_one_line(tmp_path, capsys, pattern, changes, words):
    folder = write_folder(tmp_path / "a", alphas=(1.0,), seeds=(0,), generations=2)
    for path in folder.glob(pattern):
        rewrite(path, **changes)
    assert PROGRAM.run(["table", str(folder)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {folder}/{pattern.split('/')[0]}")
    assert words in error
    assert "; restore it from a copy of its folder" in error


@pytest.mark.parametrize("name", ["status", "n", "setting", "kid/pixels"])
def test_a_setting_with_the_name_of_another_column_is_refused(tmp_path, capsys, name):
    """Otherwise its values would replace those of the column."""
    folders = [
        write_folder(tmp_path / str(value), seeds=(value,), settings={name: value})
        for value in (0, 1)
    ]
    assert PROGRAM.run(["table", *map(str, folders)]) == 2
    assert f"no name of another column of the table, got '{name}'" in capsys.readouterr().err
