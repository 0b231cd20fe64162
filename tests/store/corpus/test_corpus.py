from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from actlas.errors import CorpusError
from actlas.store import Corpus, corpus_from_frames


def frames() -> tuple[pl.DataFrame, pl.DataFrame]:
    texts = pl.DataFrame(
        {"text_id": ["a", "b", "c", "d"], "text": ["uno", "one", "dos", "two"], "language": ["es", "en", "es", "en"]}
    )
    rows = [
        ("a", "one", True),
        ("b", "one", True),
        ("c", "one", False),
        ("d", "one", False),
        ("d", "two", True),
        ("c", "two", None),
    ]
    labels = pl.DataFrame(rows, schema=["text_id", "concept", "is_concept"], orient="row")
    return texts, labels


def test_texts_are_ordered_by_language_and_labels_follow() -> None:
    corpus = corpus_from_frames(*frames())
    assert corpus.languages == ("es", "en")
    assert corpus.texts["text"].to_list() == ["uno", "dos", "one", "two"]
    assert corpus.texts["source_id"].to_list() == ["a", "c", "b", "d"]
    assert corpus.language_slice("en") == slice(2, 4)
    is_concept, is_member = corpus.concept_matrix("en", ["two", "one"])
    assert is_concept.tolist() == [[False, True], [True, False]]
    assert is_member.tolist() == [[False, True], [True, True]]
    assert corpus.concept_matrix()[0].shape == (4, 2)
    assert "es: no positive text for two" in corpus.warnings[0]


def test_written_corpus_reads_back(tmp_path: Path) -> None:
    corpus = corpus_from_frames(*frames())
    corpus.write(tmp_path / "c")
    again = Corpus.read(tmp_path / "c")
    assert again.fingerprint == corpus.fingerprint
    assert again.texts.equals(corpus.texts)
    assert again.labels.equals(corpus.labels)
    with pytest.raises(CorpusError, match="no corpus at"):
        Corpus.read(tmp_path)


def test_the_fingerprint_sees_every_change() -> None:
    texts, labels = frames()
    base = corpus_from_frames(texts, labels).fingerprint
    changed = [
        corpus_from_frames(texts.with_columns(text=pl.col("text").replace({"uno": "un"})), labels),
        corpus_from_frames(texts, labels.with_columns(is_concept=~pl.col("is_concept"))),
        corpus_from_frames(texts, labels.with_columns(concept=pl.col("concept").replace({"two": "zwei"}))),
        corpus_from_frames(texts.with_columns(split=pl.lit("train")), labels),
    ]
    assert len({base, *(corpus.fingerprint for corpus in changed)}) == 5


def test_keeping_some_texts_keeps_their_ids() -> None:
    corpus = corpus_from_frames(*frames()).keep(np.array([True, False, True, True]))
    assert corpus.texts["text_id"].to_list() == [0, 2, 3]
    assert corpus.language_slice("en") == slice(1, 3)
    assert corpus.concept_matrix("en", ["one"])[0].ravel().tolist() == [True, False]


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        ({"text": ["a", " "], "language": ["en", "en"]}, [], "1 of 2 texts have an empty text: rows 2"),
        ({"text": ["a", "b"], "language": ["en", None]}, [], "empty language: rows 2"),
        ({"text": ["a", "b"], "language": ["en", "en"], "text_id": [1, 1]}, [], "text ids must be unique"),
        ({"text": ["a"], "language": ["en"]}, [(5, "c", True)], "labels name 1 texts that are not in the corpus: 5"),
        ({"text": ["a"], "language": ["en"]}, [(0, "c", True), (0, "c", False)], "both true and false for concept 'c'"),
        ({"text": ["a"], "language": ["en"]}, [(0, " ", True)], "a concept has an empty name"),
        ({"text": []}, [], "no column language"),
        ({"text": [], "language": []}, [], "no texts"),
    ],
)
def test_what_can_not_be_used_is_refused(texts: dict[str, list[object]], labels: list[tuple[object, ...]], message: str) -> None:
    schema = {"text_id": pl.Int64, "concept": pl.String, "is_concept": pl.Boolean}
    with pytest.raises(CorpusError, match=message):
        corpus_from_frames(pl.DataFrame(texts), pl.DataFrame(labels, schema=schema, orient="row"))
