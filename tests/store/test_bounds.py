"""Bounds are exactly those of numpy's comparisons, in every stored type."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from actlas.store.bounds import Bounds, is_between

SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 65504, 6e-8, -6e-8, 1e-45, 1e300, -1e300, 0.4, 1 / 3]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_bounds_are_those_of_comparisons(dtype: str) -> None:
    column = np.float64 if dtype == "float64" else np.float32
    with np.errstate(over="ignore"):
        values = np.array([*SPECIAL, *np.random.default_rng(0).standard_normal(200)]).astype(column)
        limits = np.array([0.0, -0.0, np.inf, -np.inf, 0.4, -0.4, 1e5, -1e5, 1e-9, values[20], values[31]]).astype(column)
        if dtype == "bfloat16":
            stored = (values.view(np.uint32) >> 16).astype(np.uint16)
            values = (stored.astype(np.uint32) << 16).view(np.float32)
        else:
            stored = values.astype(dtype)
            values = stored.astype(column)
    for low, high, is_above, is_below in product(limits, limits, (False, True), (False, True)):
        keys = Bounds(float(low), float(high), is_above, is_below).keys(dtype)
        wanted = (values > low if is_above else values >= low) & (values < high if is_below else values <= high)
        np.testing.assert_array_equal(is_between(stored, keys), wanted, err_msg=f"{low} {high} {is_above} {is_below}")


def test_of_two_bounds_the_narrower_holds() -> None:
    for first, second in product(product((-1.0, 0.5), (0.5, 2.0), (False, True), (False, True)), repeat=2):
        one, other = Bounds(*first), Bounds(*second)
        values = np.array([-2, -1, 0, 0.5, 1, 2, 3], dtype=np.float64)
        both = is_between(values, one.keys("float64")) & is_between(values, other.keys("float64"))
        np.testing.assert_array_equal(is_between(values, (one & other).keys("float64")), both)
