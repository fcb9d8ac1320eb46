"""Results of functions of settings, computed once for the same objects.

The lineages of a grid share most of their settings, as the same objects.
"""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")

BY_VALUE = (int, str, type(None))
MOST_KNOWN = 10_000
"""Number of results of a function that are kept."""


def remembered(key: Callable[P, tuple[Any, ...]]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function that depends on nothing but the objects that `key` returns.

    Numbers and strings are compared by value. Other objects must never change; they are compared
    by identity, because equal settings can differ in JSON (1 and 1.0). Errors are not remembered.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        known: dict[tuple[Any, ...], tuple[tuple[Any, ...], R]] = {}

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            objects = key(*args, **kwargs)
            name = tuple([x if type(x) in BY_VALUE else id(x) for x in objects])
            found = known.get(name)
            if found is None:
                if len(known) >= MOST_KNOWN:
                    known.clear()
                # An object that is kept keeps its id.
                found = known[name] = objects, function(*args, **kwargs)
            return found[1]

        return call

    return decorate


def remembered_by_object(function: Callable[[T], R]) -> Callable[[T], R]:
    """Decorate a function of one object that never changes, compared by identity."""
    known: dict[int, tuple[T, R]] = {}

    @functools.wraps(function)
    def call(item: T) -> R:
        found = known.get(id(item))
        if found is None:
            if len(known) >= MOST_KNOWN:
                known.clear()
            found = known[id(item)] = item, function(item)
        return found[1]

    return call
