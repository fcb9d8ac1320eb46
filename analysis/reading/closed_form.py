"""Decides for which models the closed form of estimation noise holds.

The closed form is in analysis.statistics.contraction.
"""

from collections.abc import Mapping
from typing import Any

GROWN = ("grow", "replace", "accumulate", "mix")
"""Pool rules whose next pool, always or at first, is the last pool plus new images, or only new
images. Rule fresh starts with pools of the same sizes and shares, but of different images."""


def has_closed_form(config: Mapping[str, Any], member: int) -> bool:
    """Whether the closed form holds: all members see the whole pool, or this one only its own past.

    It does not hold if members see different images, because they fit Gaussians with different
    means. The same is true of the classes of a conditional model.

    Args:
        config: Nested settings of a lineage. Missing ensemble settings mean one member.
        member: Number of the member.
    """
    ensemble = config.get("ensemble", {})
    default = ensemble.get("data", "all")
    words = [
        dict(word.split("=", 1) for word in text.split()) for text in ensemble.get("members", ())
    ]
    data = [own.get("data", default) for own in words] or [default] * ensemble.get("size", 1)
    alike = data[member] == "own" or set(data) == {"all"}
    conditional = config.get("model", {}).get("conditional", False)
    has_classes = conditional or any(
        own.get("model.conditional", "").lower() == "true" for own in words
    )
    return alike and not has_classes and config.get("pool", {}).get("rule") in GROWN
