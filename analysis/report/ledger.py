"""The page's error ledger: tables, and the numbers behind their bars."""

from collections.abc import Sequence
from typing import Any
from xml.etree.ElementTree import Element

import pandas as pd

from analysis.reading.columns import resolve_metrics, split_name
from analysis.report.curves import numbers, title_of
from analysis.report.markup import element, table
from analysis.statistics.forecasts import GAINS, Forecasts
from analysis.tables.ledger import Step, build_ledger
from analysis.tables.table import Table
from model.errors import printable


def read_ledger(
    frame: pd.DataFrame,
    metrics: Sequence[str],
    steps: Sequence[Step],
    *,
    confidence: float,
    forecasts: Forecasts | None,
) -> tuple[list[Element], list[dict[str, Any]]]:
    """Return tables with a place for the bars of each, and the numbers of the bars as JSON.

    Args:
        frame: The tidy table.
        metrics: Metrics that a user names; gains by band if there are none.
        steps: The arms; without any, there is no ledger.
        confidence: Coverage of the intervals over seeds, in (0, 1).
        forecasts: The first arm of gains; None if there is none.

    Raises:
        UsageError: As in build_ledger, or there is no such metric.
    """
    if not steps:
        return [], []
    ledgers = [
        (metric, ledger)
        for metric in resolve_metrics(frame, metrics or GAINS)
        for ledger in build_ledger(
            frame,
            [metric],
            steps,
            confidence=confidence,
            forecast=forecasts if split_name(metric)[0] in GAINS else None,
        )
    ]
    charts = [
        element("div", class_="chart", id=f"ledger-{number}", role="img")
        for number in range(len(ledgers))
    ]
    tables = [table(title_of(metric), ledger.header, ledger.rows) for metric, ledger in ledgers]
    notes = dict.fromkeys(ledger.caption for _, ledger in ledgers)
    return (
        [
            element("div", *charts, class_="ledgers"),
            *tables,
            *(element("p", note, class_="note") for note in notes),
        ],
        [{"name": printable(title_of(metric)), **_bars(ledger)} for metric, ledger in ledgers],
    )


def _bars(ledger: Table) -> dict[str, Any]:
    """The numbers of each term by generation; the last term is the total."""
    summary = ledger.summary
    generations = list(dict.fromkeys(summary["generation"]))
    terms = [
        summary[i : i + len(generations)] for i in range(0, len(summary), len(generations) or 1)
    ]
    return {
        "generations": generations,
        "terms": [
            {
                "name": printable(str(rows["term"].iloc[0])),
                "mean": numbers(rows["mean"]),
                "half": numbers(rows["half_width"]),
                "n": rows["n"].tolist(),
            }
            for rows in terms
        ],
    }
