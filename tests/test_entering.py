"""Facts of what enters a pool: classes of new images against closed forms, streams, prefixes."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tiny_sweep import CARD, make_lineage

from sweep.planning.class_counts import class_weights, quota
from sweep.planning.new_images import streams_of
from sweep.planning.nodes import NodePlan, plan_lineage
from sweep.planning.pool import (
    RANDOM,
    Pool,
    Segment,
    Selected,
    class_counts,
    pool_rows,
    pool_size,
    select,
)
from sweep.records import PROBE, DatasetCard

CONDITIONAL = {"model.family": "gaussian", "model.conditional": True, "metrics.names": []}
"""A model that is asked for classes; plans draw nothing."""
PROBED = {"model.family": "gaussian", "metrics.names": []}
"""One that is not: a probe tells its images' classes."""


def card_of(labels: Sequence[int]) -> DatasetCard:
    """A data set of so many classes, its train images in this order."""
    num_classes = max(labels) + 1
    return replace(
        CARD,
        num_train=len(labels),
        train_labels=list(labels),
        num_classes=num_classes,
        class_names=[f"class {k}" for k in range(num_classes)],
        reference_class_counts=[10] * num_classes,
        num_reference=10 * num_classes,
    )


def labels_of(counts: Sequence[int]) -> list[int]:
    return np.repeat(np.arange(len(counts)), counts).tolist()


def nodes_of(labels: Sequence[int], base=CONDITIONAL, /, **changes: Any) -> list[NodePlan]:
    """The nodes of a lineage; `changes` are of the pool but for generations and seed."""
    own = {k: changes.pop(k) for k in ("generations", "seed", "ensemble", "filter") if k in changes}
    pool = {f"pool.{name}": value for name, value in changes.items()}
    return plan_lineage(make_lineage({**base, **pool}, **own), card_of(labels))


def counts_of(pool: Pool, labels: Sequence[int]) -> list[int]:
    """(C,) images of a pool of each class."""
    return class_counts(pool_rows(pool, labels), max(labels) + 1)


def shares_of(node: NodePlan, labels: Sequence[int]) -> list[Fraction]:
    """Class shares of the pool that a node trains on."""
    return [Fraction(n, node.num_images) for n in counts_of(node.pool, labels)]


@given(
    st.lists(st.integers(1, 12), min_size=2, max_size=5),
    st.integers(0, 100),
    st.sampled_from([0.5, 1.0, 2.3]),
    st.sampled_from([CONDITIONAL, PROBED]),
)
def test_new_images_have_the_classes_of_the_quota(counts, percent, alpha, base) -> None:
    """Webster's numbers of the shares q, whether classes are asked for or found."""
    labels, concentration = labels_of(counts), percent / 100
    assume(base is CONDITIONAL or (percent > 0 and len(labels) > len(counts)))
    focal = {"concentration": concentration, "focal_classes": ["1"]}
    first, second = nodes_of(labels, base, alpha=alpha, **focal)
    weights = class_weights(counts, concentration=concentration, focal=[1])
    assert counts_of(first.new, labels) == quota(weights, first.num_new).tolist()
    assert second.num_images == len(labels) + first.num_new


@given(st.lists(st.integers(1, 12), min_size=2, max_size=3), st.sampled_from([0.5, 1.0, 2.3]))
def test_without_concentration_a_pool_keeps_its_shares(counts, alpha) -> None:
    """Of up to three classes, within one image of each generation."""
    labels = labels_of(counts)
    for k, node in enumerate(nodes_of(labels, alpha=alpha, generations=4)):
        for share, count in zip(shares_of(node, labels), counts, strict=True):
            assert abs(share - Fraction(count, len(labels))) * node.num_images <= 2**k


