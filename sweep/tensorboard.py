"""TensorBoard files of a results folder: curves, metrics, sample grids and settings per lineage.

There is one event file per (lineage, generation) and one per metric specification, written once
from records and small files. A model shared by several lineages appears in each of them, and a
resumed run repeats nothing. This module needs tensorboard, not torch.
"""

import io
import re
import shlex
import shutil
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from model.commands.output import pasteable
from model.errors import printable_name, reading
from sweep.files import REPLACE, DamagedError, Json, digest
from sweep.records import (
    LineageRecord,
    MetricsRecord,
    NodeRecord,
    load_metrics,
    load_node,
    node_dir,
)
from sweep.store.arrays import read_arrays

FOLDER = "tensorboard"
"""Name of the folder of event files in a results folder."""
OVERVIEW = "overview"
"""Name of the folder of the event file of write_overview."""
PREVIEW_COLUMNS = 8
"""Images in a row of a preview.png."""
LAST_STEP = 2.0**63
"""The steps of events are below this number."""

AddFunction = Callable[[int, Json], None]
"""Adds an event, given a step and the fields of tensorboard's Summary.Value."""


def viewing_command(folder: Path) -> str:
    """The command that shows a folder of event files, with the samples of up to 100 generations.

    TensorBoard keeps a random choice of ten images under one tag if it is not told otherwise.
    """
    words = f"--logdir {shlex.quote(str(folder))} --samples_per_plugin images=100"
    return pasteable(f"tensorboard {words}")


def write_boards(out: Path, lineages: Iterable[LineageRecord]) -> None:
    """Write the missing event files of some lineages of a results folder into that folder."""
    for lineage in lineages:
        write_board(out, lineage, out / FOLDER / lineage.id, settings=lineage.axes)


def write_whole_board(out: Path, lineages: Sequence[LineageRecord]) -> None:
    """Write the missing event files of all lineages of a results folder, and of its overview."""
    write_boards(out, lineages)
    settings = [lineage.axes for lineage in lineages]
    write_overview(out / FOLDER, settings, metric_tags((out, lineage) for lineage in lineages))


def write_board(out: Path, lineage: LineageRecord, folder: Path, *, settings: Json) -> None:
    """Write the missing event files of a lineage; each member of an ensemble has its own folder.

    Args:
        out: The results folder of the lineage, or a copy without weights and samples.
        lineage: Its record.
        folder: Folder of the event files.
        settings: Dotted settings by which HPARAMS compares it with other lineages.
    """
    for generation, keys in enumerate(lineage.nodes, start=1):
        for member, key in enumerate(keys):
            own = Board(out=out, folder=member_folder(folder, member, of=len(keys)))
            own.write_model(generation, key, lineage, settings)
            own.write_numbers(generation, key, lineage.specs(member))
        if lineage.mixture_specs:
            mixture = Board(out=out, folder=folder / "mixture")
            mixture.write_numbers(generation, keys[0], lineage.mixture_specs[generation - 1])


def member_folder(folder: Path, member: int, *, of: int) -> Path:
    """The folder of the event files of one of `of` members."""
    return folder / f"member-{member}" if of > 1 else folder


def write_overview(folder: Path, settings: Iterable[Json], tags: Sequence[str]) -> None:
    """Write which settings and metrics the HPARAMS tab shows, and the charts of CUSTOM SCALARS.

    The one event file is replaced if its content changes.

    Args:
        folder: The folder that contains those of the lineages.
        settings: Of each lineage.
        tags: Metrics.
    """
    values: dict[str, list[bool | float | str]] = {}
    for name, value in (item for each in settings for item in each.items()):
        known = values.setdefault(escape_tag(name), [])
        if hparam(value) not in known:
            known.append(hparam(value))
    own = folder / OVERVIEW
    suffix = f".overview-{digest([list(values.items()), list(tags)])[:8]}"
    if any(own.glob(f"events.*{suffix}")):
        return
    earlier = list(own.glob("events.*.overview-*"))
    with writing(own, suffix) as add:
        add_experiment(add, values, tags)
        add_layout(add, tags)
    for path in earlier:
        path.unlink()


def metric_tags(lineages: Iterable[tuple[Path, LineageRecord]]) -> list[str]:
    """The metrics of the first generations of some lineages: KID first, no standard errors.

    Args:
        lineages: The results folder and the record of each.
    """
    first = {
        (out, key, spec): None
        for out, lineage in lineages
        for member, key in enumerate(lineage.nodes[0] if lineage.nodes else [])
        for spec in lineage.all_specs(1, member)
    }
    found = [record for place in first if (record := load_metrics(*place)) is not None]
    names = {name for record in found for name in record.values if "/" in name}
    shown = [name for name in names if not name.partition("/")[0].endswith("_se")]
    return sorted(shown, key=lambda name: (not name.startswith("kid/"), name))


