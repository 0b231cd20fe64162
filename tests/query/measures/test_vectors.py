"""Vectors of texts beside plain means, and which texts are compared as translations."""

import numpy as np
import polars as pl
import pytest

from actlas.errors import QueryError
from actlas.query.measures.vectors import text_vectors, translations

CK = "planted-step64"


@pytest.mark.parametrize("weighting", ["position", "mean", "last"])
def test_tokens_of_a_text_are_averaged_as_the_paper_does(scored, weighting):
    (vectors,) = text_vectors(scored, CK, ["resid"], None, weighting)
    cube = scored.token_cube(CK, "resid")
    table, values = cube.table, cube.read(1).astype(np.float64)
    lengths = dict(scored.corpus.texts.select("text_id", "n_tokens").iter_rows())
    expected = {}
    for text_id in scored.corpus.texts["text_id"]:
        own = np.flatnonzero((table["text_id"] == text_id).to_numpy())
        place = table["position"].to_numpy()[own]
        weights = {
            "position": place + 1.0,
            "mean": np.ones(len(own)),
            "last": (place == lengths[text_id] - 1) * 1.0,
        }[weighting]
        if weights.sum():
            expected[text_id] = np.average(values[own], axis=0, weights=weights)
    assert scored.corpus.texts["text_id"].gather(vectors.text_rows).to_list() == list(expected)
    np.testing.assert_allclose(vectors.read(1), np.array(list(expected.values())), rtol=1e-5, atol=1e-6)


def test_pooled_values_are_vectors_of_texts(scored):
    (vectors,) = text_vectors(scored, CK, ["mlp_pre"], None, "mean")
    np.testing.assert_array_equal(vectors.read(1), scored.cube(CK, "mlp_pre").read(layer=1).T.astype(np.float32))


def test_translations_have_one_parallel_id(scored):
    texts = scored.corpus.texts
    pairs = translations(scored, np.arange(texts.height), None)
    assert {(pair.language_a, pair.language_b) for pair in pairs} == {("fr", "en"), ("fr", "es"), ("en", "es")}
    for pair in pairs:
        assert pair.rows_a.size == texts.filter(pl.col("parallel_id").is_not_null(), language="en").height
        assert (texts["parallel_id"].gather(pair.rows_a) == texts["parallel_id"].gather(pair.rows_b)).all()
        assert set(texts["language"].gather(pair.rows_b)) == {pair.language_b}
    assert len(translations(scored, np.arange(texts.height), None, "en")) == 2
    with pytest.raises(QueryError, match="en alone"):
        translations(scored, np.arange(texts.height), ["en"])
    with pytest.raises(QueryError, match="pivot fr"):
        translations(scored, np.arange(texts.height), ["en", "es"], "fr")
    with pytest.raises(QueryError, match="share 0 meanings"):
        translations(scored, np.arange(3), None)
