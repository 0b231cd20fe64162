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
    texts = pl.DataFrame({"text_id": [5, 6, 7, 8], "text": ["p", "q", "r", "s"], "parallel_id": ["a", None, "a", "6"]})
    groups = text_groups(texts)
    assert groups[0] == groups[2]
    assert len(set(groups.tolist())) == 3
    shuffled = texts[[3, 1, 0, 2]]
    assert text_groups(shuffled).tolist() == groups[[3, 1, 0, 2]].tolist()


def test_repeated_texts_stay_together_over_several_steps() -> None:
    columns = {
        "text_id": range(8),
        "text": ["yes", "oui", "yes", "no", "ja", "si", "no", "non"],
        "parallel_id": ["a", "a", "b", None, "b", "c", None, "c"],
    }
    groups = text_groups(pl.DataFrame(columns))
    # yes links a to b, and a and b to all that they translate to; no is said twice without a translation
    assert len(set(groups[[0, 1, 2, 4]].tolist())) == 1
    assert groups[3] == groups[6]
    assert groups[5] == groups[7]
    assert sorted(set(groups.tolist())) == [0, 1, 2]


def test_every_text_twice_stands_in_one_half() -> None:
    columns = {"text_id": range(40), "text": [f"text {number % 20}" for number in range(40)], "parallel_id": [None] * 40}
    second = split_halves(pl.DataFrame(columns, schema_overrides={"parallel_id": pl.String}), seed=0)
    assert (second[:20] == second[20:]).all()
    assert second.sum() == 20
