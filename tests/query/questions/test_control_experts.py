from __future__ import annotations

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from actlas.errors import QueryError
from actlas.query import (
    Atlas,
    control_experts,
    top_experts,
)


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


def test_neurons_at_random_are_those_that_sql_draws(scored: Atlas) -> None:
    drawn = control_experts(scored, "planted-step64", k=7, seed=3, languages=["en", "es"], concepts=["salt", "water"])
    for (language, concept), part in drawn.group_by("language", "concept"):
        asked = scored.sql(
            "FROM random_experts('planted-step64', $language, $concept, 7, seed := 3)", {"language": language, "concept": concept}
        )
        columns = ["rank", "site", "layer", "neuron", "ap"]
        assert_frame_equal(part.select(columns), asked.select(columns))
