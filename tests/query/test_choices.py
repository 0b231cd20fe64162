"""What a question is about: names that are not there are refused, with the nearest one and what there is."""

from __future__ import annotations

import pytest

from actlas.errors import CheckpointNotFound, QueryError, ScoresNotFound
from actlas.query import Atlas, expert_overlap, neuron_trajectory, score_neurons, top_texts
from actlas.query.choices import (
    Ranking,
    check_k,
    chosen_checkpoints,
    chosen_labels,
    chosen_n,
    followed_checkpoints,
    linear_sites,
    place_of_text,
    tell_ties,
)
from actlas.query.neurons import NeuronAxis


def test_checkpoints_are_all_or_those_named(scored: Atlas) -> None:
    assert chosen_checkpoints(scored, None) == scored.checkpoints
    assert chosen_checkpoints(scored, ["planted-step128", "planted-step0"]) == ["planted-step128", "planted-step0"]
    assert chosen_checkpoints(scored, []) == []


def test_a_random_twin_is_a_checkpoint_and_no_step_of_training(twinned: Atlas) -> None:
    assert twinned.checkpoints == ["planted-step0", "planted-step64", "planted-step128", "planted-random0"]
    assert twinned.controls == {"planted-random0": "random-weights twin of planted-step128, seed 0"}
    assert chosen_checkpoints(twinned, None) == twinned.checkpoints
    assert followed_checkpoints(twinned, None) == twinned.checkpoints[:3]
    assert followed_checkpoints(twinned, ["planted-random0"]) == ["planted-random0"]
    controls = twinned.sql("SELECT checkpoint, step, control FROM checkpoints ORDER BY position")
    assert controls["control"].to_list() == [None] * 3 + ["random-weights twin of planted-step128, seed 0"]
    assert controls["step"].to_list() == [0, 64, 128, None]


def test_an_unknown_checkpoint_is_refused_with_the_nearest(scored: Atlas) -> None:
    message = (
        "no checkpoint 'planted-step46' .* did you mean 'planted-step64'.* it has planted-step0, planted-step64, planted-step128"
    )
    with pytest.raises(CheckpointNotFound, match=message):
        chosen_checkpoints(scored, ["planted-step0", "planted-step46"])
    for question in (
        lambda: expert_overlap(scored, checkpoints=["planted-step46"]),
        lambda: top_texts(scored, sites=["mlp_pre"], checkpoints=["planted-step46"]),
        lambda: neuron_trajectory(scored, "mlp_pre", 0, 0, checkpoints=["planted-step46"]),
        lambda: score_neurons(scored, checkpoints=["planted-step46"]),
    ):
        with pytest.raises(CheckpointNotFound, match="did you mean 'planted-step64'"):
            question()


def test_labels_come_in_the_order_of_the_store(scored: Atlas) -> None:
    assert chosen_labels(scored, ["es", "fr"], None) == (("fr", "es"), ("fire", "salt", "water", "yeast"))
    with pytest.raises(QueryError, match="no concept 'watr' .* it has fire, salt, water, yeast"):
        chosen_labels(scored, None, ["watr"])


def test_sites_are_the_linear_ones_that_are_scored(scored: Atlas) -> None:
    assert linear_sites(scored, "planted-step0", None) == ("attn_out", "mlp_pre")
    assert linear_sites(scored, "planted-step0", ["mlp_pre", "mlp_hidden", "mlp_pre"]) == ("mlp_hidden", "mlp_pre")


def test_sites_without_scores_are_refused(bare: object) -> None:
    with pytest.raises(ScoresNotFound, match="no linear site"):
        linear_sites(Atlas(bare), "planted-step0", None)  # type: ignore[arg-type]


def test_k_has_to_fit() -> None:
    axis = NeuronAxis(("mlp_pre",), ((2, 5),))
    check_k(10, axis)
    with pytest.raises(QueryError, match="choose 1 to 7"):
        check_k(8, axis, skip=3)
    assert Ranking(3).is_whole
    assert not Ranking(3, concepts=["water"]).is_whole


def test_checkpoints_of_one_step_say_by_what_they_are_ordered(
    scored: Atlas, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tell_ties(scored, scored.checkpoints)
    assert caplog.messages == []
    steps = {"planted-step0": 5, "planted-step64": None, "planted-step128": 5}
    monkeypatch.setattr(Atlas, "checkpoint", lambda self, name: {"step": steps[name]})
    tell_ties(scored, scored.checkpoints)
    steps["planted-step0"] = None
    tell_ties(scored, scored.checkpoints)
    assert caplog.messages == [
        "checkpoints planted-step0, planted-step128 have step 5; they stand in the order of their ids",
        "checkpoints planted-step0, planted-step64 have no step; they stand in the order of their ids",
    ]


def test_numbers_that_the_corpus_does_not_reach(scored: Atlas) -> None:
    assert chosen_n(scored, None, 10) == 10
    assert chosen_n(scored, None, 1000) == 144
    with pytest.raises(QueryError, match="n = 145, but the corpus of .* has 144 texts; ask for 144 or fewer"):
        chosen_n(scored, 145, 10)
    with pytest.raises(QueryError, match="a checkpoint is named twice: planted-step0, planted-step0"):
        chosen_checkpoints(scored, ["planted-step0", "planted-step0"])


def test_where_a_text_is(scored: Atlas) -> None:
    assert [place_of_text(scored, text_id) for text_id in (0, 77, 143)] == [0, 77, 143]
    for text_id in (-1, 144):
        with pytest.raises(QueryError, match=f"no text {text_id} in .*, whose text_id go from 0 to 143"):
            place_of_text(scored, text_id)
