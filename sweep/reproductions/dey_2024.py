"""Dey and Donoho (arXiv:2410.22812): efficiency of estimates under accumulate and replace.

The efficiency of V_t is the risk of V_1 divided by that of V_t. Under accumulate (their augment)
it is 1 / (1 + 1/4 + ... + 1/t^2) for many images, and thus at least 6 / pi^2, for the parameters of
every exponential family. Under replace (their discard) it is 1 / t. The parameters here are the
mean and the variance of a Gaussian, whose risks at V_1 are 1 / n and 2 / n.
"""

import math

import numpy as np

from sweep.reproductions.rows import (
    Reproduction,
    Row,
    Source,
    against_efficiency,
    against_number,
    not_comparable,
)
from sweep.reproductions.small_lineages import Fits, fit_lineages

NUM_IMAGES = 400
"""n, with which the formulas for many images are off by 1 % at most, less than the errors."""
GENERATIONS = 10
SHOWN = (2, 5, 10)
SOURCES: dict[str, Source] = {"accumulate": "paper", "replace": "derived"}
"""Pool rules, and where the formula of their efficiency is from. For replace, the paper's abstract
says only that models degenerate."""
BOUND = 6 / math.pi**2


def reproduce() -> Reproduction:
    """Run both rules."""
    fits = {
        rule: fit_lineages(rule, num_images=NUM_IMAGES, generations=GENERATIONS) for rule in SOURCES
    }
    rows: list[Row] = []
    for parameter in ("mean", "variance"):
        bounded = risk(fits["accumulate"], parameter, GENERATIONS)
        name = f"accumulate, V_{GENERATIONS}, {parameter}: efficiency >="
        rows.append(against_efficiency(name, bounded, BOUND))
        for rule, source in SOURCES.items():
            for t in SHOWN:
                values, expected = risk(fits[rule], parameter, t), inflation(rule, t)
                name = f"{rule}, V_{t}, {parameter}: 1 / efficiency"
                rows.append(against_number(name, values, expected, source=source))
    rows.append(
        not_comparable(
            "regression on UCI data and on features",
            "there is no family that predicts labels",
        )
    )
    return Reproduction(rows=tuple(rows))


def risk(fits: Fits, parameter: str, generation: int) -> np.ndarray:
    """(S,) squared error of a parameter's estimate, in units of its expectation at V_1."""
    if parameter == "mean":
        return NUM_IMAGES * fits.squared_error(generation)
    errors = (fits.variances[:, generation - 1] - 1) ** 2
    return NUM_IMAGES / 2 * errors.mean(axis=1)


def inflation(rule: str, generation: int) -> float:
    """1 / efficiency of V_t for many images."""
    if rule == "replace":
        return generation
    return sum(1 / t**2 for t in range(1, generation + 1))
