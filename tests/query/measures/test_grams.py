"""Which texts representations are compared on, and what is refused."""

import numpy as np
import pytest

from actlas.errors import QueryError
from actlas.query import cka
from actlas.query.measures.grams import Representations, _meanings
from actlas.query.measures.vectors import text_vectors

CK = "planted-step128"


def test_languages_are_compared_on_the_same_meanings_in_one_order(scored):
    chosen = Representations("languages", None, None, "mean", 20, 3)
    (vectors,) = text_vectors(scored, CK, ["resid"], None, "mean")
    rows = _meanings(scored, vectors, chosen)
    texts = scored.corpus.texts
    own = {name: texts[vectors.text_rows[places]] for name, places in rows.items()}
    assert all(set(frame["language"]) == {name} for name, frame in own.items())
    assert own["en"]["parallel_id"].to_list() == own["fr"]["parallel_id"].to_list() == own["es"]["parallel_id"].to_list()
    assert own["en"].height == 20
    other = _meanings(scored, vectors, Representations("languages", None, None, "mean", 20, 4))
    assert not np.array_equal(other["en"], rows["en"])


def test_what_cannot_be_compared_is_refused(scored, monkeypatch):
    import sys

    with pytest.raises(QueryError, match="en alone"):
        cka(scored, between="languages", languages=["en"])
    with pytest.raises(QueryError, match=f"{CK} alone"):
        cka(scored, between="checkpoints", checkpoints=[CK])
    with pytest.raises(QueryError, match="3 texts with vectors are too few"):
        cka(scored, n_texts=3)
    monkeypatch.setattr(sys.modules["actlas.query.measures.grams"], "_MOST_BYTES", 1000)
    with pytest.raises(QueryError, match="take fewer texts"):
        cka(scored)
