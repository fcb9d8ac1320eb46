"""Facts of shares that a pool keeps: the control of concentration for unconditional models."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_entering import CONDITIONAL, PROBED, counts_of, labels_of, nodes_of
from tiny_sweep import CARD, make_lineage, make_sweep, plan

from sweep.commands.plan import note_uneven_control
from sweep.planning.nodes import plan_lineage
from sweep.planning.pool import Selected
from sweep.records import PROBE

CLASSES = st.lists(st.integers(2, 12), min_size=2, max_size=5)
UNCONDITIONAL = {"model.family": "gaussian", "model.conditional": False}


@settings(max_examples=40)
@given(CLASSES, st.sampled_from(["quota", "stratified", "multinomial"]))
def test_the_control_is_the_limit_of_small_concentrations(counts, kind) -> None:
    """Equal keys are equal pools, image by image; c = 1e-9 concentrates no whole image."""
    pool = {"labels": kind, "focal_classes": ["0"], "alpha": 1.0, "generations": 4}
    labels = labels_of(counts)
    control = nodes_of(labels, PROBED, shares="pool", **pool)
    limit = nodes_of(labels, PROBED, concentration=1e-9, **pool)
    drifting = nodes_of(labels, PROBED, **pool)
    assert [node.key for node in control] == [node.key for node in limit]
    assert control[0].key == drifting[0].key
    assert control[1].key != drifting[1].key


@given(CLASSES)
def test_the_control_keeps_the_shares_of_the_pool(counts) -> None:
    """At alpha 1 from D_1, exactly; a probe finds each class."""
    labels = labels_of(counts)
    first, second = nodes_of(labels, PROBED, shares="pool", alpha=1.0)
    assert counts_of(second.pool, labels) == [2 * count for count in counts]
    assert all(isinstance(s, Selected) and s.by["name"] == PROBE for s in first.new)


def test_conditional_models_keep_the_shares_in_any_case() -> None:
    labels = labels_of([6, 3])
    drifting, kept = (
        nodes_of(labels, CONDITIONAL, alpha=1.0, shares=shares) for shares in ("drift", "pool")
    )
    assert [node.key for node in drifting] == [node.key for node in kept]


def test_data_without_classes_has_no_shares() -> None:
    bare = {"num_classes": 0, "class_names": [], "train_labels": [], "reference_class_counts": []}
    config = make_lineage({**PROBED, "pool.shares": "pool", "pool.alpha": 1.0})
    with pytest.raises(ValueError, match=r"pool.shares must be drift with data.name=digits"):
        plan_lineage(config, replace(CARD, **bare))


@pytest.mark.parametrize(
    ("changes", "values", "noted"),
    [
        ({}, [0.0, 0.5], True),
        ({}, [0.5, 1.0], False),
        ({}, [0.0], False),
        ({"pool.shares": "pool"}, [0.0, 0.5], False),
        ({"model.conditional": True}, [0.0, 0.5], False),
    ],
)
def test_a_plan_names_the_control_that_an_axis_lacks(changes, values, noted, capsys) -> None:
    base = make_lineage({**UNCONDITIONAL, "pool.focal_classes": ["one"], **changes})
    note_uneven_control(plan(make_sweep(({"pool.concentration": values},), base)))
    expected = "note: with pool.concentration 0 the classes of an unconditional model drift"
    assert capsys.readouterr().err.startswith(expected) is noted
