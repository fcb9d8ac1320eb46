"""Class shares of the models in a tree and of the references, as JSON."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.reading.columns import CLASS, MIXTURE, is_missing
from analysis.reading.labels import name_extractor
from analysis.reading.shares import Shares, load_shares, reference_shares
from analysis.reading.trees import SAMPLER, sampler_of
from analysis.report.lineages import Tree
from model.errors import UsageError, printable

Numbers = list[float | None]
"""The share of each class; None where it is unknown."""


def read_shares(dirs: Sequence[Path], tree: Tree) -> dict[str, Any]:
    """Return the class shares of models and references; without any, no classes.

    Args:
        dirs: The results folders.
        tree: The tree of their models.

    Raises:
        RecordError: A record is damaged.
    """
    try:
        found = load_shares(dirs)
    except UsageError:  # none was measured; the folders were read before
        return {"classes": [], "probes": [], "reference": {}}
    references = {name: reference_shares(folder, name) for name, folder in tree.sets.items()}
    return {
        "classes": [printable(name) for name in found.classes],
        "probes": [
            {
                "name": printable(name_extractor(column) or column),
                "nodes": _of_nodes(found, column, tree),
            }
            for column in found.columns
        ],
        "reference": {
            name: _in_order(shares, found.classes) for name, shares in references.items() if shares
        },
    }


def _of_nodes(found: Shares, column: str, tree: Tree) -> dict[int, Numbers]:
    """The shares of each model, by its position in the tree."""
    frame = found.frame
    axes = [axis for axis in tree.axes if axis.startswith(SAMPLER)]
    samplers = [sampler_of(row) for row in frame[axes].to_dict("records")]
    shares: dict[tuple, dict[str, float]] = {}
    cells = (frame[name].tolist() for name in ("node", "member", CLASS, column))
    for node, member, name, share, sampler in zip(*cells, samplers, strict=True):
        if member != MIXTURE and not is_missing(share):
            shares.setdefault((node, sampler), {})[str(name)] = share
    return {
        i: _in_order(shares[node.key, node.sampler], found.classes)
        for i, node in enumerate(tree.nodes)
        if (node.key, node.sampler) in shares
    }


def _in_order(shares: dict[str, float], classes: Sequence[str]) -> Numbers:
    return [float(f"{shares[name]:.4g}") if name in shares else None for name in classes]
