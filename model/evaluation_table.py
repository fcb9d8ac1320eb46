"""The numbers of an evaluation as lines of text.

Must not know where the images came from, nor print.
"""

from model.metrics import METRICS, Evaluation


def table_lines(found: Evaluation, class_names: tuple[str, ...] = ()) -> list[str]:
    """Each number beside its standard error and its numbers of images; below, those of classes.

    Args:
        found: The numbers.
        class_names: The order of the classes.
    """
    lines = columns(value_rows(found))
    if by_class := class_rows(found, class_names):
        lines += ["", *columns(by_class)]
    return lines


def value_rows(found: Evaluation) -> list[list[str]]:
    """A head, and a row for each number; `<metric>_se` is a column, without its metric a row."""
    rows = [["metric", "value", "se", "images", "reference"]]
    if found.num_train:
        rows[0].append("train")
    for key, value in found.values.items():
        metric, slash, label = key.partition("/")
        if metric.endswith("_se") and f"{metric[:-3]}{slash}{label}" in found.values:
            continue
        error = found.values.get(f"{metric}_se{slash}{label}")
        numbers = [f"{value:.5g}", "-" if error is None else f"{error:.2g}"]
        rows.append([key, *numbers, f"{found.num_images:,}", f"{found.num_reference:,}"])
        if found.num_train:
            rows[-1].append(f"{found.num_train:,}" if label and not without_train(metric) else "-")
    return rows


def without_train(metric: str) -> bool:
    """Whether a number has the name of a metric that needs no training images."""
    return metric in METRICS and "train" not in METRICS[metric].needs


def class_rows(found: Evaluation, class_names: tuple[str, ...]) -> list[list[str]]:
    """A head, and a row for each class that has numbers; empty where none has."""
    keys = [key for key, numbers in found.classes.items() if numbers]
    rows = []
    for name in class_names:
        numbers = [found.classes[key].get(name) for key in keys]
        if any(number is not None for number in numbers):
            rows.append([name, *("-" if n is None else f"{n:.5g}" for n in numbers)])
    return [["class", *keys], *rows] if rows else []


def columns(rows: list[list[str]]) -> list[str]:
    """Rows of words as lines, the first column flush left and the others flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *rest in rows:
        cells = [f"{word:>{width}}" for word, width in zip(rest, widths[1:], strict=True)]
        lines.append("  ".join([f"{first:{widths[0]}}", *cells]))
    return lines
