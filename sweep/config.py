"""Every setting of a lineage and a sweep, and their conversion to and from JSON.

Flags, files, axes, columns and keys are all derived from these frozen dataclasses.
"""

import functools
import itertools
import json
import math
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from difflib import get_close_matches
from operator import attrgetter
from typing import Any, Literal, TypeVar

from model.commands.values import parse_value, typed
from model.config import (
    REPEATS,
    SEED,
    DataConfig,
    FilterConfig,
    ImagesOn,
    MetricsConfig,
    ModelConfig,
    SampleConfig,
    TrainConfig,
)
from model.errors import UsageError, check_at_least, check_fields, check_finite, shown
from model.family_facts import check_together
from model.programs.settings import check_commands

SECONDS = {"most": 10**9}
"""Limit of a duration: 32 years, below the longest that a thread can wait."""
SMALLEST_SHARE = 1e-4
"""Smallest share of a CPU or GPU that Ray distinguishes."""
MOST_POINTS = 100_000
"""Maximum number of points of a sweep."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolConfig:
    """How the next generation's pool is made from the current pool and its samples."""

    rule: str = "grow"
    """Pool rule: grow (the paper), replace, accumulate, subsample, select, mix or fresh."""
    alpha: float | None = None
    """New images per image of the pool (grow), of D_1 (mix) or per fresh real image (fresh)."""
    concentration: float = 0.0
    """Share c of the new images drawn from focal_classes only; the others follow the pool."""
    focal_classes: tuple[str, ...] = ()
    """Classes on which new images concentrate, by name or number."""
    labels: Literal["quota", "stratified", "multinomial"] = field(
        default="quota", metadata={"key_default": "quota"}
    )
    """Classes of new images: rounded shares, with the focal total exact (stratified), or drawn."""
    shares: Literal["drift", "pool"] = field(default="drift", metadata={"key_default": "drift"})
    """Unconditional models without concentration: classes drift, or keep the pool's by a probe."""
    draws_per_image: float = field(default=20.0, metadata={"key_default": 20.0} | REPEATS)
    """Maximum images drawn per new image if a probe classifies an unconditional model's images."""
    initial_images: int | None = field(default=None, metadata={"key_default": None})
    """Real images in D_1; None uses all train images. The rest is the reserve of rule fresh."""
    fresh_images: int | None = field(default=None, metadata={"key_default": None})
    """New real images per generation with rule fresh; None uses the size of D_1."""
    exhausted: Literal["error", "recycle"] = field(
        default="error", metadata={"key_default": "error"}
    )
    """What happens when the fresh real images run out: an error, or a restart from the first."""

    def __post_init__(self) -> None:
        check_finite("pool.alpha", self.alpha, 0)
        if not 0 <= self.concentration <= 1:
            raise UsageError(f"pool.concentration must be in [0, 1], got {self.concentration}")
        check_finite("pool.draws_per_image", self.draws_per_image, 1)
        check_at_least("pool.initial_images", self.initial_images, 1)
        check_at_least("pool.fresh_images", self.fresh_images, 1)
        if len(set(self.focal_classes)) < len(self.focal_classes):
            raise UsageError(
                f"pool.focal_classes must name each class once, got {self.focal_classes}"
            )
        check_fields("pool.", self)


MemberData = Literal["all", "shard", "real", "own", "filtered"]


@dataclass(frozen=True, kw_only=True, slots=True)
class EnsembleConfig:
    """Several models per generation, whose images enter the pool together."""

    size: int = field(default=1, metadata={"key_default": 1, "most": 1000})
    """Models per generation, with the same settings and different random numbers."""
    data: MemberData = field(default="all", metadata={"key_default": "all"})
    """Images a member sees: all, its shard, only real, real and own, or what its filter keeps."""
    members: tuple[str, ...] = field(default=(), metadata={"key_default": ()})
    """One string of settings per member, such as 'share=0.5 data=shard model.family=flow'."""

    def __post_init__(self) -> None:
        check_at_least("ensemble.size", self.size, 1)
        if self.members and self.size not in (1, len(self.members)):
            raise UsageError(
                f"ensemble.size must be left out, or {len(self.members)} as ensemble.members "
                f"lists, got {self.size}"
            )
        check_fields("ensemble.", self)


