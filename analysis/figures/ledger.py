"""The error ledger as bars: a panel per metric, a group per generation, and a bar per term."""

from collections.abc import Sequence
from itertools import cycle, islice

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.drawing.pages import AXIS_INCHES, LINE_INCHES
from analysis.figures.drawing.style import FAINT, PALETTE
from analysis.figures.drawing.text import fit_text

HEIGHT = 1.6
"""Height in inches of the axes."""
GROUP = 0.8
"""Width of a generation's bars, of 1."""


def draw_ledger(summaries: Sequence[pd.DataFrame], *, width: float) -> Figure:
    """Draw ledgers side by side, in a figure of some inches' width.

    Args:
        summaries: The numbers of each of build_ledger's tables. The last term is the total.
        width: Width in inches.
    """
    first = summaries[0]
    note = (
        f"{first['n'].min()} seeds; bars: {100 * first['confidence'].iloc[0]:g}% t interval; the "
        "terms add up to the total, which is the difference from real images"
    )
    text = fit_text(note, width - 0.1)
    names = list(dict.fromkeys(first["term"]))
    height = HEIGHT + AXIS_INCHES + LINE_INCHES * (text.count("\n") + 4)
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(text, x=0.05 / width, ha="left", color=FAINT)
    used = figure.subplots(1, len(summaries), squeeze=False)[0]
    for axes, summary in zip(used, summaries, strict=True):
        _draw_bars(axes, summary, names)
        room = (width - AXIS_INCHES) / len(summaries) - 0.05
        axes.set_title(fit_text(str(summary["metric"].iloc[0]), room), loc="left")
    figure.legend(
        *used[0].get_legend_handles_labels(),
        loc="outside lower left",
        ncols=len(names),
        frameon=False,
        handlelength=0.8,
        handletextpad=0.4,
        columnspacing=0.8,
        borderpad=0.0,
        borderaxespad=0.5,
    )
    return figure


def _draw_bars(axes: Axes, summary: pd.DataFrame, names: Sequence[str]) -> None:
    """Draw the terms of one metric, the total in black."""
    colours = [*islice(cycle(PALETTE[1:]), len(names) - 1), PALETTE[0]]
    breadth = GROUP / len(names)
    axes.axhline(0, color=FAINT, lw=0.6)
    for k, (name, colour) in enumerate(zip(names, colours, strict=True)):
        rows = summary[summary["term"] == name]
        x = rows["generation"].astype(float) + (k + 0.5) * breadth - GROUP / 2
        halves = rows["half_width"].astype(float).fillna(0.0)
        means = rows["mean"].astype(float)
        axes.bar(x, means, breadth * 0.9, color=colour, label=fit_text(name, 2.0))
        known = halves > 0
        axes.errorbar(
            x[known],
            means[known],
            yerr=halves[known],
            fmt="none",
            ecolor=FAINT,
            lw=0.6,
        )
    generations = sorted(set(summary["generation"]))
    axes.set_xticks(generations, [f"V{n}" for n in generations])
