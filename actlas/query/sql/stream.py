"""Grids as DuckDB reads them: a stream of Arrow batches that holds a few at a time and ends when no more rows are wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
from duckdb._sources import ArrowScanSource
from duckdb._sources.nodes import Node, Untranslatable
from duckdb._sources.to_polars import to_polars

from actlas.errors import ActlasError
from actlas.query.sql.grids import BATCH_ROWS, Grid, Region, label_columns
from actlas.query.sql.scan import axis_of, narrowed, once_each
from actlas.query.sql.values import Keep, Top, columns_of, is_exact

if TYPE_CHECKING:
    from actlas.query.sql.grids import Batch

#: Strings are positions in a short list: DuckDB then keeps one string for many rows.
_ARROW_TYPES: Mapping[pl.DataType, pa.DataType] = {
    pl.String(): pa.dictionary(pa.int32(), pa.string()),
    pl.Int32(): pa.int32(),
    pl.Int64(): pa.int64(),
    pl.Float32(): pa.float32(),
    pl.Float64(): pa.float64(),
}
#: Rows read, of how many, and of what.
Progress = Callable[[int, int, str], None]


@dataclass
class Reading:
    """What one query reads out of grids, and how far it is.

    Attributes:
        progress: Called with the rows read so far, those of all tables begun, and what they are.
        refusals: Errors raised while DuckDB runs, which wraps them in its own.
    """

    progress: Progress | None = None
    refusals: list[ActlasError] = field(default_factory=list)
    n_read: int = 0
    n_rows: int = 0

    def counted(self, batches: Iterator[Batch], n_rows: int) -> Iterator[Batch]:
        """The same batches, of so many rows in all."""
        self.n_rows += n_rows
        try:
            for batch in batches:
                yield batch
                self.n_read += batch.n_read
                if self.progress is not None:
                    self.progress(self.n_read, self.n_rows, "reading")
        except ActlasError as error:
            self.refusals.append(error)
            raise


class GridSource(ArrowScanSource):
    """One grid, or a region of it, for one query or many.

    Args:
        grid: The table.
        reading: Counts what is read.
        region: Rows outside it are not there; None for all.
        decided: Filters that every row of the region passes, as DuckDB shows them.
        top: Rows that are not among the first of an order need not be there, see `Keep`.
        is_set: Whether rows with the same labels may be there once.
    """

    # what is in a store does not change under a connection to it
    schema_is_stable = True

    def __init__(
        self,
        grid: Grid,
        reading: Reading,
        region: Region | None = None,
        *,
        decided: frozenset[str] = frozenset(),
        top: Top | None = None,
        is_set: bool = False,
    ) -> None:
        super().__init__(grid)
        self.grid, self._reading, self._decided, self._top, self._is_set = grid, reading, decided, top, is_set
        self._region = narrowed(grid, region, ())
        self.labels = label_columns(grid)
        self._schema = pa.schema([(name, _ARROW_TYPES[dtype]) for name, dtype in grid.schema.items()])
        #: Filters that are applied here, by how DuckDB shows them in a plan: the axis, if it is of one, and the same for polars.
        self.accepted: dict[str, tuple[Node, str | None, pl.Expr | None]] = {}

    def __arrow_c_schema__(self) -> object:
        """Columns and their types."""
        return self._schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """All of it: what DuckDB knows the kind of an object by; it then asks `stream`."""
        return self.stream(None, ())[0]

    def rows(self) -> int:
        """How many there are without a filter, by which DuckDB orders its joins."""
        return self._n_rows

    @cached_property
    def _n_rows(self) -> int:
        return self.grid.n_rows(self._region)

    def accepts(self, predicate: Node) -> bool:
        """Whether a filter is applied here: one of a single axis, whose labels are few, or of values alone."""
        shown = predicate.fragment()
        if shown in self._decided:
            self.accepted[shown] = (predicate, None, None)
            return True
        columns = columns_of(predicate)
        axis = axis_of(self.grid, columns)
        if axis is None and (columns & self.labels or not is_exact(predicate, self.grid.schema)):
            return False
        try:
            expression = None if axis is None else to_polars(predicate, self.grid.axes[axis].schema)
        except Untranslatable:
            return False
        self.accepted[shown] = (predicate, axis, expression)
        return True

    def part(self, columns: Sequence[str], filters: Iterable[str]) -> tuple[Region, Keep | None]:
        """Where these columns are read for rows that pass accepted filters, and which of the rows there do."""
        by_axis, by_value = [], []
        left = [shown for shown in filters if shown not in self._decided]
        for node, axis, expression in map(self.accepted.__getitem__, left):
            if axis is None or expression is None:
                by_value.append(node)
            else:
                by_axis.append((axis, expression))
        region = narrowed(self.grid, self._region, by_axis)
        keep = Keep(by_value, self._top) if by_value or self._top is not None else None
        if self._is_set and keep is None and self.labels.issuperset(columns):
            region = once_each(self.grid, region, columns)
        return region, keep

    def stream(self, columns: Sequence[int] | None, filters: Sequence[Node]) -> tuple[object, bool]:
        """Batches with these columns, of the rows that pass the filters."""
        asked = self._schema if columns is None else pa.schema([self._schema.field(at) for at in columns])
        region, keep = self.part(asked.names, [node.fragment() for node in filters])
        n_rows = self.grid.n_rows(region)
        # what is only counted has no columns, and comes as rows without values
        is_narrow = bool(asked.names) and columns is not None
        schema = asked if asked.names else self._schema
        if not asked.names and keep is None:
            return _reader(schema, self._empty(n_rows)), is_narrow
        batches = self._reading.counted(self.grid.batches(region, asked.names, keep), n_rows)
        return _reader(schema, (batch.record(schema) for batch in batches if batch.height)), is_narrow

    def _empty(self, n_rows: int) -> Iterator[pa.RecordBatch]:
        size = min(n_rows, BATCH_ROWS)
        nothing = pa.RecordBatch.from_arrays([pa.nulls(size, column.type) for column in self._schema], schema=self._schema)
        for start in range(0, n_rows, max(size, 1)):
            yield nothing.slice(0, min(size, n_rows - start))


def _reader(schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> object:
    return pa.RecordBatchReader.from_batches(schema, batches).__arrow_c_stream__()
