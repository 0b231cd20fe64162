"""A set beside its random sets, against sums by hand; sets of other concepts stay out of it."""

from __future__ import annotations

import polars as pl
import pytest

from actlas.intervene import effect_summary


def rows(concept: str | None, changes: list[float]) -> list[dict[str, object]]:
    return [
        {
            "checkpoint": "c",
            "source": "s",
            "concept": concept,
            "set_language": "fr",
            "language": "en",
            "intervention": "zero",
            "draw": draw,
            "n_neurons": 4,
            "n_texts": 9,
            "loss_base": 1.0,
            "change": change,
            "change_se": 0.1,
        }
        for draw, change in enumerate(changes)
    ]


def test_what_random_sets_say_is_theirs_alone() -> None:
    frame = pl.DataFrame([*rows(None, [0.5, 0.1, 0.5, 0.9]), *rows("water", [0.4]), *rows("salt", [-1.0, 0.0, 1.0])])
    alone, water, salt = effect_summary(frame).to_dicts()
    assert alone["random_mean"] == pytest.approx(0.5)
    assert alone["random_sd"] == pytest.approx(0.4)
    assert alone["excess"] == pytest.approx(0.0)
    # itself, the one that is equal, and the one that is further
    assert (alone["p_more"], alone["p_less"], alone["n_random"]) == (0.75, 0.75, 3)
    assert (alone["low"], alone["high"]) == (pytest.approx(0.5 - 0.196), pytest.approx(0.5 + 0.196))
    assert [water[name] for name in ("random_mean", "excess", "p_more", "p_less", "n_random")] == [None, None, None, None, 0]
    assert (salt["p_more"], salt["p_less"]) == (1.0, pytest.approx(1 / 3))
    assert salt["excess"] == pytest.approx(-1.5)
