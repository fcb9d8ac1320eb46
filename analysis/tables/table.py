"""A table of results: text cells, and the numbers behind them."""

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table of text cells, with the numbers behind them. All text is as yet unescaped."""

    title: str
    header: list[str]
    rows: list[list[str]]
    num_names: int
    """Number of columns that name a row; numbers follow them."""
    caption: str
    summary: pd.DataFrame
    """Columns metric, the axes of the rows and of the title, SUMMARY_COLUMNS, num_generated,
    num_reference and confidence; of comparisons, COMPARISON_COLUMNS after the axes."""
    runs: tuple[str, ...] = ()
    """Names of the runs whose numbers it shows."""
