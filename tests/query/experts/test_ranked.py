"""Where experts come from: one pass over the scores, or what an earlier one kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

from actlas.query import (
    Atlas,
    expert_overlap,
    open_store,
    rank_stability,
    score_neurons,
    shared_trajectory,
    top_experts,
)
from actlas.query.experts import ranked

K = 6


def scored_store(path: Path) -> Atlas:
    from actlas.testing.planted import planted_store

    store = open_store(planted_store(path), "a")
    score_neurons(store)
    return store


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
    monkeypatch.setattr(ranked, "ranked_scores", None)  # nothing is ranked any more
    with caplog.at_level("INFO", "actlas"):
        for name, ask in questions.items():
            assert_frame_equal(ask(store), wanted[name])
    assert f"answered from what is kept in {store.path}: table experts of {len(store.checkpoints)} checkpoints" in caplog.text


def test_another_set_of_sites_is_ranked_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The best of a site need not be among the best of all."""
    store = scored_store(tmp_path / "own.actlas")
    top_experts(store, k=K)
    calls = []
    rank = ranked.ranked_scores
    monkeypatch.setattr(ranked, "ranked_scores", lambda *args: (calls.append(args[1]), rank(*args))[1])
    expert_overlap(store, k=K, halves=False, sites=["attn_out"])
    assert calls == store.checkpoints
