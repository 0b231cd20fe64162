"""Neurons that tell no texts apart are no experts, whatever was kept of their values, and chance does not count them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from actlas.query import (
    Atlas,
    control_experts,
    expert_overlap,
    open_store,
    overlap_controls,
    rank_stability,
    score_neurons,
    shared_trajectory,
    top_experts,
)
from actlas.query.neurons import NeuronAxis
from actlas.query.rankable import guess_score, rankable_pairs
from actlas.query.ranks import ranked_scores
from actlas.testing.planted import Planting, planted_store

SITES = {"attn_out": (2, 60), "mlp_pre": (2, 90)}
SILENT = Planting(sites=SITES, n_planted=0, share_constant=0.84, steps=(0, 1), sharing=(0.0, 0.0), token_sites={})

K = 6


def scored_store(path: Path, planting: Planting, stats: tuple[str, ...] = ("ap",)) -> Atlas:
    store = planted_store(path, planting)
    score_neurons(store, stats=stats)
    return open_store(store, "a")


@pytest.fixture(scope="module")
def silent(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    return scored_store(tmp_path_factory.mktemp("rankable") / "silent.actlas", SILENT)


def telling(store: Atlas, checkpoint: str) -> np.ndarray:
    """Which neurons have more than one value, by the values."""
    parts = [store.cube(checkpoint, site).read().reshape(-1, store.corpus.n_texts) for site in sorted(SITES)]
    return np.concatenate([np.ptp(values.astype(np.float64), axis=1) > 0 for values in parts])


def test_random_labels_overlap_as_chance_says(silent: Atlas) -> None:
    pairs = expert_overlap(silent, k=K, halves=False, keep=False)
    is_telling = telling(silent, silent.checkpoints[0])
    assert abs(is_telling.mean() - 0.16) < 0.01
    assert (pairs["n_neurons"] == 300).all()
    known = pairs.drop_nulls("overlap")
    assert (known["n_rankable"] == is_telling.sum()).all()
    np.testing.assert_allclose(known["chance"].to_numpy(), K / is_telling.sum())
    assert abs(known["overlap"].mean() - K / is_telling.sum()) < 0.06
    controls = overlap_controls(silent, k=K, n_repeats=19, keep=False)
    assert controls["null"].max() < 0.2
    assert controls["p_value"].min() > 0.05


def test_no_table_ranks_a_constant_neuron(silent: Atlas) -> None:
    top_experts(silent, k=K)
    shared_trajectory(silent, k=K)
    rank_stability(silent, k=K)
    expert_overlap(silent, k=K)
    health = silent.sql("SELECT checkpoint, site, layer, neuron, is_constant FROM neuron_health")
    for table in ("experts", "expert_mask", "control_experts", "trajectory"):
        rows = silent.scan(table).collect()
        # a neuron that is an expert at one step is followed over all
        rows = rows.filter(pl.col("n_languages") > 0) if table == "trajectory" else rows
        found = rows.join(health, on=["checkpoint", "site", "layer", "neuron"], how="left")
        assert found.height > 0
        assert not found["is_constant"].any(), table
    drawn = control_experts(silent, silent.checkpoints[0], k=40)
    assert not drawn.join(health, on=["checkpoint", "site", "layer", "neuron"])["is_constant"].any()


def test_fewer_than_k_give_no_experts_and_a_warning(silent: Atlas, caplog: pytest.LogCaptureFixture) -> None:
    n_telling = int(telling(silent, silent.checkpoints[0]).sum())
    assert top_experts(silent, k=n_telling, languages=["en"], concepts=["water"], keep=False).height == 2 * n_telling
    with caplog.at_level("WARNING"):
        assert top_experts(silent, k=n_telling + 1, languages=["en"], concepts=["water"], keep=False).is_empty()
    assert (
        f"fewer than k = {n_telling + 1} of its 300 neurons tell texts apart there (fewest: en, water: {n_telling})"
        in caplog.text
    )
    pairs = expert_overlap(silent, k=n_telling + 1, concepts=["water"], halves=False, keep=False)
    assert pairs["overlap"].null_count() == pairs["chance"].null_count() == pairs.height
    assert (pairs["n_rankable"] == n_telling).all()


@pytest.mark.parametrize("stats", [("ap",), ("ap", "auroc", "std")])
def test_states_say_the_same_as_values(tmp_path: Path, silent: Atlas, stats: tuple[str, ...]) -> None:
    from dataclasses import replace

    path = planted_store(tmp_path / "states.actlas", replace(SILENT, states=("moments", "histogram")))
    score_neurons(path, stats=stats)
    pairs = expert_overlap(path, k=K, halves=False)
    columns = ["concept", "language_a", "language_b", "n_rankable", "chance"]
    assert_frame_equal(pairs.select(columns), expert_overlap(silent, k=K, halves=False, keep=False).select(columns))


def test_experts_that_an_earlier_version_kept_are_ranked_again(tmp_path: Path) -> None:
    store = scored_store(tmp_path / "own.actlas", SILENT)
    wanted = top_experts(store, k=K)
    settings = store.table_settings("experts", store.checkpoints[0])
    guess = pl.DataFrame(
        {
            "language": np.repeat(store.corpus.languages, len(store.corpus.concepts)),
            "concept": np.tile(store.corpus.concepts, len(store.corpus.languages)),
            "guess": guess_score(store, store.corpus.languages, store.corpus.concepts).ravel(),
        }
    )
    first = wanted.filter(checkpoint=store.checkpoints[0])
    old = first.join(guess, on=["language", "concept"], maintain_order="left").with_columns(
        ap=pl.when(pl.col("rank") == K).then("guess").otherwise("ap")
    )
    store.publish_table("experts", store.checkpoints[0], old.select(wanted.columns), settings)
    again = open_store(store.path, "a")
    pairs = expert_overlap(again, k=K, halves=False, keep=False)
    assert_frame_equal(pairs, expert_overlap(silent_twin(tmp_path), k=K, halves=False, keep=False))
    assert_frame_equal(top_experts(again, k=K), wanted)
    assert_frame_equal(again.sql("FROM experts").select(wanted.columns).sort(wanted.columns), wanted.sort(wanted.columns))


def silent_twin(folder: Path) -> Atlas:
    return scored_store(folder / "twin.actlas", SILENT)


def test_counts_of_two_languages_by_sets() -> None:
    rng = np.random.default_rng(0)
    can = rng.random((3, 4, 50)) < 0.6
    can[:, 1], can[:, 2] = True, False
    can[1, 3] = False
    ap = np.where(can, 0.5, 0.25)
    ap[0, 2] = np.nan
    counts = rankable_pairs(ap, np.full((3, 4), 0.25), can.sum(axis=2))
    for concept in range(4):
        for a in range(3):
            for b in range(3):
                assert counts[concept, a, b] == (can[a, concept] & can[b, concept]).sum()


def test_every_neuron_of_other_stores_can_be_an_expert(scored: Atlas) -> None:
    axis = NeuronAxis.of(scored, "planted-step0", ["attn_out", "mlp_pre"])
    _, _, counts = ranked_scores(scored, "planted-step0", axis, ["en", "fr"], ["water"], 1)
    assert counts.total.tolist() == [[[128, 128], [128, 128]]]


def test_sharing_by_layer_expects_what_neurons_that_can_be_experts_give(silent: Atlas) -> None:
    top_experts(silent, k=K)
    answer = silent.sql(f"FROM shared_by_layer('{silent.checkpoints[0]}')")
    # of the few neurons that can be experts more are that in two languages than of all neurons, of which it would be 0.02
    assert (answer["chance"] > 0.08).all()
    is_telling = telling(silent, silent.checkpoints[0])
    axis = NeuronAxis.of(silent, silent.checkpoints[0], list(SITES))
    n_telling = np.bincount(axis.site_at(np.arange(300)) * 2 + axis.layer_at(np.arange(300)), weights=is_telling).reshape(2, 2)
    counts = silent.sql(f"FROM layer_histogram WHERE checkpoint = '{silent.checkpoints[0]}'")
    for layer in range(2):
        shared = anywhere = 0.0
        for (_, site), rows in counts.filter(layer=layer).group_by("concept", "site"):
            n = n_telling[axis.sites.index(str(site)), layer]
            p = rows["n_experts"].to_numpy() / n
            none = np.prod(1 - p)
            one = sum(p[i] * np.prod(np.delete(1 - p, i)) for i in range(p.size))
            anywhere += n * (1 - none)
            shared += n * (1 - none - one)
        assert answer.filter(layer=layer)["chance"].item() == pytest.approx(shared / anywhere)


def test_experts_that_were_kept_alone_get_the_table_that_they_lack(tmp_path: Path) -> None:
    store = scored_store(tmp_path / "own.actlas", SILENT)
    top_experts(store, k=K)
    wanted = store.sql("FROM rankable")
    assert wanted.filter(pl.col("language_a") == pl.col("language_b")).height == 2 * 4 * 3 * 4
    for part in store.checkpoints:
        store.publish_table(
            "rankable", part, wanted.filter(checkpoint=part).drop("n_rankable"), store.table_settings("rankable", part)
        )
    top_experts(store, k=K)
    assert_frame_equal(open_store(store.path).sql("FROM rankable"), wanted, check_row_order=False)
