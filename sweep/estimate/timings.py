"""Speeds of training, drawing and measuring on each device, from the records of finished models.

Training is timed per image seen, drawing per image, and measuring per specification. A timing is
used only for work of the same kind: the same network, image shape, batch size, precision and so on.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from model.errors import UsageError
from sweep.files import Json, read_json
from sweep.records import MetricsRecord, NodeRecord

Activity = Literal["train", "draw", "measure"]

STEP_SETTINGS = (
    "batch_size",
    "precision",
    "compile",
    "captured",
    "select",
    "hflip",
    "shuffle_window",
)
"""Settings of train that affect the time per image."""

FREE_SETTINGS = (
    "bn_eps",
    "bn_momentum",
    "embedding_max_frequency",
    "init",
    "label_dropout",
    "max_signal_rate",
    "min_signal_rate",
    "normalization",
)
"""Settings of model that do not affect the time per image."""


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Machine:
    """The hardware that a trial ran on."""

    device: str
    """Device as named in records: `NVIDIA A10G`, `cpu (x86_64)`."""
    num_threads: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """A kind of work, whose time on one machine is proportional to its amount."""

    activity: Activity
    settings: str
    """JSON of everything that affects its speed apart from the machine."""


@dataclass(slots=True)
class Timings:
    """Amounts and durations of finished work, by machine and kind."""

    _spent: dict[tuple[Machine, Kind], tuple[int, float, float]] = field(default_factory=dict)
    """(number of timings, amount, seconds)."""
    _read: set[str] = field(default_factory=set)
    """Keys of the nodes added, so that a node in two folders counts once."""

    @property
    def machines(self) -> list[Machine]:
        """Machines that have timings, sorted."""
        return sorted({machine for machine, _ in self._spent})

    def count(self, machine: Machine, kind: Kind) -> int:
        """Return how often work of a kind was timed on a machine."""
        return self._spent.get((machine, kind), (0,))[0]

    def seconds(self, machine: Machine, kind: Kind, amount: float = 1.0) -> float | None:
        """Return the time of an amount of work on a machine, or None without timings."""
        spent = self._spent.get((machine, kind))
        return None if spent is None else amount * spent[2] / spent[1]

    def add(self, machine: Machine, kind: Kind, amount: float, *, seconds: float) -> None:
        """Add the time of some work; zero amounts or times are ignored."""
        if amount > 0 and seconds > 0:
            count, done, spent = self._spent.get((machine, kind), (0, 0.0, 0.0))
            self._spent[machine, kind] = count + 1, done + amount, spent + seconds

    def add_node(
        self,
        node: NodeRecord,
        inputs: Json,
        *,
        shape: Sequence[int],
        metrics: Iterable[MetricsRecord],
    ) -> None:
        """Add timings of the training and measurement of a finished model.

        Args:
            node: Record of the node; diverged nodes are skipped.
            inputs: The node's config.json.
            shape: (C, H, W) of its images.
            metrics: The node's metric records; old ones that lack the needed fields are skipped.
        """
        if node.status != "done" or node.key in self._read:
            return
        self._read.add(node.key)
        machine = Machine(device=node.device, num_threads=node.num_threads)
        self.add(machine, train_kind(inputs, shape), node.images_seen, seconds=node.seconds)
        for record in metrics:
            self.add_metrics(record, inputs, shape=shape)

    def add_metrics(self, record: MetricsRecord, inputs: Json, *, shape: Sequence[int]) -> None:
        """Add the timing of one measurement of a finished model, and of the images drawn for it."""
        if not record.device or not record.values:
            return
        machine = Machine(device=record.device, num_threads=record.num_threads)
        if "sample" in record.spec:  # a mixture may have several samplers
            kind = draw_kind(inputs, shape, record.spec["sample"])
            self.add(machine, kind, record.num_drawn, seconds=record.draw_seconds)
        kind = measure_kind(
            record.spec, shape, num_reference=record.num_reference, num_train=record.num_train
        )
        self.add(machine, kind, 1, seconds=record.seconds - record.draw_seconds)


def train_kind(inputs: Json, shape: Sequence[int]) -> Kind:
    """Return the kind of training on one image, given a node's inputs and image shape."""
    steps = {name: inputs["train"].get(name) for name in STEP_SETTINGS}
    return _kind("train", model=_network(inputs), shape=list(shape), train=steps)


def draw_kind(inputs: Json, shape: Sequence[int], sample: Json) -> Kind:
    """Return the kind of drawing one image, with sampler settings in canonical form."""
    precision = inputs["train"].get("precision")
    model = _network(inputs)
    return _kind("draw", model=model, shape=list(shape), precision=precision, sample=sample)


def measure_kind(spec: Json, shape: Sequence[int], *, num_reference: int, num_train: int) -> Kind:
    """Return the kind of measuring one model by a specification, after its images are drawn."""
    kept = {name: spec.get(name) for name in ("metrics", "num_images", "weights")}
    sizes = {"num_reference": num_reference, "num_train": num_train}
    return _kind("measure", shape=list(shape), **kept, **sizes)


def _network(inputs: Json) -> Json:
    return {k: v for k, v in inputs["model"].items() if k not in FREE_SETTINGS}


def _kind(activity: Activity, **settings: Any) -> Kind:
    return Kind(activity=activity, settings=json.dumps(settings, sort_keys=True))


def read_timings(root: Path, timings: Timings) -> None:
    """Add timings of every finished model in a results folder or store.

    Raises:
        UsageError: `root` is not such a folder, or holds no finished model.
        RecordError: A file in it is damaged.
    """
    cards = [read_json(path) for path in sorted(root.glob("datasets/*/card.json"))]
    shapes = {card["fingerprint"]: tuple(card["shape"]) for card in cards}
    num_models = 0
    for path in sorted(root.glob("generations/*/record.json")):
        inputs = read_json(path.with_name("config.json"))
        shape = _shape_of(inputs, shapes)
        if shape is not None:
            num_models += 1
            metrics = [MetricsRecord.load(p) for p in sorted(path.parent.glob("metrics/*.json"))]
            timings.add_node(NodeRecord.load(path), inputs, shape=shape, metrics=metrics)
    if not num_models:
        raise UsageError(
            f"--timings must name a results folder or store with finished models, got {root}; "
            "run a short sweep on that machine and pass its --out"
        )


def _shape_of(inputs: Json, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...] | None:
    """Return the shape of the real images in a node's pool, or the only shape in the folder.

    Args:
        inputs: The node's config.json. Its recipe names real images by their fingerprint.
        shapes: Image shape of each data set in the folder, by fingerprint.
    """
    recipe = json.dumps(inputs["recipe"])
    candidates = {shape for name, shape in shapes.items() if json.dumps(name) in recipe}
    candidates = candidates or set(shapes.values())
    return candidates.pop() if len(candidates) == 1 else None


def format_seconds(seconds: float) -> str:
    """Format seconds as 42 s, 3 min 20 s or 5 h 12 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
