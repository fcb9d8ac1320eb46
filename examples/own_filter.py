"""A custom filter: keep the images nearest to the candidates' mean.

    uv run --extra all python -m examples.own_filter

To use it in sweeps, put the function and the FILTERS line into model/filters/table.py.
"""

from dataclasses import replace

import numpy as np

from examples.in_process import TINY, compute, show
from model.config import FilterConfig
from model.filters.candidates import Candidates, Selection, lowest
from model.filters.table import FILTERS, Filter


def keep_central(candidates: Candidates) -> Selection:
    """Keep the candidates with the smallest distance to the mean of all."""
    centred = candidates.features - candidates.features.mean(axis=0, dtype=np.float64)
    distances = np.linalg.norm(centred, axis=1)
    return Selection(indices=lowest(distances, candidates.keep), scores=distances)


FILTERS["central"] = Filter(select=keep_central, version=1)

if __name__ == "__main__":
    judge = FilterConfig(name="central", candidates=4.0, extractor="pixels")
    show(compute(replace(TINY, filter=judge)))