def add_experiment(
    add: AddFunction, settings: Mapping[str, list[bool | float | str]], tags: Sequence[str]
) -> None:
    """Add the settings that vary and the metrics by which trials are compared."""
    from tensorboard.plugins.hparams import summary_v2

    hparams = [
        summary_v2.HParam(
            name, summary_v2.Discrete(values) if len({type(v) for v in values}) == 1 else None
        )
        for name, values in settings.items()
    ]
    metrics = [summary_v2.Metric(escape_tag(tag), display_name=escape_tag(tag)) for tag in tags]
    for value in summary_v2.hparams_config_pb(hparams, metrics).value:
        add(0, {"tag": value.tag, "metadata": value.metadata, "tensor": value.tensor})


def add_layout(add: AddFunction, tags: Sequence[str]) -> None:
    """Add the charts of the CUSTOM SCALARS tab: metrics by generation, pools and training."""
    from tensorboard.plugins.custom_scalar import layout_pb2, metadata
    from tensorboard.util.tensor_util import make_tensor_proto

    proto: Any = layout_pb2  # its classes are generated when it is imported

    def chart(title: str, pattern: str) -> Any:
        return proto.Chart(title=title, multiline=proto.MultilineChartContent(tag=[pattern]))

    pool = ("num_images", "real_share")
    groups = {
        "metrics by generation": [
            chart(escape_tag(tag), f"^{re.escape(escape_tag(tag))}$") for tag in tags
        ],
        "pool by generation": [chart(name, f"^pool/{name}$") for name in pool],
        "training by step": [chart("loss", "^(training|curve)_.*loss/V")],
    }
    categories = [proto.Category(title=title, chart=charts) for title, charts in groups.items()]
    layout = proto.Layout(category=categories)
    tensor = make_tensor_proto(layout.SerializeToString())
    about = metadata.create_summary_metadata()
    add(0, {"tag": metadata.CONFIG_SUMMARY_TAG, "metadata": about, "tensor": tensor})


@dataclass(frozen=True, kw_only=True, slots=True)
class Board:
    """The event files of one lineage or member; each file appears only when it is complete."""

    out: Path
    """Results folder."""
    folder: Path
    """Folder of the event files."""

    def write_model(
        self, generation: int, key: str, lineage: LineageRecord, settings: Json
    ) -> None:
        """Write a model's pool, curves and preview, and the lineage's settings beside V_1's."""
        suffix = file_suffix(generation, key)
        if self.has(suffix) or (record := load_node(self.out, key)) is None:
            return
        with writing(self.folder, suffix) as add:
            add_scalars(add, generation, model_numbers(record))
            if "curves.npz" in record.files:
                add_curves(add, generation, node_dir(self.out, key) / "curves.npz")
            if "preview.png" in record.files:
                sheet = node_dir(self.out, key) / "preview.png"
                add_preview(add, generation, "samples/same_noise", sheet)
            if generation == 1:
                real = self.out / "datasets" / lineage.dataset / "preview.png"
                add_preview(add, 0, "samples/real", real)
                add_hparams(add, lineage.id, settings)

    def write_numbers(self, generation: int, key: str, specs: Sequence[str]) -> None:
        """Write the metrics of a model or its mixture under some specifications.

        If they are measured on another number of images than those of the first specification,
        their tags are name@images, as in tables. All values under one tag thus have the same number
        of images.
        """
        for spec in specs:
            suffix = file_suffix(generation, key, spec)
            if self.has(suffix):
                continue
            first, metrics = (load_metrics(self.out, key, each) for each in (specs[0], spec))
            if first is None or metrics is None:
                continue
            with writing(self.folder, suffix) as add:
                add_scalars(add, generation, with_counts(metrics, first))

    def has(self, suffix: str) -> bool:
        """Whether an event file with this suffix exists."""
        return any(self.folder.glob(f"events.*{suffix}"))


def model_numbers(record: NodeRecord) -> dict[str, float]:
    """The pool and the training of a model in numbers."""
    numbers = {
        "pool/num_images": record.num_images,
        "train/images_per_second": record.images_per_second,
        "train/num_steps": record.num_steps,
    }
    if "-1" not in record.origins:  # otherwise some origins are unknown
        numbers["pool/real_share"] = record.origins.get("0", 0) / record.num_images
    if record.final_loss is not None:
        numbers["train/final_loss"] = record.final_loss
    return numbers


def with_counts(metrics: MetricsRecord, first: MetricsRecord) -> dict[str, float]:
    """Metrics with the number of images in their names if it differs from that of others."""
    at = "" if metrics.num_images == first.num_images else f"@{metrics.num_images}"
    return {name + at: value for name, value in metrics.values.items()}


def file_suffix(generation: int, key: str, spec: str = "") -> str:
    """End of the name of an event file: of a model, or of its metrics under a specification."""
    return f".V{generation}-{key[:8]}" + (f"-{spec}" if spec else "")


