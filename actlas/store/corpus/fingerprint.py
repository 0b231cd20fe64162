"""The fingerprint of a corpus: one hash of all that decides what is extracted."""

from __future__ import annotations

import hashlib

import polars as pl

from actlas.names import SPAN_ENDS, span_names


def fingerprint_of(texts: pl.DataFrame, labels: pl.DataFrame, *, has_spans: bool = True) -> str:
    """Hash of all that decides what is extracted; earlier versions left the spans out."""
    digest = hashlib.sha256()
    for name in ("text", "language", "parallel_id", "split"):
        for value in texts[name]:
            # length first: two columns that differ only in where one value ends must not agree
            data = b"" if value is None else value.encode()
            digest.update(b"%d:" % (-1 if value is None else len(data)) + data)
    concepts = sorted(labels["concept"].unique())
    digest.update("\0".join(concepts).encode())
    digest.update(labels["text_id"].to_numpy().astype("<i8").tobytes())
    position = {concept: i for i, concept in enumerate(concepts)}
    columns = labels["concept"].replace_strict(position, return_dtype=pl.Int64) if concepts else pl.Series([], dtype=pl.Int64)
    digest.update(columns.to_numpy().astype("<i8").tobytes())
    digest.update(labels["is_concept"].to_numpy().astype("u1").tobytes())
    spans = span_names(texts.columns) if has_spans else []
    for name in sorted(span + end for span in spans for end in SPAN_ENDS):
        # pandas keeps whole numbers with gaps as 4.0 and NaN
        places = [None if cell is None or cell != cell else cell for cell in texts[name].to_list()]
        places = [int(cell) if isinstance(cell, float) and cell.is_integer() else cell for cell in places]
        digest.update(f"{name}{places}".encode())
    return digest.hexdigest()[:16]


def is_fingerprint_of(written: str, texts: pl.DataFrame, labels: pl.DataFrame) -> bool:
    """Whether a fingerprint can be that of these texts and labels, by any rule that there was.

    By an early one, it stayed that of all texts where some were left out: nothing can be said of those.
    """
    if written in (fingerprint_of(texts, labels), fingerprint_of(texts, labels, has_spans=False)):
        return True
    return bool((texts["text_id"].diff() > 1).any()) or texts["text_id"].min() != 0
