"""What the fingerprint of a corpus sees."""

from __future__ import annotations

import polars as pl

from actlas.store import corpus_from_frames
from tests.store.corpus.test_corpus import frames


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


def test_the_fingerprint_sees_spans_in_whatever_form_they_come() -> None:
    texts, labels = frames()

    def fingerprint(**columns: object) -> str:
        return corpus_from_frames(
            texts.with_columns(**{name: pl.Series(cells) for name, cells in columns.items()}), labels
        ).fingerprint

    places = {"x_start": [0, 1, None, 0], "x_end": [2, 3, None, 1]}
    base = fingerprint(**places)
    assert fingerprint(x_start=[0.0, 1.0, float("nan"), 0.0], x_end=[2.0, 3.0, float("nan"), 1.0]) == base
    others = {
        fingerprint(x_start=[1, 1, None, 0], x_end=places["x_end"]),
        fingerprint(y_start=places["x_start"], y_end=places["x_end"]),
        fingerprint(x_start=places["x_start"]),
    }
    assert len(others | {base}) == 4
    assert (
        fingerprint(x_start=places["x_start"], note=list("abcd"))
        == fingerprint()
        == corpus_from_frames(texts, labels).fingerprint
    )
