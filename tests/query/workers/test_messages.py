"""Parameters of a query keep their values on the way to another process."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pytest

from actlas.errors import QueryError
from actlas.query.workers.messages import packed, unpacked

VALUES: list[Any] = [
    None,
    True,
    -(2**63),
    2**63 - 1,
    0.1,
    float("inf"),
    "süß\0",
    b"\xff\0",
    [],
    [1, None, 3],
    ["a", "b"],
    [[1], []],
    {"a": 1, "b": "x"},
    datetime.date(2024, 2, 29),
    datetime.datetime(2024, 2, 29, 12, 30, 0, 5),
    datetime.time(1, 2, 3),
    datetime.timedelta(days=1, microseconds=1),
    Decimal("1.25"),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_parameter_comes_as_what_it_was(value: Any) -> None:
    (arrived,) = unpacked(bytes(packed({"x": value}))).values()
    assert (arrived, type(arrived)) == (value, type(value))


def test_a_query_may_have_no_parameters() -> None:
    assert unpacked(bytes(packed({}))) == {}


@pytest.mark.parametrize("value", [object(), 2**200, [1, "a"]], ids=["object", "integer", "mixed"])
def test_what_is_no_value_of_sql_is_refused_by_name(value: Any) -> None:
    with pytest.raises(QueryError, match=r"^\$odd has a value that SQL has no type for"):
        packed({"fine": 1, "odd": value})
