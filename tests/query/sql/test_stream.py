"""Grids as DuckDB reads them: columns that are asked for, strings once, filters of one axis, nothing kept."""

from __future__ import annotations

import duckdb
import polars as pl

from actlas.query import Atlas
from actlas.query.sql.grids import Region
from actlas.query.sql.scan import narrowed
from actlas.query.sql.sources import activation_grid
from actlas.query.sql.stream import GridSource, Reading


def registered(store: Atlas, region: Region | None = None) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.register("grid", GridSource(activation_grid(store, store.snapshot()), Reading(), region))
    return connection


def test_rows_and_types_are_those_of_the_frame(scored: Atlas) -> None:
    wanted = scored.scan("activations").collect()
    answer = registered(scored).sql("SELECT * FROM grid").pl()
    assert answer.equals(wanted)
    assert answer.schema == wanted.schema


def test_a_region_is_all_there_is(scored: Atlas) -> None:
    grid = activation_grid(scored, scored.snapshot())
    region = narrowed(grid, None, [("layer", pl.col("layer") == 1), ("text", pl.col("language") == "en")])
    answer = registered(scored, region).sql("SELECT DISTINCT layer, language FROM grid").fetchall()
    assert answer == [(1, "en")]
    place = region.box["cube"][0], 1
    cells = Region(region.box, {(int(place[0]), 1): region.box["neuron"][[3, 5]]})
    answer = registered(scored, cells).sql("SELECT DISTINCT layer, neuron FROM grid ORDER BY ALL").fetchall()
    assert answer == [(1, 3), (1, 5)]


def test_one_source_is_read_as_often_as_it_is_named(scored: Atlas) -> None:
    both = registered(scored).sql("SELECT (SELECT count(value) FROM grid WHERE layer = 0), (SELECT count(value) FROM grid)")
    some, everything = both.fetchall()[0]
    assert (2 * some, everything) == (everything, scored.scan("activations").collect().height)


def test_filters_on_values_stay_with_duckdb(scored: Atlas) -> None:
    connection = registered(scored)
    plan = connection.sql("EXPLAIN SELECT neuron FROM grid WHERE value > 1 AND neuron = 3").fetchall()[0][1]
    scan = plan.lower()[plan.lower().index("arrow") :]
    assert "neuron = 3" in scan.replace('"', "")
    assert "value > " not in scan
    answer = connection.sql("SELECT count(*) FROM grid WHERE value > 1 AND neuron = 3").fetchall()[0][0]
    frame = scored.scan("activations").filter(pl.col("value") > 1, pl.col("neuron") == 3).collect()
    assert answer == frame.height
