"""Pool rules: how D_{n+1} is made from the real data, D_n and S_n.

To add a rule, write a function for its pool and add an entry to POOL_RULES.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache

from model.errors import UsageError, check_choice, later_version
from sweep.config import PoolConfig
from sweep.planning.pool import RANDOM, Pool, Segment, pool_size, select


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """Everything that the step from one generation's pool to the next may depend on."""

    config: PoolConfig
    seed: int
    """Seed of the lineage."""
    generation: int
    """n, the generation of the current pool."""
    num_train: int
    """Number of real train images, including the reserve."""
    first: Pool
    """D_1."""
    current: Pool
    """D_n."""
    past: Pool = ()
    """S_1 + ... + S_{n-1}."""
    new: Pool = ()
    """S_n; empty until its size is known."""
    keep: Callable[[Pool, int], Pool]
    """Keeps a number of images of a pool with the lineage's filter."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolRule:
    """How the pool changes from one generation to the next."""

    num_new: Callable[[Step], int]
    """Returns the size of S_n."""
    combine: Callable[[Step], Pool]
    """Returns D_{n+1}."""
    uses_alpha: bool
    version: int | str
    """Part of keys if above 1. Raise it whenever the same settings give other results, so that no
    old result is taken for a new one. A plug-in's version is text, and always part of keys."""
    has_reserve: bool = False
    """Whether real images beyond D_1 enter later pools."""
    selects: bool = False
    """Whether it calls Step.keep. The filter then leaves each generation's new images alone."""


def rule_version(config: PoolConfig) -> dict[str, int | str]:
    """The version of the pool rule, for keys; empty at the first.

    A recipe describes the pool that a rule makes, so an edited rule usually changes keys by itself.
    """
    rule = POOL_RULES[config.rule]
    return later_version("pool.rule", config.rule, rule, key="rule_version")


def rule_of(config: PoolConfig) -> PoolRule:
    """The pool rule that the settings select.

    Raises:
        UsageError: The rule is unknown, alpha is missing or not used by the rule, or fresh images
            are set for a rule that takes none.
    """
    check_choice("pool.rule", config.rule, POOL_RULES, extensible=True)
    rule = POOL_RULES[config.rule]
    if rule.uses_alpha and config.alpha is None:
        raise UsageError(f"pool.alpha must be set with pool.rule={config.rule}, got None")
    if not rule.uses_alpha and config.alpha is not None:
        raise UsageError(
            f"pool.alpha must be None with pool.rule={config.rule}, which does not use it, "
            f"got {config.alpha}; pass --pool.alpha None"
        )
    beside = f"with pool.rule={config.rule}, which takes no fresh images"
    if not rule.has_reserve and config.fresh_images is not None:
        raise UsageError(f"pool.fresh_images must be None {beside}, got {config.fresh_images}")
    if not rule.has_reserve and config.exhausted != "error":
        raise UsageError(f"pool.exhausted must be error {beside}, got {config.exhausted!r}")
    return rule


@lru_cache(maxsize=10_000)
def scaled_size(alpha: float, size: int) -> int:
    """Alpha x size, rounded half to even; alpha is the decimal number that the user wrote."""
    return int((Decimal(str(alpha)) * size).to_integral_value(ROUND_HALF_EVEN))


def first_pool(config: PoolConfig, *, source: str, num_train: int) -> Pool:
    """D_1: the first pool.initial_images of the train images, or all of them.

    Raises:
        UsageError: There are too few train images, or none is left for the reserve of a rule that
            needs one.
    """
    count = num_train if config.initial_images is None else config.initial_images
    if count > num_train:
        raise UsageError(
            f"pool.initial_images must be at most the {num_train} train images, "
            f"got {config.initial_images}"
        )
    if POOL_RULES[config.rule].has_reserve and count == num_train:
        raise UsageError(
            f"pool.initial_images must be below the {num_train} train images with "
            f"pool.rule={config.rule}, got {config.initial_images}; the remaining ones are the "
            "reserve of fresh images"
        )
    return (Segment(kind="real", source=source, start=0, stop=count),)


def fresh_images(step: Step) -> Pool:
    """The next real images of the reserve.

    Raises:
        UsageError: The reserve is exhausted, and pool.exhausted is error.
    """
    config, start = step.config, pool_size(step.first)
    each = num_fresh(step)
    reserve = step.num_train - start
    begin = (step.generation - 1) * each
    if begin + each > reserve and config.exhausted == "error":
        raise UsageError(
            f"pool.fresh_images must leave real images for every generation, got {each} for each "
            f"of {step.generation} generations from a reserve of {reserve}; lower it, "
            "pool.initial_images or generations, or set pool.exhausted to recycle"
        )
    (real,) = step.first
    assert isinstance(real, Segment)
    taken: list[Segment] = []
    while each > 0:
        at = begin % reserve
        count = min(each, reserve - at)
        taken.append(replace(real, start=start + at, stop=start + at + count))
        begin, each = begin + count, each - count
    return tuple(taken)


def num_fresh(step: Step) -> int:
    """New real images per generation: pool.fresh_images, or the size of D_1."""
    given = step.config.fresh_images
    return pool_size(step.first) if given is None else given


def _times(size: Callable[[Step], int]) -> Callable[[Step], int]:
    """Multiply a number of images by alpha."""

    def scaled(step: Step) -> int:
        assert step.config.alpha is not None
        return scaled_size(step.config.alpha, size(step))

    return scaled


def _first_size(step: Step) -> int:
    return pool_size(step.first)


def _subsample(step: Step) -> Pool:
    """A random subset of all real and synthetic images so far, as large as D_1."""
    seed = [step.seed, step.generation]
    return (select(_everything(step), pool_size(step.first), {"name": RANDOM, "seed": seed}),)


def _everything(step: Step) -> Pool:
    """All real and synthetic images so far: D_1 + S_1 + ... + S_n."""
    return step.first + step.past + step.new


POOL_RULES: dict[str, PoolRule] = {
    "grow": PoolRule(
        num_new=_times(lambda step: pool_size(step.current)),
        combine=lambda step: step.current + step.new,
        uses_alpha=True,
        version=1,
    ),
    "replace": PoolRule(
        num_new=_first_size,
        combine=lambda step: step.new,
        uses_alpha=False,
        version=1,
    ),
    "accumulate": PoolRule(
        num_new=_first_size,
        combine=lambda step: step.current + step.new,
        uses_alpha=False,
        version=1,
    ),
    "subsample": PoolRule(num_new=_first_size, combine=_subsample, uses_alpha=False, version=1),
    "select": PoolRule(
        num_new=_first_size,
        combine=lambda step: step.keep(_everything(step), pool_size(step.first)),
        uses_alpha=False,
        version=1,
        selects=True,
    ),
    "mix": PoolRule(
        num_new=_times(_first_size),
        combine=lambda step: step.first + step.new,
        uses_alpha=True,
        version=1,
    ),
    "fresh": PoolRule(
        num_new=_times(num_fresh),
        combine=lambda step: step.new + fresh_images(step),
        uses_alpha=True,
        version=1,
        has_reserve=True,
    ),
}
"""Pool rules by their name in pool.rule."""
