"""An answer is plain numbers, whole or refused, and comes in time or not at all."""

from __future__ import annotations

import duckdb
import polars as pl
import pytest

from actlas.errors import QueryError
from actlas.query import Atlas
from actlas.query.sql.answer import Limits, deadline, read_answer


def test_numbers_come_out_plain(asked: Atlas) -> None:
    frame = asked.sql("SELECT sum(rank) AS s, 0.5 AS half, sum(rank) FILTER (rank > 99) AS nothing FROM experts")
    assert frame.dtypes[:2] == [pl.Int64, pl.Float64]
    assert frame["nothing"].to_list() == [None]


def test_an_answer_is_whole_or_refused() -> None:
    connection = duckdb.connect()
    query = "SELECT range AS n FROM range(250000)"
    assert read_answer(connection.sql(query), Limits(rows=250_000))["n"].sum() == sum(range(250_000))
    with pytest.raises(QueryError, match="more than 249,999 rows"):
        read_answer(connection.sql(query), Limits(rows=249_999))
    assert read_answer(connection.sql("SELECT 1 AS n WHERE false")).schema == {"n": pl.Int32}


def test_what_is_late_is_ended_and_the_next_query_runs() -> None:
    connection = duckdb.connect()
    with pytest.raises(QueryError, match=r"ended after 0\.2 seconds"), deadline(connection, 0.2):
        connection.sql("SELECT sum(random()) FROM range(100000000000)").pl()
    with deadline(connection, None):
        assert connection.sql("SELECT 5").fetchall() == [(5,)]


def test_columns_of_one_name_are_told_apart() -> None:
    answer = read_answer(duckdb.connect().sql("SELECT 1 AS a, 2 AS a, 3 AS a_1, 4 AS a"))
    assert answer.row(0, named=True) == {"a": 1, "a_2": 2, "a_1": 3, "a_3": 4}


@pytest.mark.parametrize("value", ["INTERVAL 1 DAY", "union_value(a := 1)"])
def test_a_type_that_no_frame_holds_is_told(value: str) -> None:
    with pytest.raises(QueryError, match=r"x: .*") as told:
        read_answer(duckdb.connect().sql(f"SELECT {value} AS x"))
    assert "cast it, x::VARCHAR" in str(told.value)
