"""Facts of pools as manifests: sizes, origins, classes, parts, and their JSON."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.files import encoded
from sweep.planning.pool import (
    RANDOM,
    UNKNOWN,
    NotLookedAt,
    Pool,
    Segment,
    Selected,
    Source,
    choose_blindly,
    class_counts,
    first_images,
    pool_from_recipe,
    pool_origins,
    pool_recipe,
    pool_rows,
    pool_size,
    random_positions,
    real_and_own,
    recipe_text,
    select,
    shard,
)

REAL = Segment(kind="real", source="f", start=0, stop=10)
LABELS = [0, 1] * 5
FILTER = {"name": "typicality"}


def stream(count: int, *, generation: int = 1, member: int = 0, label: int | None = None):
    return Segment(
        kind="synthetic",
        source=f"V{generation}.{member}",
        start=0,
        stop=count,
        generation=generation,
        member=member,
        label=label,
    )


def random_subset(of: Pool, keep: int, seed: int = 0) -> Selected:
    return select(of, keep, {"name": RANDOM, "seed": [seed]})


@st.composite
def segments(draw: Any) -> Segment:
    """A range of the data or of a stream."""
    start, count = draw(st.integers(0, 20)), draw(st.integers(1, 20))
    if draw(st.booleans()):
        return Segment(kind="real", source="f", start=start, stop=start + count)
    return Segment(
        kind="synthetic",
        source=draw(st.sampled_from("abc")),
        start=start,
        stop=start + count,
        generation=draw(st.integers(1, 4)),
        member=draw(st.integers(0, 2)),
        label=draw(st.none() | st.integers(0, 3)),
    )


@st.composite
def pools(draw: Any, depth: int = 2) -> Pool:
    """Segments, and random subsets of pools."""
    sources: list[Source] = draw(st.lists(segments(), min_size=1, max_size=3))
    if depth and draw(st.booleans()):
        of = draw(pools(depth - 1))
        keep = draw(st.integers(1, pool_size(of)))
        sources.append(random_subset(of, keep, draw(st.integers(0, 9))))
    return tuple(sources)


Identity = tuple[str, int | None, int]


def images_of(pool: Pool) -> list[Identity]:
    """What each image of a pool is: source, class and number."""
    found: list[Identity] = []
    for source in pool:
        if isinstance(source, Segment):
            numbers = range(source.start, source.stop)
            found += [(source.source, source.label, number) for number in numbers]
        else:
            candidates = images_of(source.of)
            kept = random_positions(source)[source.start : source.stop]
            found += [candidates[i] for i in kept]
    return found


@given(pools())
def test_a_pool_comes_back_from_its_recipe(pool) -> None:
    """pool.json holds it whole, selections of selections too."""
    assert pool_from_recipe(json.loads(json.dumps(pool_recipe(pool)))) == pool


def test_a_recipe_of_plain_segments_is_what_it_was() -> None:
    """Keys of unconditional lineages hold no class."""
    assert pool_recipe((stream(3),)) == [
        {
            "kind": "synthetic",
            "source": "V1.0",
            "start": 0,
            "stop": 3,
            "generation": 1,
            "member": 0,
        }
    ]


def test_an_empty_pool_has_no_images_and_no_origins() -> None:
    """The sums of nothing."""
    assert (pool_size(()), pool_origins(())) == (0, {})


def test_a_segment_is_as_long_as_its_range() -> None:
    """Stop is not in it."""
    assert len(Segment(kind="real", source="f", start=3, stop=10)) == 7


@given(pools(), st.integers(1, 8))
def test_shards_are_disjoint_and_together_the_pool(pool, count) -> None:
    """Each image of each source, nested selections too, is in one part."""
    parts = [shard(pool, index, count) for index in range(count)]
    assert sorted(map(repr, images_of(pool))) == sorted(
        repr(image) for part in parts for image in images_of(part)
    )


@given(pools(), st.integers(1, 8))
def test_shards_differ_by_an_image_at_most(pool, count) -> None:
    """Of however many sources: what is left over goes to the parts in turn."""
    sizes = [pool_size(shard(pool, index, count)) for index in range(count)]
    assert max(sizes) - min(sizes) <= 1


def test_a_shard_of_a_random_subset_is_a_random_subset() -> None:
    """Each third of 300 of 600 images, half of them real, is about half real (four errors)."""
    real = Segment(kind="real", source="f", start=0, stop=300)
    chosen = random_subset((real, stream(300)), 300)
    for index in range(3):
        share = pool_origins(shard((chosen,), index, 3))["0"] / 100
        assert share == pytest.approx(0.5, abs=4 * 0.5 / 100**0.5)


@given(pools(), st.integers(0, 60))
def test_first_images_are_a_prefix(pool, count) -> None:
    """In order, and no more than there are."""
    assert images_of(first_images(pool, count)) == images_of(pool)[:count]


@given(pools())
def test_a_random_subset_keeps_different_images(pool) -> None:
    """Each candidate once at most, and as many as are to be kept."""
    keep = max(1, pool_size(pool) // 2)
    positions = random_positions(random_subset(pool, keep))
    assert len(set(positions.tolist())) == keep
    assert set(positions.tolist()) <= set(range(pool_size(pool)))


def test_rows_say_origin_member_and_class() -> None:
    """Of real images by the data, of streams by what the model was asked for."""
    pool = (REAL, stream(2, generation=3, member=1, label=1), stream(1, generation=2))
    rows = pool_rows(pool, LABELS)
    assert rows.generations.tolist() == [0] * 10 + [3, 3, 2]
    assert rows.members.tolist() == [0] * 10 + [1, 1, 0]
    assert rows.labels.tolist() == [*LABELS, 1, 1, UNKNOWN]
    assert class_counts(rows, 3) == [5, 7, 0]


def test_a_random_subsets_rows_are_known_without_a_look() -> None:
    """Its positions follow from its seed."""
    chosen = random_subset((REAL,), 4)
    assert pool_rows((chosen,), LABELS).labels.tolist() == [
        LABELS[i] for i in random_positions(chosen)
    ]


def test_of_a_filter_only_what_all_candidates_share_is_known() -> None:
    """A model's images have its origin; which classes are kept only a look tells."""
    mixed = select((stream(3, generation=2, label=0), stream(3, generation=2, label=1)), 2, FILTER)
    rows = pool_rows((mixed,), None)
    assert rows.generations.tolist() == [2, 2]
    assert rows.labels.tolist() == [UNKNOWN, UNKNOWN]


