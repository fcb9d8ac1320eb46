"""Solvers of ordinary differential equations, from the noisiest time to the data.

A solver takes any callable that computes the derivative, so it works with closed forms, clipping
and guidance.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor

Derivative = Callable[[Tensor, float], Tensor]
"""Maps a (B, C, H, W) state and a time to the state's derivative in time."""


def euler(derivative: Derivative, state: Tensor, *, times: Sequence[float]) -> Tensor:
    """Euler's method (order 1) through T + 1 times, with T calls of the derivative."""
    for now, following in pairwise(times):
        state = state + (following - now) * derivative(state, now)
    return state


def heun(derivative: Derivative, state: Tensor, *, times: Sequence[float]) -> Tensor:
    """Heun's method (order 2; Karras et al., arXiv:2206.00364, algorithm 1).

    A step calls the derivative twice, or once if it ends at time 0, where the derivative is
    undefined.
    """
    for now, following in pairwise(times):
        slope = derivative(state, now)
        ahead = state + (following - now) * slope
        if following == 0:
            state = ahead
        else:
            state = state + (following - now) * (slope + derivative(ahead, following)) / 2
    return state
