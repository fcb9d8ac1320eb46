"""Standard deviation left in the samples, and the closed form under estimation noise only.

The closed form is that of Gaussian fits by maximum likelihood (docs/guide.md). A fit to D_{n+1} =
D_n + S_n with m new images keeps 1 - m / N_{n+1}^2 of the expected variance. A fit to only S_n
keeps 1 - 1 / N_{n+1}.
"""

import math
from collections.abc import Iterator, Sequence

import pandas as pd

LEFT, NULL = "std_left", "std_left_null"
"""Columns: pixel_std of V_n divided by that of V_1, as measured and by the closed form."""


def with_contraction(frame: pd.DataFrame, *, by: Sequence[str]) -> pd.DataFrame:
    """Return the tidy table with the columns LEFT and NULL, which may have missing values.

    NULL is given for rows with `closed_form`, as long as each pool is the last one plus new images,
    or only new images.

    Args:
        frame: Rows of models, each once.
        by: Columns that identify a lineage and member. The run is not among them, because a lineage
            that was extended in another folder has rows of both folders.
    """
    parts = [_of_lineage(part) for _, part in frame.groupby(list(by), dropna=False)]
    return pd.concat(parts).sort_index() if parts else frame.assign(**{LEFT: [], NULL: []})


def _of_lineage(part: pd.DataFrame) -> pd.DataFrame:
    """Add the columns to the rows of one lineage and member."""
    part = part.sort_values("generation")
    first = part.loc[part["generation"] == 1, "pixel_std"]
    start = float(first.iloc[0]) if len(first) and pd.notna(first.iloc[0]) else math.nan
    variances = [math.nan] * len(part)
    whole = part["generation"].tolist() == list(range(1, len(part) + 1))
    if whole and part["closed_form"].all():
        variances = list(_null(part["num_images"].tolist(), part["real_share"].tolist()))
    return part.assign(
        **{LEFT: part["pixel_std"] / start, NULL: [math.sqrt(variance) for variance in variances]}
    )


def _null(sizes: Sequence[float], real_shares: Sequence[float]) -> Iterator[float]:
    """Yield the expected variance of each generation over the first's; nan if unknown."""
    left = 1.0
    for n, size in enumerate(sizes):
        if n > 0:
            left *= _kept(sizes[n - 1], size, real_shares[n - 1], real_shares[n])
        yield left if not pd.isna(size) else math.nan


def _kept(before: float, size: float, real_before: float, real: float) -> float:
    """Return the expected share of the variance that one more fit keeps."""
    if any(pd.isna(value) for value in (before, size, real_before, real)):
        return math.nan
    if real == 0 and size == before:
        return 1 - 1 / size
    grown = size > before and math.isclose(real * size, real_before * before, abs_tol=0.5)
    return 1 - (size - before) / size**2 if grown else math.nan
