"""Facts of a lineage that is interrupted, damaged or computed twice at once: it stays the same."""

import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from every_family import EVERY_FAMILY
from tiny_sweep import compute, make_lineage, make_run, numbers_of

from sweep.files import Json
from sweep.lineage.run import WEIGHTS
from sweep.planning.nodes import plan_lineage
from sweep.store.store import Store, open_store

SPAWN = multiprocessing.get_context("spawn")
STEPS = {"train.steps": 40}
"""A state is saved after 20 steps, which is as often as a training looks at the clock."""
OFTEN = 1e-9

FIRST_POINTS = [(1, 2), (1, 3), (1, 5), (2, 0), (2, 2), (2, 4), (2, 6)]
POINTS = [
    pytest.param(
        generation, call, marks=() if (generation, call) in FIRST_POINTS else pytest.mark.slow
    )
    for generation in (1, 2)
    for call in range(7)
]
"""Of each generation the moments at which a lineage reports: see the first test."""


class Interrupted(BaseException):
    """As a killed process is: nothing after it runs."""


def interrupt_at(number: int, said: list[Json]) -> Callable[[Json], None]:
    """A progress callback that raises when it is called for the `number`-th time."""

    def progress(position: Json) -> None:
        said.append(position)
        if len(said) == number + 1:
            raise Interrupted

    return progress


def interrupted(config, store: Store, number: int) -> list[Json]:
    said: list[Json] = []
    with pytest.raises(Interrupted):
        compute(config, store, on_progress=interrupt_at(number, said), checkpoint_seconds=OFTEN)
    return said


def snapshot(store: Store) -> dict[str, bytes]:
    """Every file that is no metric's (its seconds differ) and no record's."""
    return {
        str(path.relative_to(Path(store.location))): path.read_bytes()
        for folder in ("generations", "streams")
        for path in (Path(store.location) / folder).rglob("*")
        if path.is_file() and path.name != "record.json" and path.parent.name != "metrics"
    }


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, list[Json]]:
    """A lineage that nobody interrupted, and its numbers."""
    store = open_store(tmp_path_factory.mktemp("whole"))
    return store, [numbers_of(g) for g in compute(make_lineage(STEPS), store)]


def test_a_lineage_reports_seven_times_a_generation(store: Store) -> None:
    """Each of these moments is an interruption below."""
    said: list[Json] = []
    compute(make_lineage(STEPS), store, on_progress=said.append, checkpoint_seconds=OFTEN)
    found = [(s["generation"], s["stage"], s.get("step")) for s in said]
    stages = [("train", None)] * 2 + [("train", 20), ("train", 40)]
    stages += [("sample", None), ("sample", 1), ("measure", None)]
    assert found == [(generation, *stage) for generation in (1, 2) for stage in stages]


@pytest.mark.parametrize(("generation", "call"), POINTS)
def test_a_resumed_lineage_is_the_uninterrupted_one(generation, call, whole, store) -> None:
    """Weights, files, blocks and numbers, wherever it stopped; and no finished model is redone."""
    config = make_lineage(STEPS)
    interrupted(config, store, 7 * (generation - 1) + call)
    finished = {
        path: path.stat().st_ino for path in Path(store.location).glob("generations/*/record.json")
    }
    said: list[Json] = []
    again = compute(config, store, on_progress=said.append, checkpoint_seconds=OFTEN)
    assert [numbers_of(g) for g in again] == whole[1]
    assert snapshot(store) == snapshot(whole[0])
    assert {path: path.stat().st_ino for path in finished} == finished
    retrained = {s["generation"] for s in said if s["stage"] == "train"}
    assert len(retrained) == 2 - len(finished)


def test_a_resumed_training_goes_on_from_its_saved_state(store: Store) -> None:
    """Interrupted at step 40 of 60, saved at step 20: steps 21 to 60 remain."""
    config = make_lineage({"train.steps": 60, "generations": 1})
    interrupted(config, store, 3)
    said: list[Json] = []
    compute(config, store, on_progress=said.append)
    assert [s["step"] for s in said if s["stage"] == "train" and "step" in s] == [40, 60]


def test_a_lineage_interrupted_again_and_again_is_the_uninterrupted_one(whole, store) -> None:
    """Every attempt dies at its fourth report, and is a little further."""
    config = make_lineage(STEPS)
    attempts = 0
    while True:
        attempts += 1
        said: list[Json] = []
        try:
            found = compute(
                config, store, on_progress=interrupt_at(3, said), checkpoint_seconds=OFTEN
            )
        except Interrupted:
            continue
        break
    assert attempts > 3
    assert [numbers_of(g) for g in found] == whole[1]


