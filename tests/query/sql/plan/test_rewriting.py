"""What a query draws is drawn once, and each place reads its own region of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from actlas.query import Atlas

DRAWN = "SELECT range::INT AS neuron FROM range(600) ORDER BY random() LIMIT 5"
#: Five neurons at random, however they come into a query, and the chunks that hold them at most.
UNSTEADY = [
    f"SELECT count(DISTINCT neuron) AS n FROM activations JOIN ({DRAWN}) AS m(n) ON neuron = m.n",
    f"SELECT count(DISTINCT neuron) AS n FROM activations WHERE neuron IN ({DRAWN}) AND value IS NOT NULL",
    f"SELECT count(DISTINCT neuron) AS n FROM activations WHERE neuron = ANY ({DRAWN})",
    "SELECT count(DISTINCT neuron) AS n FROM activations WHERE neuron IN (FROM range(600) USING SAMPLE 5)",
    f"WITH p AS ({DRAWN}), q AS (SELECT neuron AS é FROM p LIMIT 5) SELECT count(DISTINCT a.neuron) AS n FROM activations a "
    "JOIN p USING (neuron) JOIN q AS z(b) ON z.b = p.neuron WHERE neuron IN (FROM q)",
    "WITH e AS (SELECT 5 * (SELECT count(*) FROM (SELECT neuron, avg(value) AS m FROM activations WHERE layer = 0 GROUP BY ALL "
    "ORDER BY m LIMIT 1) JOIN activations USING (neuron) WHERE text_id = 3 AND layer = 1 AND checkpoint LIKE '%1') AS n) FROM e",
]


@pytest.mark.parametrize("query", UNSTEADY, ids=range(len(UNSTEADY)))
def test_what_is_drawn_is_drawn_once(query: str, wide: Atlas) -> None:
    assert [wide.sql(query).item() for _ in range(3)] == [5, 5, 5]
    assert wide.sql("SELECT count(*) FROM duckdb_tables() WHERE table_name LIKE 'actlas%'").item() == 0


def test_of_what_is_drawn_no_more_is_read(wide: Atlas, count_chunks: Callable[[], int]) -> None:
    wide.sql("SELECT 1 FROM texts LIMIT 1")
    count_chunks()
    where = "checkpoint = 'planted-step0' AND layer = 1"
    query = f"SELECT sum(value) AS s FROM activations JOIN ({DRAWN.replace('5', '1')}) USING (neuron) WHERE {where}"
    assert wide.sql(query).height == 1
    assert count_chunks() == 3


def test_random_conditions_are_drawn_for_every_row(wide: Atlas) -> None:
    kept = wide.sql("SELECT count(DISTINCT neuron) AS n FROM activations WHERE layer = 0 AND neuron + random() * 0 >= 0").item()
    assert kept == 600
    half = wide.sql("SELECT count(DISTINCT neuron) AS n FROM activations WHERE neuron * random() >= neuron * 0.5").item()
    assert half > 550
