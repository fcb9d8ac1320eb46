"""Steps of pool rules from generation to generation, without models."""

from dataclasses import replace

from sweep.config import PoolConfig
from sweep.planning.pool import RANDOM, Pool, Segment, select
from sweep.planning.rules import POOL_RULES, Step, first_pool, rule_of


def evolve(config: PoolConfig, *, num_train: int, generations: int, seed: int = 0) -> list[Step]:
    """The steps from D_1 to D_G, each with its new images."""
    rule = rule_of(config)
    first = first_pool(config, source="f", num_train=num_train)
    steps: list[Step] = []
    pool, past = first, ()
    for generation in range(1, generations):
        step = Step(
            config=config,
            seed=seed,
            generation=generation,
            num_train=num_train,
            first=first,
            current=pool,
            past=past,
            keep=keep_blindly,
        )
        new = made_by(generation, rule.num_new(step))
        step = replace(step, new=new)
        steps.append(step)
        pool, past = rule.combine(step), past + new
    return steps


def made_by(generation: int, count: int) -> Pool:
    """The first images of V_n."""
    stream = Segment(
        kind="synthetic", source=f"V{generation}", start=0, stop=count, generation=generation
    )
    return (stream,) if count else ()


def keep_blindly(pool: Pool, count: int) -> Pool:
    """A random subset, in place of what a filter keeps."""
    return (select(pool, count, {"name": RANDOM, "seed": [0]}),)


def after(step: Step) -> Pool:
    """D_{n+1}."""
    return POOL_RULES[step.config.rule].combine(step)
