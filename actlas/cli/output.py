"""How the command line shows things: frames in four formats, progress, warnings."""

from __future__ import annotations

import json
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import polars as pl

FORMATS = ("table", "csv", "json", "parquet")
_LINE_WIDTH = 110


def show_frame(frame: pl.DataFrame, fmt: str, out: str | None = None, max_rows: int = 50) -> None:
    """Write a frame to a file or standard output.

    A table for reading stops after `max_rows` rows and says so; 0 shows all. The other formats are always whole.
    """
    if out is not None:
        with open(out, "wb") as file:
            _write(frame, fmt, file, max_rows)
        tell(f"{frame.height:,} rows in {out}")
        return
    _write(frame, fmt, sys.stdout.buffer, max_rows)
    sys.stdout.flush()


def _write(frame: pl.DataFrame, fmt: str, file: IO[bytes], max_rows: int) -> None:
    if fmt == "csv":
        flat = frame.with_columns(
            pl.col(name).map_elements(_as_json, return_dtype=pl.String)
            for name, dtype in frame.schema.items()
            if dtype.is_nested()
        )
        flat.write_csv(file)
    elif fmt == "json":
        file.write(json.dumps([_plain(row) for row in frame.to_dicts()], ensure_ascii=False, indent=1).encode() + b"\n")
    elif fmt == "parquet":
        frame.write_parquet(file)
    else:
        file.write(as_table(frame, max_rows).encode() + b"\n")


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
    shown = frame if max_rows == 0 else frame.head(max_rows)
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


def bullet(sentence: str) -> str:
    """A sentence as an item of a list, wrapped to a width that terminals have.

    Example:
        >>> bullet("Languages share experts.")
        '- Languages share experts.'
    """
    return textwrap.fill(sentence, _LINE_WIDTH, initial_indent="- ", subsequent_indent="  ")


def _as_json(value: Any) -> str | None:
    if value is None:
        return None
    return json.dumps(value.to_list() if isinstance(value, pl.Series) else value, ensure_ascii=False)


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN: a number that is not one becomes null."""
    return {name: None if isinstance(value, float) and value != value else value for name, value in row.items()}


def tell(line: str) -> None:
    """A line for the person, not for the next program: to standard error."""
    print(line, file=sys.stderr, flush=True)


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
    """A callback for work that counts its steps: share done, speed, time left."""
    start = time.monotonic()

    def show(done: int, total: int, where: str) -> None:
        seconds = max(time.monotonic() - start, 1e-9)
        left = duration(seconds * (total - done) / done) if done else "?"
        line.update(f"{where}: {done:,} of {total:,} {what}, {done / seconds:,.0f}/s, {left} left", final=done == total)

    return show


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