@pytest.mark.parametrize("base", [CONDITIONAL, PROBED])
@pytest.mark.parametrize(("alpha", "generations"), [(1.0, 4), (0.5, 3), (2.0, 4)])
def test_a_concentrated_pool_follows_its_closed_form(alpha, generations, base) -> None:
    """All new images of class c: p_c(k) = 1 - (1 - p_c(1)) / (1 + alpha)^(k - 1), exactly.

    102 classes of ten, as the paper's flowers: .0098, .5049, .7525, .8762 at alpha 1.
    """
    labels = labels_of([10] * 102)
    nodes = nodes_of(
        labels,
        base,
        alpha=alpha,
        concentration=1.0,
        focal_classes=["class 7"],
        generations=generations,
    )
    growth = 1 + Fraction(alpha)
    expected = [1 - (1 - Fraction(1, 102)) / growth**k for k in range(generations)]
    assert [shares_of(node, labels)[7] for node in nodes] == expected
    if alpha == 1:
        assert [round(float(p), 4) for p in expected] == [0.0098, 0.5049, 0.7525, 0.8762]


@pytest.mark.parametrize("rule", ["grow", "mix"])
def test_a_growing_pools_shares_are_mixed_with_the_new_ones(rule: str) -> None:
    """Then p' = (p + alpha q) / (1 + alpha), q = c focal + (1 - c) p; mix puts D_1's p first.

    Of 8 images (6 and 2) at alpha 1 and c = 0.5: q = (3/8, 5/8), and then by the pool's p.
    """
    labels = labels_of([6, 2])
    nodes = nodes_of(
        labels, rule=rule, alpha=1.0, concentration=0.5, focal_classes=["1"], generations=3
    )
    first, half = [Fraction(3, 4), Fraction(1, 4)], Fraction(1, 2)
    pools = [first]
    for _ in range(2):
        p = pools[-1]
        q = [half * p[0], half + half * p[1]]
        start = p if rule == "grow" else first
        pools.append([(a + b) / 2 for a, b in zip(start, q, strict=True)])
    found = [shares_of(node, labels) for node in nodes]
    assert found[:2] == pools[:2]
    # The third may need half an image of the new ones rounded.
    assert [float(p) for p in found[2]] == pytest.approx(pools[2], abs=0.5 / nodes[2].num_images)


@pytest.mark.parametrize(("rule", "alpha"), [("replace", None), ("grow", 1.0)])
def test_drawn_classes_drift_as_wright_and_fisher_say(rule: str, alpha) -> None:
    """Heterozygosity E[1 - sum p^2] is times 1 - m / N'^2 each generation, N' = m if replaced.

    Of 10 images, half and half; 400 seeds, within four standard errors.
    """
    labels, seeds = labels_of([5, 5]), 400
    runs = [
        nodes_of(labels, rule=rule, alpha=alpha, labels="multinomial", generations=3, seed=seed)
        for seed in range(seeds)
    ]
    expected = Fraction(1, 2)
    for k in range(3):
        found = [1 - float(sum(p * p for p in shares_of(run[k], labels))) for run in runs]
        error = np.std(found) / seeds**0.5
        assert np.mean(found) == pytest.approx(float(expected), abs=4 * error + 1e-12)
        m, larger = runs[0][k].num_new, runs[0][min(k + 1, 2)].num_images
        expected *= 1 - Fraction(m, larger**2)


@pytest.mark.parametrize("alpha", [1.0, 3.0])
def test_fresh_images_shrink_a_bias_as_their_share_says(alpha: float) -> None:
    """Of q = a p + (1 - a) p_i chi2(q || p) = (1 - a)^2 chi2(p_i || p), a = 1 / (1 + alpha).

    arXiv:2602.16601, on class shares: D_1 is of one class, the reserve of two in equal parts.
    """
    labels = [0] * 64 + [0, 1] * 96
    nodes = nodes_of(labels, rule="fresh", alpha=alpha, initial_images=64, generations=4)
    squares = [
        sum((p - Fraction(1, 2)) ** 2 * 2 for p in shares_of(node, labels)) for node in nodes
    ]
    kept = 1 - 1 / (1 + Fraction(alpha))
    assert [float(s) for s in squares] == pytest.approx([float(kept ** (2 * k)) for k in range(4)])


