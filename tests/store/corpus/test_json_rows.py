from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actlas.errors import CorpusError
from actlas.store.corpus.json_rows import parse, read_json_array, read_json_lines

CELLS = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(allow_nan=False, allow_infinity=False)
ROWS = st.lists(st.fixed_dictionaries({"text": CELLS, "language": CELLS}), min_size=1, max_size=5)


@given(ROWS, st.booleans(), st.sampled_from(["\n", "\r\n", "\r", "\n\n", "\n \n"]))
def test_rows_come_back_exactly(rows: list[dict[str, object]], is_ascii: bool, end: str) -> None:
    lines = [json.dumps(row, ensure_ascii=is_ascii) for row in rows]
    table = read_json_lines(end.join(lines) + end, "f")
    assert [dict(zip(table.columns, row, strict=True)) for row in zip(*table.columns.values(), strict=True)] == rows
    assert table.n_rows == len(rows)
    assert read_json_array(json.dumps(rows), "f").columns == table.columns


def test_rows_without_a_key_hold_nothing_there() -> None:
    table = read_json_lines('{"text": "a"}\n\n{"language": "en", "text": "b"}\n', "f")
    assert table.columns == {"text": ["a", "b"], "language": [None, "en"]}
    assert (table.places, table.n_blank) == ([1, 3], 1)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": \n', "f, line 1: not valid JSON"),
        ('{"text": "a", "text": "b"}', "f, line 1: key 'text' stands twice in one object"),
        ('{"text": Infinity}', "f, line 1: not valid JSON: Infinity"),
        ('{"text": -Infinity}', "not valid JSON: -Infinity"),
        ("[1]", "line 1: expected an object"),
        ("1", "expected an object"),
        ('{"text": ["a"]}', "line 1: 'text' is a list"),
        ('{"text": {"a": 1}}', "line 1: 'text' is an object"),
        ('{"": 1}', "'' is no name of a column"),
        ("[" * 200_000 + "]" * 200_000, "nested too deeply"),
        ('{"text": ' + "[" * 900 + "]" * 900 + "}", "line 1: 'text' is a list"),
        ('{"text": ' + "9" * 5000 + "}", "line 1: "),
        ('{"text": "a"} {"text": "b"}', "line 1: not valid JSON: Extra data"),
    ],
)
def test_what_is_no_row_is_refused_with_its_line(line: str, message: str) -> None:
    with pytest.raises(CorpusError, match=message) as caught:
        read_json_lines(line, "f")
    assert len(str(caught.value)) < 300


def test_an_array_is_of_objects() -> None:
    for content, message in (('{"text": {"0": "a"}}', "expected an array of objects"), ('[{"text": "a"}, 3]', "row 2: expected")):
        with pytest.raises(CorpusError, match=message):
            read_json_array(content, "f")


def test_gaps_that_python_writes_are_read() -> None:
    assert math.isnan(parse(json.dumps({"c": float("nan")}), "f")["c"])
