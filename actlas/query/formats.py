"""A frame as bytes of every format that is handed out, to a terminal, a file or a browser."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import polars as pl

from actlas.words import printable

#: How a cell begins that a spreadsheet would compute; wide forms are the same to some.
_FORMULA = "=+-@\t\r\n＝＋－＠"


def as_csv(frame: pl.DataFrame, *, is_safe: bool = False) -> bytes:
    """Lists and structs as JSON in their cells.

    Args:
        frame: What to write.
        is_safe: Whether cells and headings that a spreadsheet would compute stand behind an apostrophe.

    Example:
        >>> as_csv(pl.DataFrame({"text": ["=1+1"], "n": [-1]}), is_safe=True)
        b"text,n\\n'=1+1,-1\\n"
    """
    flat = _as_strings(frame).with_columns(
        pl.col(name).map_elements(_nested, return_dtype=pl.String) for name, dtype in frame.schema.items() if dtype.is_nested()
    )
    return (_without_formulas(flat) if is_safe else flat).write_csv().encode()


def as_json(frame: pl.DataFrame) -> bytes:
    """An array of one object per row.

    Example:
        >>> as_json(pl.DataFrame({"ap": [0.5, float("nan")]})).decode().split()
        ['[', '{', '"ap":', '0.5', '},', '{', '"ap":', 'null', '}', ']']
    """
    text = json.dumps([_plain(row) for row in frame.to_dicts()], ensure_ascii=False, indent=1)
    return "\n".join(map(escaped, text.split("\n"))).encode() + b"\n"


def as_jsonl(frame: pl.DataFrame) -> bytes:
    """One object per line.

    Example:
        >>> as_jsonl(pl.DataFrame({"n": [1, 2]}))
        b'{"n": 1}\\n{"n": 2}\\n'
    """
    lines = (json.dumps(_plain(row), ensure_ascii=False) for row in frame.iter_rows(named=True))
    return "".join(f"{escaped(line)}\n" for line in lines).encode()


def as_parquet(frame: pl.DataFrame) -> bytes:
    """A file of Parquet.

    Example:
        >>> as_parquet(pl.DataFrame({"n": [1]}))[:4]
        b'PAR1'
    """
    frame.write_parquet(file := io.BytesIO())
    return file.getvalue()


def as_arrow(frame: pl.DataFrame) -> bytes:
    """A stream of Arrow's IPC format.

    Example:
        >>> pl.read_ipc_stream(as_arrow(pl.DataFrame({"n": [1]}))).item()
        1
    """
    frame.write_ipc_stream(file := io.BytesIO())
    return file.getvalue()


def escaped(line: str) -> str:
    """A line of JSON in which what a terminal would act on is written as an escape, which is the same to a reader.

    Example:
        >>> escaped('"\\u202ecow"')
        '"\\\\u202ecow"'
    """
    return printable(line, lambda one: json.dumps(one)[1:-1])


def printable_frame(frame: pl.DataFrame) -> pl.DataFrame:
    """The same with every name and text as a terminal can show it.

    Example:
        >>> printable_frame(pl.DataFrame({"text": ["a\\x1b"]})).item()
        'a\\\\x1b'
    """
    frame = _as_strings(frame)
    columns = [
        pl.Series(name, _printable_value(column.to_list()), dtype=column.dtype) if _holds_text(column.dtype) else column
        for name, column in zip(frame.columns, frame.get_columns(), strict=True)
    ]
    return pl.DataFrame(columns).rename(printable)


def _without_formulas(frame: pl.DataFrame) -> pl.DataFrame:
    cells = pl.col(pl.String).str.replace(rf"^[{_FORMULA[:2]}\-{_FORMULA[3:]}]", "'$0")
    return frame.with_columns(cells).rename(lambda name: f"'{name}" if name[:1] in _FORMULA and name else name)


def _as_strings(frame: pl.DataFrame) -> pl.DataFrame:
    """The same with texts of a fixed list as plain ones."""
    return frame.with_columns(pl.col(pl.Categorical, pl.Enum).cast(pl.String))


def _holds_text(dtype: pl.DataType) -> bool:
    return dtype == pl.String or dtype.is_nested()


def _printable_value(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [_printable_value(one) for one in value]
    if isinstance(value, dict):
        return {name: _printable_value(one) for name, one in value.items()}
    return value


def _nested(value: Any) -> str | None:
    if value is None:
        return None
    return json.dumps(_plain(value.to_list() if isinstance(value, pl.Series) else value), ensure_ascii=False)


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity: a number that is not one becomes null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return value
