"""What tables and columns mean, where SQL lists them: as comments of DuckDB, and beside what DESCRIBE shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from actlas.query.schema import TABLES
from actlas.query.schema.meanings import meaning
from actlas.query.sql.guard import identifier, quoted


def about(name: str) -> str | None:
    """What a table holds; None for one that others published.

    Example:
        >>> about("lape_by_settings")
        'all rows of lape, with the settings that each was made with'
    """
    if name in TABLES:
        return TABLES[name].about
    table = name.removesuffix("_by_settings")
    return f"all rows of {table}, with the settings that each was made with" if table in TABLES and table != name else None


def table_comments(kind: str, called: str, name: str, existing: Sequence[str]) -> Iterator[str]:
    """The statements that say what a table and its columns mean.

    Args:
        kind: TABLE or VIEW.
        called: How SQL calls it, quoted.
        name: Its name in `TABLES`, or that with ``_by_settings`` behind it.
        existing: The columns that it has here.
    """
    said = about(name)
    if said is None:
        return
    yield f"COMMENT ON {kind} {called} IS {quoted(said)}"
    for column in existing:
        yield f"COMMENT ON COLUMN {called}.{identifier(column)} IS {quoted(meaning(name, column))}"


def with_comments(tree: Mapping[str, Any], answer: pl.DataFrame) -> pl.DataFrame:
    """The answer to SHOW TABLES or DESCRIBE with a column `comment` more; any other answer as it is.

    Args:
        tree: Syntax tree of the query.
        answer: What DuckDB says.
    """
    source = tree["statements"][0]["node"].get("from_table") or {}
    if source.get("type") != "SHOW_REF":
        return answer
    if answer.columns == ["name"]:
        return answer.with_columns(pl.Series("comment", [about(name) for name in answer["name"]], dtype=pl.String))
    table = _described(source)
    if table is None or "column_type" not in answer.columns or "min" in answer.columns:
        return answer
    said = [meaning(table, column) or None for column in answer["column_name"]]
    return answer.with_columns(pl.Series("comment", said, dtype=pl.String))


def _described(source: Mapping[str, Any]) -> str | None:
    """The table that DESCRIBE is about; None where it is about more, or another one."""
    inner = (source.get("query") or {}).get("from_table") or {}
    name = str(inner.get("table_name") or source.get("table_name") or "").strip('"').lower()
    return name if name.removesuffix("_by_settings") in TABLES else None
