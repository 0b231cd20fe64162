"""Ranks beside closed forms and plain numpy, and what is kept of them."""

import numpy as np
import polars as pl
import pytest

from actlas.errors import QueryError
from actlas.query import TABLES, effective_rank, open_store
from actlas.query.keep import kept_parts
from actlas.query.measures.effective_rank import drawn_vectors, rank_of
from actlas.testing.planted import Planting, planted_store

RNG = np.random.default_rng(5)


def plain(vectors):
    """Effective rank and participation ratio by the definition."""
    eigenvalues = np.linalg.eigvalsh(np.cov(vectors.astype(np.float64), rowvar=False))
    shares = eigenvalues[eigenvalues > 1e-12 * eigenvalues.max()] / eigenvalues.sum()
    return np.exp(-(shares * np.log(shares)).sum()), 1 / (shares**2).sum()


def told(vectors, n_splits=0):
    return rank_of(np.asarray(vectors, np.float32), np.arange(len(vectors)), n_splits, 0)


def test_closed_forms():
    isotropic = told(RNG.normal(size=(20_000, 16)) + 100)  # a mean is no direction
    assert isotropic["effective_rank"] == pytest.approx(16, rel=0.01)
    assert isotropic["participation_ratio"] == pytest.approx(16, rel=0.01)
    line = told(np.outer(RNG.normal(size=50), np.arange(1, 9)))
    assert line["effective_rank"] == pytest.approx(1, abs=1e-5)
    assert line["participation_ratio"] == pytest.approx(1, abs=1e-5)
    same = told(np.ones((5, 3)))
    assert same["effective_rank"] is same["low"] is same["participation_ratio"] is None


def test_the_number_of_vectors_bounds_a_rank_and_the_row_says_so():
    few = told(RNG.normal(size=(16, 16)))
    assert few["is_bounded"]
    assert few["effective_rank"] < 15
    assert not told(RNG.normal(size=(17, 16)))["is_bounded"]


def test_the_interval_is_as_wide_as_fresh_samples_differ():
    scales = np.linspace(1, 3, 12)
    samples = [told(RNG.normal(size=(400, 12)) * scales, n_splits=20) for _ in range(40)]
    spread = np.std([sample["effective_rank"] for sample in samples])
    widths = [(sample["high"] - sample["low"]) / 2 / 1.96 for sample in samples]
    assert np.mean(widths) == pytest.approx(spread, rel=0.35)
    assert told(RNG.normal(size=(400, 12)))["low"] is None


def test_halves_cut_no_group_of_texts():
    # two vectors of each group are the same: were a group cut, halves would be as alike as if there were no groups
    once = RNG.normal(size=(60, 8)).astype(np.float32)
    twice, groups = np.repeat(once, 2, axis=0), np.repeat(np.arange(60), 2)
    ranks = [rank_of(twice, groups, 10, 3), rank_of(once, np.arange(60), 10, 3)]
    assert [rank["low"] for rank in ranks] == pytest.approx([ranks[1]["low"]] * 2, rel=1e-9)
    one_group = rank_of(twice, np.zeros(120, np.int64), 10, 3)
    assert one_group["low"] is one_group["high"] is None


def test_every_language_has_as_many_vectors_and_all_together_an_equal_part_of_each():
    languages = pl.Series(["en"] * 30 + ["es"] * 9 + ["fr"] * 12)
    drawn = drawn_vectors(languages, None, 4)
    assert {name: rows.size for name, rows in drawn.items()} == {"en": 9, "es": 9, "fr": 9, None: 9}
    assert languages.gather(drawn[None]).value_counts().sort("count").get_column("count").to_list() == [3, 3, 3]
    for name in ("en", "es", "fr"):
        assert set(languages.gather(drawn[name])) == {name}
        assert len(set(drawn[name])) == 9
    assert (drawn_vectors(languages, None, 4)["en"] == drawn["en"]).all()
    assert (drawn_vectors(languages, None, 5)["en"] != drawn["en"]).any()
    with pytest.raises(QueryError, match="10 were asked for and es has 9"):
        drawn_vectors(languages, 10, 0)
    with pytest.raises(QueryError, match="two vectors or more"):
        drawn_vectors(languages, 1, 0)


def test_a_store_is_measured_kept_and_found_again(tmp_path):
    store = open_store(planted_store(tmp_path / "s"), "a")
    layers = []
    frame = effective_rank(store, n_vectors=40, n_splits=2, seed=7, progress=lambda *args: layers.append(args))
    assert layers
    assert frame.schema == pl.Schema(dict(TABLES["effective_rank"].columns))
    assert frame.equals(store.sql("FROM effective_rank"))
    for row in frame.filter(step=64).iter_rows(named=True):
        cube = store.token_cube(row["checkpoint"], row["site"])
        rows = drawn_vectors(cube.table["language"], 40, 7)[row["language"]]
        rank, ratio = plain(cube.read(row["layer"])[rows])
        assert (row["n_vectors"], row["n_channels"], row["is_bounded"]) == (40, 6, False)
        assert (row["effective_rank"], row["participation_ratio"]) == pytest.approx((rank, ratio))
        assert row["low"] <= row["effective_rank"] <= row["high"]
    again = next(kept_parts(store, "effective_rank")).command(store)
    assert again == f"actlas measure effective-rank {store.path} --vectors 40 --splits 2 --seed 7"
    layers.clear()
    assert effective_rank(store, n_vectors=40, n_splits=2, seed=7, progress=lambda *args: layers.append(args)).equals(frame)
    assert not layers, "what is kept is not computed again"
    other = effective_rank(store, seed=8, n_splits=0, replace=True)
    assert other.equals(store.sql("FROM effective_rank"))


def test_a_store_without_vectors_says_how_to_get_some(tmp_path):
    store = planted_store(tmp_path / "s", Planting(token_sites={}, n_groups=8))
    with pytest.raises(QueryError, match="--tokens-per-text 4"):
        effective_rank(store)
