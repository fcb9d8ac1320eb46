"""Pools as manifests: which images a model trains on, by where they come from; and the pool rules.

A pool is a tuple of segments, each a range of the data set's train images or of a stream. Resolving
one to pixels is the lineage's work. Adding a rule is one function and a line in POOL_RULES.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Literal

from model.config import check_choice
from sweep.config import PoolConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """Images [start, stop) of one source.

    For `real`, `source` is the data set's fingerprint and positions count its train images; for
    `synthetic`, `source` is a stream's key.
    """

    kind: Literal["real", "synthetic"]
    source: str
    start: int
    stop: int
    generation: int = 0
    """Origin: 0 is real data, n the images of V_n."""
    member: int = 0

    def __len__(self) -> int:
        return self.stop - self.start


Pool = tuple[Segment, ...]


def pool_size(pool: Pool) -> int:
    """Images of a pool."""
    return sum(len(segment) for segment in pool)


def pool_origins(pool: Pool) -> dict[str, int]:
    """Images by origin generation ("0" is real data)."""
    counts: dict[str, int] = {}
    for segment in pool:
        origin = str(segment.generation)
        counts[origin] = counts.get(origin, 0) + len(segment)
    return counts


def pool_recipe(pool: Pool) -> list[dict[str, Any]]:
    """The pool as JSON, for keys and pool.json."""
    return [asdict(segment) for segment in pool]


def pool_from_recipe(recipe: list[dict[str, Any]]) -> Pool:
    """The inverse of `pool_recipe`."""
    return tuple(Segment(**segment) for segment in recipe)


def scaled_size(alpha: float, size: int) -> int:
    """Alpha x size, rounded half to even on the decimal number the user wrote."""
    return int((Decimal(str(alpha)) * size).to_integral_value(ROUND_HALF_EVEN))


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolRule:
    """How D_{n+1} is made of D_1, D_n and S_n."""

    num_new: Callable[[PoolConfig, Pool, Pool], int]
    """(settings, D_1, D_n) to the size of S_n."""
    combine: Callable[[Pool, Pool, Pool], Pool]
    """(D_1, D_n, S_n) to D_{n+1}."""
    uses_alpha: bool


def rule_of(config: PoolConfig) -> PoolRule:
    """The pool rule of the settings, which must fit it.

    Raises:
        ValueError: The rule is unknown, or alpha is missing or has no meaning for it.
    """
    check_choice("pool.rule", config.rule, POOL_RULES)
    rule = POOL_RULES[config.rule]
    if rule.uses_alpha and config.alpha is None:
        raise ValueError(f"pool.alpha must be set with pool.rule={config.rule}, got None")
    if not rule.uses_alpha and config.alpha is not None:
        raise ValueError(
            f"pool.alpha must be None with pool.rule={config.rule}, where it has no meaning, "
            f"got {config.alpha}; pass --pool.alpha None"
        )
    return rule


def _grow_size(config: PoolConfig, first: Pool, current: Pool) -> int:
    assert config.alpha is not None
    return scaled_size(config.alpha, pool_size(current))


POOL_RULES: dict[str, PoolRule] = {
    "grow": PoolRule(
        num_new=_grow_size,
        combine=lambda first, current, new: current + new,
        uses_alpha=True,
    ),
    "replace": PoolRule(
        num_new=lambda config, first, current: pool_size(first),
        combine=lambda first, current, new: new,
        uses_alpha=False,
    ),
}
