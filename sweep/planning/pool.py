"""Pools as manifests, which say where the images that a model trains on come from.

A pool is a tuple of sources: segments, which are ranges of the data set's train images or of a
stream, and selections, which keep some images of other sources. Sizes follow from the manifest. So
do classes and origins, unless a selection depends on pixels. sweep/planning/rules.py says how pools
change.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, NamedTuple

import numpy as np

from model.randomness import Purpose, generator
from sweep.files import encoded
from sweep.remembered import remembered_by_object

RANDOM = "random-subset"
"""Name of the selection that does not depend on pixels."""
UNKNOWN = -1
"""Class or origin of an image if it can only be known by looking at the image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """Images [start, stop) of one source.

    For `real`, `source` is the data set's fingerprint, and `start` and `stop` count its train
    images; for `synthetic`, `source` is a stream's key.
    """

    kind: Literal["real", "synthetic"]
    source: str
    start: int
    stop: int
    generation: int = 0
    """Origin: 0 is real data, n the images of V_n."""
    member: int = 0
    label: int | None = None
    """Class that the stream's model was conditioned on; None for unconditional streams."""

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, kw_only=True, slots=True)
class Selected:
    """Images [start, stop) of those that a selection keeps of its candidates.

    A random subset is in random order; every other selection keeps the order of the candidates.
    """

    of: "Pool"
    """The candidates."""
    keep: int
    """Number of images that the selection keeps."""
    by: dict[str, Any]
    """The selection as JSON: its name and everything that can change its choice."""
    start: int
    stop: int
    label: int | None = None
    """Class of the images, if the selection is by class or within one class."""

    def __len__(self) -> int:
        return self.stop - self.start


Source = Segment | Selected
Pool = tuple[Source, ...]
Choose = Callable[[Selected], np.ndarray]
"""Returns the positions among its candidates that a selection keeps, (keep,) int64, distinct."""


class NotLookedAt(Exception):
    """What a selection keeps depends on pixels of its candidates, which were not looked at."""


class Rows(NamedTuple):
    """What is known of a pool's images, in order."""

    generations: np.ndarray
    """(N,) int64 origins; UNKNOWN if they depend on pixels."""
    members: np.ndarray
    """(N,) int64; 0 for real images, UNKNOWN if they depend on pixels."""
    labels: np.ndarray
    """(N,) int64 classes; UNKNOWN if they depend on pixels, or if there are none."""


def select(of: Pool, keep: int, by: dict[str, Any], *, label: int | None = None) -> Selected:
    """Everything that a selection keeps, as one source."""
    return Selected(of=of, keep=keep, by=by, start=0, stop=keep, label=label)


def pool_size(pool: Pool) -> int:
    """Number of images in a pool."""
    return sum([source.stop - source.start for source in pool])


def pool_recipe(pool: Pool) -> list[dict[str, Any]]:
    """The pool as JSON, for keys and pool.json; a label that is None is left out."""
    return [_source_recipe(source) for source in pool]


def recipe_text(pool: Pool) -> str:
    """`pool_recipe` as canonical JSON."""
    return f"[{','.join(map(_source_text, pool))}]"


def _source_recipe(source: Source) -> dict[str, Any]:
    recipe = {f.name: getattr(source, f.name) for f in fields(source)}
    if source.label is None:
        del recipe["label"]
    if isinstance(source, Selected):
        recipe |= {"kind": "selected", "of": pool_recipe(source.of)}
    return recipe


@remembered_by_object
def _source_text(source: Source) -> str:
    if not isinstance(source, Segment):
        return encoded(_source_recipe(source))
    # Written out, because a plan of a large grid has very many segments.
    label = "" if source.label is None else f'"label":{source.label},'
    return (
        f'{{"generation":{source.generation},"kind":"{source.kind}",{label}'
        f'"member":{source.member},"source":{encoded(source.source)},'
        f'"start":{source.start},"stop":{source.stop}}}'
    )


def pool_from_recipe(recipe: Iterable[dict[str, Any]]) -> Pool:
    """The inverse of `pool_recipe`."""
    sources: list[Source] = []
    for entry in recipe:
        if entry["kind"] == "selected":
            others = {k: v for k, v in entry.items() if k not in ("kind", "of")}
            sources.append(Selected(of=pool_from_recipe(entry["of"]), **others))
        else:
            sources.append(Segment(**entry))
    return tuple(sources)


