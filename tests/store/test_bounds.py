"""Bounds are exactly those of numpy's comparisons, in every stored type."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from actlas.store.bounds import Bounds

SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 65504, 6e-8, -6e-8, 1e-45, 1e300, -1e300, 0.4, 1 / 3]


def between(stored: np.ndarray, keys: tuple[int, int]) -> np.ndarray:
    """What compiled loops make of keys: bits at the top of 64, those below the sign turned where it is set."""
    size = stored.dtype.itemsize
    words = stored.view(f"i{size}").astype(np.int64) << (64 - 8 * size)
    own = np.where(words < 0, words ^ np.int64(2**63 - 1), words)
    return (own >= keys[0]) & (own <= keys[1])


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
        bounds = Bounds(float(low), float(high), is_above, is_below)
        wanted = (values > low if is_above else values >= low) & (values < high if is_below else values <= high)
        np.testing.assert_array_equal(between(stored, bounds.keys(dtype)), wanted, err_msg=str(bounds))
        np.testing.assert_array_equal(bounds.hold(stored, dtype), wanted, err_msg=str(bounds))


def test_of_two_bounds_the_narrower_holds() -> None:
    for first, second in product(product((-1.0, 0.5), (0.5, 2.0), (False, True), (False, True)), repeat=2):
        one, other = Bounds(*first), Bounds(*second)
        values = np.array([-2, -1, 0, 0.5, 1, 2, 3], dtype=np.float64)
        both = one.hold(values, "float64") & other.hold(values, "float64")
        np.testing.assert_array_equal((one & other).hold(values, "float64"), both)


def test_a_limit_that_a_type_does_not_have_is_not_rounded() -> None:
    stored = np.array([0.1, 0.1 + 1e-8], dtype=np.float32)
    for bounds in (Bounds(0.1), Bounds(0.1, is_above=True), Bounds(high=0.1)):
        wanted = np.array([bool((bounds.low <= one) & (one <= bounds.high)) for one in stored.astype(np.float64)])
        np.testing.assert_array_equal(bounds.hold(stored, "float32"), wanted)
        np.testing.assert_array_equal(between(stored, bounds.keys("float32")), wanted)
