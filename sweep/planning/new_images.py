"""Which images enter the next pool, and which part of a pool a member sees.

The new images of a generation are divided among its members and, if images have classes, among the
classes. A filter or a probe then selects from more candidates than are kept. All of this consists
of counts and ranges that are known before anything runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from model.errors import UsageError
from model.family_facts import check_sampler
from model.features.extractors import weights_digest
from model.features.probe import check_counts
from model.filters.table import FILTERS, check_filter, feature_settings, num_candidates
from sweep.config import LineageConfig
from sweep.planning.class_counts import class_weights, multinomial, quota, whole_weights
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

IN_ORDER = ("keras_80_20", "official_trainval")
"""Values of data.split whose train images are the official splits, one after the other."""


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


def check_entering(config: LineageConfig, members: Sequence[Member], card: DatasetCard) -> None:
    """Raise UsageError unless classes, filters and members fit the data and each other."""
    focal_numbers(config, card)
    check_random_parts(config, members, card)
    conditional = any(member.model.conditional for member in members)
    concentration = config.pool.concentration
    has_classes = card.num_classes > 0
    if concentration > 0 and not has_classes:
        raise UsageError(
            f"pool.concentration must be 0 with data.name={card.name}, which has no classes, "
            f"got {concentration}"
        )
    if concentration > 0 and not config.pool.focal_classes:
        raise UsageError(
            "pool.focal_classes must name at least one class with "
            f"pool.concentration={concentration:g}, got ()"
        )
    if conditional and not has_classes:
        raise UsageError(
            f"model.conditional must be False with data.name={card.name}, which has no classes, "
            "got True"
        )
    for member in members:
        check_sampler(member.model, member.sample)
        by_class = (conditional or concentration > 0) and member.data != "filtered"
        check_filter(member.filter, has_classes=has_classes, conditional=by_class)
        if member.filter.reward_class is not None:
            class_number(member.filter.reward_class, "filter.reward_class", card)
        if member.data == "filtered" and member.filter.name == "none":
            raise UsageError(
                "filter.name must be set with ensemble.data=filtered, which is what the filter "
                "keeps of the pool, got 'none'"
            )
        if member.data == "filtered" and member.filter.name == "near-duplicates":
            raise UsageError(
                "filter.name must not be near-duplicates with ensemble.data=filtered, because real "
                "images contain repeats, got 'near-duplicates'"
            )


def check_random_parts(config: LineageConfig, members: Sequence[Member], card: DatasetCard) -> None:
    """Raise UsageError if a contiguous part of the train images would not be a random sample."""
    whole = config.pool.initial_images in (None, card.num_train)
    part = "" if whole else f"pool.initial_images={config.pool.initial_images}"
    if any(member.data == "shard" for member in members):
        part = "ensemble.data=shard"
    split = config.data.split
    if part and split in IN_ORDER:
        raise UsageError(
            f"data.split must be stratified, official_train or all with {part}, got {split!r}; "
            f"the train images of {split} are the official splits, one after the other"
        )


def check_judges(entry: Entry) -> None:
    """Raise UsageError unless D_1 has enough images of each class for its filters and probes."""
    card, size = entry.card, pool_size(entry.first)
    counts: list[int] = []
    if card.train_labels:
        counts = class_counts(pool_rows(entry.first, card.train_labels), card.num_classes)
    for member in entry.members:
        judge = FILTERS[member.filter.name]
        probed = entry.has_labels and not member.model.conditional
        if probed or judge.needs_labels:
            check_counts(
                counts,
                num_images=size,
                num_classes=card.num_classes,
                names=card.class_names,
                way_out="set pool.concentration to 0 and use no filter that needs classes",
            )
        if not judge.needs_real or judge.needs_labels:
            continue
        by_class = entry.has_labels and member.filters_new
        least = min(counts, default=size) if by_class else size
        needed = member.filter.nearest_k if member.filter.name == "typicality" else 2
        if least < needed:
            raise UsageError(
                f"D_1 must have at least {needed} real images{' of each class' * by_class}, "
                f"because filter.name={member.filter.name} compares with them, got {least}"
            )


def class_number(name: str, field: str, card: DatasetCard) -> int:
    """The number of a class that is given by name or by number.

    Raises:
        UsageError: There is no such class.
    """
    if name in card.class_names:
        return card.class_names.index(name)
    num_classes = card.num_classes
    if name.isdecimal() and int(name) < num_classes:
        return int(name)
    has = ", ".join(card.class_names[:12]) if card.class_names else f"{num_classes or 'no'} classes"
    more = ", ..." if len(card.class_names) > 12 else ""
    raise UsageError(f"{field} must name classes of {card.name}, got {name!r}; it has {has}{more}")


def class_name(name: str, field: str, card: DatasetCard) -> str:
    """The name of a class that is given by name or number; its number if names are unknown."""
    number = class_number(name, field, card)
    return card.class_names[number] if card.class_names else str(number)


def focal_numbers(config: LineageConfig, card: DatasetCard) -> list[int]:
    """The numbers of pool.focal_classes; raises UsageError if one is missing or repeated."""
    names = config.pool.focal_classes
    numbers = [class_number(name, "pool.focal_classes", card) for name in names]
    if len(set(numbers)) < len(numbers):
        raise UsageError(f"pool.focal_classes must name each class once, got {names}")
    return numbers


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
        seen = (filtered(entry, member, pool, keep, place=(generation, number)),)
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
    weights = pool_weights(entry, pool) if entry.has_labels else []
    new = []
    for number, part in enumerate(quota(shares, count).tolist()):
        member, place = entry.members[number], (generation, number)
        stream = Segment(
            kind="synthetic",
            source=streams[number],
            start=0,
            stop=0,
            generation=generation,
            member=number,
        )
        if not entry.has_labels:
            new.append(unlabelled(entry, member, stream, part, place=place))
            continue
        if entry.config.pool.labels == "quota":
            counts = quota(weights, part)
        else:
            counts = multinomial(weights, part, (entry.config.seed, generation, number))
        new.append(
            tuple(
                of_class(entry, member, stream, label, n, part, place=place)
                for label, n in enumerate(counts.tolist())
                if n
            )
        )
    return new


def pool_weights(entry: Entry, pool: Pool) -> list[int]:
    """Class shares of the new images, as whole numbers."""
    card = entry.card
    labels = card.real_labels()
    counts = class_counts(pool_rows(pool, labels), card.num_classes)
    pooled = entry.config.pool
    return class_weights(
        counts, concentration=pooled.concentration, focal=focal_numbers(entry.config, card)
    )


def unlabelled(
    entry: Entry, member: Member, stream: Segment, count: int, *, place: tuple[int, int]
) -> Pool:
    """`count` images of an unconditional stream, filtered if the member has a filter."""
    if count == 0:
        return ()
    candidates = (replace(stream, stop=_num_candidates(member, count)),)
    return _kept(entry, member, candidates, count, place=place, label=None)


def of_class(
    entry: Entry,
    member: Member,
    stream: Segment,
    label: int,
    count: int,
    total: int,
    *,
    place: tuple[int, int],
) -> Source:
    """`count` images of one class, out of `total` images that the member adds.

    A conditional model draws them; for an unconditional model a probe finds them.
    """
    candidates = _num_candidates(member, count)
    if member.model.conditional:
        of: Pool = (replace(stream, stop=candidates, label=label),)
    else:
        limit = scaled_size(entry.config.pool.draws_per_image, total)
        limit = max(_num_candidates(member, limit), candidates)
        by = {"name": PROBE, "class": label, **judged_by(entry, member)}
        of = (select((replace(stream, stop=limit),), candidates, by, label=label),)
    (source,) = _kept(entry, member, of, count, place=place, label=label)
    return source


def _num_candidates(member: Member, count: int) -> int:
    """Number of candidates of which `count` are kept."""
    return num_candidates(member.filter, count) if member.filters_new else count


def _kept(
    entry: Entry,
    member: Member,
    candidates: Pool,
    count: int,
    *,
    place: tuple[int, int],
    label: int | None,
) -> Pool:
    """What the member's filter keeps of the candidates; all of them without a filter."""
    if not member.filters_new:
        return candidates
    return (filtered(entry, member, candidates, count, place=place, label=label),)


def filtered(
    entry: Entry,
    member: Member,
    candidates: Pool,
    keep: int,
    *,
    place: tuple[int, int],
    label: int | None = None,
) -> Selected:
    """What the member's filter keeps of the candidates."""
    settings = {k: v for k, v in canonical(member.filter).items() if k != "candidates"}
    seed = [entry.config.seed, *place, *([] if label is None else [label])]
    by = {**settings, **judged_by(entry, member), "seed": seed}
    if member.filter.reward_class is not None:
        by["reward_class"] = class_name(
            member.filter.reward_class, "filter.reward_class", entry.card
        )
    return select(candidates, keep, by, label=label)


def judged_by(entry: Entry, member: Member) -> Json:
    """The features and real images that a filter or probe uses, for keys."""
    judge = member.filter
    inputs: Json = {
        "extractor": judge.extractor,
        "resolution": judge.resolution,
        "precision": judge.precision,
        "real": pool_recipe(entry.first),
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
            place = stream.source, None
            probed[place] = probed.get(place, 0) + source.keep
        elif source.kind == "synthetic":
            place = source.source, source.label
            needed[place] = max(needed.get(place, 0), source.stop)
    for place, count in probed.items():
        needed[place] = max(needed.get(place, 0), count)
    return needed
