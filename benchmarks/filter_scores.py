r"""Show how far the scores of filters are apart: whether there was anything to choose between.

    sweep run filters --out RUN --generations 2 --axis filter.name=reward,near-duplicates \
        --axis filter.candidates=4
    uv run --extra all python benchmarks/filter_scores.py RUN [--json FILE]
    uv run python benchmarks/filter_scores.py --read FILE

For every model whose pool contains images chosen by a filter: the distribution of the scores of all
candidates, and whether the filter kept other candidates than the first ones. Scores are in the
store and not among the records, so this needs the run's folder; --read prints a file of --json.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from tabulate import tabulate

from analysis.reading.columns import grouped
from analysis.statistics.seeds import t_interval
from analysis.tables.build import format_interval

COLUMNS = ("lowest", "median", "highest", "share_above_0.99", "share_of_kept_among_first")


def measure(run: Path) -> list[dict]:
    """Describe the scores of each selection of the run's pools; one entry per model."""
    from sweep.lineage.pool_images import selection_key
    from sweep.planning.pool import Selected, pool_from_recipe
    from sweep.records import load_lineages
    from sweep.store.store import open_store

    store, rows = open_store(run), []
    for lineage in load_lineages(run):
        for generation, (key,) in enumerate(lineage.nodes[: lineage.num_done], start=1):
            recipe = json.loads((run / "generations" / key / "pool.json").read_text())
            for source in pool_from_recipe(recipe["segments"]):
                if not isinstance(source, Selected):
                    continue
                chosen = selection_key(source)
                kept, scores = (store.read_block(chosen, n, shelf="selections") for n in (0, 1))
                rows.append(
                    {
                        "filter": source.by["name"],
                        "seed": lineage.axes["seed"],
                        "generation": generation,
                        "node": key,
                        "num_candidates": len(scores),
                        "num_kept": len(kept),
                        "lowest": float(scores.min()),
                        "median": float(np.median(scores)),
                        "highest": float(scores.max()),
                        "share_above_0.99": float((scores > 0.99).mean()),
                        "share_of_kept_among_first": float((kept < len(kept)).mean()),
                    }
                )
    return rows


def summarise(rows: list[dict]) -> str:
    """A table with a row for each filter and generation, as means over seeds."""
    frame = pd.DataFrame(rows)
    table = [
        [values["filter"], f"D{values['generation']}"]
        + [format_interval(*t_interval(part[column].tolist(), 0.95)) for column in COLUMNS]
        for values, part in grouped(frame, ["filter", "generation"])
    ]
    header = ["filter", "pool", *(column.replace("_", " ") for column in COLUMNS)]
    sizes = frame[["num_candidates", "num_kept"]].drop_duplicates().to_numpy().tolist()
    kept = " and ".join(f"{num_kept} of {total}" for total, num_kept in sizes)
    return (
        tabulate(table, header, tablefmt="pipe", disable_numparse=True)
        + f"\n\nScores of all candidates, of which {kept} are kept; mean +- half-width of the 95% "
        "t interval over seeds (n seeds). Share of kept among first: of the images kept, those "
        "that would have entered without a filter.\n"
    )


def main() -> None:
    """Print the table, and write its numbers as JSON if requested."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("run", type=Path, nargs="?", help="results folder, with its store")
    parser.add_argument("--read", type=Path, help="print a file of --json instead")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    if (options.run is None) == (options.read is None):
        parser.error("give a results folder, or --read with a file")
    rows = json.loads(options.read.read_text()) if options.read else measure(options.run)
    print(summarise(rows), end="")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
