"""Writes tables as Parquet, with pyarrow, which the extra `parquet` installs."""

import hashlib
import io
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

import pandas as pd

from analysis.reading.columns import is_missing
from model.errors import UsageError

MAGIC = b"PAR1"
"""First bytes of every Parquet file."""
LARGEST = 2**63
"""Whole numbers of this size or more do not fit a column of whole numbers."""
MARK = "written_by_analysis_table"
"""Attribute of the frame in a file of ours: the SHA-256 of the columns and cells."""


def check_parquet() -> None:
    """Raise UsageError unless Parquet files can be written."""
    if find_spec("pyarrow") is None:
        raise UsageError(
            "--format parquet must have pyarrow, got none; pip install 'collapse-sweep[parquet]', "
            "or use --format csv"
        )


def as_parquet(frame: pd.DataFrame) -> bytes:
    """Return a frame as the content of a Parquet file that is_parquet_table recognises.

    A column of different types becomes text, as in csv, but nothing is escaped.
    """
    typed = frame.astype(object).apply(_with_one_type).reset_index(drop=True)
    typed.attrs = {MARK: _digest(typed)}
    buffer = io.BytesIO()
    typed.to_parquet(buffer, engine="pyarrow", index=False)
    return buffer.getvalue()


def is_parquet_table(content: bytes) -> bool:
    """Whether the content of a file is a table of ours that nobody changed."""
    if not content.startswith(MAGIC) or find_spec("pyarrow") is None:
        return False
    with suppress(ValueError, OSError):  # pyarrow's errors are ValueErrors or OSErrors
        frame = pd.read_parquet(io.BytesIO(content), engine="pyarrow")
        return MARK in frame.attrs and frame.attrs[MARK] == _digest(frame)
    return False


def _digest(frame: pd.DataFrame) -> str:
    return hashlib.sha256(frame.to_csv(index=False).encode()).hexdigest()


def _with_one_type(column: pd.Series) -> pd.Series:
    cells = [None if is_missing(cell) else _plain(cell) for cell in column]
    kinds = {_kind(cell) for cell in cells if cell is not None}
    kind = "Float64" if kinds <= {"Int64", "Float64"} and kinds != {"Int64"} else "string"
    kind = kinds.pop() if len(kinds) == 1 else kind
    if kind == "string":
        cells = [None if cell is None else str(cell) for cell in cells]
    return pd.Series(cells, index=column.index, dtype=kind)


def _kind(cell: Any) -> str:
    """The type of column that holds a cell."""
    if isinstance(cell, bool):
        return "boolean"
    if isinstance(cell, float):
        return "Float64"
    return "Int64" if isinstance(cell, int) and abs(cell) < LARGEST else "string"


def _plain(cell: Any) -> Any:
    """A cell as it is, but text without lone surrogates, and a list of texts joined."""
    text = "; ".join(cell) if isinstance(cell, tuple) else cell
    is_text = isinstance(text, str)
    return text.encode(errors="backslashreplace").decode() if is_text else text