@contextmanager
def writing(folder: Path, suffix: str) -> Generator[AddFunction]:
    """Yield a function that adds values to a new event file, which appears at the end."""
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    unfinished = folder.parent / f".writing-{uuid.uuid4().hex[:8]}"
    writer = EventFileWriter(str(unfinished), filename_suffix=suffix)
    now = time.time()

    def add(step: int, value: dict[str, Any]) -> None:
        writer.add_event(make_event(now, step, value))

    try:
        yield add
    except BaseException:
        writer.close()
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    writer.close()
    folder.mkdir(parents=True, exist_ok=True)
    (path,) = unfinished.iterdir()
    # TensorBoard reads files in the order of their names, and points in the order in which it reads
    # them. The writer's own names have seconds only.
    path.replace(folder / f"events.out.tfevents.{time.time_ns()}{suffix}")
    unfinished.rmdir()


def make_event(wall_time: float, step: int, value: dict[str, Any]) -> Any:
    """One value at a step, given the fields of tensorboard's Summary.Value; its tag is escaped."""
    from tensorboard.compat.proto.event_pb2 import Event  # ty: ignore[import-not-found] (generated)
    from tensorboard.compat.proto.summary_pb2 import Summary  # ty: ignore[import-not-found] (generated)

    escaped = Summary.Value(**{**value, "tag": escape_tag(value["tag"])})
    return Event(wall_time=wall_time, step=step, summary=Summary(value=[escaped]))


def add_scalars(add: AddFunction, generation: int, numbers: Mapping[str, float]) -> None:
    """Add numbers at a generation."""
    for name, value in numbers.items():
        add(generation, {"tag": tag_of(name), "simple_value": float(value)})


def tag_of(name: str) -> str:
    """The tag of a number; those without a group are statistics of pixels."""
    return name if "/" in name else f"pixels/{name}"


def add_curves(add: AddFunction, generation: int, path: Path) -> None:
    """Add the training curves of a curves.npz, if it was copied.

    Raises:
        OneLineError: The file is damaged.
    """
    if not path.exists():
        return
    with reading(path):
        data = path.read_bytes()
    curves = read_arrays(data, path)
    steps = curves.pop("step", np.empty(0, int))
    numeric = all(each.dtype.kind in "iuf" for each in (steps, *curves.values()))
    if not numeric or {each.shape for each in curves.values()} - {(steps.size,)}:
        raise DamagedError(f"{path} must hold curves of numbers by step, got others; {REPLACE}")
    if not ((steps >= 0) & (steps < LAST_STEP)).all():
        raise DamagedError(f"{path} must hold steps from 0 to 2^63 - 1, got others; {REPLACE}")
    for name, values in curves.items():
        for step, value in zip(steps, values, strict=True):
            tag = f"training_{name}/V{generation}"
            add(int(step), {"tag": tag, "simple_value": float(value)})


def add_preview(add: AddFunction, generation: int, tag: str, path: Path) -> None:
    """Add a preview.png with gaps between its images, if it was copied.

    Raises:
        OneLineError: The file is damaged.
    """
    if not path.exists():
        return
    with reading(path):
        png = path.read_bytes()
    try:
        spaced = with_gaps(png)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DamagedError(f"{path} must be a sheet of samples, got {error}; {REPLACE}") from None
    width, height = png_size(spaced)
    image = {"height": height, "width": width, "colorspace": 3, "encoded_image_string": spaced}
    add(generation, {"tag": tag, "image": image})


def with_gaps(png: bytes) -> bytes:
    """A preview.png, whose images touch, with white gaps between them."""
    with Image.open(io.BytesIO(png)) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    height, width = pixels.shape[:2]
    size = width // PREVIEW_COLUMNS
    if not size or width % PREVIEW_COLUMNS or height % size:
        raise ValueError(f"{width} x {height} pixels")
    gap = max(1, size // 16)
    rows, columns = height // size, PREVIEW_COLUMNS
    tiles = pixels.reshape(rows, size, columns, size, 3)
    around = ((0, 0), (0, gap), (0, 0), (0, gap), (0, 0))
    spaced = np.pad(tiles, around, constant_values=255)
    joined = spaced.reshape(rows * (size + gap), columns * (size + gap), 3)[:-gap, :-gap]
    written = io.BytesIO()
    Image.fromarray(joined).save(written, "PNG")
    return written.getvalue()


def add_hparams(add: AddFunction, trial: str, settings: Json) -> None:
    """Add a lineage's settings for TensorBoard's HPARAMS tab."""
    from tensorboard.plugins.hparams import summary_v2

    shown = {escape_tag(name): hparam(value) for name, value in settings.items()}
    for value in summary_v2.hparams_pb(shown, trial_id=trial).value:
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
