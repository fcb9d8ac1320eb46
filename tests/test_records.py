"""Records: every change of a file is noticed, and damaged ones are one line."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from results_folder import SPEC, node_key, rewrite, write_folder

from sweep.files import DamagedError, RecordError, digest, dump_json, read_regular
from sweep.records import (
    DatasetCard,
    LineageRecord,
    MetricsRecord,
    NodeRecord,
    SweepRecord,
    load_card,
    load_lineages,
    load_metrics,
    load_node,
    load_sweep,
)
from sweep.sealed import CHECKSUM, as_written

KEY, NEXT = (node_key(1.0, 40, 0, generation) for generation in (1, 2))
LINEAGE = "alpha-1.0-epochs-40-seed-0"
READERS = {
    "sweep.json": lambda out: load_sweep(out),
    f"lineages/{LINEAGE}.json": load_lineages,
    f"generations/{KEY}/record.json": lambda out: load_node(out, KEY),
    f"generations/{KEY}/metrics/{SPEC}.json": lambda out: load_metrics(out, KEY, SPEC),
    "datasets/data0/card.json": lambda out: load_card(out, "data0"),
}
"""Every kind of record, with the function that reads it."""
KINDS = dict(
    zip(READERS, (SweepRecord, LineageRecord, NodeRecord, MetricsRecord, DatasetCard), strict=True)
)
TYPES = (None, True, 7, 1.5, "word", [], {}, [[]])
"""A value of every type of JSON."""


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "run", alphas=(1.0,), seeds=(0,), generations=2)


@pytest.fixture(params=READERS)
def record(request, out: Path) -> tuple[Path, Any]:
    """The path of a record, and a function that reads it."""
    read = READERS[request.param]
    return out / request.param, lambda: read(out)


def changed(data: Any) -> Iterator[Any]:
    """Every copy of some JSON in which one scalar, or one whole field, is another."""
    if isinstance(data, dict | list):
        items = data.items() if isinstance(data, dict) else enumerate(data)
        for place, value in list(items):
            for other in changed(value):
                copy = data.copy()
                copy[place] = other
                yield copy
    else:
        yield "other" if data != "other" else "another"
        if isinstance(data, int | float):
            yield data + 1


def test_every_changed_scalar_is_noticed(record):
    path, read = record
    read()
    fields = json.loads(path.read_text())
    for other in changed(fields):
        path.write_text(json.dumps(other))
        with pytest.raises(RecordError) as raised:
            read()
        assert str(path) in str(raised.value)


def test_every_field_of_another_type_is_one_line_that_names_it(record):
    """Without its checksum, as in a record of an earlier version."""
    path, read = record
    fields = json.loads(path.read_text())
    del fields[CHECKSUM]
    messages = []
    for name in fields:
        for value in TYPES:
            path.write_text(json.dumps({**fields, name: value}))
            try:
                read()
            except RecordError as error:
                messages.append(str(error))
    assert len(messages) > len(fields)
    assert all(str(path) in text and "\n" not in text for text in messages)


@pytest.mark.parametrize("size", [0, 1, 50])
def test_a_cut_record_is_damaged(record, size):
    path, read = record
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DamagedError, match="must be a whole JSON file"):
        read()


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"schema": NaN}', '{"a": "\\ud800"}', "\ufeff{}", "[]", "7", "\0"]
)
def test_foreign_json_is_one_line(record, text):
    path, read = record
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DamagedError) as raised:
        read()
    assert "\n" not in str(raised.value)


def test_two_exchanged_records_are_noticed(out):
    first = out / f"generations/{KEY}/metrics/{SPEC}.json"
    second = out / f"generations/{NEXT}/metrics/{SPEC}.json"
    one, two = first.read_bytes(), second.read_bytes()
    first.write_bytes(two)
    second.write_bytes(one)
    with pytest.raises(DamagedError, match="must hold the numbers of its node"):
        load_metrics(out, KEY, SPEC)


def test_a_record_under_another_name_is_noticed(out):
    path = out / "lineages" / f"{LINEAGE}.json"
    path.rename(path.with_name("another.json"))
    with pytest.raises(DamagedError, match="must be the record of its lineage"):
        load_lineages(out)


def test_a_record_of_an_earlier_version_has_no_checksum_and_is_read(out):
    path = out / "lineages" / f"{LINEAGE}.json"
    fields = json.loads(path.read_text())
    del fields[CHECKSUM]
    path.write_text(json.dumps(fields))
    assert LineageRecord.load(path).status == "done"


def test_a_field_of_a_later_version_is_ignored_but_checked(out):
    path = out / "lineages" / f"{LINEAGE}.json"
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({**fields, "later": 1}))
    with pytest.raises(DamagedError, match="must match its checksum"):
        LineageRecord.load(path)
    del fields[CHECKSUM]
    path.write_text(json.dumps({**fields, "later": 1}))
    assert LineageRecord.load(path).id == LINEAGE


@pytest.mark.parametrize("name", READERS)
def test_a_record_as_it_was_written_is_read_without_encoding_it_again(out, name) -> None:
    """The short way gives what the long way gives, and leaves every other file to it."""
    path = out / name
    data, kind = path.read_bytes(), KINDS[name]
    fields = json.loads(data)
    record = as_written(kind, data)
    assert record == kind.of_json(fields, path)
    assert record is not None
    assert record.to_bytes() == data
    unsealed = {key: value for key, value in fields.items() if key != CHECKSUM}
    others = [dump_json(unsealed), dump_json({**fields, "more": 1}), data[:-3], b"", b"[]"]
    versions = (unsealed | {"schema": 2}, {k: v for k, v in unsealed.items() if k != "schema"})
    others += [dump_json({**other, CHECKSUM: digest(other)}) for other in versions]
    assert [as_written(kind, other) for other in others] == [None] * len(others)


def test_an_older_record_with_fewer_fields_is_as_it_was_written(out) -> None:
    """Its checksum covers the fields that it has; the others get their defaults."""
    path = out / f"generations/{KEY}/record.json"
    old = {k: v for k, v in json.loads(path.read_bytes()).items() if k != "resumed_from"}
    rewrite(path, resumed_from=[])
    old.pop(CHECKSUM)
    data = dump_json({**old, CHECKSUM: digest(old)})
    assert as_written(NodeRecord, data) == NodeRecord.load(path)


@pytest.mark.parametrize("kind", ["a pipe", "a folder", "nothing"])
def test_what_is_no_file_is_not_read(tmp_path, kind) -> None:
    """A pipe is not waited for."""
    path = tmp_path / "x"
    {"a pipe": os.mkfifo, "a folder": Path.mkdir, "nothing": lambda path: None}[kind](path)
    with pytest.raises(OSError, match=r"Invalid|directory"):
        read_regular(str(path))
