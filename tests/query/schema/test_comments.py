"""What SQL says of tables, columns and macros."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from actlas.query import TABLES, Atlas, open_store, score_neurons
from actlas.query.schema.meanings import meaning
from actlas.query.sql.macro import macros
from actlas.testing.planted import Planting, planted_store


def test_describe_says_what_columns_mean(asked: Atlas) -> None:
    for query in ("DESCRIBE overlap", "SHOW overlap", "DESCRIBE SELECT * FROM overlap"):
        frame = asked.sql(query)
        assert dict(frame.select("column_name", "comment").iter_rows()) == {
            name: meaning("overlap", name) for name in TABLES["overlap"].columns
        }
    own = asked.sql("DESCRIBE SELECT shared, shared + 1 AS more FROM overlap")["comment"].to_list()
    assert own == [meaning("overlap", "shared"), None]
    for table in ("activations", "scores"):
        assert asked.sql(f"DESCRIBE {table}")["comment"].null_count() == 0
        assert asked.sql(f"FROM (SUMMARIZE {table})").height == len(TABLES[table].columns)
    assert asked.sql("DESCRIBE lape_by_settings")["comment"].null_count() == 0


def test_other_answers_are_as_they_were(asked: Atlas) -> None:
    assert "comment" not in asked.sql("SUMMARIZE languages").columns
    assert "comment" not in asked.sql("SELECT language AS name FROM languages").columns
    mine = pl.DataFrame({"language": ["en"]})
    assert "comment" not in asked.sql("DESCRIBE mine", tables={"mine": mine}).columns


def test_listings_say_what_is_there(asked: Atlas) -> None:
    shown = dict(asked.sql("SHOW TABLES").select("name", "comment").iter_rows())
    assert shown["experts"] == TABLES["experts"].about
    listed = asked.sql("SELECT table_name, column_name, comment FROM duckdb_columns() WHERE NOT internal")
    said = {(table, column): comment for table, column, comment in listed.iter_rows()}
    for table in TABLES.values():
        for column in table.columns:
            assert said[table.name, column] == meaning(table.name, column)
    tables = dict(asked.sql("SELECT table_name, TABLE_COMMENT FROM information_schema.tables").iter_rows())
    assert all(tables[table.name] == table.about for table in TABLES.values())


def test_macros_are_listed_with_what_they_answer(asked: Atlas) -> None:
    listed = dict(asked.sql("SELECT function_name, comment FROM duckdb_functions() WHERE NOT internal").iter_rows())
    assert {name: listed[name] for name in macros()} == {name: macro.about for name, macro in macros().items()}


def test_a_store_with_some_statistics_lists_its_tables(tmp_path: Path) -> None:
    path = planted_store(tmp_path / "own.actlas", Planting(steps=(64,), sharing=(0.5,)))
    score_neurons(path, stats=("ap", "mean"))
    store = open_store(path)
    assert "scores" in store.sql("SHOW TABLES")["name"].to_list()
    assert store.sql("DESCRIBE scores")["column_name"].to_list()[-2:] == ["ap", "mean"]
