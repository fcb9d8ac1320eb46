"""Tables and figures of results folders. Needs neither torch nor ray.

In Python or a notebook:

    import analysis
    table = analysis.load("runs/quickstart")
"""

from os import PathLike
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["load"]


def load(*dirs: str | PathLike[str], classes: bool = False) -> "DataFrame":
    """Read results folders into one tidy table, as `analysis table --tidy` prints it.

    Args:
        dirs: Results folders (--out of sweep run), or copies of them; several are joined.
        classes: Return the metrics of each class, with a row for every class, instead of the
            others.

    Returns:
        A row for each lineage, generation and member, sorted by axes, seed, generation and member.
        docs/results-format.md lists the columns with their units. Unknown numbers are missing
        values.

    Raises:
        UsageError: A folder has no lineages, or none is given.
        RecordError: A folder is not a results folder, or a record in it is damaged.
    """
    from pathlib import Path

    from analysis.reading.results import load_class_results, load_results

    read = load_class_results if classes else load_results
    return read([Path(folder) for folder in dirs])
