"""The members of a generation: parallel models, each with its own settings and part of the pool.

Without ensemble settings, a generation is one model that sees the whole pool.
"""

import typing
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from model.commands.values import parse_word, split_words
from model.config import FilterConfig, ModelConfig, SampleConfig, TrainConfig
from model.errors import UsageError, check_choice, check_finite, shown
from sweep.config import LineageConfig, MemberData, parse_setting, unflatten, updated
from sweep.planning.rules import POOL_RULES

OWN = ("share", "data")
"""Names in ensemble.members that are not settings of a lineage."""
GROUPS = ("model", "train", "sample", "filter")
"""Groups of settings in which members may differ."""
SUM_TOLERANCE = 1e-6
"""Tolerance for the sum of shares, because thirds written in decimals do not sum to exactly 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One model of every generation."""

    model: ModelConfig
    train: TrainConfig
    sample: SampleConfig
    filter: FilterConfig
    share: float
    """Its share of the new images, relative to the other members; 1 each if none is set."""
    data: MemberData
    """The part of the pool that it sees."""
    filters_new: bool
    """Whether its filter applies to its new images, rather than to the pool or what it sees."""


def members_of(config: LineageConfig) -> tuple[Member, ...]:
    """The members of a lineage's generations, in order.

    Raises:
        UsageError: A word of ensemble.members is not a setting, or its value is not allowed.
    """
    texts = config.ensemble.members or ("",) * config.ensemble.size
    members = tuple(_member(config, text, number) for number, text in enumerate(texts))
    for member in members:
        if config.pool.rule == "subsample" and member.data in ("own", "real"):
            raise UsageError(
                "ensemble.data must be all, shard or filtered with pool.rule=subsample, which "
                f"mixes all images, got {member.data!r}"
            )
    check_shares(texts, members)
    return members


def check_shares(texts: Sequence[str], members: Sequence[Member]) -> None:
    """Raise UsageError unless no member sets a share, or all do and the shares sum to 1."""
    given = [any(word.startswith("share=") for word in split_words(text)) for text in texts]
    if not any(given):
        return
    if not all(given):
        raise UsageError(
            "ensemble.members must have a share each, or none of them, got "
            f"{sum(given)} shares of {len(members)} members"
        )
    total = sum(member.share for member in members)
    if not abs(total - 1) < SUM_TOLERANCE:
        raise UsageError(f"ensemble.members must have shares that sum to 1, got {round(total, 9)}")


def _member(config: LineageConfig, text: str, number: int) -> Member:
    """Parse one string of ensemble.members."""
    where = f"ensemble.members[{number}]"
    own = {"share": "1", "data": config.ensemble.data}
    settings: dict[str, Any] = {}
    seen: set[str] = set()
    for word in split_words(text):
        name, equals, value = word.partition("=")
        if not equals:
            raise UsageError(f"{where} must be words like name=value, got {shown(word)}")
        if name in seen:
            raise UsageError(f"{where} must set each name once, got {shown(name)} twice")
        seen.add(name)
        if name in OWN:
            own[name] = value
            continue
        if not name.startswith(tuple(f"{group}." for group in GROUPS)):
            names = f"{', '.join(OWN)} or a setting of {', '.join(GROUPS)}"
            raise UsageError(f"{where} must set {names}, got {shown(word)}")
        if name.startswith("train.initial_"):
            raise UsageError(f"{where} must not set {name}, which all members share")
        settings[name] = parse_setting(config, name, value)
    share = parse_word(own["share"], float, f"{where} share")
    check_finite(f"{where} share", share, 0)
    check_choice(f"{where} data", own["data"], typing.get_args(MemberData))
    if settings.keys() & {"train.steps", "train.images"}:
        settings.setdefault("train.epochs", None)
    changed = updated(config, unflatten(settings)) if settings else config
    filters_pool = POOL_RULES[config.pool.rule].selects or own["data"] == "filtered"
    return Member(
        **{group: getattr(changed, group) for group in GROUPS},
        share=share,
        data=own["data"],
        filters_new=changed.filter.name != "none" and not filters_pool,
    )


def member_config(config: LineageConfig, member: Member) -> LineageConfig:
    """The lineage's settings, replaced by a member's where it has its own."""
    own = {group: getattr(member, group) for group in GROUPS}
    changes = {group: x for group, x in own.items() if x is not getattr(config, group)}
    return replace(config, **changes) if changes else config
