"""What is said of a query before it runs is what it then reads."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest

from actlas.errors import QueryError
from actlas.query import Atlas, open_store
from actlas.testing.planted import Planting, planted_store

KEYS = pl.DataFrame({"layer": [1, 0], "neuron": [300, 7]})


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    """Cubes of 2 x 5 x 3 chunks: layers, groups of 128 neurons, blocks of 64 texts."""
    planting = Planting(sites={"mlp_pre": (2, 600)}, steps=(0, 1), sharing=(0, 1), token_sites={}, n_groups=64)
    return open_store(planted_store(tmp_path_factory.mktemp("explain") / "wide.actlas", planting))


@pytest.mark.parametrize(
    "query",
    [
        "SELECT sum(value) FROM activations WHERE checkpoint = 'planted-step0' AND layer = 1 AND neuron = 5",
        "SELECT count(*) FROM activations WHERE value > 1 AND layer = 0 AND language = 'en'",
        "SELECT sum(value) FROM activations JOIN mine USING (layer, neuron)",
        "SELECT sum(a.value * b.value) FROM activations a JOIN activations b USING (layer, neuron, text_id) "
        "WHERE a.checkpoint = 'planted-step0' AND b.checkpoint = 'planted-step1' AND a.neuron = 5",
        "SELECT (SELECT max(value) FROM activations WHERE neuron = 3), (SELECT max(value) FROM activations WHERE neuron = 300)",
        "FROM neuron_texts('planted-step0', 'mlp_pre', 1, 7)",
        "SELECT max(layer), count(*) FROM activations",
        "SELECT * FROM activations WHERE false",
        "SELECT 1",
    ],
)
def test_chunks_that_are_said_are_those_that_are_read(query: str, wide: Atlas, count_chunks: Callable[[], int]) -> None:
    wide.sql("SELECT 1 FROM checkpoints, texts LIMIT 1")
    count_chunks()
    said = wide.explain(query, tables={"mine": KEYS})
    assert count_chunks() == 0
    wide.sql(query, tables={"mine": KEYS})
    assert count_chunks() == said["chunks"].sum()


def test_places_are_told_apart(wide: Atlas) -> None:
    query = (
        "SELECT count(a.value), count(b.value) FROM activations a, activations b, texts AS t, labels "
        "WHERE a.text_id = t.text_id AND b.layer = 1 AND b.neuron % 200 = 1 AND a.checkpoint = $which AND a.neuron < 128 "
        "AND b.text_id = a.text_id AND t.language = 'en' AND labels.text_id = t.text_id"
    )
    said = wide.explain(query, {"which": "planted-step1"}).sort("alias", nulls_last=True)
    assert said["table"].to_list() == ["activations", "activations", "labels", "texts"]
    assert said["alias"].to_list() == ["a", "b", None, None]
    assert said["checkpoints"].to_list()[:2] == ["planted-step1", "planted-step0, planted-step1"]
    assert said["layers"].to_list()[:2] == ["0-1", "1"]
    assert said["neurons"].to_list()[:2] == [256, 3]
    assert said["texts"].to_list()[:2] == [64, 64]
    assert said["rows"].to_list()[:2] == [256 * 64, 2 * 3 * 64]
    assert said["of_rows"].to_list()[:2] == [2 * 2 * 600 * 192] * 2
    assert said["chunks"].to_list()[:2] == [2, 2 * 3]
    assert said["of_chunks"].to_list()[:2] == [2 * 2 * 5 * 3] * 2
    shards = sum(path.stat().st_size for path in wide.path.glob("cubes/*/*/value/c/**/*") if path.is_file())
    assert said["bytes"][0] < said["of_bytes"][0] <= shards
    assert said["of_bytes"].to_list()[2:] == [
        (wide.path / f"corpus/{name}.parquet").stat().st_size for name in ("labels", "texts")
    ]


def test_scores_and_limits_are_told(scored: Atlas) -> None:
    query = "SELECT * FROM scores WHERE concept = 'salt' AND layer = 1 AND site = 'mlp_pre' LIMIT 3"
    (said,) = scored.explain(query).to_dicts()
    assert (said["languages"], said["concepts"], said["texts"], said["neurons"]) == (3, 1, None, 40)
    assert said["ends_early"]
    assert 0 < said["bytes"] < said["of_bytes"]
    (ordered,) = scored.explain(query.replace("LIMIT", "ORDER BY ap LIMIT")).to_dicts()
    assert not ordered["ends_early"]


def test_what_is_wrong_is_refused(wide: Atlas) -> None:
    with pytest.raises(QueryError, match="nope"):
        wide.explain("SELECT nope FROM activations")
    with pytest.raises(QueryError, match="explain the query itself"):
        wide.explain("EXPLAIN SELECT 1")
    assert wide.sql("SHOW TABLES")["name"].str.contains(" ").sum() == 0
