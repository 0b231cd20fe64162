"""Experts against a plain sort of scikit-learn's scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from actlas.errors import CubeNotFound, QueryError, ScoresNotFound
from actlas.query import (
    TABLES,
    Atlas,
    expert_overlap,
    open_store,
    score_neurons,
    top_experts,
)
from actlas.query.choices import Ranking
from actlas.query.experts.ranked import expert_sets
from actlas.store import verify
from tests.query.experts.test_ranked import scored_store

K = 6


def rows(frame: pl.DataFrame) -> list[tuple[Any, ...]]:
    return frame.select("site", "layer", "neuron").rows()


def test_experts_are_the_first_of_a_plain_sort(scored: Atlas, plain: Any) -> None:
    frame = top_experts(scored, k=K)
    assert frame.schema == pl.Schema(dict(TABLES["experts"].columns))
    groups = frame.group_by("checkpoint", "language", "concept", maintain_order=True)
    seen = {}
    for key, part in groups:
        seen[key] = rows(part)
        assert part["rank"].to_list() == list(range(1, K + 1))
    for checkpoint in scored.checkpoints:
        for language in plain.planting.languages:
            for concept in plain.planting.concepts:
                wanted = plain.experts(checkpoint, language, concept, K)
                assert seen.pop((checkpoint, language, concept), []) == wanted, (checkpoint, language, concept)
    assert not seen


def test_ties_go_by_site_layer_neuron(tmp_path: Path) -> None:
    """A concept that many neurons detect equally well: what is kept is decided by their names."""
    from actlas.testing.planted import Planting, planted_store

    planting = Planting(strength=100.0, n_planted=30, sharing=(1.0,), steps=(0,), concepts=("salt", "water"))
    store = open_store(planted_store(tmp_path / "ties.actlas", planting), "a")
    score_neurons(store, stats=("ap",))
    frame = top_experts(store, k=10, concepts=["salt"], languages=["en"])
    assert set(frame["ap"]) == {1.0}
    assert rows(frame) == sorted(rows(frame))
    perfect = store.sql(
        "SELECT site, layer, neuron FROM scores WHERE concept = 'salt' AND language = 'en' AND ap = 1 AND site <> 'mlp_hidden'"
    )
    assert rows(frame) == sorted(perfect.rows())[:10]
    assert perfect.height > 10


def test_a_part_of_the_question_is_not_kept_as_the_table(bare: Path) -> None:
    store = open_store(bare, "a")
    score_neurons(store, stats=("ap",))
    top_experts(store, k=2, languages=["en"])
    top_experts(store, k=2, concepts=["salt"])
    assert store.table_names() == []
    top_experts(store, k=2, sites=["mlp_hidden", "mlp_pre"])
    assert store.table_names() == ["expert_mask", "experts", "layer_histogram", "rankable"]
    assert store.table_settings("experts", "planted-step0")["sites"] == ["mlp_hidden", "mlp_pre"]


def test_choices_are_subsets(scored: Atlas) -> None:
    everything = top_experts(scored, k=4)
    chosen = top_experts(scored, k=4, checkpoints=["planted-step64"], languages=["es", "en"], concepts=["water"])
    wanted = everything.filter(pl.col("checkpoint") == "planted-step64", pl.col("language") != "fr", pl.col("concept") == "water")
    assert chosen.equals(wanted)
    assert top_experts(scored, k=4, checkpoints=[]).is_empty()


def test_what_cannot_be_ranked_is_refused(bare: Path, scored: Atlas) -> None:
    with pytest.raises(ScoresNotFound, match="no linear site of planted-step0 is scored"):
        top_experts(bare, k=3)
    with pytest.raises(ScoresNotFound, match="at mlp_pre are not computed"):
        top_experts(bare, k=3, sites=["mlp_pre"])
    with pytest.raises(CubeNotFound):
        top_experts(scored, k=3, sites=["resid"])
    with pytest.raises(QueryError, match=r"k = 129 \(after 0\) does not fit 128 neurons of attn_out, mlp_pre; choose 1 to 128"):
        top_experts(scored, k=129)
    with pytest.raises(QueryError, match="no language 'xx'"):
        top_experts(scored, k=3, languages=["xx"])
    with pytest.raises(QueryError, match="no concept 'wood', 'iron'"):
        top_experts(scored, k=3, concepts=["wood", "salt", "iron"])
    store = open_store(bare, "a")
    score_neurons(store, sites=["mlp_pre"], stats=("median",))
    with pytest.raises(ScoresNotFound, match="have no ap"):
        expert_sets(store, "planted-step0", Ranking(3))


def test_a_question_that_is_stopped_keeps_the_checkpoints_that_were_done(tmp_path: Path) -> None:
    store = scored_store(tmp_path / "own.actlas")

    def stop(done: int, total: int, where: str) -> None:
        if where.startswith(store.checkpoints[1]):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        expert_overlap(store, k=K, halves=False, progress=stop)
    kept = store.sql("SELECT DISTINCT checkpoint FROM experts")["checkpoint"].to_list()
    assert kept == store.checkpoints[:1]
    told = []
    wanted = top_experts(store, k=K, keep=False)
    top_experts(store, k=K, progress=lambda done, total, where: told.append(where))
    # the first was out of what is kept: one step, without a site
    assert told[0] == store.checkpoints[0]
    assert {where.split()[0] for where in told[1:]} == set(store.checkpoints[1:])
    assert not verify(store.path).damage
    assert_frame_equal(store.sql("FROM experts").sort(wanted.columns), wanted.sort(wanted.columns))