def test_members_split_the_new_images_and_each_its_classes() -> None:
    """12 new ones of two members at 2 : 1, of each a third of class 1."""
    labels = labels_of([8, 4])
    first = nodes_of(labels, alpha=1.0, ensemble={"members": ["share=0.666667", "share=0.333333"]})[
        :2
    ]
    assert [node.num_new for node in first] == [8, 4]
    counts = [counts_of(node.new, labels) for node in first]
    assert counts == [quota([2, 1], 8).tolist(), quota([2, 1], 4).tolist()]


def stream(count: int, label: int | None = None, source: str = "s") -> Segment:
    return Segment(kind="synthetic", source=source, start=0, stop=count, generation=1, label=label)


def test_needed_streams_are_the_farthest_images() -> None:
    """Of each stream and class, whatever selects among them; real images need none."""
    real = Segment(kind="real", source="f", start=0, stop=9)
    chosen = select((stream(30), real), 5, {"name": RANDOM, "seed": [0]})
    pool = (real, stream(10), chosen, stream(4, label=1), stream(2, source="t"))
    assert streams_of(pool) == {("s", None): 30, ("s", 1): 4, ("t", None): 2}


def found_by_probe(keep: int, label: int) -> Selected:
    return select((stream(1000),), keep, {"name": PROBE, "class": label}, label=label)


def test_of_probed_streams_as_many_are_needed_as_are_found() -> None:
    """At least: images of different classes are different images."""
    assert streams_of((found_by_probe(3, 0), found_by_probe(4, 1))) == {("s", None): 7}


def test_a_filter_of_probed_images_needs_its_candidates() -> None:
    """Six found, of which two are kept."""
    kept = select((found_by_probe(6, 0),), 2, {"name": "typicality"}, label=0)
    assert streams_of((kept,)) == {("s", None): 6}


@given(
    st.floats(0, 3).map(lambda alpha: round(alpha, 2)),
    st.floats(0, 3).map(lambda alpha: round(alpha, 2)),
    st.sampled_from([0.0, 0.4, 1.0]),
    st.sampled_from(["quota", "multinomial"]),
)
def test_a_smaller_alpha_takes_a_subset_of_a_larger_ones_images(a, b, concentration, kind) -> None:
    """Of every class's stream a prefix; and V_1 is one model."""
    labels = labels_of([7, 5, 3])
    focal = {"concentration": concentration, "focal_classes": ["2"], "labels": kind}
    small, large = (nodes_of(labels, alpha=alpha, **focal)[0] for alpha in sorted((a, b)))
    assert small.key == large.key
    larger = streams_of(large.new)
    for place, count in streams_of(small.new).items():
        assert count <= larger[place]


def test_concentrations_share_their_first_model_and_streams() -> None:
    """More of the focal class, fewer of the others, of the same streams."""
    labels = labels_of([7, 5, 3])
    mild, strong = (
        nodes_of(labels, alpha=2.0, concentration=c, focal_classes=["2"])[0] for c in (0.2, 0.6)
    )
    assert mild.key == strong.key
    mildly, strongly = streams_of(mild.new), streams_of(strong.new)
    assert set(mildly) == set(strongly)
    assert [strongly[p] > mildly[p] for p in sorted(mildly)] == [False, False, True]


@pytest.mark.parametrize("base", [CONDITIONAL, PROBED])
def test_a_filter_keeps_of_each_class_as_many_as_without_it(base) -> None:
    """Of twice as many candidates of each."""
    labels = labels_of([6, 6])
    focal = {"concentration": 0.5, "focal_classes": ["0"], "alpha": 1.0}
    judge = {"name": "random", "candidates": 2.0}
    plain = nodes_of(labels, base, **focal)[0]
    kept = nodes_of(labels, base, **focal, filter=judge)[0]
    assert counts_of(kept.new, labels) == counts_of(plain.new, labels)
    assert kept.num_drawn == 2 * plain.num_drawn


