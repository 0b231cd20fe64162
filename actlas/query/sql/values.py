"""Conditions on values, decided in the batches that are read: the rows that fail them never reach the engine of a query."""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from duckdb._sources.nodes import Binary, Col, In, Lit, Node, Postfix, Unary, exact_value
from numpy.typing import NDArray

from actlas.store.bounds import Bounds

Numbers = Mapping[str, NDArray[Any]]
Flags = NDArray[np.bool_]
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
#: The same as bounds, where they are some; no number is within those of an infinity that is left out.
_BOUNDS: dict[str, Callable[[float], Bounds]] = {
    "=": lambda value: Bounds(value, value),
    "<": lambda value: Bounds(high=value, is_below=True),
    "<=": lambda value: Bounds(high=value),
    ">": lambda value: Bounds(value, is_above=True),
    ">=": lambda value: Bounds(value),
}
#: What DuckDB calls the types in which a comparison is exactly that of numpy.
_ENGINE_TYPES: Mapping[pl.DataType, str] = {pl.Float32(): "FLOAT", pl.Float64(): "DOUBLE"}


def columns_of(condition: Node) -> set[str]:
    """Columns that a condition speaks of."""
    return {node.parts[0] for node in _nodes(condition) if isinstance(node, Col)}


def is_exact(condition: Node, schema: Mapping[str, pl.DataType]) -> bool:
    """Whether numpy decides a condition as DuckDB does: comparisons of floats with constants of the very same type."""
    for node in _nodes(condition):
        match node:
            case Binary(op="AND" | "OR") | Unary(op="NOT") | Postfix(operand=Col()) | Col() | Lit():
                continue
            case Binary(op=op, left=Col(parts=(name,)), right=Lit() as value) if op in _COMPARE:
                values: Sequence[Node] = [value]
            case In(operand=Col(parts=(name,)), values=values):
                pass
            case _:
                return False
        kind = _ENGINE_TYPES.get(schema[name])
        if not all(isinstance(one, Lit) and one.type == kind and exact_value(one) for one in values):
            return False
    return True


def _nodes(condition: Node) -> Iterator[Node]:
    stack = [condition]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(node._children())


@dataclass(frozen=True)
class Top:
    """The rows that an ``ORDER BY column LIMIT n`` can begin with.

    Attributes:
        column: Of values.
        n: How many rows are asked for, those that are skipped included.
        is_descending: Whether the largest come first.
    """

    column: str
    n: int
    is_descending: bool


class Keep:
    """Which rows of the batches of one stream go on, batch after batch.

    Args:
        conditions: What values have to pass, see `is_exact`; NaN is null, and passes no comparison.
        top: What is asked for of the rows that pass.
    """

    def __init__(self, conditions: Sequence[Node], top: Top | None = None) -> None:
        self._conditions, self._top = tuple(conditions), top
        self._best = np.empty(0)
        self._changing = threading.Lock()
        self.columns: frozenset[str] = frozenset(name for condition in conditions for name in columns_of(condition))
        if top is not None:
            self.columns |= {top.column}
        self._bounds = _bounds_of(self._conditions)

    @property
    def bounds(self) -> Bounds | None:
        """What a value has to be within to go on, where that is all there is to know of a row; it narrows as rows go by."""
        if self._bounds is None or len(self.columns) != 1:
            return None
        if self._top is None:
            return self._bounds
        with self._changing:
            if self._best.size < self._top.n:
                # null comes last: it is needed while there are too few others
                return None
            is_descending = self._top.is_descending
            reached = Bounds(low=float(self._best.min())) if is_descending else Bounds(high=float(self._best.max()))
        return self._bounds & reached

    def rows(self, numbers: Numbers) -> Flags:
        """Of the rows of a batch, those that go on.

        Args:
            numbers: The values of at least `columns`.
        """
        kept: Flags | None = None
        for condition in self._conditions:
            passed = _truth(condition, numbers)[0]
            kept = passed if kept is None else kept & passed
        if self._top is not None:
            with self._changing:
                kept = self._among_best(numbers[self._top.column], kept)
        assert kept is not None
        return kept

    def _among_best(self, values: NDArray[Any], kept: Flags | None) -> Flags:
        """Of the rows that pass, those that can be among the first n: equal values stay, since another key may decide."""
        assert self._top is not None
        n, is_descending = self._top.n, self._top.is_descending
        passing = np.ones(values.shape, dtype=bool) if kept is None else kept
        candidates = passing & ~np.isnan(values)
        if self._best.size == n:
            candidates &= _reaches(values, self._best, is_descending)
        best = np.concatenate([self._best, values[candidates].astype(np.float64)])
        if best.size > n:
            at = best.size - n if is_descending else n - 1
            best = np.partition(best, at)[at:] if is_descending else np.partition(best, at)[:n]
        self._best = best
        # null comes last: it is needed while there are too few others
        return candidates & _reaches(values, best, is_descending) if best.size == n else passing


def _bounds_of(conditions: Sequence[Node]) -> Bounds | None:
    """The numbers that pass all conditions; None where they are not those between two."""
    found = Bounds()
    left = list(conditions)
    while left:
        match left.pop():
            case Binary(op="AND", left=one, right=other):
                left += [one, other]
            case Binary(op=op, left=Col(), right=Lit(value=float() as value)) if op in _BOUNDS and not np.isnan(value):
                found &= _BOUNDS[op](value)
            case Postfix(op="IS NOT NULL", operand=Col()):
                pass
            case _:
                return None
    return found


def _reaches(values: NDArray[Any], best: NDArray[np.float64], is_descending: bool) -> Flags:
    """Whether values are not behind the last of the best."""
    reaching: Flags = values >= best.min() if is_descending else values <= best.max()
    return reaching


def _truth(condition: Node, numbers: Numbers) -> tuple[Flags, Flags]:
    """Where a condition is true, and where it is false; it is neither where it is null."""
    match condition:
        case Binary(op="AND", left=left, right=right):
            (true_a, false_a), (true_b, false_b) = _truth(left, numbers), _truth(right, numbers)
            return true_a & true_b, false_a | false_b
        case Binary(op="OR", left=left, right=right):
            (true_a, false_a), (true_b, false_b) = _truth(left, numbers), _truth(right, numbers)
            return true_a | true_b, false_a & false_b
        case Unary(op="NOT", operand=operand):
            is_true, is_false = _truth(operand, numbers)
            return is_false, is_true
        case Postfix(op=op, operand=Col(parts=(name,))):
            is_null = np.isnan(numbers[name])
            return (is_null, ~is_null) if op == "IS NULL" else (~is_null, is_null)
        case In(operand=Col(parts=(name,)), values=values):
            column = numbers[name]
            listed = np.array([value.value for value in values if isinstance(value, Lit)], dtype=column.dtype)
            is_in = np.isin(column, listed)
            return is_in, ~is_in & ~np.isnan(column)
        case Binary(op=op, left=Col(parts=(name,)), right=Lit(value=value)):
            column = numbers[name]
            passed = _COMPARE[op](column, column.dtype.type(value))
            if op == "!=":
                passed &= ~np.isnan(column)
            return passed, ~passed & ~np.isnan(column)
    raise AssertionError(f"{condition} was not asked about")
