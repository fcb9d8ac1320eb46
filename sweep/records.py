"""The files of a results folder as dataclasses: the only interface between sweep and analysis.

    <out>/sweep.json                          SweepRecord
    <out>/lineages/<id>.json                  LineageRecord
    <out>/generations/<key>/record.json       NodeRecord, beside config.json, pool.json, curves.npz,
                                              preview.png and model.safetensors
    <out>/generations/<key>/metrics/<spec>.json   MetricsRecord
    <out>/datasets/<key>/card.json            DatasetCard, beside preview.png (real images)
    <out>/datasets/<key>/metrics/<spec>.json  MetricsRecord of real training images: a floor
    <out>/hypotheses/<name>.json              HypothesisRecord

sweep/sealed.py reads and writes such files. Within this project, this module may import only
model.errors, sweep.environment, sweep.files, sweep.nearest, sweep.sealed and
sweep.specifications.
"""

import functools
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from sweep.environment import describe_environment
from sweep.files import REPLACE, DamagedError, Json, RecordError, digest
from sweep.nearest import NearestImages
from sweep.sealed import Record, load_as_written
from sweep.specifications import recorded_name

HYPOTHESES = "hypotheses"
"""Name of the folder of hypotheses."""
FIRST = "V1"
"""Control of a comparison: the first generation of the same lineage."""
PROBE = "probe-class"
"""Name in recipes of a selection by a probe: it looks at images until it has enough of a class."""
WEIGHTS = "model.safetensors"
"""Name of a node's file of weights."""
R = TypeVar("R", bound=Record)


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedData:
    """A data set in the store of a sweep."""

    settings: Json
    """The fields of model.config.DataConfig."""
    key: str
    """Key of its card and arrays."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepRecord(Record):
    """The settings of a sweep (resolved base settings and grids), and where and how it ran."""

    name: str
    description: str
    base: Json
    """Nested settings of a lineage, with the fields of sweep.config.LineageConfig."""
    grids: list[dict[str, list[Any]]]
    """The sweep is the de-duplicated union of these grids: dotted axis -> values."""
    resources: Json = field(default_factory=dict)
    environment: Json = field(default_factory=dict)
    """Versions, git commit, platform and devices of the last run."""
    commands: list[str] = field(default_factory=list)
    """The command lines that made or extended the folder, oldest first."""
    evaluations: list[Json] = field(default_factory=list)
    """Metric settings added by `sweep evaluate`, for every lineage."""
    store: str = ""
    """Folder or URL of the store of its models; empty if that is the results folder itself."""
    lineages: list[str] = field(default_factory=list)
    """Ids of all lineages, in the order of the grid (once sorted); empty in older records."""
    datasets: list[PreparedData] = field(default_factory=list)
    """The data sets of its lineages in the store; empty in records older than this field."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LineageRecord(Record):
    """One chain V_1 ... V_G."""

    id: str
    axes: Json
    """Dotted axis -> this lineage's value, for every axis of the sweep."""
    config: Json
    """All settings of the lineage, nested."""
    status: str
    """pending, done, diverged, failed or unmeasured; earlier versions also wrote running."""
    nodes: list[list[str]]
    """Node keys of the members of each generation, including generations not yet computed."""
    num_done: int
    """Number of generations whose models are all trained."""
    dataset: str
    """Key of its data set, which names a folder in datasets/."""
    metrics_spec: str
    """Name (without .json) of its metrics file in each node's metrics/; empty without metrics."""
    evaluation_specs: list[str] = field(default_factory=list)
    """Names of the metrics files added by `sweep evaluate`, oldest first."""
    member_specs: list[list[str]] = field(default_factory=list)
    """Names of the metrics files of each member; empty if all members have those above."""
    mixture_specs: list[list[str]] = field(default_factory=list)
    """For each generation, names of the metrics files of all images that enter the next pool. These
    files are in the first member's folder. Empty if the images are the first ones of one model."""
    error: str | None = None
    """Why it failed, diverged or could not be measured."""
    key_defaults: Json = field(default_factory=dict)
    """Dotted settings added over time -> the value implied by a record without them."""

    def specs(self, member: int) -> list[str]:
        """Names of all metrics files of a member's nodes, the lineage's own first."""
        if self.member_specs:
            return self.member_specs[member]
        return [*([self.metrics_spec] if self.metrics_spec else []), *self.evaluation_specs]

    def all_specs(self, generation: int, member: int) -> list[str]:
        """Names of all metrics files of one node, including those of the mixture."""
        mixture = self.mixture_specs[generation - 1] if self.mixture_specs and not member else []
        return self.specs(member) + mixture