def test_the_mixture_is_planned_where_more_enters_than_one_models_first_images() -> None:
    """With several members, a filter of new images or a concentration."""
    labels = labels_of([6, 6])
    base = {**PROBED, "metrics.names": ["kid"]}
    focal = {"concentration": 0.5, "focal_classes": ["0"]}
    plain = nodes_of(labels, base, alpha=1.0)
    assert [node.mixture for node in plain] == [(), ()]
    judge = {"name": "random", "candidates": 2.0}
    for changes in (focal, {"ensemble": {"size": 2}}, {"filter": judge}):
        first = nodes_of(labels, base, alpha=1.0, **changes)[0]
        (mixture,) = first.mixture
        assert pool_size(mixture.images) == mixture.num_images == 16


def plan_error(labels: Sequence[int], card: dict[str, Any], **changes: Any) -> str:
    """What the plan of an impossible lineage says."""
    config = make_lineage({**PROBED, "pool.alpha": 1.0, **changes})
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the message is compared)
        plan_lineage(config, replace(card_of(labels), **card))
    return str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"pool.focal_classes": ["rose"]},
            "pool.focal_classes must name classes of digits, got 'rose'; it has class 0, class 1",
        ),
        ({"pool.focal_classes": ["2"]}, "pool.focal_classes must name classes of digits, got '2'"),
        (
            {"pool.focal_classes": ["1", "class 1"], "pool.concentration": 0.5},
            "pool.focal_classes must name each class once, got ('1', 'class 1')",
        ),
        (
            {"pool.concentration": 0.5},
            "pool.focal_classes must name at least one class with pool.concentration=0.5, got ()",
        ),
        (
            {
                "pool.initial_images": 6,
                "pool.concentration": 0.5,
                "pool.focal_classes": ["0"],
            },
            "a probe's images must include every class, got none of class 1; give more images, or "
            "set pool.concentration to 0 and use no filter that needs classes",
        ),
        (
            {"filter.name": "confidence", "filter.candidates": 2.0, "pool.initial_images": 6},
            "a probe's images must include every class, got none of class 1",
        ),
        (
            {"filter.name": "typicality", "filter.candidates": 2.0, "filter.nearest_k": 13},
            "D_1 must have at least 13 real images, because filter.name=typicality compares with "
            "them",
        ),
        (
            {
                "filter.name": "typicality",
                "filter.candidates": 2.0,
                "filter.nearest_k": 7,
                "model.conditional": True,
            },
            "D_1 must have at least 7 real images of each class, because filter.name=typicality",
        ),
        (
            {"filter.name": "reward", "filter.candidates": 4.0, "filter.reward_class": "rose"},
            "filter.reward_class must name classes of digits, got 'rose'",
        ),
        (
            {"train.start": "continue"},
            "train.start must be scratch with model.family=gaussian, which is fitted in one step",
        ),
    ],
)
def test_what_does_not_fit_the_classes_is_one_line(changes, message) -> None:
    """Before anything runs."""
    found = plan_error(labels_of([6, 6]), {}, **changes)
    assert found.startswith(message)
    assert "\n" not in found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"pool.concentration": 0.5},
            "pool.concentration must be 0 with data.name=digits, which has no classes, got 0.5",
        ),
        (
            {"model.conditional": True},
            "model.conditional must be False with data.name=digits, which has no classes, got True",
        ),
        (
            {"filter.name": "confidence", "filter.candidates": 2.0},
            "filter.name must be a filter that needs no classes if the real images have none",
        ),
    ],
)
def test_without_classes_nothing_is_asked_of_them(changes, message) -> None:
    """Of data that have none."""
    card = {"num_classes": 0, "class_names": [], "train_labels": []}
    assert plan_error([0, 1] * 6, card, **changes).startswith(message)
