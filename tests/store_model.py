"""A folder and a bucket, driven through the same operations, answer as a dictionary does.

A process may die between any two steps of an operation: system calls that change a folder, requests
to a bucket. Another one then finds the state from before the operation or the one after it.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bucket_store import memory_bucket
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from test_claims import Clock
from test_store import METRICS, RECORD, SPEC

from sweep.records import WEIGHTS
from sweep.store.bucket import Bucket
from sweep.store.claims import Claim, ClaimLost
from sweep.store.folder import CorruptError, Folder
from sweep.store.published import Files
from sweep.store.store import Store

SYSTEM_CALLS = ("fsync", "link", "mkdir", "rename", "replace", "rmdir", "unlink")
LEASE = 60.0
ACTORS = (0, 1)
DEAD = -1
"""Holder of a claim whose process is no more."""

A, B = "a" * 64, "b" * 64
KEYS = st.sampled_from([A, B])
VALUES = st.sampled_from([b"1", b"22"])
DEATHS = st.none() | st.integers(0, 12)
"""Steps after which the process of an operation dies."""


class Death(BaseException):
    """The process dies here: no later step of it is done."""


@dataclass
class Steps:
    """The steps that a process has left."""

    left: int | None = None

    def counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, as one step."""

        def step(*args: Any, **options: Any) -> Any:
            if self.left is not None:
                if self.left == 0:
                    raise Death
                self.left -= 1
            return function(*args, **options)

        return step


@dataclass(kw_only=True)
class Subject:
    """A store, and what a dictionary would hold of it."""

    files: Files
    steps: Steps
    nodes: dict[str, bytes] = field(default_factory=dict)
    damaged: set[str] = field(default_factory=set)
    metrics: dict[str, float] = field(default_factory=dict)
    blocks: dict[str, bytes] = field(default_factory=dict)
    damaged_blocks: set[str] = field(default_factory=set)
    scratch: dict[str, list[bytes]] = field(default_factory=dict)
    """Newest last."""
    actors: list[Store] = field(default_factory=list)
    claims: dict[tuple[int, str], Claim] = field(default_factory=dict)
    """By actor and key, also those that were lost."""
    holders: dict[str, int] = field(default_factory=dict)
    expired: set[tuple[int, str]] = field(default_factory=set)
    """Actor and key of claims that the actor has seen silent for their lease."""
    highest: dict[str, int] = field(default_factory=dict)
    num_deaths: int = 0

    def __post_init__(self) -> None:
        self.actors = [self.fresh() for _ in ACTORS]

    def fresh(self) -> Store:
        """The store as a process sees it that has just begun."""
        return Store(self.files, lease_seconds=LEASE)

    def survives(
        self, steps: int | None, expected: object, operation: Callable[..., object], *args: object
    ) -> bool:
        """Do something; whether the process lived to see the answer, which must be as expected."""
        self.steps.left = steps
        try:
            answer = operation(*args)
        except Death:
            self.num_deaths += 1
            return False
        finally:
            self.steps.left = None
        assert answer == expected
        return True

    def term(self, key: str) -> tuple[int, bytes | None]:
        """Number and content of the highest term."""
        paths = [entry.path for entry in self.files.list(f"claims/{key}/")]
        number = max((int(Path(path).stem) for path in paths if path.endswith(".json")), default=0)
        return number, self.files.read(f"claims/{key}/{number}.json")


@contextmanager
def subjects() -> Generator[list[Subject]]:
    """A folder and a bucket."""
    patch, folder = pytest.MonkeyPatch(), Path(tempfile.mkdtemp())
    on_disk, requests = Steps(), Steps()
    try:
        for name in SYSTEM_CALLS:
            patch.setattr(os, name, on_disk.counted(getattr(os, name)))
        bucket = memory_bucket(folder, patch)
        patch.setattr(Bucket, "_ask", requests.counted(Bucket._ask))
        yield [
            Subject(files=Folder(folder / "store"), steps=on_disk),
            Subject(files=bucket, steps=requests),
        ]
    finally:
        patch.undo()
        shutil.rmtree(folder)


