from __future__ import annotations

import polars as pl
import pytest

from actlas.errors import CorpusError
from actlas.store import Corpus, corpus_from_frames

NO_LABELS = pl.DataFrame(schema={"text_id": pl.Int64, "concept": pl.String, "is_concept": pl.Boolean})


def labelled(cells: list[object], **kinds: object) -> Corpus:
    texts = pl.DataFrame({"text": [f"text {n}" for n in range(len(cells))], "language": "en"})
    labels = {"text_id": pl.Series(range(len(cells))), "concept": "c", "is_concept": pl.Series(cells, strict=False)}
    return corpus_from_frames(texts, pl.DataFrame(labels).with_columns(**kinds))


@pytest.mark.parametrize("cells", [[True, False, None], [1, 0, None], [1.0, 0.0, float("nan")], ["yes", "No", "NA"]])
def test_labels_of_frames_come_in_the_forms_of_tables(cells: list[object]) -> None:
    assert labelled(cells).labels.rows() == [(0, "c", True), (1, "c", False)]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([1, 0, 2, -1], "2 of 4 labels are neither true nor false: 2, -1"),
        ([1.0, 0.5], "1 of 2 labels are neither true nor false: 0.5"),
        (["yes", "perhaps"], "neither true nor false: 'perhaps'"),
        ([[True], [False]], "neither true nor false: \\[True\\]"),
    ],
)
def test_other_labels_are_refused_with_examples(cells: list[object], message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        labelled(cells)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": [5, 6]}, "texts, row 1: column 'text': 5 is no string"),
        ({"text": [["a"], ["b"]]}, "column 'text': \\['a'\\] is no string"),
        ({"text": [b"a", b"b"]}, "is no string"),
        ({"text": ["a", "b\0"]}, "row 2: column 'text' holds a NUL character"),
        ({"language": [1, 2]}, "column 'language': 1 is no string"),
        ({"parallel_id": [0.5, 1.0]}, "column 'parallel_id': 0.5 is neither"),
        ({"text_id": [0.0, 1.0]}, "text_id is 0.0; text ids are all strings or all whole numbers"),
        ({"text_id": [[0], [1]]}, "all strings or all whole numbers"),
        ({"further": pl.Series([object(), None])}, "column 'further' holds Python objects"),
        ({"text_id": [1, 2], "source_id": [1, 2]}, "text_id and source_id are both columns"),
    ],
)
def test_columns_of_other_kinds_are_refused(columns: dict[str, object], message: str) -> None:
    texts = pl.DataFrame({"text": ["a", "b"], "language": ["en", "en"], **columns})
    with pytest.raises(CorpusError, match=message):
        corpus_from_frames(texts, NO_LABELS)


def test_whole_numbers_with_gaps_link_translations_and_nan_links_nothing() -> None:
    texts = pl.DataFrame({"text": list("abc"), "language": "en", "parallel_id": [1.0, float("nan"), 2.0]})
    assert corpus_from_frames(texts, NO_LABELS).texts["parallel_id"].to_list() == ["1", None, "2"]


def test_any_further_column_is_kept_whatever_its_name() -> None:
    texts = pl.DataFrame({"text": ["a"], "language": ["en"], "row": [1], "_key": [2], "_id": [3], "index": [4]})
    assert corpus_from_frames(texts, NO_LABELS).texts.select("row", "_key", "_id", "index").row(0) == (1, 2, 3, 4)


def test_categories_are_strings() -> None:
    texts = pl.DataFrame({"text": ["a", "b"], "language": ["en", "es"]}).cast(
        {"language": pl.Categorical, "text": pl.Categorical}
    )
    assert corpus_from_frames(texts, NO_LABELS).languages == ("en", "es")


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        ({"text_id": pl.Series([0.7, 1.2])}, "the text_id of labels is Float64"),
        ({"text_id": pl.Series(["0", "x"])}, "labels name 1 texts that are not in the corpus: x"),
        ({"concept": pl.Series([0.5, 0.5])}, "concepts are named by Float64"),
        ({"concept": pl.Series(["a\0b", "a"])}, "name of a concept holds a NUL"),
    ],
)
def test_labels_about_other_things_are_refused(kinds: dict[str, pl.Series], message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        labelled([True, False], **kinds)
