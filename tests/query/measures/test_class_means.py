"""Means of classes beside plain numpy, and distances where they are known."""

import numpy as np
import polars as pl
import pytest

from actlas.errors import QueryError
from actlas.query import class_distances, class_means, open_store
from actlas.query.measures import class_means as module
from actlas.testing.planted import Planting, planted_store

CK = "planted-step64"


def texts_of(store, language, concept=None, is_concept=None):
    """Rows of the text axis, out of the tables."""
    texts = store.corpus.texts.with_row_index("row")
    if language is not None:
        texts = texts.filter(language=language)
    if concept is not None:
        texts = texts.join(
            store.corpus.labels.filter(concept=concept, is_concept=is_concept), on="text_id", maintain_order="left"
        )
    return texts["row"].to_numpy()


@pytest.mark.parametrize("of", ["languages", "concepts", "both"])
@pytest.mark.parametrize("n_blocks", [1, 2])
def test_means_are_those_of_numpy_over_the_texts_of_the_class(scored, of, n_blocks, monkeypatch):
    if n_blocks == 2:
        whole = module.neuron_blocks
        monkeypatch.setattr(module, "neuron_blocks", lambda cube: halved(whole(cube)))
    frame = class_means(scored, checkpoints=[CK], sites=["mlp_pre", "attn_out"], of=of)
    assert frame.height == {"languages": 3, "concepts": 8, "both": 3 * 8 - 1}[of] * 4
    for row in frame.iter_rows(named=True):
        values = scored.cube(CK, row["site"]).read(layer=row["layer"]).astype(np.float64)
        own = values[:, texts_of(scored, row["language"], row["concept"], row["is_concept"])]
        assert row["n_texts"] == own.shape[1]
        assert row["means"] == pytest.approx(own.mean(axis=1), abs=1e-5)
        assert row["variance"] == pytest.approx(own.var(axis=1).sum(), rel=1e-5)


def halved(blocks):
    for block in blocks:
        half = len(block.values) // 2
        yield module_block(block, 0, half)
        yield module_block(block, half, len(block.values))


def module_block(block, start, stop):
    return type(block)(block.layer, block.start + start, block.values[start:stop])


def test_values_far_from_zero_lose_no_variance(scored, monkeypatch):
    whole = module.neuron_blocks
    before = class_means(scored, checkpoints=[CK], sites=["mlp_pre"])
    far = lambda cube: (type(b)(b.layer, b.start, b.values.astype(np.float32) + np.float32(1000)) for b in whole(cube))  # noqa: E731
    monkeypatch.setattr(module, "neuron_blocks", far)
    after = class_means(scored, checkpoints=[CK], sites=["mlp_pre"])
    assert after["variance"].to_list() == pytest.approx(before["variance"].to_list(), rel=1e-3)


def unit(vector):
    return vector / np.linalg.norm(vector)


