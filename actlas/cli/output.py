"""How the command line shows things: frames in every format, progress, warnings."""

from __future__ import annotations

import json
import logging
import re
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from actlas.errors import QueryError
from actlas.query.formats import as_arrow, as_csv, as_json, as_jsonl, as_parquet, printable_frame
from actlas.words import printable

FORMATS = ("table", "markdown", "csv", "json", "jsonl", "parquet", "arrow")
#: Of these, what no terminal shows.
_BINARY = ("parquet", "arrow")
_WRITERS = {"json": as_json, "jsonl": as_jsonl, "parquet": as_parquet, "arrow": as_arrow}
_LINE_WIDTH = 110


def show_frame(frame: pl.DataFrame, fmt: str, out: str | None = None, max_rows: int = 50, *, is_safe: bool = False) -> None:
    """Write a frame to a file or standard output.

    A table for reading stops after `max_rows` rows and says so; 0 shows all. The other formats are always whole.

    Args:
        frame: What to show.
        fmt: One of `FORMATS`.
        out: A file; None for standard output.
        max_rows: Of a table for reading.
        is_safe: Whether cells of CSV that a spreadsheet would compute become text.
    """
    if out is not None:
        from actlas.store.files.atomic import naming

        written = _written(frame, fmt, max_rows, is_safe)
        with naming(Path(out)), open(out, "wb") as file:
            file.write(written)
        tell(f"{frame.height:,} rows in {out}")
        return
    if sys.stdout.isatty():
        if fmt in _BINARY:
            raise QueryError(f"{fmt} is bytes that no terminal shows; write it to a file with --out FILE, or into a pipe")
        frame = printable_frame(frame)
    # at once, and not by polars: a reader that goes away (`| head`) is then an error of its own kind
    sys.stdout.buffer.write(_written(frame, fmt, max_rows, is_safe))
    sys.stdout.flush()


def _written(frame: pl.DataFrame, fmt: str, max_rows: int, is_safe: bool) -> bytes:
    if fmt == "csv":
        return as_csv(frame, is_safe=is_safe)
    if fmt in _WRITERS:
        return _WRITERS[fmt](frame)
    if fmt == "markdown":
        return as_markdown(frame).encode() + b"\n"
    return as_table(frame, max_rows).encode() + b"\n"


def as_table(frame: pl.DataFrame, max_rows: int = 50) -> str:
    """A frame as aligned text.

    Args:
        frame: What to show.
        max_rows: Rows that are shown at most; a last line says how many there are. 0 shows all.

    Returns:
        A heading and one line per row, without a newline at the end.

    Example:
        >>> print(as_table(pl.DataFrame({"concept": ["cow", "bread"], "overlap": [0.25, None]})))
         concept  overlap
         cow      0.2500
         bread    null
    """
    shown = printable_frame(frame if max_rows == 0 else frame.head(max_rows))
    with pl.Config(
        tbl_rows=-1,
        tbl_cols=-1,
        tbl_formatting="NOTHING",
        tbl_hide_dataframe_shape=True,
        tbl_hide_column_data_types=True,
        tbl_width_chars=10_000,
        fmt_str_lengths=80,
        fmt_table_cell_list_len=20,
        float_precision=4,
    ):
        text = "\n".join(line.rstrip() for line in str(shown).splitlines())
    if shown.height < frame.height:
        text += f"\n({shown.height:,} of {frame.height:,} rows; --rows 0 shows all, --format csv writes all)"
    return text


def as_markdown(frame: pl.DataFrame) -> str:
    """A frame as a table of Markdown, whole.

    Args:
        frame: What to show.

    Returns:
        Lines, without a newline at the end. Cells stand as text: what would be markup there is escaped.

    Example:
        >>> print(as_markdown(pl.DataFrame({"concept": ["cow|calf", None], "overlap": [0.25, 1.0]})))
        | concept | overlap |
        | --- | --- |
        | cow\\|calf | 0.25 |
        |  | 1.0 |
    """
    rows = [
        frame.columns,
        ["---"] * frame.width,
        *([_cell(value) for value in row] for row in printable_frame(frame).iter_rows()),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(value: Any) -> str:
    if isinstance(value, list | dict):
        value = json.dumps(value, ensure_ascii=False)
    return "" if value is None else re.sub(r"[\\|<>*`\[\]]|\b_|_\b", r"\\\g<0>", str(value))


def bullet(sentence: str) -> str:
    """A sentence as an item of a list, wrapped to a width that terminals have.

    Example:
        >>> bullet("Languages share experts.")
        '- Languages share experts.'
    """
    return textwrap.fill(sentence, _LINE_WIDTH, initial_indent="- ", subsequent_indent="  ")


def say(line: str) -> None:
    """A line of the answer."""
    print(printable(line), flush=True)


def say_table(frame: pl.DataFrame) -> None:
    """A frame as part of the answer, whole."""
    print(as_table(frame, max_rows=0), flush=True)


def tell(line: str) -> None:
    """A line for the person, not for the next program: to standard error."""
    print(printable(line), file=sys.stderr, flush=True)


class PrintableLines(logging.Formatter):
    """What is logged, a printable line per record."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(record.getMessage())


def n_bytes(count: float) -> str:
    """A size for reading.

    Example:
        >>> n_bytes(1536), n_bytes(3_500_000_000)
        ('1.5 KB', '3.5 GB')
    """
    size = float(count)
    for name in ("B", "KB", "MB", "GB", "TB"):
        if size < 1000 or name == "TB":
            return f"{size:.0f} B" if name == "B" else f"{size:.1f} {name}"
        size /= 1000
    raise AssertionError("the loop ends at TB")


def duration(seconds: float) -> str:
    """A time for reading.

    Example:
        >>> duration(7), duration(75), duration(7300)
        ('7 s', '1 min 15 s', '2 h 1 min')
    """
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class ProgressLine:
    """One line of progress that rewrites itself on a terminal; elsewhere a new line every ten seconds."""

    def __init__(self, quiet: bool = False) -> None:
        self._live = sys.stderr.isatty()
        self._quiet = quiet
        self._last = 0.0
        self._width = 0

    def update(self, text: str, *, final: bool = False) -> None:
        """Show `text` if enough time went by since the last one."""
        now = time.monotonic()
        if self._quiet or (not final and now - self._last < (0.1 if self._live else 10.0)):
            return
        self._last = now
        text = printable(text)
        if self._live:
            end = "\n" if final else ""
            print(f"\r{text.ljust(self._width)}", end=end, file=sys.stderr, flush=True)
            self._width = 0 if final else len(text)
        else:
            tell(text)

    def end(self) -> None:
        """Leave the line on the screen and go to the next."""
        if self._live and self._width and not self._quiet:
            print(file=sys.stderr, flush=True)
            self._width = 0


def step_progress(line: ProgressLine, what: str) -> Callable[[int, int, str], None]:
    """A callback for work that counts its steps, or again for every checkpoint: share done, speed, time left."""
    start = last = time.monotonic()
    was_done, is_over = 0, False

    def show(done: int, total: int, where: str) -> None:
        nonlocal start, last, was_done, is_over
        if is_over or done < was_done:
            start = last
        was_done, is_over, last = done, done == total, time.monotonic()
        seconds = max(last - start, 1e-9)
        left = duration(seconds * (total - done) / done) if done else "?"
        line.update(f"{where}: {done:,} of {total:,} {what}, {done / seconds:,.0f}/s, {left} left", final=done == total)

    return show


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
