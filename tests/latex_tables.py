"""Reads tables in LaTeX back, for tests."""

import re


def latex_rows(text: str) -> list[list[str]]:
    """The cells of the header and of the rows of one table, each as the text behind it."""
    (kinds,) = re.findall(r"\\begin{tabular}{@{}(.*)@{}}", text)
    columns = re.findall(r"S\[[^]]*\]@{\\,}l|S\[[^]]*\]|l", kinds)
    sizes = [2 if column.endswith("l") and len(column) > 1 else 1 for column in columns]
    body = text.split("\\toprule\n")[1].split("\n\\bottomrule")[0]
    lines = [line for line in body.split("\n") if line != r"\midrule"]
    return [_join(line.removesuffix(r" \\").split(" & "), sizes) for line in lines]


def usual_count(text: str) -> str:
    """What a bare interval has in parentheses, from the caption; empty if it says nothing."""
    match = re.search(r"has no number in parentheses, it is (.*?)\.", text)
    return match[1] if match else ""


def plain_text(cell: str) -> str:
    """A cell of numbers as it was before it was typeset."""
    text = re.sub(r"\\num{(.*?)}", r"\1", "-" if cell == "--" else cell)
    return text.replace("$", "").replace(r"\pm", "+-")


def _join(cells: list[str], sizes: list[int]) -> list[str]:
    """Join the cells of each column of the table, which has one or two columns of LaTeX."""
    left, joined = list(cells), []
    for size in sizes:
        first = left.pop(0)
        spans = first.startswith(r"\multicolumn")
        rest = left.pop(0) if size == 2 and not spans else ""
        first = re.sub(r"^(?:\\multicolumn\{2\}\{[^c]*c(?:@\{\})?\})?\{(.*)\}$", r"\1", first)
        joined.append(f"{first}{'' if rest.startswith(';') else ' '}{rest}".strip())
    assert not left
    return joined
