"""Overlap at any k, and everything that it is held against in one row."""

from __future__ import annotations

import pytest

from actlas.errors import QueryError
from actlas.query import (
    Atlas,
    expert_overlap,
    first_shared,
    first_shared_by_concept,
    overlap_at,
    overlap_evidence,
    shared_trajectory,
)


@pytest.mark.parametrize("concept", ["salt", "yeast"])
def test_overlap_at_any_k(asked: Atlas, concept: str) -> None:
    for k in range(1, 7):
        given = {"checkpoint": "planted-step128", "concept": concept, "k": k}
        assert asked.ask("overlap_at", **given).equals(overlap_at(asked, **given))
    with pytest.raises(QueryError, match="holds the 6 best neurons of planted-step128, not 30"):
        asked.ask("overlap_at", checkpoint="planted-step128", concept=concept, k=30)
    pairs = overlap_at(asked, "planted-step128", concept, k=30)
    assert (
        pairs["shared"].to_list()
        == expert_overlap(asked, k=30, halves=False, keep=False)
        .filter(checkpoint="planted-step128", concept=concept)["shared"]
        .to_list()
    )


def test_an_overlap_stands_beside_its_null(asked: Atlas) -> None:
    frame = overlap_evidence(asked, "planted-step128")
    assert frame.height == asked.sql("FROM overlap WHERE checkpoint = 'planted-step128'").height
    known = frame.drop_nulls("null")
    assert known.height == 10
    assert (known["null_low"] <= known["null"]).all()
    assert (known["null"] <= known["null_high"]).all()
    assert (known["overlap"] - known["null"] - known["excess"]).abs().max() < 1e-12


def test_first_steps_of_all_concepts_are_those_of_the_trajectory(asked: Atlas) -> None:
    for m in (2, 3):
        wanted = first_shared(shared_trajectory(asked, k=6, keep=False), m)
        assert first_shared_by_concept(asked, m=m).equals(wanted.cast({"n_languages": wanted["n_languages"].dtype}))
