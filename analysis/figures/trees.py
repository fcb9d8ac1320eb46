"""Trees of models, coloured by a metric: lineages of a grid share their first models."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure

from analysis.figures.drawing.limits import Spread, without_outliers
from analysis.figures.drawing.lines import naming_axes
from analysis.figures.drawing.pages import LINE_INCHES, TICK_INCHES
from analysis.figures.drawing.style import FAINT, INK
from analysis.figures.drawing.text import fit_text, text_inches
from analysis.figures.request import Drawing, FigureRequest, check_seed
from analysis.reading.columns import MIXTURE, describe_sizes, is_missing, setting_axes
from analysis.reading.labels import direction, name_extractor, name_metric
from analysis.reading.settings import find_usual
from analysis.reading.trees import Node, find_lines, grow_tree, sampler_of
from model.errors import UsageError

MOST_LEAVES = 60
"""Most ends of a tree that are legible on a page."""
COLOURS = "cividis"
"""Colours from dark to light, which look alike to readers with and without colour blindness."""
LABEL_SHARE = 0.35
"""Largest width of names at each side of a tree, as a share of the figure's width."""
GAP, BAR, BELOW = 0.1, 0.09, 0.75
"""Gaps, the height of the colour bar, and the room below a tree in inches."""
NUMBER_INCHES = 0.45
"""Room for a number of the colour bar."""
SHIFT = 5.0
"""Distance of a name from its model in points."""
TURN = 0.15
"""Where an edge turns, in generations."""
SIDES = ("right", "left")
"""Alignment of names at the left and at the right of a tree."""
EXTEND = ("neither", "min", "max", "both")
"""Pointed ends of a colour bar, if numbers are within, below, above or on both sides of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """A name in a tree."""

    text: str
    """Text for matplotlib."""
    x: float
    y: float
    """A generation, and a height in leaves."""
    shift: tuple[float, float]
    """Its distance from there in points."""
    side: str
    """Its horizontal alignment."""


class Colours(NamedTuple):
    """The colours of numbers: the worse, the darker; outliers have those of the ends."""

    norm: Normalize
    colours: Colormap
    extend: str
    """Ends of the colour bar that are pointed, because a number is outside."""

    def of(self, number: float) -> tuple[float, ...]:
        """Colour of a number: red, green, blue and opacity from 0 to 1."""
        return tuple(self.colours(float(self.norm(number))))


@dataclass(frozen=True, kw_only=True, slots=True)
class Tree:
    """The models of one seed."""

    nodes: Sequence[Node]
    children: Sequence[Sequence[int]]
    """Positions of the models after each model."""
    heights: Sequence[float]
    """Height of each model in leaves, from the top."""
    numbers: Sequence[float | None]
    """The metric of each model, if it is known."""
    has_diverged: Sequence[bool]

    @property
    def num_leaves(self) -> int:
        """Number of models without one after them."""
        return sum(not below for below in self.children)

    def tip(self, i: int) -> int | None:
        """The last model of a branch, or None if the branch splits."""
        while self.children[i]:
            if len(self.children[i]) > 1:
                return None
            (i,) = self.children[i]
        return i


def plan_trees(request: FigureRequest) -> Iterator[Drawing]:
    """Plan a tree for each metric and seed; the colours of all seeds are those of one scale.

    Raises:
        UsageError: No metric was measured, or no lineage has the seed.
    """
    if not request.metrics:
        raise UsageError(
            "--kind trees must have a metric, got runs without one; "
            "`sweep evaluate DIR --metrics.names kid` takes it"
        )
    frame, labels = request.frame[request.frame["member"] != MIXTURE], request.labels
    if request.seed is not None:
        check_seed(request, frame)
        frame = frame[frame["seed"] == request.seed]
    frame = frame.reset_index(drop=True)
    axes = setting_axes(frame)
    lines = list(find_lines(frame, axes, labels))
    usual = find_usual(frame, axes, labels)
    naming = axes if usual else naming_axes([line.values for line in lines], axes, labels)
    for metric in request.metrics:
        rows = frame[["status", metric]].to_dict("records")
        trees = {}
        for unit in dict.fromkeys(line.unit for line in lines):
            own = [line for line in lines if line.unit == unit]
            nodes = grow_tree(own, labels, usual, axes=naming).nodes
            trees[unit] = _arrange(nodes, [rows[node.row] for node in nodes], metric)
        sizes = describe_sizes(frame, metric)
        remarks = [f"N = {sizes}"] if sizes else []
        remarks += ["one for each sampler"] if any(sampler_of(x.values) for x in lines) else []
        yield from _plan_metric(request, metric, trees, remarks)


def _plan_metric(
    request: FigureRequest, metric: str, trees: Mapping[str, Tree], remarks: Sequence[str]
) -> Iterator[Drawing]:
    """Plan the trees of all seeds in the colours of one metric."""
    known = [x for tree in trees.values() for x in tree.numbers if x is not None]
    if not known:
        raise UsageError(
            f"{metric} must have a value to be drawn, got none; finish a generation first"
        )
    colours = find_colours(known, metric)
    for unit, tree in trees.items():
        if tree.num_leaves > MOST_LEAVES:
            axes = setting_axes(request.frame)
            sizes = {axis: len(request.labels.names(axis, request.frame[axis])) for axis in axes}
            request.note(
                f"no tree of {unit}, because {tree.num_leaves} branches are more than "
                f"{MOST_LEAVES}; --where {max(sizes, key=sizes.__getitem__)}=VALUE leaves fewer"
            )
            continue
        note = "; ".join([unit, *_describe(tree), *remarks])
        yield Drawing(
            name=[f"trees-{metric}", *([unit] if len(trees) > 1 else [])],
            draw=partial(
                _draw, tree, colours=colours, metric=metric, width=request.width, note=note
            ),
        )


def _describe(tree: Tree) -> Iterator[str]:
    """Say what the marks of a tree are."""
    yield "a circle is a model, trained on samples of those before it"
    if any(tree.has_diverged):
        yield "crosses: diverged"
    if (None, False) in zip(tree.numbers, tree.has_diverged, strict=True):
        yield "white: without a number"


def _arrange(nodes: Sequence[Node], rows: Sequence[dict], metric: str) -> Tree:
    """Place every end of a tree in a line of its own, and every other model amid those after it."""
    children: list[list[int]] = [[] for _ in nodes]
    for i, node in enumerate(nodes):
        if node.parent is not None:
            children[node.parent].append(i)
    order, heights = _depth_first(nodes, children), [0.0] * len(nodes)
    for height, i in enumerate(i for i in order if not children[i]):
        heights[i] = float(height)
    for i in reversed(order):
        if children[i]:
            heights[i] = (heights[children[i][0]] + heights[children[i][-1]]) / 2
    has_diverged = [row["status"] == "diverged" for row in rows]
    numbers = [
        None if d or is_missing(row[metric]) else float(row[metric])
        for row, d in zip(rows, has_diverged, strict=True)
    ]
    return Tree(
        nodes=nodes,
        children=children,
        heights=heights,
        numbers=numbers,
        has_diverged=has_diverged,
    )


def _depth_first(nodes: Sequence[Node], children: Sequence[Sequence[int]]) -> list[int]:
    """Positions of the models, each followed by its branches one after the other."""
    order = []
    waiting = [i for i, node in enumerate(nodes) if node.parent is None][::-1]
    while waiting:
        order.append(i := waiting.pop())
        waiting += children[i][::-1]
    return order


def _draw(tree: Tree, *, colours: Colours, metric: str, width: float, note: str) -> Figure:
    """Draw a tree above the bar of its colours."""
    text = fit_text(note, width - GAP)
    at_sides, room = _side_labels(tree, LABEL_SHARE * width)
    left, right = (room[side] + 2 * GAP for side in SIDES)
    last = max(2, *(node.generation for node in tree.nodes))
    across = width - left - right
    labels = [*at_sides, *_branch_labels(tree, 0.8 * across / (last - 1))]
    line = LINE_INCHES * max([x.text.count("\n") + 1.1 for x in labels], default=1.1)
    tall = line * max(tree.num_leaves, 2)
    total = LINE_INCHES * (text.count("\n") + 1) + GAP + tall + BELOW
    figure = Figure(figsize=(width, total))
    figure.text(0.05 / width, 1 - 0.03 / total, text, va="top", color=FAINT)
    axes = figure.add_axes((left / width, BELOW / total, across / width, tall / total))
    axes.set(xlim=(1, last), ylim=(tree.num_leaves - 0.5, -0.5), yticks=[])
    named = range(1, last + 1, math.ceil(TICK_INCHES * (last - 1) / across))
    axes.set_xticks(named, [f"$V_{{{n}}}$" for n in named])
    axes.tick_params(axis="x", length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    _draw_models(axes, tree, colours)
    for each in labels:
        axes.annotate(
            each.text,
            (each.x, each.y),
            each.shift,
            textcoords="offset points",
            ha=each.side,
            va="bottom" if each.shift[1] else "center",
        )
    bar = figure.colorbar(
        ScalarMappable(colours.norm, colours.colours),
        cax=figure.add_axes((left / width, 0.4 / total, across / width, BAR / total)),
        orientation="horizontal",
        extend=colours.extend,
    )
    bar.ax.locator_params(nbins=max(2, int(across / NUMBER_INCHES)))
    extractor = name_extractor(metric)
    name = name_metric(metric) + (f" ({extractor})" if extractor else "")
    bar.set_label(fit_text(name, width - GAP))
    return figure


def _side_labels(tree: Tree, room: float) -> tuple[list[Label], dict[str, float]]:
    """Name V_1 at its left and branches that do not split at their right ends.

    Returns:
        The labels, and the width of those at each side in inches.
    """
    labels, widths = [], dict.fromkeys(SIDES, 0.0)
    for i, node in enumerate(tree.nodes):
        tip = tree.tip(i)
        if not node.name or (node.parent is not None and tip is None):
            continue
        side, at = ("right", i) if node.parent is None or tip is None else ("left", tip)
        text = fit_text(node.name, room)
        widths[side] = max(widths[side], text_inches(text))
        x, y = tree.nodes[at].generation, tree.heights[at]
        shift = (-SHIFT, 0.0) if side == "right" else (SHIFT, 0.0)
        labels.append(Label(text=text, x=x, y=y, shift=shift, side=side))
    return labels, widths


def _branch_labels(tree: Tree, room: float) -> Iterator[Label]:
    """Name branches that split again above their first edge."""
    for i, node in enumerate(tree.nodes):
        if node.name and node.parent is not None and tree.tip(i) is None:
            x, y = node.generation, tree.heights[i]
            yield Label(text=fit_text(node.name, room), x=x, y=y, shift=(-SHIFT, 1.0), side="right")


def find_colours(numbers: Sequence[float], metric: str) -> Colours:
    """Return the colours that fit the numbers of a metric, but for outliers."""
    kept = without_outliers([Spread(x, x, x, x) for x in numbers])
    low, high = min(x.low for x in kept), max(x.high for x in kept)
    name = COLOURS if direction(metric) < 0 else f"{COLOURS}_r"
    extend = EXTEND[(min(numbers) < low) + 2 * (max(numbers) > high)]
    return Colours(Normalize(low, high), colormaps[name], extend)


def _draw_models(axes: Axes, tree: Tree, colours: Colours) -> None:
    """Draw a circle for each model, and an edge from the model before it."""
    for i, node in enumerate(tree.nodes):
        x, y, number = node.generation, tree.heights[i], tree.numbers[i]
        if node.parent is not None:
            before, above = tree.nodes[node.parent].generation, tree.heights[node.parent]
            edge = [before, before + TURN, before + TURN, x], [above, above, y, y]
            axes.plot(*edge, color=FAINT, lw=0.6, zorder=1)
        colour = "white" if number is None else colours.of(number)
        look = ("x", INK, 1.2) if tree.has_diverged[i] else ("o", INK, 0.5)
        axes.plot(
            x, y, look[0], mfc=colour, mec=look[1], mew=look[2], ms=5, zorder=2, clip_on=False
        )
