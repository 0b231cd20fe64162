"""A frame as bytes of every format that is handed out, to a terminal, a file or a browser."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import polars as pl

from actlas.words import printable

#: How a cell begins that a spreadsheet would compute; wide forms are the same to some.
_FORMULA = "=+-@\t\r\n＝＋－＠"
#: Bytes of a frame that are written at once where an answer is written in parts.
_PART_BYTES = 4_000_000


def as_csv(frame: pl.DataFrame, *, is_safe: bool = False, is_headed: bool = True) -> bytes:
    """Lists and structs as JSON in their cells.

    Args:
        frame: What to write.
        is_safe: Whether cells and headings that a spreadsheet would compute stand behind an apostrophe.
        is_headed: Whether the names of columns come first.

    Example:
        >>> as_csv(pl.DataFrame({"text": ["=1+1"], "n": [-1]}), is_safe=True)
        b"text,n\\n'=1+1,-1\\n"
    """
    flat = _as_strings(frame).with_columns(
        pl.col(name).map_elements(_nested, return_dtype=pl.String) for name, dtype in frame.schema.items() if dtype.is_nested()
    )
    return (_without_formulas(flat) if is_safe else flat).write_csv(include_header=is_headed).encode()


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


def _csv_parts(frames: Iterator[pl.DataFrame]) -> Iterator[bytes]:
    for number, frame in enumerate(frames):
        yield as_csv(printable_frame(frame), is_safe=True, is_headed=number == 0)


def _parquet_parts(frames: Iterator[pl.DataFrame]) -> Iterator[bytes]:
    import pyarrow.parquet as pq

    yield from _written(frames, lambda sink, schema: pq.ParquetWriter(sink, schema, compression="zstd"))


def _arrow_parts(frames: Iterator[pl.DataFrame]) -> Iterator[bytes]:
    import pyarrow as pa

    yield from _written(frames, pa.ipc.new_stream)


#: Format -> what writes frames of one kind, of which there is one at least, as parts of a file that is never whole in memory.
#: CSV is for eyes, spreadsheets and terminals: nothing in it is computed or obeyed. The other formats have texts as they are.
PARTS: Mapping[str, Callable[[Iterator[pl.DataFrame]], Iterator[bytes]]] = {
    "csv": _csv_parts,
    "jsonl": lambda frames: map(as_jsonl, frames),
    "parquet": _parquet_parts,
    "arrow": _arrow_parts,
}


def file_parts(frames: Iterable[pl.DataFrame], kind: str) -> Iterator[bytes]:
    """Frames, one after the other, as parts of one file.

    Args:
        frames: With the same columns; one at least.
        kind: One of `PARTS`.

    Example:
        >>> frames = [pl.DataFrame({"n": [1]}), pl.DataFrame({"n": [2]})]
        >>> list(file_parts(frames, "csv"))
        [b'n\\n1\\n', b'2\\n']
    """
    return PARTS[kind](part for frame in frames for part in _small(_as_strings(frame)))


def _small(frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """A frame in pieces of some megabytes."""
    n_pieces = 1 + int(frame.estimated_size()) // _PART_BYTES
    yield from frame.iter_slices(max(1, -(-frame.height // n_pieces))) if frame.height else [frame]


def _written(frames: Iterator[pl.DataFrame], open_writer: Callable[[io.BytesIO, Any], Any]) -> Iterator[bytes]:
    """What a writer of pyarrow writes, as it is written."""
    sink = _Sink()
    writer = None
    for frame in frames:
        table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
        if writer is None:
            writer = open_writer(sink, table.schema)
        writer.write_table(table)
        yield sink.taken()
    if writer is not None:
        writer.close()
        yield sink.taken()


class _Sink(io.BytesIO):
    """A file that forgets what was taken out of it, and goes on to say how long it is."""

    def __init__(self) -> None:
        super().__init__()
        self._n_taken = 0

    def tell(self) -> int:
        """Bytes that were written."""
        return self._n_taken + super().tell()

    def taken(self) -> bytes:
        """What was written since."""
        data = self.getvalue()
        self._n_taken += len(data)
        self.seek(0)
        self.truncate()
        return data


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
