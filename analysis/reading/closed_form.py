"""Decides for which models the closed form of estimation noise holds.

The closed form is in analysis.statistics.contraction.
"""

from collections.abc import Mapping
from typing import Any

from model.commands.values import parse_word

GROWN = ("grow", "replace", "accumulate", "mix")
"""Pool rules whose next pool, always or at first, is the last pool plus new images, or only new
images. Rule fresh starts with pools of the same sizes and shares, but of different images."""

CONDITIONAL = "model.conditional"


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
    texts = ensemble.get("members") or [""]  # without a list, all members are alike
    members = [dict(word.split("=", 1) for word in text.split()) for text in texts]
    data = [own.get("data", default) for own in members]
    alike = data[member if len(texts) > 1 else 0] == "own" or set(data) == {"all"}
    words = [own.get(CONDITIONAL, "false") for own in members]
    has_classes = config.get("model", {}).get("conditional", False) or any(
        parse_word(word, bool, CONDITIONAL) for word in words
    )
    return alike and not has_classes and config.get("pool", {}).get("rule") in GROWN