@dataclass(frozen=True, kw_only=True, slots=True)
class HypothesisPair:
    """Two models of one seed."""

    seed: int
    split_seed: int
    arm: str
    control: str
    """Node keys of the setting's model and of its control."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HypothesisRecord(Record):
    """A hypothesis about the mean difference of a metric between a setting and its control."""

    name: str
    text: str
    """The hypothesis in its author's words."""
    metric: str
    """`kid/<extractor label>` and so on."""
    spec: str
    """Name of the metrics file of each model."""
    contrast: list[str]
    against: list[str]
    """The setting and its control as AXIS=VALUE; the control may be V1 of the same lineage."""
    generation: int
    expected: str
    """Of setting minus control: `greater` than the margin, `smaller` than minus the margin, or
    `equal`: between the two."""
    margin: float
    confidence: float
    pairs: list[HypothesisPair]
    """The models that decide it. Their keys are hashes of all that can change them."""
    post_hoc: bool
    """Whether one of the models existed when the record was written."""
    written: str
    """Time in UTC, ISO 8601."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeRecord(Record):
    """One trained model, which several lineages may share."""

    key: str
    status: str
    """done or diverged."""
    reason: str | None = None
    """Why it diverged."""
    seed: int
    generation: int
    member: int
    family: str
    num_images: int
    """Size of the pool it was trained on."""
    origins: dict[str, int]
    """Pool images by origin: "0" is real data, "n" generation n."""
    class_counts: dict[str, int] = field(default_factory=dict)
    """Pool images by class name; empty if classes are unknown."""
    num_steps: int
    images_seen: int
    views_per_image: float
    ema_init_left: float
    """Share of the initial weights that remains in the averaged weights."""
    final_loss: float | None
    """Mean loss over the last tenth of the steps; None if the family has no loss."""
    seconds: float
    """Wall time of the training over all attempts; resumed parts count once."""
    images_per_second: float
    device: str
    num_threads: int
    precision: str
    weights_sha256: str
    """SHA-256 of the tensors of the averaged weights, which are used for sampling."""
    files: dict[str, str]
    """File name -> SHA-256 of every file published with this record."""
    environment: Json = field(default_factory=dict)
    """Versions of what was imported, and what the CPU can do."""
    resumed_from: list[str] = field(default_factory=list)
    """Other environments in which a part of the training has run, a line for each."""

    def environments(self) -> list[str]:
        """Every environment in which it was trained, a line for each."""
        return [_describe(self), *self.resumed_from]


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricsRecord(Record):
    """The numbers of one node under one metric specification, or a floor of a data set."""

    node: str = ""
    """Key of the node or, for a floor, of the data set; empty in records older than this field."""
    spec: Json
    values: dict[str, float]
    """kid/<extractor>, kid_se/<extractor>, fid/<extractor>, pixel_mean, pixel_std."""
    classes: dict[str, dict[str, float]] = field(default_factory=dict)
    """class_share/<extractor> and so on -> class name -> number."""
    directions: dict[str, list[float]] = field(default_factory=dict)
    """gain and so on -> its number for each principal direction of the real images' pixels."""
    nearest: NearestImages | None = None
    """Nearest training images; None if they were not asked for."""
    nearest_sha256: str = ""
    """SHA-256 of the file <spec>.png, which shows them; empty without them."""
    num_images: int
    num_reference: int
    num_train: int = 0
    """Real training images used in the comparison; 0 if no metric needs them."""
    stream: str
    """Key of the stream whose first images were measured. For a mixture it is one of its streams,
    or empty if all its images were selected."""
    images_sha256: str
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0
    """Wall time of drawing missing images, extracting features and computing the numbers."""
    num_drawn: int = 0
    """Images drawn during that time."""
    draw_seconds: float = 0.0
    """The part of `seconds` spent on drawing them."""
    device: str = ""
    """Where it was measured; empty in records older than this field."""
    num_threads: int = 0
    environment: Json = field(default_factory=dict)
    """Versions of what was imported; empty in records older than this field."""

    def environments(self) -> list[str]:
        """The environment in which it was measured, as a line; none if it is unknown."""
        return [_describe(self)] if self.environment else []

    def is_of(self, key: str, spec: str) -> bool:
        """Whether this is the record of a node under the specification of this name."""
        return self.node in ("", key) and recorded_name(self.spec) == spec


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetCard(Record):
    """Everything about a data set except its pixels."""

    key: str
    """Hash of the data set's settings."""
    fingerprint: str | None
    """SHA-256 of its images, labels and splits; None until it is prepared."""
    name: str
    shape: list[int]
    """[C, H, W]."""
    dtype: str
    class_names: list[str]
    """Empty if the data have no labels, or if the names are only known after loading."""
    num_classes: int = 0
    """0 if the data have no labels."""
    num_train: int
    num_reference: int
    num_validation: int
    train_class_counts: list[int] = field(default_factory=list)
    train_labels: list[int] = field(default_factory=list)
    """Class of each train image, in the order of the pool; empty if unknown. Before the data are
    prepared, only the number of images per class is right, not their order."""
    reference_class_counts: list[int] = field(default_factory=list)
    pixel_std: float | None = None
    """Standard deviation over the reference images, averaged over pixels; 8-bit data are scaled to
    [0, 1]."""
    bounded: bool = True
    """Whether pixels lie in [0, 1] (in unit scale); False for float data of any range."""
    files: dict[str, str] = field(default_factory=dict)

    def class_name(self, number: int) -> str:
        """Name of a class; its number if names are unknown."""
        return self.class_names[number] if self.class_names else str(number)

    def real_labels(self) -> list[int] | None:
        """Class of each train image; a guess if the data are not prepared and classes unknown."""
        if self.train_labels or not self.num_classes:
            return self.train_labels or None
        if self.fingerprint is not None:
            raise RecordError(
                f"datasets/{self.key}/card.json must hold train_labels, got an older card; "
                "delete that folder, and the next run prepares the data again"
            )
        return [i % self.num_classes for i in range(self.num_train)]

    def reference_counts(self) -> list[int]:
        """Number of reference images per class; a guess under the conditions of real_labels."""
        if self.reference_class_counts or not self.num_classes:
            return self.reference_class_counts
        return [self.num_reference] * self.num_classes


