"""A plug-in with a filter that keeps the images nearest to the candidates' mean.

sweep run quickstart --import examples/own_filter.py --filter.name central --filter.candidates 4 \
    --out runs/central
"""

import numpy as np

from model.filters.candidates import Candidates, Selection, lowest
from model.filters.table import Filter


def keep_central(candidates: Candidates) -> Selection:
    """Keep the candidates with the smallest distance to the mean of all."""
    centred = candidates.features - candidates.features.mean(axis=0, dtype=np.float64)
    distances = np.linalg.norm(centred, axis=1)
    return Selection(indices=lowest(distances, candidates.keep), scores=distances)


FILTERS = {"central": Filter(select=keep_central, version="1")}
