"""TensorBoard files of a results folder: curves, metrics, sample grids and settings per lineage.

There is one event file per (lineage, generation) and one per later evaluation, written once from
the store. A model shared by several lineages appears in each of them, and a resumed run repeats
nothing. This module needs tensorboard, not torch.
"""

import time
import uuid
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.errors import printable_name
from sweep.config import flatten
from sweep.planning.lineages import PlannedLineage
from sweep.planning.nodes import NodePlan
from sweep.records import NodeRecord
from sweep.store.arrays import read_arrays
from sweep.store.store import Store

AddFunction = Callable[[int, dict[str, Any]], None]
"""Adds an event, given a step and the fields of tensorboard's Summary.Value."""


def write_boards(out: Path, lineages: list[PlannedLineage], store: Store) -> None:
    """Write the missing event files; each member of an ensemble has a separate folder."""
    for lineage in lineages:
        folder = out / "tensorboard" / lineage.id
        several = lineage.num_members > 1
        for node in lineage.nodes:
            if not store.nodes.has(node.key):
                break
            own = folder / f"member-{node.member}" if several else folder
            Board(folder=own, lineage=lineage, store=store).write_node(node)
            mixture = Board(folder=folder / "mixture", lineage=lineage, store=store)
            for plan in node.mixture:
                mixture.write_numbers(node, plan.spec, beside=node.mixture[0].spec)


@dataclass(frozen=True, kw_only=True, slots=True)
class Board:
    """The event files of one lineage or member; each file appears only when it is complete."""

    folder: Path
    lineage: PlannedLineage
    store: Store

    def write_node(self, node: NodePlan) -> None:
        """Write a model's curves, preview and metrics, and the metrics of later evaluations."""
        specs = [plan.spec for plan in node.metrics]
        first = specs[0] if specs else ""
        own = specs.pop(0) if self.lineage.config.metrics.names else ""
        self.write_generation(self.store.nodes.read(node.key), own)
        for spec in specs:
            self.write_numbers(node, spec, beside=first)

    def write_generation(self, record: NodeRecord, spec: str) -> None:
        """Write a model's curves, preview and metrics, unless its own metrics are missing."""
        suffix, generation = f".V{record.generation}-{record.key[:8]}", record.generation
        if self.has(suffix):
            return
        metrics = self.store.read_metrics(record.key, spec) if spec else None
        if spec and metrics is None and record.status == "done":
            return
        numbers = {
            "pool/num_images": record.num_images,
            "train/images_per_second": record.images_per_second,
            "train/num_steps": record.num_steps,
        }
        if "-1" not in record.origins:  # otherwise some origins are unknown
            numbers["pool/real_share"] = record.origins.get("0", 0) / record.num_images
        if record.final_loss is not None:
            numbers["train/final_loss"] = record.final_loss
        with self.writing(suffix) as add:
            add_scalars(add, generation, {**numbers, **(metrics.values if metrics else {})})
            if "curves.npz" in record.files:
                add_curves(add, generation, self.store.nodes.read_file(record.key, "curves.npz"))
            if "preview.png" in record.files:
                add_preview(add, generation, self.store.nodes.read_file(record.key, "preview.png"))
            if generation == 1:
                add_hparams(add, self.lineage)

    def write_numbers(self, node: NodePlan, spec: str, *, beside: str) -> None:
        """Write the metrics of a further specification of a model or its mixture.

        If they are measured on another number of images than those of the specification `beside`,
        their tags are name@images, as in tables. All values under one tag thus have the same number
        of images.
        """
        suffix = f".V{node.generation}-{node.key[:8]}-{spec}"
        if self.has(suffix):
            return
        metrics = self.store.read_metrics(node.key, spec)
        first = self.store.read_metrics(node.key, beside)
        if metrics is None or first is None:
            return
        count = metrics.num_images
        at = "" if count == first.num_images else f"@{count}"
        with self.writing(suffix) as add:
            add_scalars(add, node.generation, {k + at: v for k, v in metrics.values.items()})

    def has(self, suffix: str) -> bool:
        """Whether an event file with this suffix exists."""
        return any(self.folder.glob(f"events.*{suffix}"))

    @contextmanager
    def writing(self, suffix: str) -> Generator[AddFunction]:
        """Yield a function that adds values to a new event file, which appears at the end."""
        from tensorboard.compat.proto.event_pb2 import Event  # ty: ignore[import-not-found] (generated)
        from tensorboard.compat.proto.summary_pb2 import Summary  # ty: ignore[import-not-found] (generated)
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        unfinished = self.folder.parent / f".writing-{uuid.uuid4().hex[:8]}"
        writer = EventFileWriter(str(unfinished), filename_suffix=suffix)
        now = time.time()

        def add(step: int, value: dict[str, Any]) -> None:
            escaped = Summary.Value(**{**value, "tag": escape_tag(value["tag"])})
            writer.add_event(Event(wall_time=now, step=step, summary=Summary(value=[escaped])))

        yield add
        writer.close()
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in unfinished.iterdir():
            path.replace(self.folder / path.name)
        unfinished.rmdir()


def add_scalars(add: AddFunction, generation: int, numbers: Mapping[str, float]) -> None:
    """Add numbers at a generation; names without a group go to `pixels`."""
    for name, value in numbers.items():
        tag = name if "/" in name else f"pixels/{name}"
        add(generation, {"tag": tag, "simple_value": float(value)})


def add_curves(add: AddFunction, generation: int, data: bytes) -> None:
    """Add the training curves of a curves.npz."""
    curves = read_arrays(data, "curves.npz")
    steps = curves.pop("step", np.empty(0))
    for name, values in curves.items():
        for step, value in zip(steps, values, strict=True):
            tag = f"curve_{name}/V{generation}"
            add(int(step), {"tag": tag, "simple_value": float(value)})


def add_preview(add: AddFunction, generation: int, png: bytes) -> None:
    """Add a preview.png."""
    width, height = png_size(png)
    image = {"height": height, "width": width, "colorspace": 3, "encoded_image_string": png}
    add(generation, {"tag": "samples/same_noise", "image": image})


def add_hparams(add: AddFunction, lineage: PlannedLineage) -> None:
    """Add the lineage's axis values for TensorBoard's HPARAMS tab."""
    from tensorboard.plugins.hparams import summary_v2

    settings = {escape_tag(name): hparam(value) for name, value in flatten(lineage.axes)}
    for value in summary_v2.hparams_pb(settings, trial_id=lineage.id).value:
        add(0, {"tag": value.tag, "metadata": value.metadata, "tensor": value.tensor})


def hparam(value: object) -> bool | float | str:
    """A setting as TensorBoard can hold it; whole numbers that a double would round are text."""
    if isinstance(value, (bool, float)) or (isinstance(value, int) and abs(value) <= 2**53):
        return value
    return escape_tag(str(value))


def escape_tag(text: str) -> str:
    """Escape a tag or text for TensorBoard, whose files hold UTF-8; slashes separate groups."""
    return printable_name(text)


def png_size(png: bytes) -> tuple[int, int]:
    """Width and height from a PNG's header."""
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")
