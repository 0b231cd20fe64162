"""Halves of the texts, and the groups that no split cuts."""

from __future__ import annotations

from typing import Any

import polars as pl

from actlas.query.splits import split_halves, text_groups


def test_halves_do_not_share_content(plain: Any) -> None:
    texts = plain.corpus.texts
    second = split_halves(texts, seed=3)
    halves = texts.with_columns(pl.Series("half", second))
    linked = halves.filter(pl.col("parallel_id").is_not_null()).group_by("parallel_id").agg(pl.col("half").n_unique())
    assert (linked["half"] == 1).all()
    alone = halves.filter(pl.col("parallel_id").is_null())
    assert alone.height == 6
    assert abs(second.mean() - 0.5) < 0.05
    assert (split_halves(texts, seed=3) == second).all()
    assert (split_halves(texts, seed=4) != second).any()


def test_groups_do_not_depend_on_the_order_of_rows() -> None:
    texts = pl.DataFrame({"text_id": [5, 6, 7, 8], "parallel_id": ["a", None, "a", "6"]})
    groups = text_groups(texts)
    assert groups[0] == groups[2]
    assert len(set(groups.tolist())) == 3
    shuffled = texts[[3, 1, 0, 2]]
    assert text_groups(shuffled).tolist() == groups[[3, 1, 0, 2]].tolist()
