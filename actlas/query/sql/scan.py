"""Filters of `activations` and `scores` as regions of their grids, and the tables as lazy frames of polars.

A row of such a table is one point of a grid (cube, layer, neuron, text). A filter is taken apart at its top-level
ANDs; every part that speaks of one axis alone is evaluated on that axis' few labels, and what is left of the axes is
a box of indices: only chunks inside it are read. Parts that are not understood filter the rows that were read.
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import polars as pl
from duckdb._sources.nodes import Binary, Col, Lit
from duckdb._sources.nodes import Node as DuckNode
from polars.io.plugins import register_io_source

from actlas.query.sql.grids import Grid, Positions, Region
from actlas.query.sql.values import Keep

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
            try:
                parts.append(pl.Expr.deserialize(io.BytesIO(json.dumps(node).encode()), format="json"))
            except pl.exceptions.ComputeError:
                # JSON has no infinity
                return [predicate]
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
    box = dict(whole(grid) if region is None else region.box)
    by_axis: dict[str, list[pl.Expr]] = {}
    for axis, expression in filters:
        by_axis.setdefault(axis, []).append(expression)
    for axis, expressions in by_axis.items():
        labels = grid.axes[axis]
        here = labels if box[axis].size == labels.height else labels[box[axis]]
        box[axis] = here.with_columns(pl.Series(_AT, box[axis])).filter(*expressions)[_AT].to_numpy()
    return Region(box, None if region is None else region.cells)


def whole(grid: Grid) -> dict[str, Positions]:
    """Every position of every axis."""
    return {axis: np.arange(labels.height, dtype=np.int64) for axis, labels in grid.axes.items()}


def once_each(grid: Grid, region: Region, columns: Collection[str]) -> Region:
    """A part of a region that has the same combinations of the labels in some columns, each as few times as is plain to see."""
    if region.cells is not None:
        return region
    # every cube has the first layer and neuron of those that any of them has
    spare = [axis for axis in ("layer", "neuron", "text") if axis in grid.axes and not {*grid.axes[axis].columns} & {*columns}]
    return Region({axis: where[:1] if axis in spare else where for axis, where in region.box.items()})


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


def _implied(part: pl.Expr, schema: Mapping[str, pl.DataType]) -> Iterator[DuckNode]:
    """Conditions on values that every row that passes a filter meets: comparisons with numbers, a hair wider than they are.

    So it does not matter in which type polars compares: the filter itself is put to the rows that are left.
    """
    node = json.loads(part.meta.serialize(format="json"))
    both, function = node.get("BinaryExpr"), node.get("Function", {})
    compared: list[tuple[Any, str, Any]] = []
    if both and both["op"] in _WIDER:
        compared = [(both["left"], both["op"], both["right"]), (both["right"], _EXCHANGED[both["op"]], both["left"])]
    elif "IsBetween" in str(function.get("function")):
        column, low, high = function["input"]
        compared = [(column, "GtEq", low), (column, "LtEq", high)]
    for column, op, literal in compared:
        name, number = column.get("Column"), _number(literal.get("Literal"))
        if name is not None and number is not None and schema[name].is_float() and not np.isnan(number):
            kind = np.float32 if schema[name] == pl.Float32 else np.float64
            for wider in _WIDER[op]:
                with np.errstate(over="ignore"):
                    edge = np.nextafter(kind(number), kind(-np.inf if wider == ">=" else np.inf))
                yield Binary(wider, Col((name,)), Lit(float(edge), ""))


#: Comparisons of polars, and what they imply.
_WIDER: Mapping[str, tuple[str, ...]] = {"Gt": (">=",), "GtEq": (">=",), "Lt": ("<=",), "LtEq": ("<=",), "Eq": (">=", "<=")}
_EXCHANGED = {"Gt": "Lt", "GtEq": "LtEq", "Lt": "Gt", "LtEq": "GtEq", "Eq": "Eq"}


def _number(literal: Any) -> float | None:
    """The number that a literal of polars is, however it is wrapped."""
    while isinstance(literal, dict) and len(literal) == 1:
        (literal,) = literal.values()
    is_number = isinstance(literal, int | float) and not isinstance(literal, bool)
    return float(literal) if is_number else None


def axis_of(grid: Grid, columns: Collection[str]) -> str | None:
    """The axis that has all these columns; None where they are of several, or none."""
    return next((axis for axis, labels in grid.axes.items() if columns and {*columns} <= {*labels.columns}), None)


def scan_grid(grid: Grid) -> pl.LazyFrame:
    """A lazy frame over a grid."""

    def source(
        with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        region, left = plan_box(grid, predicate)
        columns = list(grid.schema) if with_columns is None else with_columns
        if n_rows == 0:
            return
        needed = {*columns, *(name for part in left for name in part.meta.root_names())}
        remaining = n_rows
        asked = [name for name in grid.schema if name in needed]
        conditions = [condition for part in left for condition in _implied(part, grid.schema)]
        keep = Keep(conditions) if conditions else None
        for batch in grid.batches(region, asked, keep):
            frame = batch.frame(grid.schema, asked)
            frame = (frame.filter(*left) if left else frame).select(columns)
            if remaining is not None:
                frame = frame.head(remaining)
                remaining -= frame.height
            yield frame
            if remaining is not None and remaining <= 0:
                return

    return register_io_source(source, schema=grid.schema, is_pure=True)
