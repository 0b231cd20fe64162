"""Languages and concepts without texts."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from actlas.errors import ScoreImportError
from actlas.store.corpus.corpus import Corpus
from actlas.store.corpus.declared import UNKNOWN, Declared

COUNTS = pl.DataFrame({"language": ["fr"], "concept": ["salt"], "n_positive": [3], "n_texts": [12]})


def test_counts_are_those_of_the_pairs_that_were_named() -> None:
    declared = Declared.of(["fr", "en"], ["salt", "iron"], COUNTS)
    assert declared.names == (("fr", "en"), ("iron", "salt"))
    assert [part.tolist() for part in declared.label_counts("fr")] == [[UNKNOWN, 3], [UNKNOWN, 12]]
    assert Declared.from_json(declared.to_json()) == declared
    assert declared.fingerprint != Declared.of(["fr", "en"], ["salt", "iron"], None).fingerprint


def test_a_corpus_without_texts_has_names_alone() -> None:
    corpus = Corpus.without_texts(Declared.of(["fr", "en"], ["salt", "iron"], COUNTS))
    assert (corpus.languages, corpus.concepts, corpus.n_texts) == (("fr", "en"), ("iron", "salt"), 0)
    assert corpus.language_slice("en") == slice(0, 0)
    assert [part.tolist() for part in corpus.label_counts("fr", ["salt", "iron"])] == [[3, UNKNOWN], [12, UNKNOWN]]
    assert corpus.has_answer("fr", "salt")
    assert corpus.has_answer("en", "iron")
    with pytest.raises(KeyError, match="no concept"):
        corpus.label_counts("fr", ["gold"])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"concept": "gold"}, "no score of that language"),
        ({"n_positive": 13}, "cannot be: 13 positive of 12"),
        ({"n_positive": None}, "cannot be"),
    ],
)
def test_counts_that_cannot_be(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ScoreImportError, match=message):
        Declared.of(["fr"], ["salt"], COUNTS.with_columns(**{name: pl.lit(value) for name, value in changed.items()}))
    with pytest.raises(ScoreImportError, match="given twice"):
        Declared.of(["fr"], ["salt"], pl.concat([COUNTS, COUNTS]))
    with pytest.raises(ScoreImportError, match="n_texts is missing"):
        Declared.of(["fr"], ["salt"], COUNTS.drop("n_texts"))
