"""One row per generation of a lineage, from records of a results folder, and a csv file of it."""

import csv
import io
from pathlib import Path

from sweep.files import Json, write_bytes
from sweep.records import LineageRecord, load_metrics, load_node
from sweep.tensorboard import model_numbers, tag_of, with_counts

FOLDER = "logs"
"""Name of the folder of these files in a results folder."""
CSV = "progress.csv"


def progress_rows(out: Path, lineage: LineageRecord) -> list[Json]:
    """The numbers of each generation, up to the first that is not trained and measured.

    Names are those in TensorBoard, after `member-N/` or `mixture/` for an ensemble.
    """
    rows: list[Json] = []
    for generation, keys in enumerate(lineage.nodes, start=1):
        parts = {
            f"member-{member}/" if len(keys) > 1 else "": (key, lineage.specs(member))
            for member, key in enumerate(keys)
        }
        nodes = {prefix: load_node(out, key) for prefix, (key, _) in parts.items()}
        if lineage.mixture_specs:
            parts["mixture/"] = (keys[0], lineage.mixture_specs[generation - 1])
        row: Json = {"generation": generation}
        for prefix, node in nodes.items():
            if node is None:
                return rows
            row |= {prefix + name: value for name, value in model_numbers(node).items()}
        is_measurable = all(node.status == "done" for node in nodes.values() if node)
        for prefix, (key, specs) in parts.items():
            found = [load_metrics(out, key, spec) for spec in specs]
            if is_measurable and found[:1] == [None]:
                return rows
            for metrics in found:
                if metrics is not None and found[0] is not None:
                    numbers = with_counts(metrics, found[0])
                    row |= {prefix + tag_of(name): value for name, value in numbers.items()}
        rows.append(row)
    return rows


def write_csv(out: Path, lineage: LineageRecord) -> None:
    """Write the rows of a lineage to its progress.csv, unless it has them already."""
    rows = progress_rows(out, lineage)
    names = list(dict.fromkeys(name for row in rows for name in row)) or ["generation"]
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path, data = out / FOLDER / lineage.id / CSV, text.getvalue().encode(errors="backslashreplace")
    if not path.exists() or path.read_bytes() != data:
        write_bytes(path, data)
