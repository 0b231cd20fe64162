"""Atlas: opening, scanning, importing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import actlas
from actlas.errors import StoreNotFound, TableNotFound
from actlas.query import TABLES, Atlas, open_store, score_neurons, top_experts
from actlas.query.atlas import as_atlas
from actlas.testing.planted import planted_store


def test_opening(bare: Path) -> None:
    assert isinstance(actlas.open_store(bare), Atlas)
    assert open_store(str(bare)).mode == "r"
    assert as_atlas(bare, "a").mode == "a"
    store = open_store(bare)
    assert as_atlas(store, "a") is store
    with pytest.raises(StoreNotFound, match="actlas extract"):
        open_store(bare / "nothing")


def test_scan_and_sql_give_the_same(asked: Atlas) -> None:
    for name, table in TABLES.items():
        where = "WHERE checkpoint = 'planted-step64'" if "checkpoint" in table.columns else ""
        by_sql = asked.sql(f"SELECT * FROM {name} {where}")
        by_scan = asked.scan(name)
        if "checkpoint" in table.columns:
            by_scan = by_scan.filter(pl.col("checkpoint") == "planted-step64")
        frame = by_scan.collect()
        assert frame.columns == by_sql.columns, name
        keys = [column for column, dtype in frame.schema.items() if not dtype.is_nested()]
        assert_frame_equal(frame.sort(keys), by_sql.sort(keys))


def test_a_table_of_another_part_can_be_scanned(bare: Path) -> None:
    store = open_store(bare, "a")
    store.publish_table("notes", "planted-step0", pl.DataFrame({"text": ["hello"]}), {})
    assert store.scan("notes").collect().rows() == [("hello", "planted-step0")]
    with pytest.raises(TableNotFound, match="actlas patch"):
        store.scan("patches")


def test_checkpoints_languages_cubes(bare: Path) -> None:
    store = open_store(bare)
    checkpoints = store.scan("checkpoints").collect()
    assert checkpoints["checkpoint"].to_list() == store.checkpoints
    assert checkpoints["step"].to_list() == [0, 64, 128]
    assert set(checkpoints["backend"]) == {"hf"}
    languages = store.scan("languages").collect()
    assert languages.select("language", "position", "n_texts").rows() == [("fr", 0, 48), ("en", 1, 48), ("es", 2, 48)]
    cubes = store.scan("cubes").collect()
    assert cubes.height == 9
    assert cubes.filter(site="mlp_pre")["n_neurons"].unique().to_list() == [40]


def test_one_part_of_a_table(asked: Atlas) -> None:
    part = asked.table("experts", "planted-step64")
    assert part.equals(asked.sql("SELECT * FROM experts WHERE checkpoint = 'planted-step64'"))
    with pytest.raises(TableNotFound, match="notes was not computed"):
        asked.table("notes", "planted-step64")


def test_closing_and_asking_again(bare: Path) -> None:
    store = open_store(bare)
    store.sql("SELECT 1")
    store.close()
    store.close()
    assert store.sql("SELECT 1 AS one")["one"].to_list() == [1]


def test_a_store_without_checkpoints_answers(tmp_path: Path) -> None:
    from actlas.testing.planted import Planting, planted_store

    store = open_store(planted_store(tmp_path / "empty.actlas", Planting(steps=(), sharing=())))
    assert store.sql("FROM checkpoints").is_empty()
    assert store.sql("SELECT count(*) AS n FROM texts")["n"].to_list() == [144]
    assert store.sql("SELECT count(*) AS n FROM activations")["n"].to_list() == [0]


@pytest.mark.parametrize("module", ["actlas.query", "actlas.query.sql.session", "actlas.query.sql.scan"])
def test_importing_loads_no_model_library(module: str) -> None:
    script = f"import sys, {module}; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"torch", "transformers", "vllm", "triton", "sklearn", "numba", "tokenizers"}


def test_a_query_loads_no_model_library(scored_path: Path) -> None:
    script = (
        "import sys, actlas\n"
        f"actlas.open_store({str(scored_path)!r}).sql('SELECT avg(ap) FROM scores')\n"
        "print(*sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"torch", "transformers", "vllm", "triton", "sklearn", "numba"}


def test_a_question_by_path_keeps_its_answer_where_it_is_asked_to(tmp_path: Path) -> None:
    planted_store(tmp_path / "s")
    score_neurons(tmp_path / "s", stats=("ap", "median", "p90"))
    top_experts(tmp_path / "s", k=3)
    assert open_store(tmp_path / "s").table_names() == []
    asked = top_experts(tmp_path / "s", k=3, keep=True)
    assert open_store(tmp_path / "s").sql("SELECT count(*) AS n FROM experts")["n"].item() == asked.height
    through_reader = open_store(tmp_path / "s")
    top_experts(through_reader, k=4)
    assert through_reader.table_settings("experts", through_reader.checkpoints[0])["k"] == 3
