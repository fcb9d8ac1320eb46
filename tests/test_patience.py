"""Facts of patience with a store that fails: it is limited, and it is said once."""

import time
from pathlib import Path

import pytest
from bucket_store import new_store
from faulty_proxy import FaultyProxy

from sweep.config import ResourcesConfig
from sweep.status import drivers
from sweep.status.drivers import Driver, present
from sweep.store import patience as module
from sweep.store.folder import StoreError
from sweep.store.heartbeat import Heartbeat
from sweep.store.patience import NOTICE_SECONDS, OutageError, Patience
from sweep.store.store import Store, open_store


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "NOTICES", module.Notices())
    return clock


@pytest.fixture
def said(caplog):
    """What was said so far."""
    return lambda: [record.getMessage() for record in caplog.records]


def fail(patience: Patience, clock: Clock | None = None, *, until: float = 0.0) -> None:
    """An attempt that fails, at this time if there is a clock."""
    with patience.attempt():
        if clock is not None:
            clock.now = until
        raise StoreError("no answer")


def test_a_short_failure_is_not_worth_a_word(clock, said) -> None:
    patience = Patience("s", 60.0)
    for clock.now in (0.0, NOTICE_SECONDS - 0.1):
        fail(patience)
    with patience.attempt():
        pass
    assert said() == []


def test_a_failure_is_said_after_ten_seconds_and_its_end_too(clock, said) -> None:
    """Once, by whichever place of the process sees it first."""
    places = [Patience("s", 60.0), Patience("s", 60.0)]
    for clock.now in (0.0, NOTICE_SECONDS, 30.0):
        for place in places:
            fail(place)
    for place in places:
        with place.attempt():
            pass
    assert said() == [
        "the store has not answered for 10 s: no answer; retrying for another 50 s",
        "s answers again",
    ]


def test_patience_ends(clock) -> None:
    """With the error, how long it lasted, and the setting that decides."""
    patience = Patience("s", 60.0)
    fail(patience)
    clock.now = 61.0
    with pytest.raises(
        OutageError, match=r"no answer \(it has failed for 61 s; resources.outage_seconds is 60\)"
    ):
        fail(patience)


def test_a_success_renews_it(clock) -> None:
    """What counts is the time without any."""
    patience = Patience("s", 60.0)
    fail(patience)
    with patience.attempt():
        pass
    clock.now = 61.0
    fail(patience)


def test_the_time_of_the_attempt_itself_counts(clock) -> None:
    """A request of a bucket may wait for a long time before it fails."""
    patience = Patience("s", 60.0)
    with pytest.raises(OutageError):
        fail(patience, clock, until=60.0)


def test_two_patient_places_tell_one_outage_once(clock) -> None:
    """The inner one's request, and the loop around it."""
    with pytest.raises(OutageError) as caught, Patience("s", 60.0).attempt():
        fail(Patience("s", 60.0), clock, until=61.0)
    assert str(caught.value).count("it has failed") == 1


def test_an_error_of_another_kind_is_not_tolerated(clock) -> None:
    with pytest.raises(KeyError), Patience("s", 60.0).attempt():
        raise KeyError


def new_impatient_store(tmp_path: Path, seconds: float) -> Store:
    return open_store(tmp_path, ResourcesConfig(outage_seconds=seconds, lease_seconds=1.0))


def check_for_a_while(driver: Driver) -> None:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        driver.check()
        time.sleep(0.02)


def failing(*args: object) -> None:
    raise StoreError("no answer")


def test_a_heartbeat_gives_up(tmp_path, monkeypatch) -> None:
    """So that the training it stands for ends."""
    store = new_impatient_store(tmp_path, 0.3)
    claim = store.claims.take("a1")
    assert claim is not None
    monkeypatch.setattr(claim, "heartbeat", failing)
    with Heartbeat(claim, {}) as heartbeat:
        end = time.monotonic() + 10
        while heartbeat.lost is None and time.monotonic() < end:
            time.sleep(0.02)
    assert isinstance(heartbeat.lost, OutageError)


def test_a_driver_that_cannot_reach_its_store_ends(tmp_path, monkeypatch) -> None:
    """At its next check, whatever else it does."""
    monkeypatch.setattr(drivers, "LOOK_SECONDS", 0.05)
    store = new_impatient_store(tmp_path, 0.3)
    monkeypatch.setattr(store, "load_scratch", failing)
    with pytest.raises(OutageError, match="no answer"), present(store, "run-x") as driver:
        check_for_a_while(driver)


@pytest.mark.xdist_group("s3")
@pytest.mark.parametrize("mode", ["drop", "answer_500"])
def test_a_request_of_a_bucket_gives_up(mode, s3, tmp_path, monkeypatch) -> None:
    """After the time that its store tolerates; what comes back sooner is not noticed."""
    with FaultyProxy(s3.endpoint) as proxy:
        remote = new_store(s3, tmp_path, monkeypatch)
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        store = open_store(
            remote.location,
            ResourcesConfig(outage_seconds=1.0, cache_dir=str(tmp_path / "cache")),
        )
        store.save_scratch("a1", "state", b"x")
        proxy.mode = mode
        started = time.monotonic()
        with pytest.raises(OutageError, match=r"must be reachable, .*outage_seconds is 1\)"):
            store.load_scratch("a1", "state")
        assert 1.0 <= time.monotonic() - started < 10.0
        proxy.mode = "well"
        assert store.load_scratch("a1", "state") == b"x"
