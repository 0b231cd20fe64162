"""Draws: no text and no translation is on both sides."""

from __future__ import annotations

from typing import Any

from actlas.query.probing.draws import split, validation
from actlas.query.splits import text_groups


def test_no_text_and_no_translation_is_on_both_sides(plain: Any) -> None:
    texts = plain.corpus.texts
    groups = text_groups(texts)
    for seed in range(5):
        train, test = split(groups, seed, 0.25, None)
        assert sorted([*train, *test]) == list(range(texts.height))
        sides = [set(texts["parallel_id"].gather(rows).drop_nulls()) for rows in (train, test)]
        assert not sides[0] & sides[1]
        assert 0.15 < test.size / texts.height < 0.35
    thinned, same_test = split(groups, 4, 0.25, 20)
    assert thinned.size == 20
    assert set(thinned) <= set(train)
    assert (same_test == test).all()


def test_texts_that_judge_penalties_are_of_the_training_part_and_of_no_group_that_is_fitted(plain: Any) -> None:
    groups = text_groups(plain.corpus.texts)
    for seed in range(5):
        train, test = split(groups, seed, 0.25, None)
        fit, judge = validation(groups, train, seed, 0.25)
        assert sorted([*fit, *judge]) == sorted(train)
        sides = [set(groups[rows]) for rows in (fit, judge, test)]
        assert len(set.union(*sides)) == sum(map(len, sides))
        assert 0.15 < judge.size / train.size < 0.35
