"""Reads the .wandb file of an offline run.

Its format is that of LevelDB's logs (github.com/google/leveldb, doc/log_format.md) after a header
of 7 bytes; each record is a message of wandb.proto.wandb_internal_pb2.
"""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BLOCK, HEADER, PART = 32768, 7, 7
FULL, LAST = 1, 4
"""Types of the parts that end a record."""


@dataclass(frozen=True, kw_only=True)
class OfflineRun:
    """What wandb would upload."""

    id: str
    project: str
    name: str
    config: dict[str, Any]
    rows: list[dict[str, Any]]
    """Without the names that begin with an underscore, which are wandb's own."""
    steps: list[int]
    axes: dict[str, str]
    """Metric or pattern of metrics -> the metric that is its x axis."""


def read_offline_run(folder: Path) -> OfflineRun:
    """Read the .wandb file of a folder that wandb wrote."""
    from wandb.proto.wandb_internal_pb2 import Record  # ty: ignore[import-not-found] (generated)

    (path,) = folder.glob("*.wandb")
    records = [Record.FromString(data) for data in messages(path.read_bytes())]
    run = next(record.run for record in records if record.WhichOneof("record_type") == "run")
    history = [r.history for r in records if r.WhichOneof("record_type") == "history"]
    metrics = [r.metric for r in records if r.WhichOneof("record_type") == "metric"]
    return OfflineRun(
        id=run.run_id,
        project=run.project,
        name=run.display_name,
        config={item.key: json.loads(item.value_json) for item in run.config.update},
        rows=[named(each.item) for each in history],
        steps=[each.step.num for each in history],
        axes={each.glob_name or each.name: each.step_metric for each in metrics},
    )


def named(items: Any) -> dict[str, Any]:
    """The names and values of a row."""
    found = {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}
    return {name: value for name, value in found.items() if not name.startswith("_")}


def messages(data: bytes) -> Iterator[bytes]:
    """The messages of a file, of which each may have several parts."""
    position, message = HEADER, b""
    while position + PART <= len(data):
        if BLOCK - position % BLOCK < PART:  # a part never begins so near the end of a block
            position += BLOCK - position % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        message += data[position + PART : position + PART + length]
        position += PART + length
        if kind in (FULL, LAST):
            yield message
            message = b""