@pytest.mark.parametrize("call", [2, 3])
def test_selection_by_validation_resumes_too(call: int, tmp_path: Path) -> None:
    """The best weights so far are part of the saved state."""
    settings = {**STEPS, "data.validation_fraction": 0.1, "train.select": "best_kid"}
    config = make_lineage({**settings, "train.lr": 0.05, "generations": 1})
    whole, store = open_store(tmp_path / "whole"), open_store(tmp_path / "store")
    interrupted(config, store, call)
    first, second = (compute(config, s, checkpoint_seconds=OFTEN) for s in (whole, store))
    assert [numbers_of(g) for g in first] == [numbers_of(g) for g in second]


def test_damaged_weights_are_seen_when_needed_and_trained_again(whole, store) -> None:
    """To the same bits, numbers included, in a lineage that has to draw from them."""
    compute(make_lineage({**STEPS, "generations": 1, "metrics.names": []}), store)
    (path,) = Path(store.location).glob(f"generations/*/{WEIGHTS}")
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    found = compute(make_lineage(STEPS), store)
    assert [numbers_of(g) for g in found] == whole[1]
    assert len(list((Path(store.location) / "work").glob("corrupt-*"))) == 1


def test_a_model_set_aside_midway_is_measured_again(whole, store) -> None:
    """Its numbers lay beside its weights; the lineage is complete at the end all the same."""
    config = make_lineage(STEPS)
    compute(make_lineage({**STEPS, "generations": 1}), store)
    for block in Path(store.location).glob("streams/*/*"):
        block.unlink()
    (path,) = Path(store.location).glob(f"generations/*/{WEIGHTS}")
    path.write_bytes(b"damaged")
    compute(config, store)
    found = compute(config, store)
    assert [numbers_of(g) for g in found] == whole[1]
    assert len(list(Path(store.location).glob("generations/*/metrics/*.json"))) == 2


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: data[:-1] + b"\xff"])
def test_a_damaged_block_is_drawn_again(damage, whole, store) -> None:
    """Cut short or changed: the next pool sees the images that were drawn first."""
    compute(make_lineage({**STEPS, "generations": 1}), store)
    (block,) = Path(store.location).glob("streams/*/*")
    good = block.read_bytes()
    block.write_bytes(damage(good))
    assert [numbers_of(g) for g in compute(make_lineage(STEPS), store)] == whole[1]
    assert block.read_bytes() == good


def test_a_damaged_training_state_is_passed_over(whole, store) -> None:
    """The training begins anew, and ends the same."""
    config = make_lineage(STEPS)
    interrupted(config, store, 3)
    states = [p for p in Path(store.location).glob("work/*/*/training*") if p.is_file()]
    for path in states:
        path.write_bytes(path.read_bytes()[:1000])
    assert states
    assert [numbers_of(g) for g in compute(config, store)] == whole[1]


def test_a_training_whose_claim_is_taken_away_stops_and_resumes(whole, store) -> None:
    """As after a long pause: whoever then holds the claim goes on from the saved state."""
    config, hasty = make_lineage(STEPS), Store(store.files, lease_seconds=0.1)
    lost: list[Path] = []

    def lose(position: Json) -> None:
        if position.get("step") == 20 and not lost:
            lost.extend(Path(store.location).glob("claims/*/1.json"))
            for path in lost:
                path.with_name("2.json").write_bytes(b"")
            time.sleep(0.5)  # until the heartbeat sees it

    found = compute(config, hasty, on_progress=lose, checkpoint_seconds=OFTEN)
    assert len(lost) == 1
    assert [numbers_of(g) for g in found] == whole[1]


def test_an_interrupted_lineage_leaves_no_claim_behind(store: Store) -> None:
    """At whichever report it stops, the next process need not wait."""
    config = make_lineage({**STEPS, "generations": 1})
    for number in (0, 0, 1, 2):
        interrupted(config, store, number)
        assert store.claims.read() == {}


def work(root: Path, family: str) -> list[Json]:
    """The lineage, in a process of its own."""
    config = make_lineage({**STEPS, "model.family": family, "generations": 3})
    return [numbers_of(g) for g in compute(config, open_store(root))]


@pytest.mark.slow
@pytest.mark.parametrize("family", EVERY_FAMILY)
def test_two_processes_on_one_lineage_give_one_result(family: str, tmp_path: Path) -> None:
    """Each waits for what the other computes, and both end with the same numbers."""
    with SPAWN.Pool(2) as pool:
        first, second = pool.starmap(work, [(tmp_path / "both", family)] * 2)
    assert first == second == work(tmp_path / "alone", family)
    assert snapshot(open_store(tmp_path / "both")) == snapshot(open_store(tmp_path / "alone"))


def test_a_lineage_waits_for_a_node_that_another_process_trains(store: Store) -> None:
    """It says so, and goes on once the claim is free."""
    config = make_lineage({**STEPS, "generations": 1})
    run = make_run(config, store)
    key = plan_lineage(config, run.card)[0].key
    claim = store.claims.take(key)
    assert claim is not None
    said: list[Json] = []

    def release(position: Json) -> None:
        said.append(position)
        claim.release()

    compute(config, store, on_progress=release)
    assert [s["stage"] for s in said][:2] == ["wait", "train"]
