"""What a query leaves of a cube is found before it runs: the same rows as without a plan, from the chunks that hold them."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl
import pytest

from actlas.query import Atlas
from actlas.query.sql import grids
from actlas.query.sql.plan import rewriting

KEYS = pl.DataFrame({"site": "mlp_pre", "layer": [0, 1, 1], "neuron": [5, 300, 301], "weight": [1.0, 2.0, 3.0]})
WHERE = "checkpoint = 'planted-step0' AND layer = 1"
#: Query and the chunks that hold what it needs.
QUERIES = [
    (f"SELECT sum(value) FROM activations WHERE {WHERE} AND neuron = 5.0", 3),
    (f"SELECT sum(value) FROM activations WHERE {WHERE} AND neuron::VARCHAR = '5'", 3),
    (f"SELECT sum(value) FROM activations WHERE {WHERE} AND neuron % 512 = 0", 2 * 3),
    ("SELECT sum(value) FROM activations WHERE checkpoint = 'planted-step0' AND (layer, neuron) IN ((0, 5), (1, 300))", 2 * 3),
    ("SELECT sum(value) FROM activations WHERE checkpoint = 'planted-step0' AND neuron = 299 + layer", 2 * 3),
    (f"SELECT sum(value) FROM activations WHERE {WHERE} AND neuron IN (SELECT neuron FROM mine WHERE layer = 1)", 3),
    (f"SELECT sum(value) FROM activations WHERE {WHERE} AND neuron = (SELECT max(neuron) FROM mine)", 3),
    (
        "SELECT sum(value) FROM activations WHERE neuron = 5 AND layer = 0 "
        "AND checkpoint = (SELECT arg_max(checkpoint, step) FROM checkpoints)",
        3,
    ),
    (
        "SELECT sum(value * weight) FROM activations JOIN mine USING (site, layer, neuron) WHERE checkpoint = 'planted-step0'",
        2 * 3,
    ),
    (
        "SELECT sum(a.value) FROM activations AS a JOIN mine m ON a.neuron = m.neuron AND m.layer = a.layer "
        "WHERE m.weight > 1 AND a.checkpoint = 'planted-step0'",
        3,
    ),
    (
        "SELECT sum(value) FROM activations, mine WHERE activations.neuron = mine.neuron AND mine.layer = activations.layer "
        "AND checkpoint = 'planted-step0'",
        2 * 3,
    ),
    (
        "WITH best AS (SELECT * FROM mine WHERE layer = 0) SELECT sum(value) FROM activations JOIN best USING (layer, neuron) "
        "WHERE checkpoint = 'planted-step0'",
        3,
    ),
    (
        "SELECT sum(value) FROM activations a JOIN texts t ON a.text_id = t.text_id "
        f"WHERE t.language = 'en' AND {WHERE} AND neuron = 5",
        1,
    ),
    (
        "SELECT l.concept, sum(value) FROM activations a JOIN labels l ON l.text_id = a.text_id "
        "JOIN mine m ON m.neuron = a.neuron "
        f"WHERE l.is_concept AND {WHERE.replace('layer', 'a.layer')} AND m.weight = 2 GROUP BY ALL ORDER BY ALL",
        3,
    ),
    ("SELECT sum(value) FROM (SELECT * FROM activations WHERE layer = 0 AND neuron < 3 * 2 AND checkpoint LIKE '%0')", 3),
    (f"SELECT sum(value) FROM activations WHERE {WHERE} AND neuron IN (5, NULL)", 3),
    (f"SELECT sum(value) FROM activations WHERE {WHERE} AND neuron IN (SELECT neuron + 0.5 FROM mine)", 0),
    (f"SELECT sum(value) FROM activations WHERE {WHERE} AND list_contains([5, 6], neuron)", 3),
    (f"SELECT sum(value) FROM activations WHERE {WHERE} AND neuron BETWEEN $low AND $low + 1", 3),
    (f"SET VARIABLE v = 5; SELECT sum(value) FROM activations WHERE {WHERE} AND neuron = getvariable('v')", 3),
    # what no plan may touch
    ("SELECT count(a.value) FROM mine m LEFT JOIN activations a USING (neuron) WHERE a.layer IS NULL OR a.layer = 1", None),
    (
        "SELECT count(*) FROM mine LEFT JOIN (SELECT * FROM activations WHERE layer > 4) a USING (neuron) WHERE a.layer IS NULL",
        None,
    ),
    (
        "SELECT sum(a.value * b.value) FROM activations a JOIN activations b USING (layer, neuron, text_id) "
        "WHERE a.checkpoint = 'planted-step0' AND b.checkpoint = 'planted-step1' AND a.neuron = 5 AND b.neuron = 5 "
        "AND layer = 0",
        6,
    ),
    (
        "SELECT sum(a.value * b.value) FROM activations a JOIN activations b USING (layer, neuron, text_id) "
        "JOIN mine m ON m.neuron = a.neuron AND m.layer = a.layer "
        "WHERE a.checkpoint = 'planted-step0' AND b.checkpoint = 'planted-step1' AND m.weight = 2 AND a.language = 'en'",
        2,
    ),
    (
        f"WITH one AS (SELECT * FROM activations WHERE {WHERE} AND neuron = 5 AND language = 'en') "
        "SELECT x.text_id, y.value FROM one x JOIN one y USING (text_id) ORDER BY ALL",
        1,
    ),
    (
        f"SELECT 'é', (SELECT max(value) FROM activations WHERE {WHERE} AND neuron IN (SELECT neuron FROM mine WHERE layer = 0)) "
        "AS most, (SELECT min(value) FROM Activations AS b WHERE layer = 0 AND neuron + 1 = 130) AS least",
        3 + 2 * 3,
    ),
    (
        "SELECT a.value, t.value AS other FROM activations a, neuron_texts('planted-step0', 'mlp_pre', 0, 5) t "
        "WHERE a.text_id = t.text_id AND a.layer = 1 AND a.neuron % 600 = 7 AND a.checkpoint LIKE '%1' ORDER BY ALL",
        # the macro once for its texts, once for its rows
        3 * 3,
    ),
    (f"SELECT max(value) AS most FROM main.activations WHERE {WHERE} AND activations.neuron % 600 = 7", 3),
    (f"SELECT text_id, value FROM activations WHERE {WHERE} ORDER BY value DESC, text_id LIMIT 9 OFFSET 2", 5 * 3),
    (f"SELECT value, neuron FROM activations WHERE {WHERE} AND neuron < 99 ORDER BY value, neuron, text_id LIMIT 3", 3),
    (f"SELECT -value AS value FROM activations WHERE {WHERE} ORDER BY value DESC LIMIT 3", 5 * 3),
    (f"SELECT value FROM activations WHERE {WHERE} GROUP BY ALL ORDER BY value DESC LIMIT 3", 5 * 3),
    ("SELECT DISTINCT checkpoint, layer FROM activations ORDER BY ALL", 0),
    ("SELECT min(neuron) AS low, max(text_id) AS high FROM activations WHERE layer = 1", 0),
    ("SELECT layer, max(neuron) AS high FROM activations WHERE neuron % 7 = 3 GROUP BY layer ORDER BY ALL", 0),
    ("SELECT layer, count(*) AS n FROM activations GROUP BY layer ORDER BY ALL", 0),
    ("SELECT max(neuron) FILTER (language = 'en') AS high, count(DISTINCT layer) AS n FROM activations", 0),
    ("SELECT max(layer) FROM activations WHERE value > 1 AND language = 'en'", 2 * 2 * 5),
    # what looks like the rows of a set, or the beginning of an order, and is not
    ("SELECT max(layer, 20) AS most, min(text_id, 9) AS least FROM activations WHERE neuron = 5", None),
    ("SELECT max(neuron) OVER (PARTITION BY layer) AS most FROM activations WHERE text_id < 2 ORDER BY ALL", None),
    ("SELECT value FROM activations WHERE layer = 0 AND neuron = 5 ORDER BY value DESC OFFSET 150", None),
    # '301.0' is 301 to DuckDB
    ("SELECT sum(value) FROM activations JOIN (SELECT neuron || '.0' AS neuron FROM mine) m USING (neuron)", None),
    ("SELECT max(main.activations.value) AS most FROM main.activations WHERE main.activations.neuron % 600 = 7", None),
    ("SELECT count(*) AS n FROM activations WHERE neuron = 5 USING SAMPLE 100%", None),
    ("SELECT a.neuron, m.neuron FROM activations a JOIN mine m USING (layer) WHERE a.text_id = 3 ORDER BY ALL", None),
    ("WITH activations AS (SELECT 1 AS neuron) SELECT sum(neuron) FROM activations WHERE neuron = 1", 0),
    ("SELECT count(*) FROM activations AS a(neuron, layer) WHERE layer = 'mlp_pre'", None),
    (
        "SELECT neuron, (SELECT max(value) FROM activations a WHERE a.neuron = e.neuron AND a.layer = 0) FROM mine e ORDER BY 1",
        None,
    ),
    ("SELECT count(*) FROM activations WHERE layer = 0 UNION ALL SELECT count(*) FROM mine", None),
]


@pytest.mark.parametrize(("query", "n_chunks"), QUERIES, ids=[query[-60:] for query, _ in QUERIES])
def test_a_plan_changes_what_is_read_and_not_the_answer(
    query: str, n_chunks: int | None, wide: Atlas, count_chunks: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    params = {"low": 5} if "$low" in query else None
    wide.sql("SELECT 1 FROM checkpoints, texts, labels LIMIT 1")
    count_chunks()
    answer = wide.sql(query, params, tables={"mine": KEYS})
    if n_chunks is not None:
        assert count_chunks() == n_chunks
    monkeypatch.setattr(rewriting, "planned_places", lambda *_: [])
    assert answer.equals(wide.sql(query, params, tables={"mine": KEYS}))


def test_limit_ends_early_whatever_there_is(
    wide: Atlas, count_chunks: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for rows in ("BATCH_ROWS", "_SEARCHED_ROWS"):
        monkeypatch.setattr(grids, rows, 128 * 64)
    for query, height in (
        ("SELECT * FROM activations LIMIT 5 OFFSET 2", 5),
        ("SELECT avg(value) AS m FROM (SELECT * FROM activations WHERE layer = 1 LIMIT 5)", 1),
        ("SELECT * FROM activations WHERE value > 1 LIMIT 5", 5),
    ):
        count_chunks()
        assert wide.sql(query).height == height
        assert count_chunks() < 12, query


def test_a_count_reads_nothing_however_large(wide: Atlas, count_chunks: Callable[[], int], tmp_path: Path) -> None:
    wide.sql("SELECT 1")
    count_chunks()
    assert wide.sql("SELECT count(*) AS n FROM activations WHERE language = 'en'").item() == 2 * 2 * 600 * 64
    assert count_chunks() == 0


def test_scores_of_a_join_are_those_of_the_neurons(scored: Atlas) -> None:
    keys = pl.DataFrame({"site": ["mlp_pre", "attn_out"], "layer": [1, 0], "neuron": [7, 20]})
    where = "concept = 'salt' AND checkpoint LIKE '%64'"
    query = f"SELECT s.* FROM scores s JOIN mine USING (site, layer, neuron) WHERE {where} ORDER BY ALL"
    answer = scored.sql(query, tables={"mine": keys})
    place = ["site", "layer", "neuron"]
    everything = scored.scan("scores").collect().join(keys, on=place, how="semi")
    wanted = everything.filter(pl.col("concept") == "salt", pl.col("checkpoint") == "planted-step64")
    assert answer.equals(wanted.select(answer.columns).sort(answer.columns))
    assert answer.height == 2 * 3


CONDITIONS = (
    "layer = 1",
    "layer <> 0",
    "3 > neuron",
    "neuron IN (5, 7, 200)",
    "neuron NOT IN (1, 2, 3)",
    "neuron BETWEEN 3 AND 9",
    "neuron = 5.0",
    "neuron % 50 = 7",
    "neuron = layer + 4",
    "layer = 1 OR neuron = 7",
    "NOT (neuron > 20)",
    "(layer, neuron) IN ((0, 5), (1, 7))",
    "neuron IN (SELECT neuron FROM mine)",
    "site LIKE 'mlp%'",
    "checkpoint = 'planted-step0'",
    "language IN ('en', 'fr')",
    "text_id < 70",
    "value > 0.5",
    "value BETWEEN 0 AND 1",
    "value <> 0 OR neuron = 5",
)
SHAPES = (
    "SELECT count(*) AS n, count(value) AS m, min(value) AS low FROM activations WHERE {where}",
    "SELECT layer, neuron, text_id, value FROM activations WHERE {where} "
    "ORDER BY value DESC, layer, neuron, text_id, checkpoint LIMIT 7 OFFSET 1",
    "SELECT DISTINCT layer, language FROM activations WHERE {where} ORDER BY ALL",
    "SELECT site, min(neuron) AS low, max(text_id) AS high FROM activations WHERE {where} GROUP BY site",
    "WITH x AS (SELECT * FROM activations WHERE {where}) SELECT count(*) AS n, max(a.value + b.value) AS most "
    "FROM x a JOIN x b USING (site, layer, neuron, text_id)",
    "SELECT count(*) AS n FROM (SELECT neuron FROM activations WHERE {where}) LEFT JOIN mine USING (neuron)",
)


@pytest.mark.parametrize("shape", SHAPES, ids=range(len(SHAPES)))
def test_conditions_together_leave_what_they_leave_of_a_frame(shape: str, wide: Atlas) -> None:
    rng = random.Random(shape)
    connection = duckdb.connect()
    connection.register("activations", wide.scan("activations").collect())
    connection.register("mine", KEYS)
    for _ in range(6):
        query = shape.format(where=" AND ".join(f"({one})" for one in rng.sample(CONDITIONS, rng.randint(1, 3))))
        assert wide.sql(query, tables={"mine": KEYS}).rows() == connection.sql(query).fetchall(), query
