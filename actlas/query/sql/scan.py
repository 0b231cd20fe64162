"""Filters of `activations` and `scores` as regions of their grids, and the tables as lazy frames of polars.

A row of such a table is one point of a grid (cube, layer, neuron, text). A filter is taken apart at its top-level
ANDs; every part that speaks of one axis alone is evaluated on that axis' few labels, and what is left of the axes is
a box of indices: only chunks inside it are read. Parts that are not understood filter the rows that were read.
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import numpy as np
import polars as pl
from polars.io.plugins import register_io_source

from actlas.errors import ActlasError, QueryError
from actlas.query.schema import MAX_ROWS
from actlas.query.sql.grids import Batch, Grid, Region

#: Column of positions beside labels, the last one: filters may count columns from the first.
_AT = "_at"


def split_conjunction(predicate: pl.Expr) -> list[pl.Expr]:
    """The parts of a predicate that are joined by AND at its top.

    Hints that polars adds for its own top-k (dynamic predicates) are left out: they cannot be evaluated outside its engine, and
    leaving them out keeps more rows, never fewer.

    Example:
        >>> [str(part) for part in split_conjunction((pl.col("a") == 1) & (pl.col("b") > 2) & pl.col("c"))]
        ['[(col("a")) == (dyn int: 1)]', '[(col("b")) > (dyn int: 2)]', 'col("c")']
    """
    stack = [json.loads(predicate.meta.serialize(format="json"))]
    parts = []
    while stack:
        node = stack.pop()
        both = node.get("BinaryExpr") if isinstance(node, dict) else None
        if both and both["op"] in ("And", "LogicalAnd"):
            stack += [both["right"], both["left"]]
        elif not _is_dynamic(node):
            parts.append(pl.Expr.deserialize(io.BytesIO(json.dumps(node).encode()), format="json"))
    return parts


def _is_dynamic(node: Any) -> bool:
    shown = node.get("Display", {}) if isinstance(node, dict) else {}
    return isinstance(shown, dict) and str(shown.get("fmt_str", "")).startswith("dynamic_pred")


def narrowed(grid: Grid, region: Region | None, filters: Iterable[tuple[str, pl.Expr]]) -> Region:
    """The part of a region (None: of the grid) whose labels pass filters.

    Args:
        grid: The table.
        region: Where to start from.
        filters: Axis and a filter of the frame of its labels.
    """
    frames = {axis: labels.with_columns(pl.row_index(_AT)) for axis, labels in grid.axes.items()}
    if region is not None:
        frames = {axis: frame[region.box[axis]] for axis, frame in frames.items()}
    for axis, expression in filters:
        frames[axis] = frames[axis].filter(expression)
    box = {axis: frame[_AT].to_numpy().astype(np.int64) for axis, frame in frames.items()}
    return Region(box, None if region is None else region.cells)


def plan_box(grid: Grid, predicate: pl.Expr | None) -> tuple[Region, list[pl.Expr]]:
    """The region that holds every row for which `predicate` can be true, and the parts that still have to be applied."""
    filters, left = [], []
    for part in [] if predicate is None else split_conjunction(predicate):
        axis = axis_of(grid, part.meta.root_names())
        if axis is None:
            left.append(part)
        else:
            filters.append((axis, part))
    return narrowed(grid, None, filters), left


def axis_of(grid: Grid, columns: Collection[str]) -> str | None:
    """The axis that has all these columns; None where they are of several, or none."""
    return next((axis for axis, labels in grid.axes.items() if columns and {*columns} <= {*labels.columns}), None)


def scan_grid(grid: Grid, *, max_rows: int = MAX_ROWS, refusals: list[ActlasError] | None = None) -> pl.LazyFrame:
    """A lazy frame over a grid.

    Args:
        grid: The table.
        max_rows: A scan that would read more rows raises `QueryError`.
        refusals: Takes the errors raised while polars runs the scan, which wraps them in its own.
    """

    def source(
        with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        region, left = plan_box(grid, predicate)
        columns = list(grid.schema) if with_columns is None else with_columns
        if n_rows == 0:
            return
        n_wanted = grid.n_rows(region)
        if n_wanted > max_rows and (n_rows is None or n_rows > max_rows):
            error = QueryError(too_many(grid, n_wanted, max_rows))
            if refusals is not None:
                refusals.append(error)
            raise error
        needed = {*columns, *(name for part in left for name in part.meta.root_names())}
        remaining = n_rows
        asked = [name for name in grid.schema if name in needed]
        for batch in _telling(grid.batches(region, asked), refusals):
            frame = batch.frame(grid.schema, asked)
            frame = (frame.filter(*left) if left else frame).select(columns)
            if remaining is not None:
                frame = frame.head(remaining)
                remaining -= frame.height
            yield frame
            if remaining is not None and remaining <= 0:
                return

    return register_io_source(source, schema=grid.schema, is_pure=True)


def _telling(batches: Iterator[Batch], refusals: list[ActlasError] | None) -> Iterator[Batch]:
    """The same batches; an error on the way, such as of a damaged file, is noted for what runs the engine."""
    try:
        yield from batches
    except ActlasError as error:
        if refusals is not None:
            refusals.append(error)
        raise


def too_many(grid: Grid, n_wanted: int, max_rows: int) -> str:
    """What is said of a query that would read too much."""
    bounds = "checkpoint = '...' AND site = '...' AND layer = 7 AND neuron IN (1, 2, 3)"
    if grid.name == "scores":
        bounds = "checkpoint = '...' AND concept = '...' AND language = '...'"
    return (
        f"this query would read {n_wanted:,} rows of {grid.name}, the limit is {max_rows:,}; bound it by constants, by keys of a "
        f"JOIN or by IN (SELECT ...): {bounds}"
    )