def class_stream_key(stream: str, label: int) -> str:
    """Key of the images of one class in the stream of a conditional model."""
    return digest({"stream": stream, "label": label})


def _describe(record: NodeRecord | MetricsRecord) -> str:
    environment = msgspec.json.encode(record.environment)
    return _describe_text(environment, record.device, record.num_threads)


@functools.lru_cache(maxsize=1000)
def _describe_text(environment: bytes, device: str, threads: int) -> str:
    """As describe_environment: most records have one of a few environments."""
    facts = msgspec.json.decode(environment)
    return describe_environment(facts, device=device, threads=threads)


def load_sweep(out: Path) -> SweepRecord:
    """The sweep.json of a results folder."""
    return SweepRecord.load(out / "sweep.json")


def load_lineages(out: Path) -> list[LineageRecord]:
    """Every lineage of a results folder, sorted by id."""
    return [load_lineage(path) for path in lineage_paths(out)]


def lineage_paths(out: Path) -> list[Path]:
    """The files of the lineages of a results folder, sorted; none if it has no lineages."""
    folder = out / "lineages"
    with suppress(FileNotFoundError, NotADirectoryError):
        names = sorted(entry.name for entry in os.scandir(folder) if entry.name.endswith(".json"))
        return [folder / name for name in names]
    return []


def load_lineage(path: Path) -> LineageRecord:
    """One lineage; raises RecordError if the file has another name than the lineage."""
    record = load_as_written(LineageRecord, str(path)) or LineageRecord.load(path)
    if record.id != path.stem:
        raise DamagedError(
            f"{path} must be the record of its lineage, got {record.id!r}; {REPLACE}"
        )
    return record


def node_dir(out: Path, key: str) -> Path:
    """Folder of a node in a results folder."""
    return out / "generations" / key


def load_node(out: Path, key: str) -> NodeRecord | None:
    """A node's record, or None if the node is not done."""
    path = f"{out}/generations/{key}/record.json"
    return _load_own(NodeRecord, path, lambda record: record.key == key, "record of its node")


def load_metrics(out: Path, key: str, spec: str) -> MetricsRecord | None:
    """A node's numbers under one metric specification, or None if they were not computed."""
    path = f"{out}/generations/{key}/metrics/{spec}.json"
    return _load_own(MetricsRecord, path, lambda r: r.is_of(key, spec), "numbers of its node")


def load_floor(out: Path, key: str, spec: str) -> MetricsRecord | None:
    """The numbers of a data set's real training images, or None if they were not computed."""
    path = f"{out}/datasets/{key}/metrics/{spec}.json"
    return _load_own(MetricsRecord, path, lambda r: r.is_of(key, spec), "floor of its data set")


def load_card(out: Path, key: str) -> DatasetCard | None:
    """The card of a prepared data set, or None if it was not prepared."""
    path = f"{out}/datasets/{key}/card.json"
    return _load_own(DatasetCard, path, lambda card: card.key == key, "card of its data set")


def _load_own(kind: type[R], path: str, is_own: Callable[[R], bool], what: str) -> R | None:
    """A record, or None if there is none; raises DamagedError if it belongs elsewhere."""
    record = load_as_written(kind, path)
    if record is None and Path(path).exists():
        record = kind.load(Path(path))
    if record is not None and not is_own(record):
        raise DamagedError(f"{Path(path)} must hold the {what}, got another one; {REPLACE}")
    return record
