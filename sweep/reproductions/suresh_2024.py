"""Suresh et al. (arXiv:2412.17646): how fast the deviation of Gaussian fits vanishes under replace.

The abstract says that it is reduced to zero after roughly n refits to n images each. A maximum
likelihood fit multiplies the variance by chi^2_{n-1} / n, whose logarithm and root have known
expectations: the typical deviation falls by a factor e in about n refits, for every n.
"""

import math

import numpy as np
from scipy.special import digamma, gammaln

from sweep.reproductions.rows import Reproduction, Row, against_number, not_comparable
from sweep.reproductions.small_lineages import fit_lineages

SIZES = (5, 10, 20)
"""n of the lineages, which have n generations."""


def reproduce() -> Reproduction:
    """Run replace for n generations with each n."""
    rows: list[Row] = []
    refits: list[str] = []
    for n in SIZES:
        deviations = np.sqrt(fit_lineages("replace", num_images=n, generations=n).variances[:, -1])
        logs = np.log(deviations).mean(axis=1)
        measured = {
            "mean log deviation": (logs, n * log_factor(n)),
            "mean deviation": (deviations.mean(axis=1), mean_factor(n) ** n),
        }
        rows += [
            against_number(f"n={n}, V_{n}: {name}", values, expected, source="derived")
            for name, (values, expected) in measured.items()
        ]
        refits.append(f"{-1 / logs.mean():.2f}")
    rows.append(
        not_comparable(
            'deviation "reduces to zero roughly at n" refits',
            "an order of magnitude without a tolerance; in our runs the typical deviation falls by "
            f"a factor e in {', '.join(refits)} n refits for n = {', '.join(map(str, SIZES))}",
        )
    )
    return Reproduction(rows=tuple(rows))


def log_factor(n: int) -> float:
    """Expected logarithm of the factor by which one refit changes the deviation."""
    return float(digamma((n - 1) / 2) + math.log(2 / n)) / 2


def mean_factor(n: int) -> float:
    """Expected factor by which one refit changes the deviation."""
    return math.sqrt(2 / n) * math.exp(gammaln(n / 2) - gammaln((n - 1) / 2))
