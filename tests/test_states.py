"""Facts of a lineage's state: what its models say, who works on it, and who does not."""

from dataclasses import replace
from typing import Any

import pytest
from test_tracking import publish
from tiny_sweep import make_sweep, plan, plan_in

from sweep.finished import Finished, lineage_status, look_up
from sweep.records import LineageRecord
from sweep.status.states import STATES, counts, lineage_state, started_lineages
from sweep.store.claims import ClaimInfo
from sweep.store.store import open_store

LINEAGE = plan(make_sweep())[0]
RECORD = lineage_status(LINEAGE, Finished(), error=None)
FIRST = RECORD.nodes[0][0]
OTHER = "another-lineage"


def claim(lineage: str, stage: str = "train", age: float = 0.0) -> ClaimInfo:
    """A claim on a machine that is not this one."""
    return ClaimInfo(
        lease_seconds=60.0, age_seconds=age, progress={"lineage": lineage, "stage": stage}
    )


def record(status: str) -> LineageRecord:
    """The lineage with a status at rest, and as many models as that means."""
    trained = status in ("done", "unmeasured")
    return replace(RECORD, status=status, num_done=len(RECORD.nodes) if trained else 0)


CASES: list[tuple[str, str, dict[str, ClaimInfo], Any, bool, str]] = [
    ("nobody works", "pending", {}, None, False, "pending"),
    (
        "nobody works any more",
        "pending",
        {FIRST: claim(RECORD.id, age=61.0)},
        None,
        False,
        "pending",
    ),
    ("it failed, and nobody works", "pending", {}, None, True, "failed"),
    ("it was not measured", "unmeasured", {}, None, False, "unmeasured"),
    ("it was not measured, for a reason", "unmeasured", {}, None, True, "unmeasured"),
    ("its trial trains", "pending", {FIRST: claim(RECORD.id)}, {RECORD.id}, False, "running"),
    ("its trial draws samples", "pending", {"s": claim(RECORD.id)}, {RECORD.id}, False, "running"),
    ("its trial measures", "pending", {}, {RECORD.id}, False, "running"),
    ("no slot is free", "pending", {}, {OTHER}, False, "queued"),
    ("another trains its model", "pending", {FIRST: claim(OTHER)}, {OTHER}, False, "queued"),
    (
        "its trial waits for another sweep's",
        "pending",
        {FIRST: claim(OTHER)},
        {RECORD.id},
        False,
        "queued",
    ),
    ("it has failed, others go on", "pending", {}, {OTHER}, True, "failed"),
    ("it is tried again", "pending", {FIRST: claim(RECORD.id)}, {RECORD.id}, True, "running"),
    ("a measurement is taken", "unmeasured", {}, {RECORD.id}, False, "running"),
    ("another sweep trains its model", "pending", {FIRST: claim(OTHER)}, None, False, "pending"),
    ("an older driver that names none", "pending", {FIRST: claim(RECORD.id)}, (), False, "running"),
    ("it is done", "done", {}, {RECORD.id}, False, "done"),
    ("it has diverged", "diverged", {}, {RECORD.id}, False, "diverged"),
]


@pytest.mark.parametrize(
    ("status", "claims", "started", "has_failed", "state"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
def test_a_state_is(status, claims, started, has_failed, state) -> None:
    assert lineage_state(record(status), claims, started, has_failed=has_failed) == state


def test_the_cases_have_every_state() -> None:
    assert {case[-1] for case in CASES} == set(STATES)


def test_at_rest_nothing_is_running_or_queued(tmp_path) -> None:
    """A record would say so after its process has died, here between two models."""
    store = open_store(tmp_path)
    (lineage,) = plan_in(make_sweep(), store)
    publish(store, lineage.nodes[0])
    finished = look_up(store, [lineage])
    record = lineage_status(lineage, finished, error=None)
    assert (record.status, record.num_done) == ("pending", 1)
    assert lineage_status(lineage, finished, error="lost").status == "failed"


def test_drivers_tell_which_lineages_they_have_started() -> None:
    """One of an older version tells none, and is alive nevertheless."""
    drivers = [
        ClaimInfo(lease_seconds=1.0, progress={"lineages": ["a"]}),
        ClaimInfo(lease_seconds=1.0, progress={"lineages": ["b"]}),
        ClaimInfo(lease_seconds=1.0),
        ClaimInfo(lease_seconds=1.0, progress={"lineages": 7}),
    ]
    assert started_lineages(drivers) == {"a", "b"}
    assert started_lineages(drivers[2:]) == set()
    assert started_lineages([]) is None


def test_counts_are_in_one_order() -> None:
    assert counts(["done", "queued", "running", "queued"]) == "1 running, 2 queued, 1 done"