@dataclass(frozen=True, kw_only=True, slots=True)
class LineageConfig:
    """A chain of models V_1 ... V_G, each trained on the pool that its predecessors produced."""

    seed: int = field(default=0, metadata=SEED)
    """Seed of everything except the data split."""
    generations: int = field(default=4, metadata={"most": 10_000})
    """Number of generations in the chain."""
    data: DataConfig = field(default_factory=DataConfig)
    """The real images."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The model family and its network."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """How a model is trained."""
    sample: SampleConfig = field(default_factory=SampleConfig)
    """How new images are sampled."""
    pool: PoolConfig = field(default_factory=PoolConfig)
    """How the pool changes from one generation to the next."""
    filter: FilterConfig = field(default_factory=FilterConfig)
    """Which new images may enter the pool."""
    ensemble: EnsembleConfig = field(default_factory=EnsembleConfig)
    """Several models per generation."""
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    """What is measured in each generation."""

    def __post_init__(self) -> None:
        check_at_least("seed", self.seed, 0)
        check_at_least("generations", self.generations, 1)
        check_fields("", self)
        check_together(self.data, self.model, self.train)
        check_commands(self.data, self.model, self.train, self.sample)


groups_of = attrgetter("data", "model", "train", "sample", "pool", "filter", "ensemble", "metrics")
"""Returns the groups of a lineage's settings, which are all but its seed and its length."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ResourcesConfig:
    """What a trial may use. These settings change run times, not results."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where models run; auto uses GPUs if there are any."""
    images_on: ImagesOn = "auto"
    """Where a pool is kept; auto uses the device if the pool fits in half of its free memory."""
    cpus_per_trial: float | None = None
    """CPUs (and torch threads) per trial; None means 1 on the CPU, or a GPU's share of the CPUs."""
    gpus_per_trial: float | None = None
    """GPUs per trial; trials with fractions share a GPU. None means 1 if there are GPUs."""
    num_cpus: int | None = field(default=None, metadata=REPEATS)
    """CPUs that Ray may use, or that a cluster may grow to; None means all granted CPUs."""
    num_gpus: int | None = field(default=None, metadata=REPEATS)
    """GPUs that Ray may use, or that a cluster may grow to; None lets Ray detect them."""
    max_concurrent: int | None = field(default=None, metadata=REPEATS)
    """Maximum number of concurrent trials; None fills the machine."""
    parallel_members: int = field(default=1, metadata={"most": 1000})
    """Members of a generation trained in parallel, each with the CPUs and GPUs of a trial."""
    checkpoint_seconds: float = field(default=60.0, metadata=SECONDS)
    """Seconds between saved training states; a killed run loses at most this much work."""
    max_failures: int = field(default=2, metadata=REPEATS)
    """How many times a crashed trial is retried."""
    lease_seconds: float = field(default=60.0, metadata=SECONDS)
    """Seconds of silence after which a trial on another machine is presumed dead."""
    outage_seconds: float = 120.0
    """Seconds for which a store may fail before a run gives up. What is finished is kept."""
    cache_dir: str | None = None
    """Folder on each machine that caches what is read from a bucket; None is the user's cache."""
    cache_gigabytes: float = 50.0
    """Size limit of this cache; the least recently used files are deleted first."""

    def __post_init__(self) -> None:
        for name in ("cpus_per_trial", "gpus_per_trial", "max_concurrent"):
            check_finite(f"resources.{name}", getattr(self, name), SMALLEST_SHARE)
        for name in ("num_cpus", "num_gpus", "max_failures"):
            check_at_least(f"resources.{name}", getattr(self, name), 0)
        check_finite("resources.checkpoint_seconds", self.checkpoint_seconds, 0, above=True)
        check_finite("resources.lease_seconds", self.lease_seconds, 1)
        check_finite("resources.outage_seconds", self.outage_seconds, 0)
        check_finite("resources.cache_gigabytes", self.cache_gigabytes, 0, above=True)
        check_at_least("resources.parallel_members", self.parallel_members, 1)
        check_fields("resources.", self)


Grid = Mapping[str, list[Any]]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepConfig:
    """A sweep: base settings and a list of grids. The points of all grids are its lineages."""

    name: str
    description: str
    base: LineageConfig
    grids: tuple[Grid, ...] = ({},)
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)
    evaluations: tuple[MetricsConfig, ...] = ()
    """Further metrics of every lineage, added by `sweep evaluate`."""

    @property
    def num_points(self) -> int:
        """Number of points of all grids, including repeated ones."""
        return sum(math.prod(map(len, grid.values())) for grid in self.grids)

    def points(self) -> list[tuple[dict[str, Any], LineageConfig]]:
        """The lineages, as each_point yields them."""
        return list(self.each_point())

    def each_point(
        self, progress: Callable[[int, int], None] | None = None
    ) -> Iterator[tuple[dict[str, Any], LineageConfig]]:
        """Yield lineages as (axis values, settings), de-duplicated, in the order of the grids.

        `progress` is called before each point with the number of points so far and in total.

        Raises:
            UsageError: A value is not allowed, an axis is not a setting, or there are too many
                points.
        """
        if self.num_points > MOST_POINTS:
            raise UsageError(
                f"grids must have at most {MOST_POINTS:,} points, got {self.num_points:,}; "
                "use fewer values, or several sweeps with one --store"
            )
        seen: set[LineageConfig] = set()
        numbers = itertools.count()
        axes = {axis: attrgetter(axis) for axis in self.axes()}
        for axis in axes:
            check_setting(self.base, axis)
        base = updated(self.base, to_json(self.base))  # gives 1 and 1.0 the same key
        groups: dict[tuple[str, str], Any] = {}
        for grid in self.grids:
            for values in itertools.product(*grid.values()):
                if progress is not None:
                    progress(next(numbers), self.num_points)
                point = unflatten(dict(zip(grid, values, strict=True)))
                config = updated(base, point, groups=groups)
                num_seen = len(seen)
                seen.add(config)
                if len(seen) > num_seen:
                    yield {axis: value_of(config) for axis, value_of in axes.items()}, config

    def axes(self) -> list[str]:
        """Every dotted axis of every grid, in the order of first mention."""
        return list(dict.fromkeys(axis for grid in self.grids for axis in grid))


