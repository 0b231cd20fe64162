from __future__ import annotations

import pytest

from actlas.errors import CorpusError
from actlas.store.corpus.cells import Table, ids_of, label_of, labels_of, name_of, shown, string_of, strings

NAN = float("nan")


@pytest.mark.parametrize(
    ("cells", "label"),
    [
        ([True, 1, 1.0, "1", "1.0", "True", " yes ", "T"], True),
        ([False, 0, 0.0, -0.0, "0", "0.0", "false", "No", "f"], False),
        ([None, NAN, "", "  ", "NaN", "null", "None", "NA", "n/a", "<NA>"], None),
    ],
)
def test_labels_come_in_many_forms(cells: list[object], label: bool | None) -> None:
    assert [label_of(cell) for cell in cells] == [label] * len(cells)


@pytest.mark.parametrize("cell", [2, -1, 0.5, float("inf"), "2", "maybe", "01", b"1", [True], {"a": 1}])
def test_anything_else_is_no_label(cell: object) -> None:
    with pytest.raises(ValueError, match="is no label"):
        label_of(cell)
    labels, wrong = labels_of([True, cell, NAN])
    assert labels == [True, None, None]
    assert wrong == {1: cell}


def test_names_may_be_whole_numbers_with_gaps() -> None:
    assert [name_of(cell) for cell in ("a", 3, 3.0, NAN, None)] == ["a", "3", "3", None, None]
    for cell in (2.5, True, [1], float("inf")):
        with pytest.raises(ValueError, match="neither a string nor a whole number"):
            name_of(cell)


def test_a_text_is_a_string_that_a_text_can_be() -> None:
    table = Table({"text": ["a", None, 5]}, [2, 3, 7], "line")
    with pytest.raises(CorpusError, match="f, line 7: column 'text': 5 is no string"):
        strings(table, "text", "f", string_of)
    for wrong in ("a\0", "a\ud800"):
        with pytest.raises(CorpusError, match="f, row 1: column 'text' holds the character U"):
            strings(Table({"text": [wrong]}, [1], "row"), "text", "f", string_of)


def test_ids_are_of_one_kind() -> None:
    def ids(*cells: object) -> object:
        return ids_of(Table({"text_id": list(cells)}, range(1, len(cells) + 1), "row"), "f")

    assert ids(1, 2) == [1, 2]
    assert ids("a", "1") == ["a", "1"]
    for cells, row in (((1, "1"), 2), (("a", 1), 2), ((1.0,), 1), ((True,), 1), ((None,), 1), (([1],), 1)):
        with pytest.raises(CorpusError, match=f"f, row {row}: text_id is .*all strings or all whole numbers"):
            ids(*cells)


def test_a_cell_in_a_message_is_short_and_printable() -> None:
    assert len(shown("x" * 10_000)) < 100
    assert shown("\x1b]0;title\x07") == r"'\x1b]0;title\x07'"
