"""The samples' remaining standard deviation, and its closed form under estimation noise only.

The closed form is that of Gaussian fits by maximum likelihood (docs/guide.md). A fit to the N_{n+1}
images of D_{n+1} = D_n + S_n, of which m are new, keeps 1 - m / N_{n+1}^2 of the expected variance.
A fit to only S_n keeps 1 - 1 / N_{n+1}.
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

    NULL has values for lineages with `closed_form` in every row and no missing generation, until a
    pool is neither the last pool plus new images nor only new images.

    Args:
        frame: At least one row, and at most one for each model of a lineage.
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
    remaining = part["pixel_std"] / part.loc[part["generation"] == 1, "pixel_std"].max()
    has_all_generations = part["generation"].tolist() == list(range(1, len(part) + 1))
    is_known = has_all_generations and part["closed_form"].all()
    null = np.sqrt(_variance_kept(part).cumprod(skipna=False)) if is_known else math.nan
    return part.assign(**{LEFT: remaining, NULL: null})


def _variance_kept(part: pd.DataFrame) -> pd.Series:
    """Return the expected share of the variance that each generation's fit keeps; nan if unknown.

    It is 1 for V_1, which later generations are compared with. Their pools must be only new images,
    or the last pool plus new images.
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
