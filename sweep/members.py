"""The members of a generation: models side by side, each with its settings and part of the pool.

Without ensemble settings a generation is one model that sees the whole pool. Must not know keys,
pixels or files.
"""

import json
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from model.config import FilterConfig, ModelConfig, SampleConfig, TrainConfig, check
from model.errors import check_choice
from sweep.config import LineageConfig, MemberData, get_hint, merge, nest, updated

OWN = ("share", "data")
"""Words of ensemble.members that are no settings of a lineage."""
GROUPS = ("model", "train", "sample", "filter")
"""Settings of a lineage that its members may differ in."""
SUM_TOLERANCE = 1e-6
"""Of shares that no decimal numbers of a few digits hold, as thirds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One model of every generation."""

    model: ModelConfig
    train: TrainConfig
    sample: SampleConfig
    filter: FilterConfig
    share: float
    """Its part of the new images; 1 for each where no member has one of its own."""
    data: MemberData
    """What it sees of the pool."""

    @property
    def filters_new(self) -> bool:
        """Whether its filter keeps some of its new images, and not some of the pool it sees."""
        return self.filter.name != "none" and self.data != "filtered"


def members_of(config: LineageConfig) -> tuple[Member, ...]:
    """The members of a lineage's generations, in order.

    Raises:
        UsageError: A word of ensemble.members is no setting, or not allowed.
    """
    texts = config.ensemble.members or ("",) * config.ensemble.size
    members = tuple(_member(config, text, number) for number, text in enumerate(texts))
    for member in members:
        rule = "be all, shard or filtered with pool.rule=subsample, which mixes all images"
        apart = config.pool.rule != "subsample" or member.data not in ("own", "real")
        check(apart, "ensemble.data", rule, member.data)
    check_shares(texts, members)
    return members


def check_shares(texts: Sequence[str], members: Sequence[Member]) -> None:
    """Raise UsageError unless shares are given for none of the members, or sum to 1."""
    given = [any(word.startswith("share=") for word in text.split()) for text in texts]
    if not any(given):
        return
    rule = "have a share each, or none of them"
    check(all(given), "ensemble.members", rule, f"{sum(given)} shares of {len(members)} members")
    total = sum(member.share for member in members)
    close = abs(total - 1) < SUM_TOLERANCE
    check(close, "ensemble.members", "have shares that sum to 1", round(total, 9))


def _member(config: LineageConfig, text: str, number: int) -> Member:
    """A member from its words."""
    where = f"ensemble.members[{number}]"
    own: dict[str, Any] = {"share": 1.0, "data": config.ensemble.data}
    changes: dict[str, Any] = {}
    for word in text.split():
        name, equals, value = word.partition("=")
        check(bool(equals), where, "be words like name=value", word)
        if name in OWN:
            own[name] = value
            continue
        group = name.split(".")[0]
        check("." in name and group in GROUPS, where, f"set {_settable()}", word)
        changes = merge(changes, nest(name, _typed(config, name, value)))
    try:
        share = float(own["share"])
    except ValueError:
        share = float("nan")
    check(0 <= share < float("inf"), where, "have a share of at least 0", own["share"])
    check_choice(f"{where} data", own["data"], typing.get_args(MemberData))
    train = changes.get("train")
    if isinstance(train, Mapping) and "epochs" not in train and {"steps", "images"} & set(train):
        changes = merge(changes, {"train": {"epochs": None}})
    changed = updated(config, changes)
    return Member(
        **{group: getattr(changed, group) for group in GROUPS}, share=share, data=own["data"]
    )


def _settable() -> str:
    return ", ".join(OWN) + " or a setting of " + ", ".join(GROUPS)


def _typed(config: LineageConfig, dotted: str, text: str) -> Any:
    """A word's value: text as it is; else what JSON reads, and a list at commas."""
    if get_hint(config, dotted) in (str, str | None):
        return text

    def one(word: str) -> Any:
        try:
            return json.loads(word)
        except ValueError:
            return word

    return [one(word) for word in text.split(",")] if "," in text else one(text)


def member_config(config: LineageConfig, member: Member) -> LineageConfig:
    """The lineage's settings with a member's own in their place."""
    return replace(config, **{group: getattr(member, group) for group in GROUPS})
