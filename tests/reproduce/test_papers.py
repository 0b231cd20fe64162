from __future__ import annotations

import pytest

from actlas.errors import QueryError
from actlas.query import open_store, score_neurons
from actlas.reproduce.papers import reproduce_compression
from actlas.testing.planted import Planting, planted_store


def test_runs_are_put_together_and_held_against_their_controls(runs, tmp_path):
    done = reproduce_compression([runs["model"]] * 2, tmp_path, controls=[runs["control"]] * 2, ask=False)
    overlap = next(answer for answer in done.answers if answer.figure.name == "overlap")
    assert set(overlap.sides["control"]["n_runs"]) == {2}
    assert "above its null in 2 of 2 runs" in overlap.verdicts[0].sentence
    assert done.page == tmp_path / "compression.html"
    assert "2 of 2 runs" in done.page.with_suffix(".md").read_text()


def test_what_is_missing_is_made_unless_one_says_no(runs, tmp_path):
    path = planted_store(tmp_path / "run.actlas", Planting(sites={"mlp_pre": (3, 40)}, steps=(0,), sharing=(0.0,)))
    score_neurons(open_store(path, "a"), stats=("ap", "median", "p90"))
    before = reproduce_compression([path], tmp_path / "a", ask=False)
    assert open_store(path).table_names() == []
    assert any("actlas overlap" in answer.missing for answer in before.answers)
    after = reproduce_compression([path], tmp_path / "b", k=6)
    # what only a model can make is named with its command
    missing = {answer.figure.name: answer.missing for answer in after.answers if answer.missing}
    assert set(missing) == {"steering-languages", "steering-concepts"}
    assert all("actlas steer" in text for text in missing.values())


def test_controls_stand_beside_stores_one_by_one(runs, tmp_path):
    with pytest.raises(QueryError, match="1 stores and 2 controls"):
        reproduce_compression([runs["model"]], tmp_path, controls=[runs["control"]] * 2)