def test_distances_are_those_of_the_means(scored):
    frame = class_distances(scored, checkpoints=[CK], sites=["mlp_pre"])
    languages, concepts = scored.corpus.languages, scored.corpus.concepts
    for layer in (0, 1):
        values = scored.cube(CK, "mlp_pre").read(layer=layer).astype(np.float64)

        def side(language, concept=None, is_concept=None, values=values):
            own = values[:, texts_of(scored, language, concept, is_concept)]
            return own.mean(axis=1), own.var(axis=1, ddof=1).sum() / own.shape[1]

        means = {name: side(name) for name in languages}
        middle = np.mean([mean for mean, _ in means.values()], axis=0)
        own = frame.filter(pl.col("concept").is_null(), layer=layer)
        assert own.height == 3
        for row in own.iter_rows(named=True):
            (x, noise_x), (y, noise_y) = means[row["language_a"]], means[row["language_b"]]
            assert row["cosine"] == pytest.approx(unit(x) @ unit(y), abs=1e-5)
            assert row["centred"] == pytest.approx(unit(x - middle) @ unit(y - middle), abs=1e-4)
            assert row["distance"] == pytest.approx(np.linalg.norm(x - y), rel=1e-4)
            assert row["expected"] == pytest.approx(np.sqrt(noise_x + noise_y), rel=1e-4)
            assert row["others"] is None
        directions = {}
        for name in languages:
            for concept in concepts:
                if texts_of(scored, name, concept, True).size:
                    (on, noise_on), (off, noise_off) = side(name, concept, True), side(name, concept, False)
                    directions[name, concept] = on - off, noise_on + noise_off
        own = frame.filter(pl.col("concept").is_not_null(), layer=layer)
        assert own.height == 3 * 3 + 1, "one concept has no positive text in one language"
        for row in own.iter_rows(named=True):
            a, b, concept = row["language_a"], row["language_b"], row["concept"]
            (x, noise_x), (y, noise_y) = directions[a, concept], directions[b, concept]
            assert row["cosine"] == pytest.approx(unit(x) @ unit(y), abs=1e-4)
            others = [unit(x) @ unit(directions[b, c][0]) for c in concepts if c != concept and (b, c) in directions]
            others += [unit(y) @ unit(directions[a, c][0]) for c in concepts if c != concept and (a, c) in directions]
            assert row["others"] == pytest.approx(np.mean(others), abs=1e-4)
            assert row["expected"] == pytest.approx(np.sqrt(noise_x + noise_y), rel=1e-4)
            assert row["n_a"] == sum(texts_of(scored, a, concept, side).size for side in (True, False))


def test_sql_compares_the_kept_means(tmp_path):
    store = open_store(planted_store(tmp_path / "s"), "a")
    class_means(store, sites=["mlp_pre"])
    told = class_distances(store, sites=["mlp_pre"], concepts=["water"])
    in_sql = store.sql(
        "SELECT a.checkpoint, a.layer, a.language AS language_a, b.language AS language_b, "
        "list_cosine_similarity(a.means, b.means) AS cosine FROM class_means AS a JOIN class_means AS b USING (checkpoint, layer)"
    )
    both = told.filter(pl.col("concept").is_null()).join(in_sql, on=["checkpoint", "layer", "language_a", "language_b"])
    assert both.height == 18
    assert both["cosine"].to_list() == pytest.approx(both["cosine_right"].to_list(), abs=1e-4)


def test_where_languages_differ_by_nothing_the_distance_is_the_expected_one(tmp_path, monkeypatch):
    store = open_store(planted_store(tmp_path / "s", Planting(steps=(0,), sharing=(0.0,))))
    rng = np.random.default_rng(1)
    whole = module.neuron_blocks
    drawn = lambda cube: (type(b)(b.layer, b.start, rng.normal(size=b.values.shape).astype(np.float32)) for b in whole(cube))  # noqa: E731
    monkeypatch.setattr(module, "neuron_blocks", drawn)
    told = class_distances(store, sites=["mlp_pre"])
    ratios = (told["distance"] / told["expected"]).to_numpy()
    assert np.sqrt(np.mean(ratios**2)) == pytest.approx(1, abs=0.1)
    of_languages = told.filter(pl.col("concept").is_null())
    assert of_languages["centred"].mean() == pytest.approx(-1 / 2, abs=0.15)


def test_what_cannot_be_told_is_null_or_refused(scored, tmp_path):
    with pytest.raises(QueryError, match="there is en alone"):
        class_distances(scored, languages=["en"])
    with pytest.raises(QueryError, match="language"):
        class_means(scored, languages=["xx"])
    two = class_distances(scored, checkpoints=[CK], sites=["attn_out"], languages=["en", "fr"], concepts=["salt"])
    assert two["centred"].null_count() == two["others"].null_count() == two.height
    one = open_store(planted_store(tmp_path / "one", Planting(languages=("en",), n_groups=8)))
    assert class_means(one)["language"].unique().to_list() == ["en"]
    constant = scored.cube(CK, "mlp_pre")
    assert class_means(scored, checkpoints=[CK], sites=["mlp_pre"], concepts=[], of="both").is_empty()
    assert constant.shape[0] == 2
