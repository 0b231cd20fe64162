"""Columns of every table that SQL can name, and the command that computes it. Pure data, no I/O."""

from __future__ import annotations

from collections.abc import Mapping

from actlas.query.schema.answers import ANSWERS
from actlas.query.schema.interventions import INTERVENTIONS
from actlas.query.schema.measures import MEASURED
from actlas.query.schema.stored import STORED
from actlas.query.schema.table import LANGUAGES_PER_WORD, MAX_ANSWER, Basis, Table, score_type

__all__ = ["LANGUAGES_PER_WORD", "MAX_ANSWER", "TABLES", "Basis", "Table", "score_type"]

#: Every table by name.
TABLES: Mapping[str, Table] = {table.name: table for table in (*STORED, *ANSWERS, *MEASURED, *INTERVENTIONS)}
