"""`analysis check` notices every change of a results folder that a rule can make.

The folder is a real one: two lineages of a conditional model whose new images pass a filter, with
metrics per class, in their own store.
"""

import itertools
import json
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_sweep import finish, make_lineage, make_sweep

from analysis.reading.integrity import BLOCKS, UNCHECKED, inspect_folder
from sweep.files import read_json
from sweep.lineage.datasets import finder_of_recorded
from sweep.planning.lineages import plan_sweep
from sweep.results_folder import fill, load_recorded_data, read_sweep, write_sweep
from sweep.sealed import CHECKSUM
from sweep.store.store import open_store

SETTINGS = {
    "model.family": "gaussian",
    "model.conditional": True,
    "data.train_limit": 100,
    "filter.name": "typicality",
    "filter.candidates": 2.0,
    "filter.extractor": "pixels",
    "metrics.names": ["kid", "classes"],
    "metrics.num_images": None,
}
WHOLE: list[str] = []
"""What is said about a folder in which nothing is wrong or missing."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    return finish(out, make_sweep(({"pool.alpha": [0.5, 1.0]},), make_lineage(SETTINGS)))


@pytest.fixture
def out(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run"))


def findings(out: Path) -> list[str]:
    """Everything that is said about a folder, apart from its counts."""
    try:
        found = inspect_folder(out)
    except ValueError as error:  # of sweep.json itself
        return [str(error)]
    return found.problems + found.notes


def files_of(out: Path, most: int = 4) -> list[Path]:
    """Files that are checked, up to `most` of each kind."""
    kinds: dict[tuple, list[Path]] = {}
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        top = path.relative_to(out).parts[0]
        if top not in UNCHECKED:
            is_key = top in BLOCKS or path.parent.name in ("metrics", "lineages")
            kind = top, "" if top in BLOCKS else path.parent.name if is_key else path.name
            kinds.setdefault(kind, []).append(path)
    return [path for paths in kinds.values() for path in paths[:most]]


def test_the_folder_is_whole(whole: Path) -> None:
    assert findings(whole) == WHOLE
    kinds = {path.relative_to(whole).parts[0] for path in files_of(whole)}
    assert kinds == {
        *("sweep.json", "lineages", "generations", "datasets"),
        *("streams", "features", "selections"),
    }


@pytest.mark.slow
def test_every_deleted_emptied_cut_or_longer_file_is_noticed(out: Path) -> None:
    """Except deleted features and selections, which are made again, and floors."""
    for path in files_of(out):
        data = path.read_bytes()
        for other in (b"", data[: len(data) // 2], data[:-2], data + b"\0", data + data):
            path.write_bytes(other)
            assert findings(out) != WHOLE, (path, len(other))
        path.unlink()
        if path.relative_to(out).parts[0] not in ("features", "selections") and not is_floor(path):
            assert findings(out) != WHOLE, path
        path.write_bytes(data)
    assert findings(out) == WHOLE


def is_floor(path: Path) -> bool:
    """Whether a file belongs to a floor, which results of earlier versions do not have."""
    return (path.parents[2].name, path.parent.name) == ("datasets", "metrics")


@pytest.mark.parametrize("number", [10**9, 2**62, 10**30, -1])
def test_an_altered_number_of_images_is_noticed_at_once(number: int, out: Path) -> None:
    """Nothing is listed that such a number would stand for."""
    (config, *_) = [p for p in out.glob("generations/*/config.json") if '"stop"' in p.read_text()]
    inputs = read_json(config)
    for segment in inputs["recipe"]:
        segment["stop"] = number
    text = config.read_text()
    config.write_text(json.dumps(inputs))
    started = time.process_time()
    assert findings(out) != WHOLE
    config.write_text(text)
    for path in list(out.glob("generations/*/metrics/*.json"))[:1]:
        text, record = path.read_text(), read_json(path)
        del record[CHECKSUM]
        path.write_text(json.dumps(record | {"num_images": number}))
        findings(out)
        path.write_text(text)
    assert time.process_time() - started < 10
    assert findings(out) == WHOLE


@pytest.mark.slow
def test_every_flipped_bit_is_noticed(out: Path) -> None:
    """In the first and the last byte of each file, and in eight between."""
    draw = random.Random(0)
    for path in files_of(out):
        data = path.read_bytes()
        places = {0, len(data) - 1, *(draw.randrange(len(data)) for _ in range(8))}
        for place in sorted(places):
            other = bytearray(data)
            other[place] ^= 1 << draw.randrange(8)
            path.write_bytes(other)
            assert findings(out) != WHOLE, (path, place, data[place], other[place])
        path.write_bytes(data)


def scalars(data: Any) -> Iterator[tuple]:
    """The path of every scalar in some JSON."""
    if isinstance(data, dict | list):
        for place, value in data.items() if isinstance(data, dict) else enumerate(data):
            for rest in scalars(value):
                yield (place, *rest)
    else:
        yield ()


def with_scalar(data: Any, path: tuple) -> Any:
    """A copy of some JSON in which one scalar is another one."""
    if path:
        copy = data.copy()
        copy[path[0]] = with_scalar(data[path[0]], path[1:])
        return copy
    if isinstance(data, bool) or data is None:
        return not data
    return data + 1 if isinstance(data, int | float) else f"{data}x"


@pytest.mark.slow
def test_every_changed_scalar_of_every_record_is_noticed(out: Path) -> None:
    """Up to 200 of the first record of a kind, and twelve of each further one."""
    draw, seen = random.Random(0), set()
    for path in (each for each in files_of(out) if each.suffix == ".json"):
        text, record = path.read_text(), read_json(path)
        kind = path.parent.name if path.parent.name in ("metrics", "lineages") else path.name
        places = list(scalars(record))
        most = 12 if kind in seen else 200
        seen.add(kind)
        for place in draw.sample(places, min(most, len(places))):
            path.write_text(json.dumps(with_scalar(record, place)))
            assert findings(out) != WHOLE, (path, place)
        path.write_text(text)


def test_every_missing_folder_is_noticed(out: Path) -> None:
    """Except those of features, which can be computed again, and of floors, which are optional."""
    folders = {parent for path in files_of(out) for parent in path.relative_to(out).parents}
    for folder in sorted(folders - {Path()}):
        if folder.parts[0] not in ("features", "selections") and not is_floor(out / folder / "x"):
            (out / folder).rename(out.parent / "away")
            assert findings(out) != WHOLE, folder
            (out.parent / "away").rename(out / folder)
    assert findings(out) == WHOLE


@pytest.mark.slow
def test_two_exchanged_files_are_noticed(out: Path) -> None:
    """Pairs of different files of one suffix in one top folder; forty of each kind."""
    draw = random.Random(0)
    kinds: dict[tuple, list[Path]] = {}
    for path in files_of(out, most=10):
        kinds.setdefault((path.relative_to(out).parts[0], path.suffix), []).append(path)
    for paths in kinds.values():
        pairs = list(itertools.combinations(paths, 2))
        for first, second in draw.sample(pairs, min(40, len(pairs))):
            one, two = first.read_bytes(), second.read_bytes()
            if one != two:
                first.write_bytes(two)
                second.write_bytes(one)
                assert findings(out) != WHOLE, (first, second)
                first.write_bytes(one)
                second.write_bytes(two)
    assert findings(out) == WHOLE


def test_what_an_earlier_version_wrote_is_not_a_problem(out: Path) -> None:
    """Records without checksums."""
    written = 0
    for path in (each for each in files_of(out) if each.suffix == ".json"):
        record = read_json(path)
        if record.pop(CHECKSUM, None) is not None:
            path.write_text(json.dumps(record))
            written += 1
    found = inspect_folder(out)
    assert found.problems == WHOLE
    (note,) = found.notes
    assert note.startswith(f"not checked: values in {written} records without a checksum")


def test_a_store_elsewhere_is_named(whole: Path, tmp_path: Path) -> None:
    """Its weights and samples are not here, which is said and is no problem."""
    store, sweep, out = open_store(whole), read_sweep(whole), tmp_path / "run"
    lineages = plan_sweep(sweep, finder_of_recorded(store, load_recorded_data(whole)))
    write_sweep(out, sweep, "sweep run", store=store.location, lineages=lineages)
    fill(out, lineages, store)
    found = inspect_folder(out)
    assert found.problems == []
    assert found.notes == [
        f"not checked: the {what}, which are in {whole}"
        for what in ("arrays of data sets", "weights", "blocks of samples")
    ]
