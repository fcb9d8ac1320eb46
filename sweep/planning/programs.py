"""How many images programs are asked for, on which their images and so their keys depend.

A program draws all images that it is asked for at once, because it takes long to start. If they are
needed for a pool or a measurement, the stream's key contains their number. If the program that
trains also draws, the node's key contains it. Other streams are endless, and need no number.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from model.errors import UsageError, shown
from model.programs.settings import SAMPLE, draws_at_once, draws_in_training, whole_blocks
from model.randomness import Purpose
from sweep.files import text_digest
from sweep.planning.measurements import COPYING, MetricsPlan
from sweep.planning.members import Member
from sweep.planning.new_images import Entry, entering_images
from sweep.planning.pool import Pool, Segment, Selected, Source

Counts = dict[str, tuple[str, int]]
"""Key of a stream that is drawn at once -> its key without the number of images, and the number."""


@dataclass(frozen=True, slots=True)
class Programs:
    """The programs of a lineage's members."""

    members: Sequence[Member]
    counts: Counts = field(default_factory=dict)
    """The streams that were bound so far."""

    def bind(self, pool: Pool) -> Pool:
        """A new pool, in which the keys of streams that are drawn at once have their numbers."""
        at_once = [draws_at_once(member.model, member.sample) for member in self.members]
        needed: dict[str, int] = {}
        for segment in segments_of(pool) if any(at_once) else ():
            if segment.kind == "synthetic" and at_once[segment.member]:
                needed[segment.source] = max(needed.get(segment.source, 0), segment.stop)
        if not needed:
            return pool
        keys = {}
        for stream, least in needed.items():
            count = whole_blocks(least)
            keys[stream] = text_digest(f'{{"num_images":{count},"stream":"{stream}"}}')
            self.counts[keys[stream]] = stream, count
        return renamed(pool, keys)

    def bind_plans(self, plans: Iterable[MetricsPlan]) -> tuple[MetricsPlan, ...]:
        """Measurements of models, whose images are bound."""
        return self.bind_held_out(
            _changed(plan, "images", self.bind(plan.images)) for plan in plans
        )

    def bind_held_out(self, plans: Iterable[MetricsPlan]) -> tuple[MetricsPlan, ...]:
        """Measurements, whose held-out images are bound."""
        return tuple(_changed(plan, "held_out", self.bind(plan.held_out)) for plan in plans)

    @property
    def draw_in_training(self) -> bool:
        """Whether a member's program draws its images in training."""
        return any(draws_in_training(member.model, member.sample) for member in self.members)

    def drawn_in_training(
        self,
        entry: Entry,
        pool: Pool,
        measured: Sequence[MetricsPlan | None],
        *,
        generation: int,
        count: int,
    ) -> list[int | None]:
        """How many images each member draws in training; None if it does not.

        Args:
            entry: Settings, members and data of the lineage.
            pool: D_n.
            measured: The lineage's own measurement of each member, if any.
            generation: n.
            count: Size of S_n, also in the last generation, so that keys do not depend on the
                lineage's length.
        """
        streams = [""] * len(self.members)
        needs = [entering_images(entry, pool, streams, generation=generation, count=count)]
        if entry.is_mixed and measured[0] is not None:
            number = measured[0].num_images
            needs += [entering_images(entry, pool, streams, generation=generation, count=number)]
        return [
            whole_blocks(
                max(
                    0 if plan is None else plan.num_images,
                    *(s.stop for pools in needs for s in segments_of(pools[k])),
                    0,
                )
            )
            if draws_in_training(member.model, member.sample)
            else None
            for k, (member, plan) in enumerate(zip(self.members, measured, strict=True))
        ]


def _changed(plan: MetricsPlan, name: str, pool: Pool) -> MetricsPlan:
    return plan if pool is getattr(plan, name) else replace(plan, **{name: pool})


def segments_of(pool: Pool) -> Iterator[Segment]:
    """All segments of a pool, also those from which selections are made."""
    for source in pool:
        if isinstance(source, Selected):
            yield from segments_of(source.of)
        else:
            yield source


def renamed(pool: Pool, keys: dict[str, str]) -> Pool:
    """A pool with other keys of some streams."""

    def rename(source: Source) -> Source:
        if isinstance(source, Selected):
            return replace(source, of=renamed(source.of, keys))
        return replace(source, source=keys.get(source.source, source.source))

    return tuple(map(rename, pool))


def check_drawn(num_images: int | None, plans: Iterable[MetricsPlan]) -> None:
    """Raise UsageError unless images that were drawn in training suffice for measurements."""
    if num_images is None:
        return
    for plan in plans:
        if plan.purpose is not Purpose.SAMPLE or COPYING in plan.config.names:
            raise UsageError(
                f"metrics must measure the images that enter the pool without {SAMPLE}, got "
                f"metrics.images={plan.config.images!r} and {shown(plan.config.names)}; the "
                "program that trains draws no others"
            )
        if plan.num_images > num_images:
            raise UsageError(
                f"metrics.num_images must be at most the {num_images} that the program draws in "
                f"training, got {plan.num_images}; set {SAMPLE}"
            )
