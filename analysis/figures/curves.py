"""Curves of a metric by generation, with intervals over seeds or from the images of one seed."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd

from analysis.figures.drawing.lines import Panel, arrange_lines, figure_parts, name_units
from analysis.figures.drawing.pages import plan_pages
from analysis.figures.drawing.panels import Curves, draw_panels
from analysis.figures.drawing.real_images import real_numbers
from analysis.figures.request import Drawing, FigureRequest
from analysis.reading.columns import describe_sizes, grouped
from analysis.reading.floors import floor_counts
from analysis.reading.labels import name_extractor, name_metric
from analysis.reading.results import run_names
from analysis.statistics.intervals import Source, summarize_curves
from model.errors import UsageError
from sweep.records import load_lineages


def plan_curves(request: FigureRequest) -> Iterator[Drawing]:
    """Plan figures of each metric by generation.

    The lines of a figure are the combinations of pool.alpha and train.epochs if they vary, or else
    of the first two settings that vary. Each combination of further settings gets a separate
    figure, as does each member, and each value of the second setting if both have more values than
    there are patterns of dashes. If only a few settings change at a time
    (analysis.reading.settings), all combinations are lines of one figure.
    analysis.figures.drawing.lines arranges the lines in panels.

    Raises:
        UsageError: A metric has no values, mixes different numbers of images, or has values that a
            logarithmic axis does not have.
    """
    if not request.metrics:
        request.note("no curves, because no generation has been measured yet")
    for metric in request.metrics:
        yield from _plan_metric(request, metric)


def _plan_metric(request: FigureRequest, metric: str) -> Iterator[Drawing]:
    frame, labels = request.frame, request.labels
    if frame[metric].dropna().empty:
        raise UsageError(
            f"{metric} must have a value to be drawn, got none; finish a generation first"
        )
    for by, split, part in figure_parts(frame, labels):
        if not part[metric].dropna().empty:
            yield from _plan_part(request, part, metric, by, split)


def _plan_part(
    request: FigureRequest,
    frame: pd.DataFrame,
    metric: str,
    by: Sequence[str],
    split: dict[str, Any],
) -> Iterator[Drawing]:
    """Plan the figures of the settings `split`, whose lines differ in `by`."""
    labels = request.labels
    curves, source = _summarize(request, frame, metric, by)
    real = real_numbers(frame, metric)
    pages = [
        [replace(panel, real=real) for panel in page] for page in arrange_lines(frame, by, labels)
    ]
    yield from plan_pages(
        labels.file_name(f"curves-{metric}", split),
        pages,
        remarks=lambda panels: _remarks(panels, curves, source, frame, split, request),
        draw=partial(draw_panels, curves=curves, width=request.width),
    )


def _summarize(
    request: FigureRequest, frame: pd.DataFrame, metric: str, by: Sequence[str]
) -> tuple[Curves, Source]:
    """Summarise the settings, and find out where their intervals come from."""
    summary, source = summarize_curves(
        frame,
        metric,
        by=by,
        confidence=request.confidence,
        has_image_errors=lambda: not metric.startswith("kid/") or not _has_kid_subsets(request),
    )
    if request.log and (lowest := float(summary["mean"].min())) <= 0:
        raise UsageError(
            f"--log must be used with values above 0, got {metric} = {lowest:.3g}; omit it"
        )
    extractor = name_extractor(metric)
    curves = Curves(
        rows={tuple(values.values()): part for values, part in grouped(frame, by)},
        means={tuple(values.values()): part for values, part in grouped(summary, by)},
        generations=sorted(set(frame["generation"])),
        metric=metric,
        name=name_metric(metric) + (f" ({extractor})" if extractor else ""),
        log=request.log,
        has_seeds=source == Source.SEEDS,
    )
    return curves, source


def _has_kid_subsets(request: FigureRequest) -> bool:
    """Whether kid_se is an error over subsets of the images, and not over images."""
    records = (
        record for path in run_names(request.dirs).values() for record in load_lineages(path)
    )
    settings = (record.config.get("metrics", {}) for record in records)
    return any(each.get("kid_subset_size") is not None for each in settings)


def _remarks(
    panels: Sequence[Panel],
    curves: Curves,
    source: Source,
    frame: pd.DataFrame,
    split: dict[str, Any],
    request: FigureRequest,
) -> Iterator[str]:
    """Yield what a figure shows: settings, numbers of images, intervals, seeds and colours."""
    labels = request.labels
    if split:
        yield labels.describe_setting(split)
    if sizes := describe_sizes(frame, curves.metric):
        yield f"N = {sizes}"
        counts = floor_counts(frame, curves.metric)
        if panels[0].real and counts not in ([], [sizes[0]]):
            yield f"real images: N = {' or '.join(map(str, counts))}"
    yield from _interval_remarks(panels, curves, source, frame, request)
    lines = {line.key: line for panel in panels for line in panel.lines}.values()
    if panels[0].compared_with:
        yield f"black circles: {panels[0].compared_with}"
        if panels[0].real:
            yield "dotted: real images"
    if any(curves.diverged(line) for line in lines):
        yield "crosses: diverged"
    if empty := [x for x in lines if curves.measured(x).empty and not curves.diverged(x)]:
        yield f"without numbers: {', '.join(line.label for line in empty)}"


def _interval_remarks(
    panels: Sequence[Panel],
    curves: Curves,
    source: Source,
    frame: pd.DataFrame,
    request: FigureRequest,
) -> Iterator[str]:
    """Yield what bands, bars and thin lines are, and the seeds."""
    units = name_units(frame, request.labels)
    if not source:
        yield units
        return
    shapes = dict.fromkeys("bands" if curves.has_bands(x) else "bars" for x in panels)
    yield f"{' and '.join(shapes)}: {100 * request.confidence:g}% {source} {units}"
    if any(curves.shows_seeds(panel) for panel in panels):
        yield "thin lines: seeds"
