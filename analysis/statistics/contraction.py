"""Standard deviation left in the samples, and the closed form under estimation noise only.

The closed form is that of Gaussian fits by maximum likelihood (docs/guide.md). A fit to D_{n+1} =
D_n + S_n with m new images keeps 1 - m / N_{n+1}^2 of the expected variance. A fit to only S_n
keeps 1 - 1 / N_{n+1}.
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from model.errors import UsageError

LEFT, NULL = "std_left", "std_left_null"
"""Columns: pixel_std of V_n divided by that of V_1, as measured and by the closed form."""


def with_contraction(frame: pd.DataFrame, *, by: Sequence[str]) -> pd.DataFrame:
    """Return the tidy table with the columns LEFT and NULL, which may have missing values.

    NULL is given for rows with `closed_form`, as long as each pool is the last one plus new images,
    or only new images.

    Args:
        frame: Rows of models, each once; at least one.
        by: Columns that identify a lineage and member. The run is not among them, because a lineage
            that was extended in another folder has rows of both folders.

    Raises:
        UsageError: The table has no pixel_std.
    """
    if "pixel_std" not in frame:
        raise UsageError(
            "pixel_std must have a value for the table contraction, got none; "
            "finish a generation first, or omit --classes"
        )
    parts = [_of_lineage(part) for _, part in frame.groupby(list(by), dropna=False)]
    return pd.concat(parts).sort_index()


def _of_lineage(part: pd.DataFrame) -> pd.DataFrame:
    """Add the columns to the rows of one lineage and member."""
    part = part.sort_values("generation")
    left = part["pixel_std"] / part.loc[part["generation"] == 1, "pixel_std"].max()
    whole = part["generation"].tolist() == list(range(1, len(part) + 1))
    known = whole and part["closed_form"].all()
    null = np.sqrt(_kept(part).cumprod(skipna=False)) if known else math.nan
    return part.assign(**{LEFT: left, NULL: null})


def _kept(part: pd.DataFrame) -> pd.Series:
    """Return the expected share of the variance that each generation's fit keeps; nan if unknown.

    V_1 is the unit, so it keeps all. Later pools are new images only, or the last pool grown.
    """
    size = part["num_images"].astype(float)
    num_new, num_real = size.diff(), size * part["real_share"]
    is_first = (part["generation"] == 1) & size.notna()
    is_replaced = (num_real == 0) & (num_new == 0)
    is_grown = (num_new > 0) & (num_real.diff().abs() <= 0.5)
    kept = np.select(
        [is_first, is_replaced, is_grown], [1, 1 - 1 / size, 1 - num_new / size**2], math.nan
    )
    return pd.Series(kept, part.index)
