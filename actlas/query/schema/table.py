"""What a table that SQL can name is: its columns, the command that computes it, what decides its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import polars as pl

from actlas.errors import QueryError
from actlas.store.layout import score_dtype

#: Rows that the answer to a query may have, unless told otherwise.
MAX_ANSWER = 20_000_000
#: A set of languages is kept as bits of words of this many languages.
LANGUAGES_PER_WORD = 64


def score_type(stat: str) -> pl.DataType:
    """Type of the column that holds a statistic."""
    return pl.Float64() if score_dtype(stat) == "float64" else pl.Float32()


NEURON = {"site": pl.String(), "layer": pl.Int32(), "neuron": pl.Int32()}
PAIR = {"checkpoint": pl.String(), "concept": pl.String(), "language_a": pl.String(), "language_b": pl.String()}


class Basis(Enum):
    """What a stored table is computed from, and has to be computed again for when it changed."""

    VALUES = "the cubes, counts and vectors of the checkpoint"
    SCORES = "the scores of the checkpoint"
    ALL_SCORES = "the scores of all checkpoints"


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        name: What SQL calls it.
        columns: Names and types, in order.
        command: The command line that computes it, or None for what every store has.
        about: One line.
        stored: True for tables kept as Parquet under ``tables/``.
        settings: Settings that decide its rows: answers that differ in one of them stand beside each other. For each the value
            that a table has which does not say it.
        limits: Settings that only say how much of it is kept (the k of experts): the largest answers all smaller ones.
        basis: What it is computed from.
        flags: Setting -> the flag of the command line that gives it, for tables that say it themselves.
    """

    name: str
    columns: Mapping[str, pl.DataType]
    about: str
    command: str | None = None
    stored: bool = True
    settings: Mapping[str, Any] = field(default_factory=dict)
    limits: tuple[str, ...] = ()
    basis: Basis = Basis.SCORES
    flags: Mapping[str, str] = field(default_factory=dict)

    def conform(self, frame: pl.DataFrame) -> pl.DataFrame:
        """`frame` with exactly these columns and types, in this order.

        Args:
            frame: At least the columns of the table; others are dropped.

        Returns:
            The frame.

        Raises:
            QueryError: If a column is missing.

        Example:
            >>> frame = pl.DataFrame({"n_texts": [5], "language": ["en"], "more": [0]})
            >>> Table("sizes", {"language": pl.String(), "n_texts": pl.Int64()}, "Texts per language.").conform(frame).row(0)
            ('en', 5)
        """
        missing = [name for name in self.columns if name not in frame.columns]
        if missing:
            raise QueryError(f"table {self.name} needs column {', '.join(missing)}; the frame has {', '.join(frame.columns)}")
        return frame.select(pl.col(name).cast(dtype) for name, dtype in self.columns.items())

    def empty(self) -> pl.DataFrame:
        """The table without rows.

        Returns:
            A frame of its columns.

        Example:
            >>> Table("sizes", {"language": pl.String(), "n_texts": pl.Int64()}, "Texts per language.").empty().columns
            ['language', 'n_texts']
        """
        return pl.DataFrame(schema=dict(self.columns))


def table(
    name: str,
    about: str,
    command: str | None,
    *columns: Mapping[str, pl.DataType],
    stored: bool = True,
    settings: Sequence[str] | Mapping[str, Any] = (),
    limits: tuple[str, ...] = (),
    basis: Basis = Basis.SCORES,
) -> Table:
    merged = {key: dtype for part in columns for key, dtype in part.items()}
    deciding = settings if isinstance(settings, Mapping) else dict.fromkeys(settings)
    return Table(name, merged, about, command, stored, deciding, limits, basis)
