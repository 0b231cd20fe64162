"""Tables and macros are there as soon as a query names them."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from actlas.query import TABLES, Atlas, open_store, top_experts
from actlas.query.sql.sources import table_sources


def test_every_stored_table_has_the_columns_of_its_schema(asked: Atlas) -> None:
    for table in TABLES.values():
        assert asked.sql(f"SELECT * FROM {table.name} LIMIT 1").columns[: len(table.columns)] == list(
            table.columns
        ) or table.name in (
            "texts",
            "scores",
        ), table.name
        frame = asked.sql(f"SELECT * FROM {table.name} LIMIT 1")
        assert set(table.columns) <= set(frame.columns), table.name


def test_new_tables_show_without_opening_again(bare: Path) -> None:
    from actlas.query import score_neurons

    reader, writer = open_store(bare), open_store(bare, "a")
    assert reader.sql("SELECT count(*) AS n FROM texts")["n"].to_list() == [144]
    score_neurons(writer, sites=["mlp_pre"], stats=("ap",))
    assert reader.sql("SELECT count(ap) AS n FROM scores")["n"].to_list() == [3 * 80 * 11]
    top_experts(writer, k=3)
    assert reader.sql("SELECT max(rank) AS k FROM experts")["k"].to_list() == [3]
    top_experts(writer, k=4)
    assert reader.sql("SELECT max(rank) AS k FROM experts")["k"].to_list() == [4]


def test_a_published_table_of_any_shape_can_be_asked(bare: Path) -> None:
    store = open_store(bare, "a")
    store.publish_table("notes", "planted-step0", pl.DataFrame({"text": ["hello"], "n": [3]}), {})
    assert store.sql("SELECT checkpoint, n FROM notes").rows() == [("planted-step0", 3)]


def test_names_may_be_defined_and_stored_at_once(asked: Atlas) -> None:
    query = "SELECT (SELECT count(*) FROM experts) AS n, (WITH experts AS (SELECT 1) SELECT count(*) FROM experts) AS one"
    assert asked.sql(query)["one"].to_list() == [1]


def test_explain_and_show(asked: Atlas) -> None:
    assert "plan" in asked.sql("EXPLAIN SELECT * FROM experts").columns
    assert set(asked.sql("SHOW TABLES")["name"]) == set(table_sources(asked).names)
    assert "checkpoint" in asked.sql("DESCRIBE experts")["column_name"].to_list()
    assert "activations" in asked.sql("SELECT table_name FROM information_schema.tables")["table_name"].to_list()
