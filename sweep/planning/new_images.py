"""Which images enter the next pool, and which part of a pool a member sees.

The new images of a generation are divided among its members and, if images have classes, among the
classes. A filter or a probe then selects from more candidates than are kept. All of this consists
of counts and ranges that are known before anything runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from model.errors import UsageError
from model.features.extractors import weights_digest
from model.filters.table import feature_settings, num_candidates
from sweep.config import LineageConfig
from sweep.planning.class_counts import (
    class_number,
    class_weights,
    focal_numbers,
    multinomial,
    quota,
    whole_weights,
)
from sweep.planning.keys import canonical
from sweep.planning.members import Member
from sweep.planning.pool import (
    Pool,
    Segment,
    Selected,
    Source,
    class_counts,
    only_real,
    pool_recipe,
    pool_rows,
    pool_size,
    real_and_own,
    select,
    shard,
)
from sweep.planning.rules import scaled_size
from sweep.records import DatasetCard, Json

PROBE = "probe-class"
"""Name of the selection that keeps the first images that a probe assigns to a class."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """Everything that determines which images enter the pools of a lineage."""

    config: LineageConfig
    members: tuple[Member, ...]
    card: DatasetCard
    first: Pool
    """D_1, whose real images are the reference of filters and probes."""

    @property
    def has_labels(self) -> bool:
        """Whether every image of a pool has a class."""
        conditional = any(member.model.conditional for member in self.members)
        return conditional or self.config.pool.concentration > 0

    @property
    def is_mixed(self) -> bool:
        """Whether the images that enter a pool are not simply the first ones of one model."""
        filtered = any(member.filters_new for member in self.members)
        return len(self.members) > 1 or filtered or self.config.pool.concentration > 0


def member_pool(entry: Entry, pool: Pool, number: int, generation: int) -> Pool:
    """The part of D_n that a member sees.

    Raises:
        UsageError: It would see no images.
    """
    member = entry.members[number]
    seen = pool
    if member.data == "shard":
        seen = shard(pool, number, len(entry.members))
    elif member.data == "real":
        seen = only_real(pool)
    elif member.data == "own":
        seen = real_and_own(pool, number)
    elif member.data == "filtered":
        keep = int(pool_size(pool) / Fraction(str(member.filter.candidates)))
        seen = (MemberImages(entry, number, generation).filtered(pool, keep),)
    if pool_size(seen) == 0:
        raise UsageError(
            f"ensemble.data must leave member {number} some images in generation {generation}, "
            f"got {member.data!r}; the pool has none of these"
        )
    return seen


def entering_images(
    entry: Entry, pool: Pool, streams: Sequence[str], *, generation: int, count: int
) -> list[Pool]:
    """The first `count` images of S_n, as one pool per member.

    Args:
        entry: Settings, members and data of the lineage.
        pool: D_n, which determines the class shares of the new images.
        streams: Stream key of each member.
        generation: n.
        count: Total number of images.
    """
    if count == 0:
        return [() for _ in entry.members]
    shares = whole_weights([Fraction(str(member.share)) for member in entry.members])
    members = [MemberImages(entry, k, generation, stream) for k, stream in enumerate(streams)]
    counts = quota(shares, count).tolist()
    if not entry.has_labels:
        return [new.unlabelled(part) for new, part in zip(members, counts, strict=True)]
    weights = class_weights(
        class_counts(pool_rows(pool, entry.card.real_labels()), entry.card.num_classes),
        concentration=entry.config.pool.concentration,
        focal=focal_numbers(entry.config, entry.card),
    )
    return [new.labelled(part, weights) for new, part in zip(members, counts, strict=True)]


@dataclass(frozen=True, slots=True)
class MemberImages:
    """The images that enter a pool from one member of a generation."""

    entry: Entry
    number: int
    """Number of the member."""
    generation: int
    stream: str = ""
    """Key of the stream that the member draws."""

    @property
    def member(self) -> Member:
        """The member's settings."""
        return self.entry.members[self.number]

    def drawn(self, count: int, label: int | None = None) -> Segment:
        """The first `count` images of the stream, or of its images of one class."""
        return Segment(
            kind="synthetic",
            source=self.stream,
            start=0,
            stop=count,
            generation=self.generation,
            member=self.number,
            label=label,
        )

    def unlabelled(self, count: int) -> Pool:
        """`count` images of any class."""
        if count == 0:
            return ()
        return (self.kept(self.drawn(self.num_candidates(count)), count),)

    def labelled(self, count: int, weights: Sequence[int]) -> Pool:
        """`count` images that are divided among the classes by weight."""
        if self.entry.config.pool.labels == "quota":
            counts = quota(weights, count)
        else:
            seed = (self.entry.config.seed, self.generation, self.number)
            counts = multinomial(weights, count, seed)
        return tuple(self.of_class(label, n, count) for label, n in enumerate(counts.tolist()) if n)

    def of_class(self, label: int, count: int, total: int) -> Source:
        """`count` images of one class, out of `total` images that the member adds.

        A conditional model draws them; for an unconditional model a probe finds them.
        """
        candidates = self.num_candidates(count)
        if self.member.model.conditional:
            return self.kept(self.drawn(candidates, label), count, label)
        limit = scaled_size(self.entry.config.pool.draws_per_image, total)
        limit = max(self.num_candidates(limit), candidates)
        by = {"name": PROBE, "class": label, **self.judged_by()}
        return self.kept(select((self.drawn(limit),), candidates, by, label=label), count, label)

    def num_candidates(self, count: int) -> int:
        """Number of candidates of which the filter keeps `count`."""
        member = self.member
        return num_candidates(member.filter, count) if member.filters_new else count

    def kept(self, candidates: Source, count: int, label: int | None = None) -> Source:
        """What the member's filter keeps of the candidates; all of them without a filter."""
        if not self.member.filters_new:
            return candidates
        return self.filtered((candidates,), count, label)

    def filtered(self, candidates: Pool, keep: int, label: int | None = None) -> Selected:
        """What the member's filter keeps of the candidates."""
        entry, judge = self.entry, self.member.filter
        settings = {k: v for k, v in canonical(judge).items() if k != "candidates"}
        seed = [entry.config.seed, self.generation, self.number]
        by = {**settings, **self.judged_by(), "seed": seed if label is None else [*seed, label]}
        if judge.reward_class is not None:
            number = class_number(judge.reward_class, "filter.reward_class", entry.card)
            by["reward_class"] = entry.card.class_name(number)
        return select(candidates, keep, by, label=label)

    def judged_by(self) -> Json:
        """The features and real images that the filter or probe uses, for keys."""
        judge = self.member.filter
        inputs: Json = {
            "extractor": judge.extractor,
            "resolution": judge.resolution,
            "precision": judge.precision,
            "real": pool_recipe(self.entry.first),
        }
        if (weights := weights_digest(feature_settings(judge))) is not None:
            inputs["weights"] = weights
        return inputs


def streams_of(pool: Pool) -> dict[tuple[str, int | None], int]:
    """How many of the first images of each (stream, class) a pool needs.

    If a probe assigns the classes, only the images it keeps are counted, because the number that
    must be drawn is known only after looking at them.
    """
    needed: dict[tuple[str, int | None], int] = {}
    probed: dict[tuple[str, int | None], int] = {}
    sources = list(pool)
    while sources:
        source = sources.pop()
        if isinstance(source, Selected) and source.by["name"] != PROBE:
            sources += source.of
        elif isinstance(source, Selected):
            (stream,) = source.of
            assert isinstance(stream, Segment)
            part = stream.source, None
            probed[part] = probed.get(part, 0) + source.keep
        elif source.kind == "synthetic":
            part = source.source, source.label
            needed[part] = max(needed.get(part, 0), source.stop)
    for part, count in probed.items():
        needed[part] = max(needed.get(part, 0), count)
    return needed
