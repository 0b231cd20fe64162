"""Experts against a plain sort of scikit-learn's scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from actlas.errors import CubeNotFound, QueryError, ScoresNotFound
from actlas.query import (
    TABLES,
    Atlas,
    control_experts,
    expert_overlap,
    open_store,
    rank_stability,
    score_neurons,
    shared_trajectory,
    top_experts,
)
from actlas.query.choices import Ranking
from actlas.query.neurons import NeuronAxis
from actlas.query.questions import experts
from actlas.query.questions.experts import ExpertSets, expert_mask, expert_sets, layer_histogram
from actlas.store import verify

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


def test_forced_values_are_those_of_the_score_cubes(scored: Atlas) -> None:
    frame = top_experts(scored, k=3, checkpoints=["planted-step64"], languages=["en"])
    for row in frame.iter_rows(named=True):
        cube = scored.scores("planted-step64", row["site"])
        for stat in ("median", "p90", "ap"):
            assert row[stat] == cube.read(stat, "en", row["concept"], row["layer"], row["neuron"])


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


def test_null_values_where_a_statistic_was_not_scored(bare: Path) -> None:
    store = open_store(bare, "a")
    score_neurons(store, stats=("ap",))
    frame = top_experts(store, k=2)
    assert frame["median"].null_count() == frame["p90"].null_count() == frame.height
    assert store.sql("FROM experts").equals(frame)


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


def test_mask_and_histogram_agree_with_the_experts(asked: Atlas) -> None:
    experts = asked.sql("SELECT * FROM experts")
    bits = dict(asked.sql("SELECT language, bit FROM languages").rows())
    wanted: dict[tuple[Any, ...], int] = {}
    for row in experts.iter_rows(named=True):
        key = (row["checkpoint"], row["concept"], row["site"], row["layer"], row["neuron"])
        wanted[key] = wanted.get(key, 0) | 1 << bits[row["language"]]
    mask = asked.sql("FROM expert_mask")
    assert {row[:5]: row[6] for row in mask.rows()} == wanted
    assert mask["n_languages"].to_list() == [row[6].bit_count() for row in mask.rows()]
    histogram = asked.sql("FROM layer_histogram")
    assert histogram.height == 3 * 11 * 4
    counted = experts.group_by("checkpoint", "concept", "language", "site", "layer").len()
    joined = histogram.join(counted, on=["checkpoint", "concept", "language", "site", "layer"], how="left")
    assert (joined["n_experts"] == joined["len"].fill_null(0)).all()
    assert (histogram["n_experts"] == 0).any()


def test_more_than_64_languages_take_more_words() -> None:
    axis = NeuronAxis(("mlp_pre",), ((1, 100),))
    languages = tuple(f"l{n:02}" for n in range(70))
    neurons = np.full((70, 1, 2), -1, dtype=np.int64)
    neurons[[0, 63, 64, 69], 0] = [[5, 7], [5, 8], [5, 9], [7, 9]]
    sets = ExpertSets("c", axis, languages, ("x",), neurons, np.zeros(neurons.shape))
    mask = expert_mask(sets)
    assert sorted(mask.select("neuron", "word", "mask", "n_languages").rows()) == [
        (5, 0, 1 | 1 << 63, 3), (5, 1, 1, 3), (7, 0, 1, 2), (7, 1, 1 << 5, 2),
        (8, 0, 1 << 63, 1), (8, 1, 0, 1), (9, 0, 0, 2), (9, 1, 1 | 1 << 5, 2),
    ]  # fmt: skip
    assert layer_histogram(sets)["n_experts"].to_list() == [2, 2, 2, 2]


def test_controls(scored: Atlas) -> None:
    best = top_experts(scored, k=10, checkpoints=["planted-step64"])
    following = control_experts(scored, "planted-step64", k=4, kind="next", skip=6)
    assert following.equals(best.filter(pl.col("rank") > 6))
    drawn = control_experts(scored, "planted-step64", k=10, seed=1)
    assert drawn.height == best.height
    assert drawn.equals(control_experts(scored, "planted-step64", k=10, seed=1))
    assert not drawn.equals(control_experts(scored, "planted-step64", k=10, seed=2))
    key = ["language", "concept", "site", "layer", "neuron"]
    assert drawn.select(key).n_unique() == drawn.height
    for row in drawn.head(5).iter_rows(named=True):
        assert row["ap"] == scored.scores("planted-step64", row["site"]).read(
            "ap", row["language"], row["concept"], row["layer"], row["neuron"]
        )
    with pytest.raises(QueryError, match="'worst'"):
        control_experts(scored, "planted-step64", kind="worst")


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
    ranked = []
    wanted = top_experts(store, k=K, keep=False)
    top_experts(store, k=K, progress=lambda done, total, where: ranked.append(where))
    # the first was out of what is kept: one step, without a site
    assert ranked[0] == store.checkpoints[0]
    assert {where.split()[0] for where in ranked[1:]} == set(store.checkpoints[1:])
    assert not verify(store.path).damage
    assert_frame_equal(store.sql("FROM experts").sort(wanted.columns), wanted.sort(wanted.columns))


def test_one_pass_serves_every_question_about_ranks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is asked first ranks; smaller k, and some languages or concepts, are answered from what it kept."""
    plain = scored_store(tmp_path / "plain.actlas")
    store = scored_store(tmp_path / "own.actlas")
    questions = {
        "stability": lambda store: rank_stability(store, k=4),
        "overlap": lambda store: expert_overlap(store, k=4, halves=False),
        "part": lambda store: expert_overlap(store, k=3, halves=False, concepts=["water"], languages=["en", "fr"]),
        "trajectory": lambda store: shared_trajectory(store, k=4),
        "experts": lambda store: top_experts(store, k=5, concepts=["salt"]),
    }
    wanted = {name: ask(open_store(plain.path, "r")) for name, ask in questions.items()}
    top_experts(store, k=K)
    monkeypatch.setattr(experts, "ranked_scores", None)  # nothing is ranked any more
    with caplog.at_level("INFO", "actlas"):
        for name, ask in questions.items():
            assert_frame_equal(ask(store), wanted[name])
    assert f"answered from what is kept in {store.path}: table experts of {len(store.checkpoints)} checkpoints" in caplog.text


def test_another_set_of_sites_is_ranked_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The best of a site need not be among the best of all."""
    store = scored_store(tmp_path / "own.actlas")
    top_experts(store, k=K)
    calls = []
    ranked = experts.ranked_scores
    monkeypatch.setattr(experts, "ranked_scores", lambda *args: (calls.append(args[1]), ranked(*args))[1])
    expert_overlap(store, k=K, halves=False, sites=["attn_out"])
    assert calls == store.checkpoints


def scored_store(path: Path) -> Atlas:
    from actlas.testing.planted import planted_store

    store = open_store(planted_store(path), "a")
    score_neurons(store)
    return store


def test_neurons_at_random_are_those_that_sql_draws(scored: Atlas) -> None:
    drawn = control_experts(scored, "planted-step64", k=7, seed=3, languages=["en", "es"], concepts=["salt", "water"])
    for (language, concept), part in drawn.group_by("language", "concept"):
        asked = scored.sql(
            "FROM random_experts('planted-step64', $language, $concept, 7, seed := 3)", {"language": language, "concept": concept}
        )
        columns = ["rank", "site", "layer", "neuron", "ap"]
        assert_frame_equal(part.select(columns), asked.select(columns))
