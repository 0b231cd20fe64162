"""Cubes as tables: the same rows as the arrays, and only the chunks that a filter leaves."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from actlas.errors import DamagedStore, QueryError
from actlas.query import Atlas, open_store, top_experts
from actlas.query.sql.grids import _groups
from actlas.query.sql.scan import plan_box, split_conjunction
from actlas.query.sql.sources import activation_grid
from actlas.store.files import shard_reader
from actlas.testing.planted import Planting, planted_store

CHECKPOINT = "planted-step64"


def test_activations_are_the_cube(scored: Atlas, plain: Any) -> None:
    frame = scored.scan("activations").filter(pl.col("checkpoint") == CHECKPOINT, pl.col("site") == "mlp_pre").collect()
    wanted = plain.values(CHECKPOINT, "mlp_pre")
    assert frame.columns == ["checkpoint", "site", "layer", "neuron", "text_id", "value", "language"]
    assert frame.height == wanted.size
    where = (frame["layer"].to_numpy(), frame["neuron"].to_numpy(), frame["text_id"].to_numpy())
    assert len(set(zip(*where, strict=True))) == wanted.size
    np.testing.assert_array_equal(frame["value"].to_numpy(), wanted[where].astype(np.float32))
    languages = plain.corpus.texts["language"]
    assert (frame["language"] == languages.gather(frame["text_id"])).all()


FILTERS = [
    ("layer = 1 AND neuron IN (3, 7, 39)", (pl.col("layer") == 1) & pl.col("neuron").is_in([3, 7, 39])),
    ("neuron BETWEEN 5 AND 9 AND language = 'es'", pl.col("neuron").is_between(5, 9) & (pl.col("language") == "es")),
    ("text_id % 7 = 0 AND value > 1.5", (pl.col("text_id") % 7 == 0) & (pl.col("value") > 1.5)),
    ("layer = 0 OR neuron = 2", (pl.col("layer") == 0) | (pl.col("neuron") == 2)),
    ("NOT (layer = 0) AND neuron <> 4", ~(pl.col("layer") == 0) & (pl.col("neuron") != 4)),
    ("value IS NULL", pl.col("value").is_null()),
    ("layer = 9", pl.col("layer") == 9),
    ("language LIKE 'e%' AND value <= 0", pl.col("language").str.starts_with("e") & (pl.col("value") <= 0)),
    ("neuron > layer + 36", pl.col("neuron") > pl.col("layer") + 36),
]


@pytest.mark.parametrize(("sql", "expression"), FILTERS, ids=[sql for sql, _ in FILTERS])
def test_filters_agree_with_a_filter_in_memory(scored: Atlas, sql: str, expression: pl.Expr) -> None:
    everything = scored.scan("activations").filter(checkpoint=CHECKPOINT, site="mlp_pre").collect()
    keys = ["layer", "neuron", "text_id"]
    wanted = everything.filter(expression).sort(keys)
    lazy = scored.scan("activations").filter(expression, checkpoint=CHECKPOINT, site="mlp_pre").collect()
    assert lazy.sort(keys).equals(wanted)
    answer = scored.sql(f"SELECT * FROM activations WHERE checkpoint = '{CHECKPOINT}' AND site = 'mlp_pre' AND ({sql})")
    assert answer.sort(keys).equals(wanted)


@pytest.mark.parametrize("in_loops", [False, True])
def test_filters_on_values_agree_with_a_filter_in_memory(scored: Atlas, monkeypatch: pytest.MonkeyPatch, in_loops: bool) -> None:
    monkeypatch.setattr(shard_reader, "is_worth_it", lambda _: in_loops)
    for table, name in (("activations", "value"), ("scores", "ap")):
        frame, column = scored.scan(table).collect(), pl.col(name)
        low, high = sorted(frame[name].drop_nulls().gather([5, 90]).to_list())
        for filters in (
            [column > low],
            [column >= low, column < high],
            [column.is_between(low, high)],
            [column.is_between(low, high, closed="none"), pl.col("layer") == 1],
            [pl.lit(low) < column],
            [column == low],
            [column <= pl.lit(high, pl.Float32)],
            [column > 0],
            [(column > low) | (column < 0.1)],
            [column.is_null()],
            [column.is_not_null(), column <= low],
            [column > float("inf")],
            [column != low],
            [column > pl.col("layer")],
        ):
            assert scored.scan(table).filter(*filters).collect().equals(frame.filter(*filters)), [str(one) for one in filters]


def test_scores_are_the_score_cubes(scored: Atlas) -> None:
    frame = scored.sql(f"SELECT * FROM scores WHERE checkpoint = '{CHECKPOINT}'")
    assert frame.height == 208 * 3 * 4
    for site in ("attn_out", "mlp_hidden", "mlp_pre"):
        cube = scored.scores(CHECKPOINT, site)
        part = frame.filter(site=site)
        at = (
            part["language"].replace_strict(cube.languages, range(3), return_dtype=pl.Int64).to_numpy(),
            part["concept"].replace_strict(cube.concepts, range(4), return_dtype=pl.Int64).to_numpy(),
            part["layer"].to_numpy(),
            part["neuron"].to_numpy(),
        )
        for stat in cube.stats:
            np.testing.assert_array_equal(part[stat].to_numpy(), cube.read(stat)[at])


def test_a_concept_without_scores_is_null_not_nan(scored: Atlas) -> None:
    frame = scored.sql(
        "SELECT language, concept, count(*) AS n, count(ap) AS there, count(median) AS medians FROM scores GROUP BY ALL"
    )
    lacking = frame.filter(pl.col("there") == 0)
    assert lacking.select("language", "concept").rows() == [("es", "yeast")]
    assert lacking["medians"].to_list() == [0]
    assert (frame.filter(pl.col("there") > 0)["there"] == 3 * 208).all()


def test_checkpoints_may_differ_in_their_statistics(bare: Path) -> None:
    from actlas.query import score_neurons

    store = open_store(bare, "a")
    score_neurons(store, checkpoints=["planted-step0"], sites=["mlp_pre"], stats=("ap", "q0.25"))
    score_neurons(store, checkpoints=["planted-step64"], sites=["mlp_pre"], stats=("median", "ap"))
    frame = store.sql(
        'SELECT checkpoint, count(ap) AS ap, count("q0.25") AS q, count(median) AS m FROM scores GROUP BY ALL ORDER BY ALL'
    )
    assert frame.rows() == [("planted-step0", 880, 880, 0), ("planted-step64", 880, 0, 880)]
    assert store.scan("scores").collect_schema().names()[6:] == ["ap", "median", "q0.25"]


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    """Cubes of 2 x 5 x 3 chunks: layers, groups of 128 neurons, blocks of 64 texts."""
    planting = Planting(sites={"mlp_pre": (2, 600)}, steps=(0, 1), sharing=(0, 1), token_sites={}, n_groups=64)
    return open_store(planted_store(tmp_path_factory.mktemp("scan") / "wide.actlas", planting))


def test_only_chunks_inside_the_box_are_read(wide: Atlas, count_chunks: Callable[[], int]) -> None:
    where = "checkpoint = 'planted-step0' AND site = 'mlp_pre'"
    everything = 2 * 5 * 3
    for condition, n_chunks in [
        (f"{where} AND layer = 1 AND neuron = 599", 3),
        (f"{where} AND layer = 1 AND neuron IN (0, 5, 130)", 2 * 3),
        (f"{where} AND layer = 1 AND neuron IN (0, 5, 130) AND language = 'en'", 2),
        (f"{where} AND layer = 0 AND neuron BETWEEN 256 AND 383 AND text_id IN (1, 70)", 2),
        (f"{where} AND layer = 0 AND neuron BETWEEN 256 AND 383 AND value > 2", 3),
        (f"{where} AND neuron >= 512", 2 * 3),
        (where, everything),
    ]:
        count_chunks()
        wide.sql(f"SELECT avg(value) AS m FROM activations WHERE {condition}")
        assert count_chunks() == n_chunks, condition


def test_nothing_is_read_for_labels_alone(wide: Atlas, count_chunks: Callable[[], int]) -> None:
    wide.sql("SELECT 1")
    count_chunks()
    assert wide.sql("SELECT count(*) AS n, max(neuron) AS m FROM activations").rows() == [(2 * 2 * 600 * 192, 599)]
    assert count_chunks() == 0


def test_a_list_in_a_variable_bounds_a_scan(wide: Atlas, count_chunks: Callable[[], int]) -> None:
    wide.sql("SELECT 1")
    count_chunks()
    wide.sql(
        "SET VARIABLE ks = (SELECT list(n) FROM (VALUES (3), (4)) t(n)); SELECT sum(value) AS s FROM activations "
        "WHERE checkpoint = 'planted-step0' AND layer = 0 AND neuron IN getvariable('ks')"
    )
    assert count_chunks() == 3


def test_any_number_of_rows_is_read_and_not_all_are_given(wide: Atlas) -> None:
    wide = open_store(wide.path)
    wide.max_answer = 100_000
    assert wide.sql("SELECT count(value) AS n FROM activations").item() == 460_800
    with pytest.raises(QueryError, match="more than 100,000 rows"):
        wide.sql("FROM activations")
    streamed = wide.scan("activations").group_by("language").agg(pl.len(), pl.col("value").max())
    frame = wide.scan("activations").collect().group_by("language").agg(pl.len(), pl.col("value").max())
    assert streamed.collect(engine="streaming").sort("language").equals(frame.sort("language"))


def test_polars_asks_for_few_rows(wide: Atlas, count_chunks: Callable[[], int]) -> None:
    count_chunks()
    assert wide.scan("activations").head(5).collect().height == 5
    assert count_chunks() <= 5 * 3
    top = wide.scan("activations").filter(checkpoint="planted-step0", layer=0, neuron=3).top_k(4, by="value").collect()
    wanted = np.sort(wide.cube("planted-step0", "mlp_pre").read(layer=0, neurons=3))[::-1][:4]
    np.testing.assert_array_equal(np.sort(top["value"].to_numpy())[::-1], wanted.astype(np.float32))


def test_conjunctions_are_split_and_hints_left_out() -> None:
    parts = split_conjunction((pl.col("a") == 1) & ((pl.col("b") > 2) | (pl.col("a") < 0)) & pl.col("c").is_in([1, 2]))
    assert [set(part.meta.root_names()) for part in parts] == [{"a"}, {"a", "b"}, {"c"}]


def test_what_is_not_understood_stays(scored: Atlas) -> None:
    grid = activation_grid(scored, scored.snapshot())
    predicate = (pl.col("layer") == 1) & (pl.col("value") > 0) & (pl.col("neuron") == pl.col("layer"))
    region, left = plan_box(grid, predicate)
    assert region.box["layer"].tolist() == [1]
    assert region.box["neuron"].size == 40
    assert len(left) == 2


def test_groups_end_at_chunk_borders() -> None:
    positions = np.array([0, 5, 127, 128, 300, 301, 600], dtype=np.int64)
    assert [part.tolist() for part in _groups(positions, 2, 128)] == [[0, 5, 127], [128, 300, 301], [600]]
    assert [part.tolist() for part in _groups(positions, 100, 128)] == [positions.tolist()]
    assert list(_groups(positions[:0], 3, 128)) == []


def test_an_error_on_the_way_is_noted_for_whoever_runs_the_engine(scored: Atlas, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(scored.path, tmp_path / "copy"))
    shard = sorted(path for path in copy.glob("scores/*/*/ap/c/0/0/0/0"))[0]
    shard.write_bytes(b"")
    store = open_store(copy)
    with pytest.raises(DamagedStore, match="c/0/0/0/0"):
        store.sql("SELECT count(ap) FROM scores")
    assert store.sql("SELECT count(*) AS n FROM texts").item() == scored.corpus.n_texts


def test_a_lost_part_of_a_table_matters_to_that_table_alone(scored: Atlas, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(scored.path, tmp_path / "copy"))
    top_experts(open_store(copy, "a"), k=2)
    store = open_store(copy)
    n_experts = store.sql("SELECT count(*) AS n FROM experts").item()
    part = sorted(copy.glob("tables/experts/checkpoint=*/*.parquet"))[0]
    whole = part.read_bytes()
    part.unlink()
    assert store.sql("SELECT count(*) AS n FROM texts").item() == scored.corpus.n_texts
    part.write_bytes(whole)
    assert store.sql("SELECT count(*) AS n FROM experts").item() == n_experts
