"""Checks that the settings of a lineage fit its data and each other, before anything runs."""

from collections.abc import Iterable, Sequence

from model.config import MetricsConfig, ModelConfig
from model.errors import UsageError
from model.family_facts import check_arithmetic, check_sampler, model_size
from model.features.extractors import check_extractor
from model.features.probe import check_counts
from model.features.ready import check_range
from model.filters.table import FILTERS, check_candidates, check_filter, feature_settings
from model.networks.size import ModelSize
from sweep.config import LineageConfig, unique
from sweep.planning.class_counts import class_number, focal_numbers
from sweep.planning.measurements import selection_metrics
from sweep.planning.members import Member, member_config, members_of
from sweep.planning.new_images import Entry
from sweep.planning.pool import class_counts, pool_rows, pool_size
from sweep.planning.rules import POOL_RULES, first_pool
from sweep.records import DatasetCard
from sweep.remembered import remembered

MOST_IMAGES = 2**40
"""Maximum size of a pool."""
MOST_BYTES = 2**40
"""Maximum size of a model in training: its weights, their average and the optimiser's state."""

UNSUITED = {
    "near-duplicates": "because real images would be repeats of themselves",
    "reward": "whose candidates are not offered in groups",
}
"""Filters that cannot choose from real and synthetic images, and why."""
IN_ORDER = ("keras_80_20", "official_trainval")
"""Values of data.split whose train images are the official splits, one after the other."""


def check_entering(config: LineageConfig, members: Sequence[Member], card: DatasetCard) -> None:
    """Raise UsageError unless classes, filters and members fit the data and each other."""
    focal_numbers(config, card)
    check_random_parts(config, members, card)
    conditional = any(member.model.conditional for member in members)
    concentration = config.pool.concentration
    sets_shares = concentration > 0 or config.pool.shares == "pool"
    has_classes = card.num_classes > 0
    if config.pool.shares == "pool" and not has_classes:
        raise UsageError(
            f"pool.shares must be drift with data.name={card.name}, which has no classes, "
            "got 'pool'"
        )
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
    selects = POOL_RULES[config.pool.rule].selects
    if selects:
        check_selecting(config, members)
    for member in members:
        check_sampler(member.model, member.sample)
        by_class = (conditional or sets_shares) and member.data != "filtered"
        check_filter(member.filter, has_classes=has_classes, conditional=by_class)
        if not selects:
            check_candidates(member.filter)
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


def check_selecting(config: LineageConfig, members: Sequence[Member]) -> None:
    """Raise UsageError unless one filter can choose the pool from all images so far."""
    beside = f"with pool.rule={config.pool.rule}"
    for member in members:
        name = member.filter.name
        if member.data != "all":
            raise UsageError(
                f"ensemble.data must be all {beside}, whose pool is not a sum of parts, got "
                f"{member.data!r}"
            )
        if name == "none":
            raise UsageError(
                f"filter.name must be set {beside}, whose pool is what the filter keeps of all "
                "images so far, got 'none'"
            )
        if name in UNSUITED:
            raise UsageError(f"filter.name must not be {name} {beside}, {UNSUITED[name]}")
        if member.filter.candidates != 1:
            raise UsageError(
                f"filter.candidates must be 1 {beside}, whose candidates are all images so far, "
                f"got {member.filter.candidates:g}"
            )
    if len({member.filter for member in members}) > 1:
        raise UsageError(
            f"ensemble.members must have the same filter {beside}, whose pool is chosen from the "
            "images of all members, got different ones"
        )


def check_precisions(config: LineageConfig, device: str) -> None:
    """Raise UsageError if a member's precision or captured steps need another device."""
    for member in members_of(config):
        check_arithmetic(member.train, device)


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


def check_pool(size: int, pool: str) -> None:
    """Raise UsageError unless a model can be trained on so few or many images."""
    if size < 2:
        raise UsageError(
            f"{pool} must have at least 2 images, got {size}; "
            "use more data, a larger pool.alpha or another ensemble.data"
        )
    if size > MOST_IMAGES:
        raise UsageError(
            f"{pool} must have at most {MOST_IMAGES:,} images, got {size:,}; "
            "use fewer generations, a smaller pool.alpha or another pool.rule"
        )


def check_memory(model: ModelConfig, card: DatasetCard, size: int) -> None:
    """Raise UsageError if a model, fitted to `size` images, is larger than any machine's memory."""
    needed = size_of_model(model, card, size)
    total = max(needed.state_bytes, needed.checkpoint_bytes)
    if total > MOST_BYTES:
        raise UsageError(
            f"model must need at most {MOST_BYTES / 2**30:,.0f} GiB in training, got "
            f"{total / 2**30:,.0f} GiB; use smaller model.widths, model.block_depth, "
            "model.embedding_dim or data.image_size"
        )


@remembered(lambda model, card, num_images: (model, card, num_images))
def size_of_model(model: ModelConfig, card: DatasetCard, num_images: int) -> ModelSize:
    """Return the size of a model of a data set, given the number of images of its pool."""
    C, H, W = card.shape
    return model_size(model, (C, H, W), num_images, card.num_classes)


def ways_out(config: LineageConfig) -> str:
    """How to set the pool so that no probe is needed."""
    by_shares = "set pool.shares to drift" if config.pool.shares == "pool" else ""
    if config.pool.concentration == 0 and by_shares:
        return by_shares
    return "set pool.concentration to 0" + by_shares.replace("set", ",")


def entry_of(config: LineageConfig, card: DatasetCard) -> Entry:
    """Everything that determines which images enter the pools of a lineage.

    Raises:
        UsageError: The settings do not fit the data or each other.
    """
    members = members_of(config)
    check_entering(config, members, card)
    # The fingerprint is unknown until the data are prepared; use the settings' key until then.
    source = card.fingerprint or f"unprepared-{card.key}"
    first = first_pool(config.pool, source=source, num_train=card.num_train)
    return Entry(config=config, members=members, card=card, first=first)


def extractors_used(
    entry: Entry, evaluations: Iterable[MetricsConfig]
) -> list[tuple[str, MetricsConfig]]:
    """Every feature extractor that a lineage needs, each with the section of its settings."""
    used: list[tuple[str, MetricsConfig]] = []
    for member in entry.members:
        config = member_config(entry.config, member)
        used += [("metrics", each) for each in (config.metrics, *evaluations) if each.names]
        if config.train.select == "best_kid":
            used.append(("metrics", selection_metrics(config)))
        judge = FILTERS[member.filter.name]
        probed = entry.has_labels and not member.model.conditional
        if probed or judge.needs_features or judge.needs_labels:
            used.append(("filter", feature_settings(member.filter)))
    return unique(used)


def check_extractors(extractors: Iterable[tuple[str, MetricsConfig]], *, bounded: bool) -> None:
    """Raise UsageError unless the range of the images fits the extractors."""
    for section, config in extractors:
        check_extractor(config, section=section)
        check_range(config, bounded=bounded, section=section)


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
                way_out=f"{ways_out(entry.config)} and use no filter that needs classes",
            )
        if not judge.needs_real or judge.needs_labels:
            continue
        by_class = entry.has_labels and member.data != "filtered"
        least = min(counts, default=size) if by_class else size
        needed = member.filter.nearest_k if member.filter.name == "typicality" else 2
        if least < needed:
            raise UsageError(
                f"D_1 must have at least {needed} real images{' of each class' * by_class}, "
                f"because filter.name={member.filter.name} compares with them, got {least}"
            )
