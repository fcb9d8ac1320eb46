"""What the metric `copying` compares each model's images with: its pool, and images like it.

For each earlier generation in a pool, images of the same models are held out that the pool does not
contain. They are drawn from the separate stream of measured images, and chosen in the same way as
those that entered the pool.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from model.randomness import Purpose
from sweep.planning.measurements import MetricsPlan
from sweep.planning.new_images import Entry, entering_images
from sweep.planning.pool import Pool

COPYING = "copying"
"""Name of the metric."""
Generation = tuple[Pool, list[str]]
"""D_n, and the separate stream of each member of generation n."""


def with_pools(
    plans: Iterable[MetricsPlan], entry: Entry, pool: Pool, earlier: Sequence[Generation]
) -> tuple[MetricsPlan, ...]:
    """The specifications, with the pool and held-out images of those that have the metric.

    Args:
        plans: Specifications bound to a model's images.
        entry: Settings, members and data of the lineage.
        pool: Images that the model sees.
        earlier: All earlier generations, in order.
    """
    return tuple(
        replace(plan, pool=pool, held_out=held_out(entry, earlier, plan.num_images))
        if COPYING in plan.config.names
        else plan
        for plan in plans
    )


def held_out(entry: Entry, earlier: Sequence[Generation], count: int) -> Pool:
    """`count` images of each earlier generation that are in no pool."""
    parts = [
        entering_images(
            entry, pool, streams, generation=generation, count=count, purpose=Purpose.MEASURE
        )
        for generation, (pool, streams) in enumerate(earlier, start=1)
    ]
    return tuple(source for members in parts for member in members for source in member)
