"""Tables drawn as SVG, by what `Part.picture` says: what a page shows where no script runs, and on paper."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import cycle
from typing import Any

import numpy as np
import polars as pl

from actlas.explore.view import Part
from actlas.report.svg import (
    Box,
    Line,
    bar_chart,
    colour_bar,
    heat_map,
    legend,
    legend_height,
    line_chart,
    picture,
)

#: Line colours of the stores, in the order in which they were given; all keep their contrast on white and on black.
STORE_COLOURS = ("#2f7fd8", "#d9772b", "#2f9e63", "#b458b8", "#8a8f98")
#: Strokes of what stands thin beside a line, in its order.
_DASHES = ("5 3", "1 2", "9 3 2 3", "2 5")
_WIDTH = 690.0
_LEFT, _TOP, _HEIGHT = 44.0, 24.0, 220.0
#: More rows of a heat map than this share the height of this many.
_MOST_ROWS = 24
#: Heat maps beside each other.
_MOST_PANELS = 3
#: With more places than this, their labels stand upright.
_MOST_LEVEL = 12

Columns = Mapping[str, Any]


def draw(part: Part, frame: pl.DataFrame, description: str) -> str:
    """A table as its picture.

    Args:
        part: Says which column is what.
        frame: Its rows, of one store or of several with the store in front.
        description: Alternative text.

    Returns:
        The figure as SVG; "" where the table has no picture or no row.

    Example:
        >>> from actlas.explore.view import picture
        >>> part = Part("n", "How many", "", picture("bars", x="language", y="n"))
        >>> draw(part, pl.DataFrame({"language": ["en"], "n": [2]}), "Two in English.")[:26]
        '<svg viewBox="0 0 690 300"'
    """
    if part.picture is None or frame.is_empty():
        return ""
    height, parts = _KINDS[part.picture.kind](part, frame, part.picture.columns)
    return picture(part.name, _WIDTH, height, part.title, description, parts)


def _lines(part: Part, frame: pl.DataFrame, columns: Columns) -> tuple[float, list[str]]:
    """A line per series with its band, and beside each, thin, what it is held against."""
    steps = _places(frame[columns["x"]])
    place = {step: at for at, step in enumerate(steps)}
    thin, thick, named = [], [], []
    dashed = [name for name in columns.get("dashed", ()) if frame[name].null_count() < frame.height]
    for (label, rows), colour in zip(_series(frame, columns), cycle(STORE_COLOURS), strict=False):
        positions = [place[step] for step in rows[columns["x"]].cast(pl.String)]
        for name, dashes in zip(dashed, cycle(_DASHES), strict=False):
            thin.append(Line("", positions, _heights(rows[name]), colour, dashes=dashes))
        band = [_heights(rows[columns[end]]) for end in ("low", "high") if end in columns]
        thick.append(Line(label, positions, _heights(rows[columns["y"]]), colour, 2, "", 1, True, *band))
    named = [*thick, *(Line(name, (), (), dashes=dashes) for name, dashes in zip(dashed, cycle(_DASHES), strict=False))]
    drawn = line_chart(Box(_LEFT, _TOP, _WIDTH - _LEFT - 12, _HEIGHT), columns["y"], [*thin, *thick], steps)
    top = _TOP + _HEIGHT + 52
    drawn += legend(_LEFT, top, _WIDTH - _LEFT, named)
    return top + 10 + legend_height(_WIDTH - _LEFT, named), drawn


def _bars(part: Part, frame: pl.DataFrame, columns: Columns) -> tuple[float, list[str]]:
    """A bar per series at each place."""
    places = _places(frame[columns["x"]])
    bars, named = [], []
    for (label, rows), colour in zip(_series(frame, columns), cycle(STORE_COLOURS), strict=False):
        heights = dict(zip(rows[columns["x"]].cast(pl.String), _heights(rows[columns["y"]], lowest=None), strict=True))
        bars.append((colour, [heights.get(place, math.nan) for place in places]))
        named.append(Line(label, (), (), colour, 8))
    drawn = bar_chart(
        Box(_LEFT, _TOP, _WIDTH - _LEFT - 12, _HEIGHT), columns["y"], bars, places, is_dense=len(places) > _MOST_LEVEL
    )
    top = _TOP + _HEIGHT + (80 if len(places) > _MOST_LEVEL else 46)
    drawn += legend(_LEFT, top, _WIDTH - _LEFT, named)
    return top + 10 + legend_height(_WIDTH - _LEFT, named), drawn


def _matrix(part: Part, frame: pl.DataFrame, columns: Columns) -> tuple[float, list[str]]:
    """A cell per row and column, one panel per facet, all on one scale."""
    x, y, value = columns["x"], columns["y"], columns["value"]
    panels = _series(frame, {"series": [columns["facet"]] if columns.get("facet") else []})
    known = frame[value].drop_nulls().to_numpy()
    limits = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    margin, bar = 12.0 + 6.2 * max(len(str(name)) for name in frame[y]), 74.0
    across = min(len(panels), _MOST_PANELS)
    pitch = (_WIDTH - bar) / across
    rows = min(max(panel[y].n_unique() for _, panel in panels), _MOST_ROWS)
    height, gap = max(18.0 * rows, 60.0), 78.0
    drawn = []
    for number, (label, panel) in enumerate(panels):
        names, places = _names(panel[y]), _places(panel[x])
        grid = np.full((len(names), len(places)), np.nan)
        for row, column, at in zip(panel[y], panel[x].cast(pl.String), _heights(panel[value], None), strict=True):
            grid[names.index(str(row)), places.index(column)] = at
        box = Box((number % across) * pitch + margin, (number // across) * (height + gap) + 26, pitch - margin - 10, height)
        drawn += heat_map(box, label, grid, limits, names, places, is_dense=across > 1 or len(places) > _MOST_LEVEL, x_label=x)
    total = -(-len(panels) // across) * (height + gap)
    drawn += colour_bar(part.name, Box(_WIDTH - bar + 8, 26, 12, height), limits, value)
    return total, drawn


_KINDS: Mapping[str, Callable[[Part, pl.DataFrame, Columns], tuple[float, list[str]]]] = {
    "lines": _lines,
    "bars": _bars,
    "matrix": _matrix,
}


def _series(frame: pl.DataFrame, columns: Columns) -> list[tuple[str, pl.DataFrame]]:
    """Rows of each series, which is called by the columns that tell them apart."""
    by = list(columns.get("series", ()))
    if not by:
        return [("", frame)]
    telling = [name for name in by if frame[name].n_unique() > 1] or by[:1]
    parts = frame.partition_by(by, maintain_order=True)
    return [(", ".join(str(rows[name][0]) for name in telling), rows) for rows in parts]


def _places(column: pl.Series) -> list[str]:
    """Places on an axis: numbers by size, anything else in the order of the rows."""
    names = _names(column)
    return sorted(names, key=int) if all(name.isdigit() for name in names) else names


def _names(column: pl.Series) -> list[str]:
    return column.cast(pl.String).unique(maintain_order=True).to_list()


def _heights(column: pl.Series, lowest: float | None = 0) -> list[float]:
    """Values to draw. The axis of lines begins at 0, so what lies below is drawn there."""
    values = column.cast(pl.Float64)
    return (values if lowest is None else values.clip(lowest)).fill_null(float("nan")).to_list()
