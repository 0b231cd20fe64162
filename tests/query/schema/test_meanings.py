"""Every column has a meaning, and nothing else has."""

from __future__ import annotations

from actlas.query.schema import TABLES
from actlas.query.schema.meanings import MEANINGS, OTHER_MEANINGS, meaning


def test_every_column_has_a_meaning() -> None:
    without = [
        f"{table.name}.{column}" for table in TABLES.values() for column in table.columns if not meaning(table.name, column)
    ]
    assert not without, f"say in actlas/query/schema/meanings.py what these columns mean: {', '.join(without)}"


def test_every_meaning_is_that_of_a_column() -> None:
    columns = {column for table in TABLES.values() for column in table.columns}
    assert MEANINGS.keys() - columns == set()
    for table, others in OTHER_MEANINGS.items():
        assert others.keys() <= TABLES[table].columns.keys(), table


def test_a_meaning_fits_a_line() -> None:
    for text in (*MEANINGS.values(), *(text for others in OTHER_MEANINGS.values() for text in others.values())):
        assert text
        assert "\n" not in text
        assert not text.endswith(".")
        assert "|" not in text
