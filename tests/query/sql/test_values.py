"""Conditions on values give in numpy what DuckDB gives, null and equal values included."""

from __future__ import annotations

import duckdb
import numpy as np
import polars as pl
import pytest

from actlas.query import Atlas
from actlas.query.sql.sources import activation_grid
from actlas.query.sql.stream import GridSource, Reading
from actlas.query.sql.values import Keep, Top
from actlas.store.files import shard_reader

CONDITIONS = (
    "value > 0.25",
    "value >= 0.25",
    "value < -0.5 OR value > 1",
    "NOT (value BETWEEN -0.5 AND 0.5)",
    "value <> 0",
    "value = 0.75 OR value IS NULL",
    "value IN (0.25, 0.5, 100)",
    "value NOT IN (0.25, 0.5)",
    "value IS NOT NULL AND value <= 0",
    "value > 0.25::DOUBLE",
    "value BETWEEN 0.25 AND 0.75 AND value IS NOT NULL",
    "value >= 0.5 AND value < 0.75 AND text_id < 20",
    "value * 2 > 1",
    "value > 0.1 AND neuron < 7",
    "value > 0.5 OR neuron = 3",
)


@pytest.fixture(params=[False, True], ids=["chunk by chunk", "compiled loops"], autouse=True)
def both_ways_to_read(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_reader, "is_worth_it", lambda _: request.param)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_condition_on_values_changes_what_is_handed_on_and_not_the_answer(scored: Atlas, condition: str) -> None:
    frame = scored.scan("activations").collect()
    query = f"SELECT * FROM rows WHERE {condition} ORDER BY ALL"
    connection = duckdb.connect()
    connection.register("rows", frame)
    wanted = connection.sql(query).pl()
    assert 0 < wanted.height < frame.height
    assert scored.sql(query.replace("rows", "activations")).equals(wanted)


def test_scores_that_are_null_pass_no_comparison(scored: Atlas) -> None:
    frame = scored.scan("scores").collect()
    assert frame["ap"].null_count()
    some = frame["ap"].drop_nulls().gather([3, 40]).to_list()
    low, high = min(some), max(some)
    for condition in (
        "ap > 0.3",
        "NOT (ap > 0.3)",
        "ap IS NULL",
        "ap <> 0.5 AND auroc > 0.6",
        f"ap >= {low!r} AND ap < {high!r}",
        f"ap BETWEEN {low!r} AND {high!r}",
        f"ap = {low!r}",
        f"ap > {low!r} AND ap > 0",
        "ap < 'inf'::DOUBLE AND ap >= '-inf'::DOUBLE",
        "ap > 'inf'::DOUBLE OR ap < 0",
        "ap > 'inf'::DOUBLE",
    ):
        connection = duckdb.connect()
        connection.register("rows", frame)
        query = f"SELECT checkpoint, concept, layer, neuron, ap FROM rows WHERE {condition} ORDER BY ALL"
        assert scored.sql(query.replace("rows", "scores")).equals(connection.sql(query).pl()), condition


def test_only_rows_that_pass_are_handed_on(scored: Atlas) -> None:
    grid = activation_grid(scored, scored.snapshot())
    handed = []

    class Counting(GridSource):
        def part(self, *asked):  # type: ignore[no-untyped-def]
            region, keep = super().part(*asked)
            handed.extend(batch.height for batch in grid.batches(region, ["neuron"], keep))
            return region, keep

    connection = duckdb.connect()
    connection.register("grid", Counting(grid, Reading()))
    ((n_rows,),) = connection.sql("SELECT count(*) FROM grid WHERE value > 1.5 AND layer = 1").fetchall()
    assert sum(handed) == n_rows == scored.scan("activations").filter(pl.col("value") > 1.5, layer=1).collect().height


@pytest.mark.parametrize("is_descending", [True, False])
def test_the_beginning_of_an_order_is_never_left_out(is_descending: bool) -> None:
    rng = np.random.default_rng(3)
    values = np.where(rng.random(4000) < 0.1, np.nan, rng.integers(0, 50, 4000)).astype(np.float32)
    for n in (1, 7, 300, 5000):
        keep = Keep((), Top("value", n, is_descending))
        kept = np.concatenate([part[keep.rows({"value": part})] for part in np.array_split(values, 9)])
        ordered = np.sort(values[~np.isnan(values)])
        first = ordered[::-1][:n] if is_descending else ordered[:n]
        again = np.sort(kept[~np.isnan(kept)])
        np.testing.assert_array_equal((again[::-1] if is_descending else again)[:n], first)
        # equal values and null, where there are too few others, decide what another key decides
        assert (kept == first[-1]).sum() == (values == first[-1]).sum() or n < 4000
        assert np.isnan(kept).sum() == np.isnan(values).sum() or n < 4000
