from __future__ import annotations

import math

import pytest

from actlas.query import open_store
from actlas.reproduce.figures import T_QUANTILES, mean_with_interval, quantile_sql


@pytest.mark.parametrize(("n", "degrees"), [(2, 1), (3, 2), (13, 12), (500, 12)])
def test_the_quantile_is_that_of_the_degrees_of_freedom(runs, n, degrees):
    assert open_store(runs["model"]).sql(f"SELECT {quantile_sql(str(n))} AS q")["q"].item() == T_QUANTILES[degrees - 1]


def test_a_mean_has_the_interval_of_its_rows(runs):
    rows = open_store(runs["model"]).sql(f"SELECT {mean_with_interval('x')} FROM (VALUES (1.0), (2.0), (6.0), (NULL)) AS t(x)")
    half = T_QUANTILES[1] * math.sqrt(7) / math.sqrt(3)
    assert rows.row(0) == (pytest.approx(3.0), pytest.approx(3.0 - half), pytest.approx(3.0 + half), None)


def test_one_row_has_no_interval(runs):
    rows = open_store(runs["model"]).sql(f"SELECT {mean_with_interval('x')} FROM (VALUES (1.0)) AS t(x)")
    assert rows.row(0) == (1.0, None, None, None)
