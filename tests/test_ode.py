"""Facts of the solvers, on x' = x, whose solution is known."""

import math

import pytest
import torch
from torch import Tensor

from model.networks.ode import euler, heun

START = torch.ones(1, 1, 1, 1, dtype=torch.float64)


def uniform_times(steps: int, *, last: float = 1.0) -> list[float]:
    """From 2 down to `last`."""
    return [2 - (2 - last) * k / steps for k in range(steps + 1)]


def grow(state: Tensor, time: float) -> Tensor:
    return state


def error(solver, steps: int) -> float:
    """Of x(1) = 1 / e, started at x(2) = 1."""
    return abs(solver(grow, START, times=uniform_times(steps)).item() - math.exp(-1))


@pytest.mark.parametrize(("solver", "order"), [(euler, 1), (heun, 2)])
def test_twice_the_steps_divide_the_error_by_two_to_the_order(solver, order):
    """By 2^order, up to the next term of the error's expansion, 1 / steps."""
    assert error(solver, 100) / error(solver, 200) == pytest.approx(2**order, rel=0.02)


def test_an_euler_step_is_its_formula():
    assert euler(grow, START, times=[2.0, 1.5]).item() == 1 - 0.5


def test_a_heun_step_is_its_formula():
    """Slopes 1 at 2 and 1 - 1/2 at 3/2, their mean times -1/2."""
    assert heun(grow, START, times=[2.0, 1.5]).item() == 1 - 0.5 * (1 + 0.5) / 2


def test_a_heun_step_to_zero_is_an_euler_step():
    """The derivative is never asked for at time 0."""
    seen: list[float] = []

    def watch(state: Tensor, time: float) -> Tensor:
        seen.append(time)
        return state

    assert heun(watch, START, times=[1.0, 0.5, 0.0]).item() == (1 - 0.375) * 0.5
    assert seen == [1.0, 0.5, 0.5]
