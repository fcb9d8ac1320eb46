"""Of which models the closed form of estimation noise holds (analysis.statistics.contraction)."""

from collections.abc import Mapping
from typing import Any

GROWN = ("grow", "replace", "accumulate", "mix")
"""Pool rules whose next pool is, at first or always, the last one and new images, or these alone;
fresh begins with pools of the same sizes and shares, of other images."""


def has_closed_form(config: Mapping[str, Any], member: int) -> bool:
    """Whether NULL is of what a member sees: the whole pool, as all others do, or its own past.

    Members that see other images than each other fit other Gaussians, whose means differ, and so do
    the classes of a conditional model.

    Args:
        config: A lineage's settings, nested; what is left out is as without members.
        member: Its number.
    """
    ensemble = config.get("ensemble", {})
    default = ensemble.get("data", "all")
    words = [
        dict(word.split("=", 1) for word in text.split()) for text in ensemble.get("members", ())
    ]
    data = [own.get("data", default) for own in words] or [default] * ensemble.get("size", 1)
    alike = data[member] == "own" or set(data) == {"all"}
    conditional = config.get("model", {}).get("conditional", False)
    told = conditional or any(own.get("model.conditional") == "true" for own in words)
    return alike and not told and config.get("pool", {}).get("rule") in GROWN