def test_a_look_tells_what_a_filter_keeps() -> None:
    """By the positions it gives."""
    mixed = select((REAL, stream(3)), 3, FILTER)
    rows = pool_rows((mixed,), LABELS, lambda selected: np.array([1, 9, 11]))
    assert rows.generations.tolist() == [0, 0, 1]
    assert rows.labels.tolist() == [1, 1, UNKNOWN]


def test_a_selection_of_one_class_has_this_class() -> None:
    """Whatever its candidates say of themselves."""
    found = select((stream(9),), 2, FILTER, label=1)
    assert pool_rows((found,), None).labels.tolist() == [1, 1]


def test_a_mistake_in_a_look_is_no_ignorance() -> None:
    """Only NotLookedAt leaves rows unknown: any other error is an error."""

    def broken(selected: Selected) -> np.ndarray:
        raise KeyError("stream")

    with pytest.raises(KeyError):
        pool_rows((select((REAL,), 2, FILTER),), LABELS, broken)
    with pytest.raises(NotLookedAt):
        choose_blindly(select((REAL,), 2, FILTER))


def test_own_images_are_real_ones_and_a_members() -> None:
    """Selections count where all their candidates do."""
    own, other = stream(3, member=1), stream(3, member=0)
    chosen, mixed = select((own,), 2, FILTER), select((own, other), 2, FILTER)
    assert real_and_own((REAL, own, other, chosen, mixed), 1) == (REAL, own, chosen)


@given(pools())
def test_the_text_of_a_recipe_is_its_canonical_json(pool):
    """Keys hash the text, and pool.json holds the recipe: a field must never be in one alone."""
    assert recipe_text(pool) == encoded(pool_recipe(pool))
