"""Arguments against the types that declare them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import pytest

from actlas.allowed import Bytes, Count, Names, Number, Positive, Quantile, Seed, Share, checks_arguments, why_not


@pytest.mark.parametrize(
    ("value", "hint", "end"),
    [
        (0, Positive, "must be at least 1, not 0"),
        (True, Positive, "must be a whole number, not True"),
        (2.0, Positive, "must be a whole number, not 2.0"),
        ("5", Positive | None, "must be a whole number, not '5'"),
        (-1, Count, "must be at least 0, not -1"),
        (2**31, Count, "must be at least 0 and at most 2,147,483,647, not 2147483648"),
        pytest.param(10**5000, Count, "not a number of 5,001 digits", id="huge"),
        (2**32, Seed, "at most 4,294,967,295"),
        (0, Bytes, "must be at least 1, not 0"),
        (float("nan"), Number, "needs a finite number, not nan"),
        (float("-inf"), Share, "needs a finite number, not -inf"),
        (1e39, Number, "must be at least -3.4e+38 and at most 3.4e+38, not 1e+39"),
        (0.0, Share, "must be above 0 and at most 1, not 0.0"),
        (1.5, Quantile, "must be at least 0 and at most 1, not 1.5"),
        ("x", Literal["a", "b"], "'x' is not known; choose one of a, b"),
        (["x"], Literal["a", "b"] | None, "['x'] is not known; choose one of a, b"),
        ((1, -2), Sequence[Count], "must be at least 0, not -2"),
        ((), Sequence[str], "names nothing; name one or more, or leave it out"),
        ("ab", Sequence[str] | None, "takes several values, such as ('ab',), not 'ab'"),
        ({"a": 1}, Sequence[str], "must be several values, not {'a': 1}"),
        (["a", " "], Sequence[str], "is empty"),
        (["a", None], Sequence[str], "must be a string, not None"),
        ((1, 2, 3), tuple[int, int], "takes 2 values, not (1, 2, 3)"),
        (1, bool, "must be True or False, not 1"),
        (None, str | Path, "must be a string or Path, not None"),
    ],
)
def test_what_is_wrong_is_said_with_the_name_and_the_value(value: object, hint: object, end: str) -> None:
    reason = why_not("it", value, hint)
    assert reason is not None
    assert reason.startswith("it ")
    assert end in reason
    assert "\n" not in reason


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (1, Positive),
        (np.int32(1), Positive),
        (np.float32(0.5), Share),
        (1, Share),
        (None, Positive | None),
        (np.bool_(True), bool),
        ([], Names),
        (range(3), Sequence[Seed]),
        (np.arange(3), Sequence[Seed]),
        (pl.Series(["a"]), Sequence[str] | None),
        ({"a", "b"}, Sequence[str]),
        ((0.0, 1), float | Sequence[float]),
        (Path("x"), str | Path),
        (print, Callable[[str], None]),
        (object(), Any),
    ],
)
def test_what_is_right_passes(value: object, hint: object) -> None:
    assert why_not("it", value, hint) is None


def test_a_function_is_checked_before_it_runs_and_stays_what_it_was() -> None:
    ran = []

    @checks_arguments(LookupError)
    def best(store: str, k: Positive = 5, sites: Sequence[str] = (), **rest: object) -> int:
        """Documented."""
        ran.append(k)
        return k

    assert best("s", 3) == best("s", k=3) == 3
    assert best("s", sites=()) == 5
    assert best.__doc__ == "Documented."
    for wrong in ({"k": 0}, {"sites": []}, {"sites": "mlp_pre"}):
        with pytest.raises(LookupError):
            best("s", **wrong)
    with pytest.raises(TypeError):
        best()
    assert ran == [3, 3, 5]
