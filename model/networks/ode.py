"""Solvers of ordinary differential equations, from the noisiest time to the data.

A solver is a function of any callable that gives the derivative, so that closed forms, clipping and
guidance fit in.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor

Derivative = Callable[[Tensor, float], Tensor]
"""(B, C, H, W) state and a time to the state's derivative in time."""


def euler(derivative: Derivative, state: Tensor, *, times: Sequence[float]) -> Tensor:
    """Follow the derivative from the first of T + 1 times to the last in T calls; order 1."""
    for now, following in pairwise(times):
        state = state + (following - now) * derivative(state, now)
    return state


def heun(derivative: Derivative, state: Tensor, *, times: Sequence[float]) -> Tensor:
    """Heun's method (Karras et al., arXiv:2206.00364, algorithm 1): order 2.

    Two calls a step, and one in a step to time 0, where the derivative is not defined.
    """
    for now, following in pairwise(times):
        slope = derivative(state, now)
        ahead = state + (following - now) * slope
        if following == 0:
            state = ahead
        else:
            state = state + (following - now) * (slope + derivative(ahead, following)) / 2
    return state
