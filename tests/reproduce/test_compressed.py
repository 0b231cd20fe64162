"""Directions that weights and representations use: the numbers are those of the questions."""

from __future__ import annotations

import polars as pl
import pytest

from actlas.query import open_store, parameter_space
from actlas.reproduce.compressed import PARAMETERS, REPRESENTATIONS
from actlas.reproduce.gather import gather


def test_the_fall_of_rank_is_that_of_the_matrices_of_the_blocks(runs):
    store = open_store(runs["model"])
    space = parameter_space(store).filter(pl.col("layer").is_not_null(), pl.col("effective_rank").is_not_null())
    first, last = (space.filter(checkpoint=f"planted-step{step}").sort("module")["effective_rank"] for step in (0, 128))
    assert first.len() > 1
    assert store.sql(PARAMETERS.claims[0].sql)["effect"].item() == pytest.approx((1 - last / first).mean())
    points = gather(PARAMETERS, [store], []).sides["model"]
    assert points.filter(panel="distance to the last checkpoint", step="128")["value"].abs().max() == 0


def test_representations_have_a_line_per_layer_within_languages_and_together(runs):
    points = gather(REPRESENTATIONS, [open_store(runs["model"])], []).sides["model"]
    assert set(points["panel"]) == {"within a language", "all languages together"}
    assert set(points["series"]) == {"layer 0", "layer 1", "layer 2"}
    assert points["value"].null_count() == 0