class Model(RuleBasedStateMachine):
    """Operations on both, and what they must answer."""

    def __init__(self) -> None:
        super().__init__()
        self._context = subjects()
        self.subjects = self._context.__enter__()
        self._patch = pytest.MonkeyPatch()
        self.clock = Clock()
        self._patch.setattr("sweep.store.claims.time", self.clock)
        self.num_saved = 0

    def teardown(self) -> None:
        """Forget both."""
        self._patch.undo()
        self._context.__exit__(None, None, None)

    @rule(key=KEYS, value=VALUES, dies=DEATHS)
    def publish(self, key: str, value: bytes, dies: int | None) -> None:
        for each in self.subjects:
            store, is_new = each.fresh(), key not in each.nodes
            files, record = {WEIGHTS: value, "pool.json": b""}, replace(RECORD, key=key)
            if not each.survives(dies, is_new, store.nodes.publish, key, files, record):
                is_new = is_new and each.fresh().nodes.has(key)
            if is_new:
                each.nodes[key] = value

    @rule(key=KEYS)
    def damage(self, key: str) -> None:
        for each in self.subjects:
            if key in each.nodes and key not in each.damaged:
                digest = each.fresh().nodes.read(key).files[WEIGHTS]
                each.files.write(each.files.file_path("nodes", key, WEIGHTS, digest), b"damaged")
                each.damaged.add(key)

    @rule(key=KEYS, dies=DEATHS)
    def withdraw(self, key: str, dies: int | None) -> None:
        for each in self.subjects:
            store, is_due = each.fresh(), key in each.damaged
            if not each.survives(dies, is_due, store.nodes.withdraw, key):
                is_due = is_due and not each.fresh().nodes.has(key)
                if is_due and each.fresh().read_metrics(key, SPEC) is None:
                    each.metrics.pop(key, None)
            elif is_due:
                each.metrics.pop(key, None)
            if is_due:
                del each.nodes[key]
                each.damaged.discard(key)

    @rule(key=KEYS)
    def delete_item(self, key: str) -> None:
        for each in self.subjects:
            for item in each.fresh().items():
                if (item.kind, item.key) == ("node", key):
                    each.fresh().delete_item(item)
            each.nodes.pop(key, None)
            each.metrics.pop(key, None)
            each.damaged.discard(key)

    @rule(key=KEYS, value=st.sampled_from([0.5, 1.5]), dies=DEATHS)
    def write_metrics(self, key: str, value: float, dies: int | None) -> None:
        record = replace(METRICS, values={"kid": value})
        for each in self.subjects:
            store = each.fresh()
            if key not in each.nodes:
                with pytest.raises(FileNotFoundError):
                    store.write_metrics(key, SPEC, record)
            elif each.survives(dies, record, store.write_metrics, key, SPEC, record) or (
                each.fresh().read_metrics(key, SPEC) == record
            ):
                each.metrics[key] = value

    @rule(key=KEYS, value=VALUES, dies=DEATHS)
    def write_block(self, key: str, value: bytes, dies: int | None) -> None:
        array = np.frombuffer(value, np.uint8)
        for each in self.subjects:
            store, is_new = each.fresh(), key not in each.blocks
            if not each.survives(dies, is_new, store.write_block, key, 0, array):
                is_new = is_new and each.fresh().has_block(key, 0)
            if is_new:
                each.blocks[key] = value

    @rule(key=KEYS)
    def damage_block(self, key: str) -> None:
        for each in self.subjects:
            if key in each.blocks:
                each.files.write(f"streams/{key}/000000.safetensors", b"damaged")
                each.damaged_blocks.add(key)

    @rule(key=KEYS, dies=DEATHS)
    def discard_block(self, key: str, dies: int | None) -> None:
        for each in self.subjects:
            store = each.fresh()
            if each.survives(dies, None, store.discard_block, key, 0) or (
                not each.fresh().has_block(key, 0)
            ):
                each.blocks.pop(key, None)
                each.damaged_blocks.discard(key)

    @rule(key=KEYS, dies=DEATHS)
    def save_scratch(self, key: str, dies: int | None) -> None:
        self.num_saved += 1
        value = b"%d" % self.num_saved
        for each in self.subjects:
            store = each.fresh()
            if each.survives(dies, None, store.save_scratch, key, "s", value) or (
                each.fresh().load_scratch(key, "s") == value
            ):
                each.scratch.setdefault(key, []).append(value)

    @rule(key=KEYS)
    def damage_scratch(self, key: str) -> None:
        """The newest one, if there are two."""
        for each in self.subjects:
            entries = each.fresh()._checkpoints(key, "s")
            if len(entries) > 1:
                each.files.write(entries[-1][1].path, b"damaged")
                each.scratch[key].pop()
                assert each.fresh().load_scratch(key, "s") == each.scratch[key][-1]

    @rule(key=KEYS, dies=DEATHS)
    def drop_scratch(self, key: str, dies: int | None) -> None:
        for each in self.subjects:
            store = each.fresh()
            if not each.survives(dies, None, store.drop_scratch, key):
                each.fresh().drop_scratch(key)
            each.scratch.pop(key, None)

    @rule(key=KEYS, actor=st.sampled_from(ACTORS), dies=DEATHS)
    def take(self, key: str, actor: int, dies: int | None) -> None:
        for each in self.subjects:
            may = key not in each.holders or (actor, key) in each.expired
            found: list[Claim | None] = []

            def ask(each: Subject = each, found: list[Claim | None] = found) -> bool:
                found.append(each.actors[actor].claims.take(key))
                return found[0] is not None

            if not each.survives(dies, may, ask):
                self.bury(each, actor)
                continue
            if found[0] is not None:
                assert found[0].number > each.highest.get(key, 0)
                each.highest[key] = found[0].number
                each.claims[actor, key] = found[0]
                each.holders[key] = actor
                each.expired -= {(other, key) for other in ACTORS}

    @rule(key=KEYS, actor=st.sampled_from(ACTORS))
    def beat(self, key: str, actor: int) -> None:
        for each in self.subjects:
            if (claim := each.claims.get((actor, key))) is None:
                continue
            if each.holders.get(key) == actor:
                claim.heartbeat()
                each.expired -= {(other, key) for other in ACTORS}
            else:
                with pytest.raises(ClaimLost):
                    claim.heartbeat()

    @rule(key=KEYS, actor=st.sampled_from(ACTORS), dies=DEATHS)
    def release(self, key: str, actor: int, dies: int | None) -> None:
        for each in self.subjects:
            if (claim := each.claims.get((actor, key))) is None:
                continue
            if not each.survives(dies, None, claim.release):
                self.bury(each, actor)
            elif each.holders.get(key) == actor:
                del each.holders[key]
                each.expired -= {(other, key) for other in ACTORS}

    def bury(self, each: Subject, actor: int) -> None:
        """An actor's process has died: another begins, and knows nothing of its claims."""
        each.actors[actor] = each.fresh()
        each.claims = {place: c for place, c in each.claims.items() if place[0] != actor}
        each.expired = {place for place in each.expired if place[0] != actor}
        for key in (A, B):
            number, content = each.term(key)
            if number > each.highest.get(key, 0):
                each.highest[key] = number
                each.expired -= {(other, key) for other in ACTORS}
                each.holders.pop(key, None)
                if content:
                    each.holders[key] = DEAD
            elif each.holders.get(key) == actor:
                each.holders[key] = DEAD

    @rule()
    def silence(self) -> None:
        """Nobody beats for a lease, while all watch."""
        for _ in range(8):
            for each in self.subjects:
                for store in each.actors:
                    store.claims._fresh_until = float("-inf")
                    store.claims.read()
            self.clock.now += LEASE / 6
        for each in self.subjects:
            each.expired |= {(actor, key) for actor in ACTORS for key in each.holders}

    @invariant()
    def answers_are_as_the_dictionary_says(self) -> None:
        for each in self.subjects:
            store = each.fresh()
            assert store.nodes.done({A, B}) == each.nodes.keys()
            for key in (A, B):
                self.check_node(each, store, key)
                self.check_block(each, store, key)
                saved = each.scratch.get(key)
                assert store.load_scratch(key, "s") == (saved[-1] if saved else None)
                number, content = each.term(key)
                assert bool(content) == (key in each.holders)
                assert number >= each.highest.get(key, 0)
                each.highest[key] = number

    def check_node(self, each: Subject, store: Store, key: str) -> None:
        """A node is there and whole, or damaged where it was damaged."""
        assert store.nodes.has(key) == (key in each.nodes)
        if key not in each.nodes:
            return
        found = store.read_metrics(key, SPEC)
        assert (found and found.values["kid"]) == each.metrics.get(key)
        assert store.nodes.damaged_files(key) == ([WEIGHTS] if key in each.damaged else [])
        if key not in each.damaged:
            assert store.nodes.read_file(key, WEIGHTS) == each.nodes[key]

    def check_block(self, each: Subject, store: Store, key: str) -> None:
        """A block is there as it was written, or damaged where it was damaged."""
        assert store.has_block(key, 0) == (key in each.blocks)
        if key in each.damaged_blocks:
            if isinstance(each.files, Bucket):
                shutil.rmtree(each.files.cache.root, ignore_errors=True)
            with pytest.raises(CorruptError):
                store.read_block(key, 0)
        elif key in each.blocks:
            assert store.read_block(key, 0).tobytes() == each.blocks[key]
