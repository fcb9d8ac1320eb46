"""Pools as manifests: which images a model trains on, by where they come from.

A pool is a tuple of sources: segments, which are ranges of the data set's train images or of a
stream, and selections, which keep some images of other sources. Sizes, and where nothing has to be
looked at also classes and origins, follow from the manifest alone. Must not know pixels, files or
how pools change (sweep/planning/rules.py).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np

from model.randomness import Purpose, generator

RANDOM = "random-subset"
"""Name of the selection that looks at no image."""
UNKNOWN = -1
"""Class or origin of an image that only a look at it tells."""


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
    label: int | None = None
    """Class of which the stream's model was asked for images; None for unconditional streams."""

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, kw_only=True, slots=True)
class Selected:
    """Images [start, stop) of those that a selection keeps of its candidates.

    Of a random subset in random order, else in the order of the candidates.
    """

    of: "Pool"
    """The candidates."""
    keep: int
    """How many the selection keeps."""
    by: dict[str, Any]
    """What selects, as JSON: its name, and all that can change its choice."""
    start: int
    stop: int
    label: int | None = None
    """Class of the images, where the selection is by class or of one class."""

    def __len__(self) -> int:
        return self.stop - self.start


Source = Segment | Selected
Pool = tuple[Source, ...]
Choose = Callable[[Selected], np.ndarray]
"""The positions among its candidates that a selection keeps, (keep,) int64, each once."""


class NotLookedAt(Exception):
    """What a selection keeps is known only after a look at its candidates."""


class Rows(NamedTuple):
    """What is known of a pool's images, in order."""

    generations: np.ndarray
    """(N,) int64 origins; UNKNOWN where only a look at the images tells."""
    members: np.ndarray
    """(N,) int64; 0 for real images."""
    labels: np.ndarray
    """(N,) int64 classes; UNKNOWN likewise, or where there are none."""


def select(of: Pool, keep: int, by: dict[str, Any], *, label: int | None = None) -> Selected:
    """All of what a selection keeps."""
    return Selected(of=of, keep=keep, by=by, start=0, stop=keep, label=label)


def pool_size(pool: Pool) -> int:
    """Images of a pool."""
    return sum(len(source) for source in pool)


def pool_recipe(pool: Pool) -> list[dict[str, Any]]:
    """The pool as JSON, for keys and pool.json; what a source does not have is left out."""
    return [_source_recipe(source) for source in pool]


def _source_recipe(source: Source) -> dict[str, Any]:
    label = {} if source.label is None else {"label": source.label}
    if isinstance(source, Segment):
        return {k: v for k, v in asdict(source).items() if k != "label"} | label
    return {
        "kind": "selected",
        "of": pool_recipe(source.of),
        "keep": source.keep,
        "by": source.by,
        "start": source.start,
        "stop": source.stop,
    } | label


def pool_from_recipe(recipe: Iterable[dict[str, Any]]) -> Pool:
    """The inverse of `pool_recipe`."""
    sources: list[Source] = []
    for entry in recipe:
        if entry["kind"] == "selected":
            rest = {k: v for k, v in entry.items() if k not in ("kind", "of")}
            sources.append(Selected(of=pool_from_recipe(entry["of"]), **rest))
        else:
            sources.append(Segment(**entry))
    return tuple(sources)


def shard(pool: Pool, index: int, count: int) -> Pool:
    """Part `index` of `count` disjoint parts, of every source alike, which together are the pool.

    Positions of real images and of random subsets are those of a random permutation and a stream's
    images are independent, so that contiguous parts are random ones. What cannot be split evenly
    goes to the parts in turn, from source to source, so that sizes differ by one image at most.
    """
    parts, turn = [], 0
    for source in pool:
        each, rest = divmod(len(source), count)
        sizes = [each + ((i - turn) % count < rest) for i in range(count)]
        if sizes[index]:
            start = source.start + sum(sizes[:index])
            parts.append(replace(source, start=start, stop=start + sizes[index]))
        turn += rest
    return tuple(parts)


def first_images(pool: Pool, count: int) -> Pool:
    """The first `count` images of a pool."""
    kept = []
    for source in pool:
        if count <= 0:
            break
        kept.append(replace(source, stop=min(source.stop, source.start + count)))
        count -= len(source)
    return tuple(kept)


def random_positions(selected: Selected) -> np.ndarray:
    """What a random subset keeps: (keep,) positions in random order, by its seed alone."""
    rng = generator(tuple(selected.by["seed"]), Purpose.POOL)
    return rng.permutation(pool_size(selected.of))[: selected.keep]


def choose_blindly(selected: Selected) -> np.ndarray:
    """The choice of a selection that looks at no image; NotLookedAt for another."""
    if selected.by["name"] != RANDOM:
        raise NotLookedAt
    return random_positions(selected)


def pool_rows(
    pool: Pool, real_labels: Sequence[int] | np.ndarray | None, choose: Choose = choose_blindly
) -> Rows:
    """Origin, member and class of every image of a pool, as far as they are known.

    Args:
        pool: The manifest.
        real_labels: (K,) classes of the data set's train images, None where they have none.
        choose: What a selection keeps; one that raises NotLookedAt leaves unknown what differs
            among its candidates.
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
    """The value that all candidates share, `count` times; else UNKNOWN."""
    same = len(column) > 0 and bool((column == column[0]).all())
    return np.full(count, column[0] if same else UNKNOWN, np.int64)


def pool_origins(pool: Pool, choose: Choose = choose_blindly) -> dict[str, int]:
    """Images by origin generation ("0" is real data, "-1" what is unknown without a look)."""
    return count_origins(pool_rows(pool, None, choose))


def count_origins(rows: Rows) -> dict[str, int]:
    """Images by origin generation, as pool_origins."""
    origins, counts = np.unique(rows.generations, return_counts=True)
    return {str(origin): int(count) for origin, count in zip(origins, counts, strict=True)}


def class_counts(rows: Rows, num_classes: int) -> list[int]:
    """(C,) images of each class, those of unknown class left out."""
    known = rows.labels[rows.labels != UNKNOWN]
    return np.bincount(known, minlength=num_classes).tolist()


def only_real(pool: Pool) -> Pool:
    """The real segments of a pool."""
    return tuple(s for s in pool if isinstance(s, Segment) and s.kind == "real")


def num_real_seen(pool: Pool) -> int:
    """The first so many train images hold all that a pool has, or has to choose from."""
    return max(
        [
            num_real_seen(source.of) if isinstance(source, Selected) else source.stop
            for source in pool
            if isinstance(source, Selected) or source.kind == "real"
        ],
        default=0,
    )


def real_and_own(pool: Pool, member: int) -> Pool:
    """The real sources of a pool, and those whose images one member made alone."""

    def belongs(source: Source) -> bool:
        if isinstance(source, Segment):
            return source.kind == "real" or source.member == member
        return all(belongs(candidate) for candidate in source.of)

    return tuple(source for source in pool if belongs(source))
