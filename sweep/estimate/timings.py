"""How fast models were trained, drawn from and measured on each device, by the records there are.

Training is timed per image seen, drawing per image, measuring per specification. A time holds for
work of the same kind alone: the same network, image shape, batch size, precision and so on. Must
not import torch or ray.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from model.errors import UsageError
from sweep.records import Json, MetricsRecord, NodeRecord, read_json

Activity = Literal["train", "draw", "measure"]

STEP_SETTINGS = ("batch_size", "precision", "compile", "select", "hflip", "shuffle_window")
"""Settings of train on which the time of an image depends."""

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
"""Settings of model that change numbers and no work."""


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Machine:
    """What a trial ran on."""

    device: str
    """As records name it: `NVIDIA A10G`, `cpu (x86_64)`."""
    num_threads: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """Work whose time is proportional to its amount on one machine."""

    activity: Activity
    settings: str
    """All that its speed depends on beside the machine, as JSON."""


@dataclass(slots=True)
class Timings:
    """Amounts of work done, and the seconds they took, by machine and kind."""

    _spent: dict[tuple[Machine, Kind], tuple[int, float, float]] = field(default_factory=dict)
    """Times that it was done, amount, seconds."""
    _read: set[str] = field(default_factory=set)
    """Keys of the nodes that were added: one that is in two folders counts once."""

    @property
    def machines(self) -> list[Machine]:
        """Every machine that anything was timed on."""
        return sorted({machine for machine, _ in self._spent})

    def count(self, machine: Machine, kind: Kind) -> int:
        """How often work of a kind was timed on a machine."""
        return self._spent.get((machine, kind), (0,))[0]

    def seconds(self, machine: Machine, kind: Kind, amount: float = 1.0) -> float | None:
        """Time that an amount of work takes on a machine; None where it was never timed."""
        spent = self._spent.get((machine, kind))
        return None if spent is None else amount * spent[2] / spent[1]

    def add(self, machine: Machine, kind: Kind, amount: float, *, seconds: float) -> None:
        """Add work that was done; none, or in no time, says nothing."""
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
        """Add a finished model's training and the measuring of it.

        Args:
            node: Its record; one that diverged is left out.
            inputs: Its config.json.
            shape: (C, H, W) of its images.
            metrics: Its records of numbers; one that is older than the fields it takes is left out.
        """
        if node.status != "done" or node.key in self._read:
            return
        self._read.add(node.key)
        machine = Machine(device=node.device, num_threads=node.num_threads)
        self.add(machine, train_kind(inputs, shape), node.images_seen, seconds=node.seconds)
        for record in metrics:
            self.add_metrics(record, inputs, shape=shape)

    def add_metrics(self, record: MetricsRecord, inputs: Json, *, shape: Sequence[int]) -> None:
        """Add one measuring of a finished model, and the drawing in it."""
        if not record.device or not record.values:
            return
        machine = Machine(device=record.device, num_threads=record.num_threads)
        if "sample" in record.spec:  # the images of a mixture may be of several samplers
            kind = draw_kind(inputs, shape, record.spec["sample"])
            self.add(machine, kind, record.num_drawn, seconds=record.draw_seconds)
        kind = measure_kind(
            record.spec,
            shape,
            num_reference=record.num_reference,
            num_train=record.num_train,
        )
        self.add(machine, kind, 1, seconds=record.seconds - record.draw_seconds)


def train_kind(inputs: Json, shape: Sequence[int]) -> Kind:
    """Training on one image, by a node's inputs and the shape of its images."""
    steps = {name: inputs["train"].get(name) for name in STEP_SETTINGS}
    return _kind("train", model=_network(inputs), shape=list(shape), train=steps)


def draw_kind(inputs: Json, shape: Sequence[int], sample: Json) -> Kind:
    """Drawing one image from a node's model, by the settings of the sampler as in keys."""
    precision = inputs["train"].get("precision")
    model = _network(inputs)
    return _kind("draw", model=model, shape=list(shape), precision=precision, sample=sample)


def measure_kind(spec: Json, shape: Sequence[int], *, num_reference: int, num_train: int) -> Kind:
    """Taking the metrics of a specification of one model, whose images are there."""
    kept = {name: spec.get(name) for name in ("metrics", "num_images", "weights")}
    sizes = {"num_reference": num_reference, "num_train": num_train}
    return _kind("measure", shape=list(shape), **kept, **sizes)


def _network(inputs: Json) -> Json:
    return {k: v for k, v in inputs["model"].items() if k not in FREE_SETTINGS}


def _kind(activity: Activity, **settings: Any) -> Kind:
    return Kind(activity=activity, settings=json.dumps(settings, sort_keys=True))


def read_timings(root: Path, timings: Timings) -> None:
    """Add every finished model of a results folder or store.

    Raises:
        UsageError: It is no such folder, or holds no finished model.
        RecordError: A file of it is damaged.
    """
    folders = sorted((root / "generations").glob("*/"))
    shapes = _shapes(root)
    found = False
    for folder in folders:
        if not (folder / "record.json").exists():
            continue
        inputs = read_json(folder / "config.json")
        shape = _shape_of(inputs, shapes)
        if shape is None:
            continue
        found = True
        timings.add_node(
            NodeRecord.load(folder / "record.json"),
            inputs,
            shape=shape,
            metrics=[MetricsRecord.load(p) for p in sorted(folder.glob("metrics/*.json"))],
        )
    if not found:
        raise UsageError(
            f"--timings must name a results folder or store with finished models, got {root}; "
            "run a short sweep on the machine in question, and name its --out"
        )


def _shapes(root: Path) -> dict[str, tuple[int, ...]]:
    """Shape of the images of each data set of a folder, by fingerprint."""
    cards = [read_json(path) for path in sorted(root.glob("datasets/*/card.json"))]
    return {card["fingerprint"]: tuple(card["shape"]) for card in cards}


def _shape_of(inputs: Json, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...] | None:
    """Shape of a node's images: of the real ones in its pool, or the only one of the folder."""
    found = {shapes[name] for name in _sources(inputs["recipe"]) if name in shapes}
    found = found or set(shapes.values())
    return found.pop() if len(found) == 1 else None


def _sources(recipe: Any) -> Iterable[str]:
    """Every string in a recipe, the fingerprints of its real images among them."""
    if isinstance(recipe, str):
        yield recipe
    elif isinstance(recipe, Mapping):
        for value in recipe.values():
            yield from _sources(value)
    elif isinstance(recipe, list):
        for value in recipe:
            yield from _sources(value)


def format_seconds(seconds: float) -> str:
    """Seconds as 42 s, 3 min 20 s or 5 h 12 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
