"""A folder and a bucket, driven through the same operations, answer as a dictionary does."""

from collections.abc import Callable
from typing import Any

import hypothesis
import pytest
from store_model import A, Model

Model.TestCase.settings = hypothesis.settings(
    max_examples=40, stateful_step_count=30, suppress_health_check=list(hypothesis.HealthCheck)
)
TestStore = Model.TestCase


def scratch(model: Model, *deaths: int | None) -> None:
    """Checkpoints, one after the other."""
    for dies in deaths:
        model.save_scratch(key=A, dies=dies)


SCRIPTS: dict[str, Callable[[Model, int], list[Any]]] = {
    "publish": lambda m, dies: [
        m.publish(key=A, value=b"1", dies=dies),
        m.publish(key=A, value=b"22", dies=None),
    ],
    "withdraw": lambda m, dies: [
        m.publish(key=A, value=b"1", dies=None),
        m.write_metrics(key=A, value=0.5, dies=None),
        m.damage(key=A),
        m.withdraw(key=A, dies=dies),
        m.publish(key=A, value=b"22", dies=None),
    ],
    "metrics": lambda m, dies: [
        m.publish(key=A, value=b"1", dies=None),
        m.write_metrics(key=A, value=0.5, dies=None),
        m.write_metrics(key=A, value=1.5, dies=dies),
    ],
    "block": lambda m, dies: [
        m.write_block(key=A, value=b"1", dies=dies),
        m.write_block(key=A, value=b"22", dies=None),
    ],
    "discard": lambda m, dies: [
        m.write_block(key=A, value=b"1", dies=None),
        m.discard_block(key=A, dies=dies),
        m.write_block(key=A, value=b"22", dies=None),
    ],
    "scratch": lambda m, dies: [
        scratch(m, None, None, dies),
        m.answers_are_as_the_dictionary_says(),
        scratch(m, None),
    ],
    "take": lambda m, dies: [
        m.take(key=A, actor=0, dies=dies),
        m.take(key=A, actor=1, dies=None),
        m.silence(),
        m.take(key=A, actor=1, dies=None),
        m.beat(key=A, actor=0),
        m.beat(key=A, actor=1),
    ],
    "take over": lambda m, dies: [
        m.take(key=A, actor=0, dies=None),
        m.silence(),
        m.take(key=A, actor=1, dies=dies),
        m.beat(key=A, actor=0),
        m.silence(),
        m.take(key=A, actor=0, dies=None),
        m.beat(key=A, actor=1),
    ],
    "release": lambda m, dies: [
        m.take(key=A, actor=0, dies=None),
        m.release(key=A, actor=0, dies=dies),
        m.silence(),
        m.take(key=A, actor=1, dies=None),
        m.beat(key=A, actor=0),
    ],
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_process_may_die_at_each_step_of_an_operation(name):
    """At the first, the second, and so on, until it has as many as it needs."""
    for dies in range(100):
        model = Model()
        try:
            SCRIPTS[name](model, dies)
            model.answers_are_as_the_dictionary_says()
            if not any(each.num_deaths for each in model.subjects):
                break
        finally:
            model.teardown()
    assert 2 <= dies < 50
