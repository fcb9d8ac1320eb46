"""Facts of reading results at scale: how often each file is opened, and each folder listed."""

import functools
import gc
import sys
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pandas import DataFrame
from tiny_sweep import make_sweep

from analysis.reading.results import load_results
from analysis.tables.build import build_tables
from benchmarks.synthetic_results import write_results
from sweep.sealed import many_objects
from sweep.status.report import print_status

WATCHED: list[tuple[Path, Counter[str]]] = []


def _count(event: str, args: tuple) -> None:
    """Count what is opened and listed in the folders that are watched."""
    for folder, counter in WATCHED:
        if event in ("open", "os.scandir", "os.listdir") and str(args[0]).startswith(f"{folder}/"):
            counter[Path(args[0]).relative_to(folder).as_posix()] += 1


@functools.cache
def _install() -> None:
    sys.addaudithook(_count)  # which cannot be removed


@contextmanager
def opened(folder: Path) -> Generator[Counter[str]]:
    """Count how often each path in a folder is opened or listed."""
    _install()
    WATCHED.append((folder, counter := Counter()))
    yield counter
    WATCHED.clear()


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    """The results of three lineages of two models, which share none."""
    out = tmp_path_factory.mktemp("results") / "run"
    write_results(out, make_sweep(({"seed": [0, 1, 2]},)))
    return out


def records(out: Path) -> set[str]:
    """The files that describe lineages, models and measurements."""
    forms = ("lineages/*.json", "generations/*/record.json", "generations/*/metrics/*.json")
    return {path.relative_to(out).as_posix() for form in forms for path in out.glob(form)}


def test_status_opens_each_record_once_and_lists_no_folder_of_a_model_or_claim(out, capsys) -> None:
    """So its time is in proportion to the number of lineages."""
    with opened(out) as counts:
        print_status(out, store=None)
    assert capsys.readouterr().out.count(" done ") == 3
    assert {counts[path] for path in records(out)} == {1}
    others = counts.keys() - records(out) - {"claims", "lineages", "sweep.json"}
    assert [name for name in others if not name.startswith("datasets/")] == []
    assert sum(1 for _ in out.glob("claims/*/*")) == 12


def test_a_table_opens_each_record_once_and_lists_only_the_lineages(out) -> None:
    """Files of models other than their records are not looked at."""
    with opened(out) as counts:
        load_results([out])
    cards = {path.relative_to(out).as_posix() for path in out.glob("datasets/*/card.json")}
    (floor,) = [path for path in counts if Path(path).match("datasets/*/metrics/*.json")]
    assert counts == dict.fromkeys(records(out) | cards | {floor, "lineages", "sweep.json"}, 1)


def test_a_table_takes_no_part_of_the_tidy_table_for_each_setting(out, monkeypatch) -> None:
    """Such a part takes milliseconds, whatever its size."""
    frame, parts = load_results([out]), []
    first = frame[frame["seed"] == 0]
    taken = DataFrame.take
    monkeypatch.setattr(DataFrame, "take", lambda *a, **k: parts.append(a) or taken(*a, **k))
    counts = []
    for rows in (first, frame):
        parts.clear()
        build_tables(rows, ["kid/pixels", "composition"], by=["seed"], confidence=0.95)
        counts.append(len(parts))
    assert (first["seed"].nunique(), frame["seed"].nunique()) == (1, 3)
    assert counts[0] == counts[1]


def test_many_objects_are_read_without_a_garbage_collection(out) -> None:
    """Each collection would go through all records read so far."""
    before = [generation["collections"] for generation in gc.get_stats()]
    with many_objects():
        kept = [{"number": [i]} for i in range(10_000)]
        assert [each["collections"] for each in gc.get_stats()] == before
    assert (len(kept), gc.isenabled()) == (10_000, True)
    load_results([out])
    assert gc.isenabled()
