"""Which images enter the next pool, and which part of a pool a member sees.

The new images of a generation are divided among its members and, if images have classes, among the
classes. If a filter or a probe (a classifier) selects them, there are more candidates than are
kept. All of this consists of counts and ranges that are known before anything runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from model.errors import UsageError
from model.features.extractors import extractor_version, weights_digest
from model.features.probe import probe_version
from model.filters.table import feature_settings, filter_versions, num_candidates
from model.randomness import Purpose
from sweep.config import LineageConfig
from sweep.files import Json
from sweep.planning.class_counts import (
    class_number,
    class_weights,
    focal_numbers,
    multinomial,
    quota,
    stratified,
    whole_weights,
)
from sweep.planning.keys import canonical
from sweep.planning.members import Member
from sweep.planning.pool import (
    RANDOM,
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
from sweep.records import PROBE, DatasetCard
from sweep.remembered import remembered_by_object


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
        return conditional or self.sets_shares

    @property
    def sets_shares(self) -> bool:
        """Whether the pool's settings determine the class shares of every model's new images."""
        return self.config.pool.concentration > 0 or self.config.pool.shares == "pool"

    @property
    def is_mixed(self) -> bool:
        """Whether the images that enter a pool are not just the first ones that one model draws."""
        filtered = any(member.filters_new for member in self.members)
        return len(self.members) > 1 or filtered or self.sets_shares


def member_pool(entry: Entry, pool: Pool, number: int, generation: int) -> Pool:
    """The part of D_n that a member sees.

    Raises:
        UsageError: The member would see no images.
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
    entry: Entry,
    pool: Pool,
    streams: Sequence[str],
    *,
    generation: int,
    count: int,
    purpose: Purpose = Purpose.SAMPLE,
) -> list[Pool]:
    """The first `count` images of S_n, as one pool per member.

    Args:
        entry: Settings, members and data of the lineage.
        pool: D_n, which determines the class shares of the new images.
        streams: Stream key of each member.
        generation: n.
        count: Total number of images.
        purpose: MEASURE for images that are only measured, which share no random number with those
            that enter the pool.
    """
    if count == 0:
        return [() for _ in entry.members]
    members = [
        MemberImages(entry, k, generation, stream, purpose) for k, stream in enumerate(streams)
    ]
    counts = [count]
    if len(members) > 1:
        counts = quota(member_weights(entry.members), count).tolist()
    if not entry.has_labels:
        return [member.unlabelled(n) for member, n in zip(members, counts, strict=True)]
    weights = class_weights(
        class_counts(pool_rows(pool, entry.card.real_labels()), entry.card.num_classes),
        concentration=entry.config.pool.concentration,
        focal=focal_numbers(entry.config, entry.card),
    )
    return [member.labelled(n, weights) for member, n in zip(members, counts, strict=True)]


def keep_best(entry: Entry, generation: int, candidates: Pool, count: int) -> Pool:
    """What the filter keeps of real and synthetic images, for pool rules that select.

    The candidates are in random order, so that no filter prefers the older ones. Where models draw
    images by class, it keeps some of each class, in proportion to the candidates.
    """
    judge = MemberImages(entry, 0, generation)
    seed = [entry.config.seed, generation]

    def kept(own: Pool, count: int, label: int | None = None) -> Selected:
        shuffled = select(own, pool_size(own), {"name": RANDOM, "seed": seed})
        return judge.filtered((shuffled,), count, label)

    if not entry.has_labels:
        return (kept(candidates, count),)
    rows = pool_rows(candidates, entry.card.real_labels())
    counts = quota(class_counts(rows, entry.card.num_classes), count).tolist()
    # The selection leaves out real images of other classes, which are not apart.
    own = [tuple(x for x in candidates if x.label in (None, c)) for c in range(len(counts))]
    return tuple(kept(own[c], n, c) for c, n in enumerate(counts) if n)


@remembered_by_object
def member_weights(members: tuple[Member, ...]) -> list[int]:
    """The members' shares of new images as whole numbers in exact proportion."""
    return whole_weights([Fraction(str(member.share)) for member in members])


@dataclass(frozen=True, slots=True)
class MemberImages:
    """The images that enter a pool from one member of a generation."""

    entry: Entry
    number: int
    """Number of the member."""
    generation: int
    stream: str = ""
    """Key of the stream that the member draws."""
    purpose: Purpose = Purpose.SAMPLE

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
        config = self.entry.config
        if config.pool.labels == "quota":
            counts = quota(weights, count)
        elif config.pool.labels == "stratified":
            counts = stratified(weights, count, focal=focal_numbers(config, self.entry.card))
        else:
            seed = (config.seed, self.generation, self.number)
            measured = self.purpose is Purpose.MEASURE
            counts = multinomial(
                weights, count, seed, purpose=Purpose.MEASURE if measured else Purpose.POOL
            )
        return tuple(self.of_class(label, n, count) for label, n in enumerate(counts.tolist()) if n)

    def of_class(self, label: int, count: int, total: int) -> Source:
        """`count` images of one class, if the member adds `total` images of all classes.

        A conditional model draws them; a probe finds them among an unconditional model's images.
        """
        candidates = self.num_candidates(count)
        if self.member.model.conditional:
            return self.kept(self.drawn(candidates, label), count, label)
        limit = scaled_size(self.entry.config.pool.draws_per_image, total)
        limit = max(self.num_candidates(limit), candidates)
        by = {"name": PROBE, "class": label, **self.judged_by()}
        if versions := extractor_version(feature_settings(self.member.filter)) | probe_version():
            by["versions"] = versions
        return self.kept(select((self.drawn(limit),), candidates, by, label=label), count, label)

    def num_candidates(self, count: int) -> int:
        """Number of candidates from which `count` are kept; `count` itself without a filter."""
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
        by = {**settings, **self.judged_by(), "seed": self.filter_seed(label)}
        if versions := filter_versions(judge):
            by["versions"] = versions
        if judge.reward_class is not None:
            number = class_number(judge.reward_class, "filter.reward_class", entry.card)
            by["reward_class"] = entry.card.class_name(number)
        return select(candidates, keep, by, label=label)

    def filter_seed(self, label: int | None) -> list[int]:
        """Seed of the filter's random choices, for images of one class or of any."""
        seed = [self.entry.config.seed, self.generation, self.number]
        if self.purpose is Purpose.MEASURE:
            return [*seed, 0 if label is None else label + 1, int(self.purpose)]
        return seed if label is None else [*seed, label]

    def judged_by(self) -> Json:
        """The features and real images that the filter or probe uses, as inputs of a key."""
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
    """Number n for each (stream, class) such that a pool needs its first n images.

    If a probe selects images of a class, only those it keeps are counted, because the number of
    images that it must examine depends on their pixels.
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
            key = stream.source, None
            probed[key] = probed.get(key, 0) + source.keep
        elif source.kind == "synthetic":
            key = source.source, source.label
            needed[key] = max(needed.get(key, 0), source.stop)
    for key, count in probed.items():
        needed[key] = max(needed.get(key, 0), count)
    return needed
