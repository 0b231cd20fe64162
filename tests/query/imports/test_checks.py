"""Scores that cannot be, cell by cell."""

from __future__ import annotations

import re

import numpy as np
import pytest

from actlas.errors import ScoreImportError
from actlas.kernels import NAMED_STATS
from actlas.query.imports.checks import _NOT_NEGATIVE, _SHARES, check_site, known_stats


def check(stat: str, value: float, count: int = 1) -> None:
    values = np.full((2, 2, 1, 3), 0.5)
    values[1, 0, 0, :count] = value
    check_site("m mlp_pre", {stat: values}, ["en", "fr"], ["iron", "salt"], (1, 3))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_the_ends_of_the_range_are_in_it(value: float) -> None:
    check("ap", value)


@pytest.mark.parametrize(
    ("stat", "value", "limits"),
    [
        ("ap", 1.0000001, "from 0 to 1"),
        ("auroc", -0.1, "from 0 to 1"),
        ("std", -1.0, "a finite number of 0 or more"),
        ("median", np.inf, "a finite number"),
    ],
)
def test_a_number_out_of_its_range_is_named(stat: str, value: float, limits: str) -> None:
    message = re.escape(f"{stat} of 'iron' in 'fr' at m mlp_pre, layer 0, neuron 0 is {value}; it must be {limits}")
    with pytest.raises(ScoreImportError, match=message):
        check(stat, value)


def test_null_is_whole_or_not_at_all() -> None:
    check("ap", np.nan, count=3)
    for count in (1, 2):
        with pytest.raises(ScoreImportError, match="null for all neurons of a language and concept, or for none"):
            check("ap", np.nan, count)


def test_only_numbers_are_scores() -> None:
    with pytest.raises(ScoreImportError, match="not numbers"):
        check_site("m mlp_pre", {"ap": np.full((1, 1, 1, 1), "x")}, ["en"], ["salt"], (1, 1))


def test_ranges_are_of_statistics_that_there_are() -> None:
    assert {*_SHARES, *_NOT_NEGATIVE} <= set(NAMED_STATS)
    assert known_stats(["ap", "q0.25"]) == ("ap", "q0.25")
    with pytest.raises(ScoreImportError, match="no statistic among the columns"):
        known_stats([])
