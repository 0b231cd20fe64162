"""Trajectories against plain loops over steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from actlas.errors import QueryError
from actlas.query import (
    TABLES,
    Atlas,
    first_shared,
    neuron_trajectory,
    open_store,
    rank_stability,
    score_neurons,
    shared_trajectory,
    top_experts,
)

K = 6


@pytest.fixture(scope="module")
def experts(plain: Any) -> dict[tuple[str, str, str], list[tuple[str, int, int]]]:
    names = [plain.planting.checkpoint(step) for step in plain.planting.steps]
    return {
        (checkpoint, language, concept): plain.experts(checkpoint, language, concept, K)
        for checkpoint in names
        for language in plain.planting.languages
        for concept in plain.planting.concepts
    }


def test_one_neuron_over_all_steps(scored: Atlas) -> None:
    frame = neuron_trajectory(scored, "mlp_pre", 1, 7, stats=("ap", "median"))
    assert frame.columns == ["checkpoint", "step", "language", "concept", "ap", "median"]
    assert frame.height == 3 * 3 * 4
    assert frame["step"].is_sorted()
    for row in frame.iter_rows(named=True):
        ap = scored.scores(row["checkpoint"], "mlp_pre").read("ap", row["language"], row["concept"], 1, 7)
        assert row["ap"] == (None if np.isnan(ap) else ap)
    by_sql = scored.sql("FROM neuron_scores('mlp_pre', 1, 7, 'salt')")
    part = frame.filter(concept="salt").select("checkpoint", "step", "language", "ap").sort("step", "language")
    assert by_sql.equals(part)


def test_a_part_of_it(scored: Atlas) -> None:
    frame = neuron_trajectory(
        scored, "attn_out", 0, 3, checkpoints=["planted-step128"], languages=["es"], concepts=["water", "fire"]
    )
    assert frame.select("checkpoint", "language", "concept").rows() == [
        ("planted-step128", "es", "fire"),
        ("planted-step128", "es", "water"),
    ]
    with pytest.raises(QueryError, match="no neuron 24 in layer 0"):
        neuron_trajectory(scored, "attn_out", 0, 24)
    with pytest.raises(KeyError, match="p99"):
        neuron_trajectory(scored, "attn_out", 0, 3, stats=("p99",))


def test_neurons_that_become_shared(scored: Atlas, plain: Any, experts: dict[Any, Any]) -> None:
    frame = shared_trajectory(scored, k=K)
    assert frame.schema == pl.Schema(dict(TABLES["trajectory"].columns))
    counts: dict[Any, int] = {}
    for (checkpoint, _, concept), members in experts.items():
        for neuron in members:
            counts[concept, neuron, checkpoint] = counts.get((concept, neuron, checkpoint), 0) + 1
    ever = {(concept, neuron) for (concept, neuron, _), n in counts.items() if n >= 2}
    got = {(r["concept"], (r["site"], r["layer"], r["neuron"]), r["checkpoint"]): r for r in frame.to_dicts()}
    assert set(got) == {(*pair, checkpoint) for pair in ever for checkpoint in scored.checkpoints}
    for (concept, neuron, checkpoint), row in got.items():
        assert row["n_languages"] == counts.get((concept, neuron, checkpoint), 0)
        aps = [scores[neuron] for lang in plain.planting.languages if (scores := plain.ap(checkpoint, lang, concept))]
        assert row["ap_mean"] == pytest.approx(np.mean(aps))
        assert row["ap_min"] == pytest.approx(min(aps))


def test_the_first_step_at_which_it_is_shared(asked: Atlas) -> None:
    frame = shared_trajectory(asked, k=K)
    assert asked.sql("FROM trajectory").equals(frame)
    for m in (2, 3):
        first = first_shared(frame, m)
        wanted: dict[Any, str] = {}
        for row in frame.iter_rows(named=True):
            if row["n_languages"] >= m:
                wanted.setdefault((row["concept"], row["site"], row["layer"], row["neuron"]), row["checkpoint"])
        assert {row[:4]: row[4] for row in first.rows()} == wanted
        assert first.height == len(wanted)
        for concept in ("fire", "salt"):
            by_sql = asked.sql(f"FROM first_shared('{concept}', m := {m})")
            mine = first.filter(concept=concept).select(by_sql.columns)
            assert by_sql.sort("site", "layer", "neuron").equals(mine.sort("site", "layer", "neuron"))


def test_a_higher_bar_follows_fewer(scored: Atlas) -> None:
    two, three = (shared_trajectory(scored, k=K, min_languages=m, concepts=["salt"]) for m in (2, 3))
    key = ["site", "layer", "neuron"]
    assert three.height < two.height
    assert three.select(key).unique().join(two.select(key).unique(), on=key).height == three.select(key).n_unique()
    with pytest.raises(QueryError, match=r"min_languages = 4, but the corpus .* has 3 languages .*; ask for 3 or fewer"):
        shared_trajectory(scored, k=K, min_languages=4)


def test_stability_of_ranks(scored: Atlas, experts: dict[Any, Any]) -> None:
    frame = rank_stability(scored, k=K)
    assert frame.schema == pl.Schema(dict(TABLES["rank_stability"].columns))
    assert frame.height == 3 * 11
    names = scored.checkpoints
    for row in frame.iter_rows(named=True):
        at = names.index(row["checkpoint"])
        mine = set(experts[row["checkpoint"], row["language"], row["concept"]])
        last = set(experts[names[-1], row["language"], row["concept"]])
        assert row["overlap_last"] == pytest.approx(len(mine & last) / K)
        assert row["previous"] == (names[at - 1] if at else None)
        if at:
            before = set(experts[names[at - 1], row["language"], row["concept"]])
            assert row["overlap_previous"] == pytest.approx(len(mine & before) / K)
        else:
            assert row["overlap_previous"] is None


def test_checkpoints_must_have_the_same_neurons(bare: Path) -> None:
    store = open_store(bare, "a")
    score_neurons(store, checkpoints=["planted-step0"], stats=("ap",))
    score_neurons(store, checkpoints=["planted-step64"], sites=["mlp_pre"], stats=("ap",))
    with pytest.raises(QueryError, match="the same neurons at every checkpoint"):
        shared_trajectory(store, k=3, checkpoints=["planted-step0", "planted-step64"])
    frame = shared_trajectory(store, k=3, checkpoints=["planted-step0", "planted-step64"], sites=["mlp_pre"])
    assert set(frame["site"]) <= {"mlp_pre"}


def test_a_random_twin_is_left_out_of_trajectories(twinned: Atlas, caplog: pytest.LogCaptureFixture) -> None:
    steps = ["planted-step0", "planted-step64", "planted-step128"]
    kept = open_store(twinned.path, "a")
    assert neuron_trajectory(twinned, "mlp_pre", 1, 7)["checkpoint"].unique(maintain_order=True).to_list() == steps
    assert neuron_trajectory(twinned, "mlp_pre", 1, 7, checkpoints=["planted-random0"])["step"].unique().to_list() == [None]
    assert shared_trajectory(kept, k=K)["checkpoint"].unique(maintain_order=True).to_list() == steps
    stability = rank_stability(kept, k=K)
    assert stability["checkpoint"].unique(maintain_order=True).to_list() == steps
    # compared with the last step, not with the twin behind it
    assert set(stability.filter(pl.col("checkpoint") == steps[-1])["overlap_last"]) == {1.0}
    top_experts(kept, k=K)
    first = kept.sql("SELECT DISTINCT checkpoint FROM first_shared('water', m := 1)")
    assert set(first["checkpoint"]) <= set(steps)
    assert set(kept.scan("experts").collect()["checkpoint"]) == {*steps, "planted-random0"}
    assert not caplog.records
