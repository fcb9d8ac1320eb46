"""Class shares by generation: a small panel for each class, with a line for each setting."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd

from analysis.figures.drawing.lines import (
    MAX_PANELS,
    Panel,
    Real,
    arrange_lines,
    figure_parts,
    name_units,
)
from analysis.figures.drawing.pages import plan_pages
from analysis.figures.drawing.panels import Curves, draw_panels
from analysis.figures.request import Drawing, FigureRequest
from analysis.reading.columns import CLASS, grouped, measured_sizes
from analysis.reading.labels import Labels, name_extractor
from analysis.reading.rows import keep_rows
from analysis.reading.shares import REFERENCE_SHARE, load_shares
from analysis.statistics.intervals import Source, summarize_curves

SHARES = "share of images"


def plan_shares(request: FigureRequest) -> Iterator[Drawing]:
    """Plan figures of the share of each class, for each extractor and part of the settings.

    Settings that share a panel of curves (analysis.figures.drawing.lines) share a figure.

    Raises:
        UsageError: No class shares were measured.
    """
    frame, columns, classes = load_shares(request.dirs)
    if request.where:
        frame = keep_rows(frame, request.where)
    labels = Labels(frame)
    for column in columns:
        for by, split, part in figure_parts(frame.drop(columns=CLASS), labels):
            own = part.assign(**{CLASS: frame.loc[part.index, CLASS]})
            if not own[column].dropna().empty:
                yield from _plan_part(request, own, column, by, split, classes, labels)


def _plan_part(
    request: FigureRequest,
    frame: pd.DataFrame,
    column: str,
    by: Sequence[str],
    split: dict[str, Any],
    classes: Sequence[str],
    labels: Labels,
) -> Iterator[Drawing]:
    summary, source = summarize_curves(
        frame, column, by=[*by, CLASS], confidence=request.confidence
    )
    curves = Curves(
        rows={tuple(values.values()): part for values, part in grouped(frame, [*by, CLASS])},
        means={tuple(values.values()): part for values, part in grouped(summary, [*by, CLASS])},
        generations=sorted(set(frame["generation"])),
        metric=column,
        name=SHARES,
        log=False,
        has_seeds=source == Source.SEEDS,
        are_shares=True,
    )
    groups = [panel for page in arrange_lines(frame, by, labels) for panel in page]
    for group in groups:
        name = labels.file_name(f"shares-{column.split('/', 1)[1]}", split)
        panels = [x for x in (_panel(group, frame, each, curves) for each in classes) if x.lines]
        yield from plan_pages(
            [*name, group.title] if len(groups) > 1 else name,
            [panels[i : i + MAX_PANELS] for i in range(0, len(panels), MAX_PANELS)],
            remarks=lambda page: _remarks(request, frame, curves, split, page, source, labels),
            draw=partial(draw_panels, curves=curves, width=request.width),
        )


def _panel(group: Panel, frame: pd.DataFrame, name: str, curves: Curves) -> Panel:
    """The panel of a class, with the lines of those settings of a group whose data have it."""
    lines = [replace(x, values={**x.values, CLASS: name}) for x in group.lines]
    shares = frame.loc[frame[CLASS] == name, REFERENCE_SHARE].dropna()
    return Panel(
        lines=tuple(x for x in lines if x.key in curves.means),
        title=f"class {name}" if name.isdigit() else name,
        is_small=True,
        real=None if shares.empty else Real(float(shares.min()), float(shares.max())),
    )


def _remarks(
    request: FigureRequest,
    frame: pd.DataFrame,
    curves: Curves,
    split: dict[str, Any],
    panels: Sequence[Panel],
    source: Source,
    labels: Labels,
) -> Iterator[str]:
    if split:
        yield labels.describe_setting(split)
    yield f"classes by the probe of {name_extractor(curves.metric)}"
    if sizes := measured_sizes(frame, curves.metric):
        yield f"N = {sizes[0]}"
    if any(panel.real for panel in panels):
        yield "dotted: the reference"
    units = name_units(frame, labels)
    shape = "bands" if curves.has_bands(panels[0]) else "bars"
    yield f"{shape}: {100 * request.confidence:g}% {source} {units}" if source else units
