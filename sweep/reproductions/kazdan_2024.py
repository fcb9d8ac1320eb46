"""Kazdan et al. (arXiv:2410.16713): Gaussian fits under replace and accumulate.

V_t is the maximum likelihood fit to n images under replace, and to n t images under accumulate. The
published numbers are means of the authors' records of one-dimensional runs.
"""

import numpy as np

from sweep.reproductions.rows import (
    Reproduction,
    Row,
    against_number,
    against_records,
    not_comparable,
)
from sweep.reproductions.small_lineages import Fits, fit_lineages

RULES = ("accumulate", "replace")
SIZES = (10, 100)
"""n of the lineages."""
GENERATIONS = 10
PUBLISHED = {
    ("accumulate", 10, 2): (0.9012, 0.0454, 0.1155, 0.0159),
    ("accumulate", 10, 5): (0.8688, 0.0458, 0.1397, 0.0174),
    ("accumulate", 10, 10): (0.8647, 0.0461, 0.1462, 0.0178),
    ("accumulate", 100, 2): (0.9957, 0.0158, 0.0116, 0.0016),
    ("accumulate", 100, 5): (0.9901, 0.0169, 0.0132, 0.0020),
    ("accumulate", 100, 10): (0.9886, 0.0177, 0.0132, 0.0021),
    ("replace", 10, 2): (0.8120, 0.0546, 0.1749, 0.0248),
    ("replace", 10, 5): (0.5279, 0.0599, 0.3626, 0.0451),
    ("replace", 10, 10): (0.3198, 0.0458, 0.5490, 0.0703),
    ("replace", 100, 2): (0.9927, 0.0196, 0.0190, 0.0031),
    ("replace", 100, 5): (0.9481, 0.0307, 0.0435, 0.0070),
    ("replace", 100, 10): (0.8914, 0.0418, 0.0944, 0.0138),
}
"""Rule, n and generation to the mean and standard error of the variance, and of the squared error
of the mean. From notebooks/00_gaussian_fitting/data of the authors' repository,
RylanSchaeffer/KoyejoLab-Collapse-or-Thrive at commit 369132e; each run counts once."""
RUNS = 99
"""Runs per published number; 100 except under accumulate with n = 100."""
MISSING = {
    "limits of the paper's theorems": "their text was not available; the closed form is our own",
    "accumulate-subsample": "published as a figure without numbers",
    "kernel density estimation": "there is no family of kernel density estimators",
    "language models": "models of text are not models of images",
}
"""Other results of the paper, and why they have no number here."""


def reproduce() -> Reproduction:
    """Run both rules with each n."""
    fits = {
        (rule, n): fit_lineages(rule, num_images=n, generations=GENERATIONS)
        for rule in RULES
        for n in SIZES
    }
    published = [row for key in PUBLISHED for row in published_rows(key, fits[key[:2]])]
    closed = [row for key in fits for row in closed_form_rows(*key, GENERATIONS, fits[key])]
    first = [row for n in SIZES for row in closed_form_rows("replace", n, 1, fits["replace", n])]
    missing = [not_comparable(what, reason) for what, reason in MISSING.items()]
    return Reproduction(rows=(*published, *first, *closed, *missing))


def published_rows(key: tuple[str, int, int], fits: Fits) -> list[Row]:
    """Two rows for an entry of PUBLISHED."""
    rule, n, t = key
    variance, variance_error, square, square_error = PUBLISHED[key]
    return [
        against_records(
            f"{rule} n={n} V_{t}: variance",
            fits.variance(t),
            variance,
            expected_error=variance_error,
            count=RUNS,
        ),
        against_records(
            f"{rule} n={n} V_{t}: MSE of mean",
            fits.squared_error(t),
            square,
            expected_error=square_error,
            count=RUNS,
        ),
    ]


def closed_form_rows(rule: str, n: int, t: int, fits: Fits) -> list[Row]:
    """The same two rows with the closed form, which has no sampling error."""
    kept = kept_variance(rule, n, t)
    name, error = f"{rule if t > 1 else 'any rule'} n={n} V_{t}", fits.squared_error(t)
    return [
        against_number(f"{name}: variance", fits.variance(t), kept, source="derived"),
        against_number(f"{name}: MSE of mean", error, 1 - kept, source="derived"),
    ]


def kept_variance(rule: str, n: int, generation: int) -> float:
    """Expected variance of V_t, as a share of the real variance.

    The rest of it is the expected squared error of the mean.
    """
    if rule == "replace":
        return (1 - 1 / n) ** generation
    return float(np.prod([1 - 1 / (n * t**2) for t in range(1, generation + 1)]))
