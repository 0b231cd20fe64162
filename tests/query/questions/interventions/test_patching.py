"""Means, intervals and onsets of concept patching, by hand; and the macros give the same rows."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from actlas.query import Atlas, patching_by_layer, patching_onset


@pytest.fixture
def patches(asked: Atlas) -> pl.DataFrame:
    return asked.sql("FROM patches")


def test_means_and_intervals_over_pairs(patches: pl.DataFrame) -> None:
    found = patching_by_layer(patches)
    assert found.select("setting", "layer", "language").rows() == [
        (*key, language) for key in (("tgt", 0), ("tgt", 1), ("unpatched", None)) for language in ("en", "fr")
    ]
    row = found.filter(layer=1, language="en").row(0, named=True)
    assert row["n_pairs"] == 3
    differences = np.array([-0.2, -0.15, -0.1])
    half = 1.959964 * differences.std(ddof=1) / np.sqrt(3)
    assert row["p_source"] == pytest.approx(0.3)
    assert row["difference_low"] == pytest.approx(differences.mean() - half)
    assert row["difference_high"] == pytest.approx(differences.mean() + half)


def test_one_pair_has_no_interval(patches: pl.DataFrame) -> None:
    found = patching_by_layer(patches.filter(pair=0))
    assert found["p_source"].null_count() == 0
    assert found["p_source_low"].null_count() == found.height
    assert patching_onset(patches.filter(pair=0))["n_won"].to_list() == [0]


def test_layers_that_win_and_the_first_step(patches: pl.DataFrame) -> None:
    before = patches.with_columns(
        pl.lit(32, pl.Int64).alias("step"), pl.lit("planted-step0").alias("checkpoint"), pl.col("p_source") * 0
    )
    after = patches.with_columns(pl.lit(128, pl.Int64).alias("step"), pl.lit("planted-step128").alias("checkpoint"))
    found = patching_onset(pl.concat([before, patches, after]))
    columns = ["checkpoint", "n_layers", "n_won", "first_layer", "last_layer", "layer_of_most", "first_step"]
    assert found.select(columns).rows() == [
        ("planted-step0", 2, 0, None, None, 0, 64),
        ("planted-step64", 2, 1, 0, 0, 0, 64),
        ("planted-step128", 2, 1, 0, 0, 0, 64),
    ]
    assert patching_onset(before)["first_step"].to_list() == [None]


def test_macros_give_the_same_rows(asked: Atlas, patches: pl.DataFrame) -> None:
    for function in (patching_by_layer, patching_onset):
        by_sql, ours = asked.sql(f"FROM {function.__name__}()"), function(patches)
        assert by_sql.columns == ours.columns
        for name in ours.columns:
            if ours[name].dtype.is_float():
                np.testing.assert_allclose(by_sql[name].to_numpy(), ours[name].to_numpy(), rtol=1e-9, atol=1e-12)
            else:
                assert by_sql[name].to_list() == ours[name].to_list(), name
