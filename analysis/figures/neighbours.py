"""Samples above the training images that are nearest to them, for each generation of a setting.

The sweep keeps these images for the metric nearest: the closest samples of a model and other ones.
"""

import math
from collections.abc import Iterator
from functools import partial

import numpy as np

from analysis.figures.drawing.tiles import Block, draw_blocks, row_columns
from analysis.figures.grids import Lineage, choose_lineages, join_words, name_plainly, name_settings
from analysis.figures.request import Drawing, FigureRequest
from analysis.reading.checks import read_metrics
from analysis.reading.columns import MIXTURE
from analysis.reading.labels import name_extractor
from analysis.reading.settings import BASE
from model.errors import MissingFileError, UsageError
from sweep.nearest import NearestImages
from sweep.records import MetricsRecord, node_dir

DISTANCE = "closest_distance"
"""Number of the metric nearest, whose name includes the extractor."""
KINDS = {
    "closest": "the samples nearest to a training image",
    "random": "random samples",
    "": "the samples nearest to a training image (left) and random ones (right)",
}
"""Kinds of figures: two of half of the samples, or one that is wide enough for all."""
Sheets = dict[int, tuple[NearestImages, np.ndarray]]
"""Generation -> which images are shown, and (rows, S, H, W, 3) samples above their neighbours."""


def plan_neighbours(request: FigureRequest) -> Iterator[Drawing]:
    """Plan figures of each setting and extractor, for one seed: of closest and random samples.

    Both are in one figure if it is wide enough.

    Raises:
        UsageError: Nearest images were not kept, no lineage has the seed, or a file is damaged.
    """
    models = request.frame[request.frame["member"] != MIXTURE]
    usual = name_settings(models, request.labels)
    is_empty = True
    for lineage in choose_lineages(request, models, usual):
        sheets = _read_sheets(lineage)
        if not sheets:
            setting = name_plainly(usual, lineage.values)
            request.note(f"{setting} has no nearest training images and is left out")
        for extractor, by_generation in sheets.items():
            is_empty = False
            words = usual.title(lineage.values) or (BASE if usual.values else "")
            most = row_columns(request.width)
            kinds = [""] if _num_columns(by_generation, "") <= most else ["closest", "random"]
            for kind in kinds:
                first = "-".join(filter(None, ["neighbours", kind, extractor]))
                name = usual.file_name(first, lineage.values)
                blocks = [
                    _block(lineage, n, by_generation, kind)
                    for n in sorted(set(lineage.rows["generation"]))
                ]
                title = join_words(words, lineage.unit, KINDS[kind])
                title += f", above the nearest training images; distances by {extractor}"
                draw = partial(
                    draw_blocks,
                    blocks,
                    title=title,
                    width=request.width,
                    rows=max(len(tiles) for _, tiles in by_generation.values()),
                    columns=min(most, _num_columns(by_generation, kind)),
                )
                yield Drawing(name=name, draw=draw)
    if is_empty:
        raise UsageError(
            "--kind neighbours must have the metric nearest, got runs without it; "
            "`sweep evaluate DIR --metrics.names nearest` takes it"
        )


def _read_sheets(lineage: Lineage) -> dict[str, Sheets]:
    """The nearest images of each generation, by extractor."""
    sheets: dict[str, Sheets] = {}
    for row in lineage.rows.to_dict("records"):
        generation, member = int(row["generation"]), int(row["member"])
        for folder in lineage.folders:
            for spec in lineage.record.all_specs(generation, member):
                record = read_metrics(folder, str(row["node"]), spec)
                if record is None or record.nearest is None:
                    continue
                path = node_dir(folder, str(row["node"])) / "metrics" / f"{spec}.png"
                if not path.exists():
                    raise MissingFileError(f"{path} must exist, got no such file; copy it too")
                tiles = lineage.read_tiles(path)
                shape = 1 + len(record.nearest.train[0]), len(record.nearest.samples)
                if len(tiles) != math.prod(shape):
                    raise UsageError(
                        f"{path} must show {math.prod(shape)} images, got {len(tiles)}; restore it "
                        "from a copy of its folder"
                    )
                tiles = tiles.reshape(*shape, *tiles.shape[1:])
                known = sheets.setdefault(_extractor_of(record), {})
                known.setdefault(generation, (record.nearest, tiles))
    return sheets


def _extractor_of(record: MetricsRecord) -> str:
    names = [name_extractor(name) for name in record.values if name.split("/")[0] == DISTANCE]
    return next(filter(None, names), "an unknown extractor")


def _columns(nearest: NearestImages, kind: str) -> range:
    """Columns of the sheet that a kind of figure shows."""
    start = nearest.num_closest if kind == "random" else 0
    return range(start, nearest.num_closest if kind == "closest" else len(nearest.samples))


def _num_columns(sheets: Sheets, kind: str) -> int:
    return max(len(_columns(nearest, kind)) for nearest, _ in sheets.values())


def _block(lineage: Lineage, generation: int, sheets: Sheets, kind: str) -> Block:
    if generation not in sheets:
        return Block(label=f"$V_{{{generation}}}$", tiles=None, instead="not measured")
    nearest, tiles = sheets[generation]
    columns = _columns(nearest, kind)
    shown = tiles[:, columns]
    return Block(
        label=f"$V_{{{generation}}}$",
        tiles=shown.reshape(-1, *shown.shape[2:]),
        captions=[f"{nearest.distances[column][0]:.3g}" for column in columns],
    )
