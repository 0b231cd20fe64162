"""Frames as aligned lines of text."""

from __future__ import annotations

from typing import Any

import polars as pl

_WIDEST = 56


def lines_of(frame: pl.DataFrame) -> list[str]:
    """A heading, a rule and one line per row; numbers to the right, long text cut.

    Example:
        >>> lines_of(pl.DataFrame({"concept": ["cow", "bread"], "overlap": [0.25, None]}))
        ['concept  overlap', '-------  -------', 'cow        0.250', 'bread          -']
    """
    cells = {name: [_cell(value) for value in frame[name]] for name in frame.columns}
    widths = {name: max(len(name), *map(len, column), 1) for name, column in cells.items()}

    def line(row: dict[str, str]) -> str:
        parts = [
            row[name].rjust(widths[name]) if frame[name].dtype.is_numeric() else row[name].ljust(widths[name]) for name in row
        ]
        return "  ".join(parts).rstrip()

    rows = [{name: column[at] for name, column in cells.items()} for at in range(frame.height)]
    return [line({name: name for name in cells}), line({name: "-" * widths[name] for name in cells}), *map(line, rows)]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}"
    text = str(value)
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"