def check_setting(config: object, dotted: str) -> None:
    """Raise UsageError, with a suggestion, unless `dotted` is a setting (not a group)."""
    names = [name for name, _ in flatten(to_json(config))]
    if dotted not in names:
        raise UsageError(unknown(dotted, dotted, names))


def parse_setting(config: object, dotted: str, word: str) -> Any:
    """Parse a word as the value of a dotted setting; raises UsageError if either is invalid."""
    return parse_value(word, type_of(config, dotted), dotted)


def type_of(config: object, dotted: str) -> Any:
    """The type of a dotted setting; raises UsageError, with a suggestion, if there is none."""
    check_setting(config, dotted)
    group, _, name = dotted.rpartition(".")
    owner = attrgetter(group)(config) if group else config
    return typing.get_type_hints(type(owner))[name]


def flatten(nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of a nested mapping."""
    for name, value in nested.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def unflatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """The nested mapping with these dotted names and values, which `flatten` inverts."""
    nested: dict[str, Any] = {}
    for dotted, value in values.items():
        *groups, name = dotted.split(".")
        inner = nested
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[name] = value
    return nested


def unique(items: Iterable[T]) -> list[T]:
    """The items without repetitions, in order; they need not be hashable."""
    kept: list[T] = []
    for item in items:
        if item not in kept:
            kept.append(item)
    return kept


def key_defaults(config: Any, prefix: str = "") -> dict[str, Any]:
    """Map each dotted setting that was added later to its frozen `key_default`."""
    defaults: dict[str, Any] = {}
    for f in fields(config):
        value = getattr(config, f.name)
        if is_dataclass(value):
            defaults |= key_defaults(value, f"{prefix}{f.name}.")
        elif "key_default" in f.metadata:
            frozen = f.metadata["key_default"]
            defaults[prefix + f.name] = list(frozen) if isinstance(frozen, tuple) else frozen
    return defaults


def to_json(config: Any) -> dict[str, Any]:
    """Convert a settings dataclass to the values a JSON file would return (tuples become lists)."""
    return json.loads(json.dumps(asdict(config)))


def updated(
    config: T,
    data: Mapping[str, Any],
    prefix: str = "",
    *,
    groups: dict[tuple[str, str], Any] | None = None,
) -> T:
    """A copy of the settings with the nested values of `data`, converted to the fields' types.

    Args:
        config: The settings.
        data: New values.
        prefix: Name of the settings in messages, with a dot at the end.
        groups: Copies of groups by name and values, which calls with the same settings share.

    Raises:
        UsageError: A name is unknown (the message has a suggestion), or a value has the wrong type
            or is not allowed.
    """
    if not isinstance(data, Mapping):
        name = prefix.rstrip(".") or "settings"
        raise UsageError(f"{name} must be a table of settings, got {shown(data)}")
    hints = _hints(type(config))
    changes: dict[str, Any] = {}
    for name, value in data.items():
        dotted = prefix + str(name)
        if name not in hints:
            raise UsageError(unknown(dotted, str(name), list(hints)))
        old = getattr(config, name)
        if is_dataclass(old):
            known = {} if groups is None else groups
            key = dotted, repr(value)
            if key not in known:
                known[key] = updated(old, value, f"{dotted}.")
            changes[name] = known[key]
        else:
            changes[name] = typed(value, hints[name], dotted)
    return replace(typing.cast(Any, config), **changes)


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    """The type of each field, in order."""
    hints = typing.get_type_hints(kind)
    return {f.name: hints[f.name] for f in fields(kind)}


def restored(config: T, data: Mapping[str, Any], prefix: str = "") -> T:
    """The settings stored in a file; settings added after it was written get their `key_default`.

    Raises:
        UsageError: As in `updated`.
    """
    return updated(updated(config, unflatten(key_defaults(config)), prefix), data, prefix)


def checked_grids(grids: object) -> tuple[Grid, ...]:
    """The grids of a file; raises UsageError unless each is a table of axes and their values."""
    if isinstance(grids, list) and grids and all(map(_is_grid, grids)):
        return tuple(grids)
    raise UsageError(f"grids must be a list of tables of axis = [values], got {shown(grids)}")


def _is_grid(grid: object) -> bool:
    return isinstance(grid, dict) and all(isinstance(v, list) and v for v in grid.values())


def unknown(dotted: str, name: str, names: list[str]) -> str:
    """The error message for a name that is not a setting."""
    prefix = dotted.removesuffix(name)
    close = get_close_matches(name, names, 1)
    if close:
        return f"{dotted} is not a setting; did you mean {prefix}{close[0]}?"
    return f"{dotted} is not a setting; {prefix.rstrip('.') or 'a lineage'} has {', '.join(names)}"