def shard(pool: Pool, index: int, count: int) -> Pool:
    """Part `index` of `count` disjoint parts of the pool; every source is split in the same way.

    Contiguous parts are random samples, because real images and random subsets are in the order of
    a random permutation, and the images of a stream are independent. The remainders of the sources
    go to the parts in turn, so that the sizes of the parts differ by at most one image.
    """
    parts, num_extra = [], 0
    for source in pool:
        size, remainder = divmod(len(source), count)
        sizes = [size + ((i - num_extra) % count < remainder) for i in range(count)]
        if sizes[index]:
            start = source.start + sum(sizes[:index])
            parts.append(replace(source, start=start, stop=start + sizes[index]))
        num_extra += remainder
    return tuple(parts)


def first_images(pool: Pool, count: int) -> Pool:
    """The first `count` images of a pool."""
    sources = []
    for source in pool:
        if count <= 0:
            break
        sources.append(replace(source, stop=min(source.stop, source.start + count)))
        count -= len(source)
    return tuple(sources)


def random_positions(selected: Selected) -> np.ndarray:
    """Positions that a random subset keeps, (keep,) in the random order that its seed gives."""
    rng = generator(tuple(selected.by["seed"]), Purpose.POOL)
    return rng.permutation(pool_size(selected.of))[: selected.keep]


def choose_blindly(selected: Selected) -> np.ndarray:
    """The choice of a selection that does not depend on pixels; raises NotLookedAt for others."""
    if selected.by["name"] != RANDOM:
        raise NotLookedAt
    return random_positions(selected)


def pool_rows(
    pool: Pool, real_labels: Sequence[int] | np.ndarray | None, choose: Choose = choose_blindly
) -> Rows:
    """Origin, member and class of every image of a pool, as far as they are known.

    Args:
        pool: The manifest.
        real_labels: (K,) classes of the data set's train images; None if they have none.
        choose: Returns what a selection keeps. If it raises NotLookedAt, whatever differs among the
            selection's candidates is UNKNOWN.
    """
    parts = [_source_rows(source, real_labels, choose) for source in pool]
    empty = np.empty(0, np.int64)
    return Rows(
        *(np.concatenate(column) for column in zip(Rows(empty, empty, empty), *parts, strict=True))
    )


def _source_rows(
    source: Source, real_labels: Sequence[int] | np.ndarray | None, choose: Choose
) -> Rows:
    count = len(source)
    if isinstance(source, Segment):
        labels = np.full(count, UNKNOWN if source.label is None else source.label, np.int64)
        if source.kind == "real" and real_labels is not None:
            labels = np.asarray(real_labels, np.int64)[source.start : source.stop]
        return Rows(
            np.full(count, source.generation, np.int64),
            np.full(count, source.member, np.int64),
            labels,
        )
    candidates = pool_rows(source.of, real_labels, choose)
    try:
        kept = choose(source)[source.start : source.stop]
        rows = [column[kept] for column in candidates]
    except NotLookedAt:
        rows = [_common(column, count) for column in candidates]
    if source.label is not None:
        rows[2] = np.full(count, source.label, np.int64)
    return Rows(*rows)


def _common(column: np.ndarray, count: int) -> np.ndarray:
    """The value shared by all candidates, `count` times; UNKNOWN if they differ."""
    same = len(column) > 0 and bool((column == column[0]).all())
    return np.full(count, column[0] if same else UNKNOWN, np.int64)


def pool_origins(pool: Pool, choose: Choose = choose_blindly) -> dict[str, int]:
    """Number of images by origin generation; "0" is real data, "-1" is unknown."""
    return count_origins(pool_rows(pool, None, choose))


def count_origins(rows: Rows) -> dict[str, int]:
    """Number of images by origin generation, as in pool_origins."""
    origins, counts = np.unique(rows.generations, return_counts=True)
    return {str(origin): int(count) for origin, count in zip(origins, counts, strict=True)}


def class_counts(rows: Rows, num_classes: int) -> list[int]:
    """(C,) images of each class; images of unknown class are not counted."""
    known = rows.labels[rows.labels != UNKNOWN]
    return np.bincount(known, minlength=num_classes).tolist()


def only_real(pool: Pool) -> Pool:
    """The real segments of a pool."""
    return tuple(s for s in pool if isinstance(s, Segment) and s.kind == "real")


def num_real_seen(pool: Pool) -> int:
    """Smallest n such that every real image of a pool is among the first n train images.

    Candidates of selections count as well.
    """
    return max(
        [
            num_real_seen(source.of) if isinstance(source, Selected) else source.stop
            for source in pool
            if isinstance(source, Selected) or source.kind == "real"
        ],
        default=0,
    )


def real_and_own(pool: Pool, member: int) -> Pool:
    """The real sources of a pool, and those whose synthetic images all come from one member."""

    def belongs(source: Source) -> bool:
        if isinstance(source, Segment):
            return source.kind == "real" or source.member == member
        return all(belongs(candidate) for candidate in source.of)

    return tuple(source for source in pool if belongs(source))
