"""A probe for a concept knows what was planted, says so of held-out texts, and does not know what is not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from actlas.errors import CubeNotFound, QueryError
from actlas.query import Atlas, train_concept_probe
from actlas.query.questions.interventions.concept_probe import _chance, _parts
from actlas.query.splits import text_groups
from actlas.testing.planted import Planting, planted_store


def test_it_is_a_plain_pipeline_judged_on_texts_held_out(scored: Atlas) -> None:
    probe = train_concept_probe(scored, "planted-step64", "salt", site="mlp_pre", layer=1, c=0.1, seed=3)
    assert probe.languages == ("fr", "en", "es")
    values = scored.cube("planted-step64", "mlp_pre").read(layer=1).T.astype(np.float32)
    labels = {row["text_id"]: row["is_concept"] for row in scored.corpus.labels.filter(concept="salt").to_dicts()}
    rows = np.array([row for row, text_id in enumerate(scored.corpus.texts["text_id"]) if text_id in labels])
    is_concept = np.array([labels[text_id] for text_id in scored.corpus.texts["text_id"].gather(rows)])
    groups = np.unique(text_groups(scored.corpus.texts)[rows], return_inverse=True)[1]
    train, test = _parts(groups, is_concept, 3, 0.3, "salt")
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000, class_weight="balanced"))
    model.fit(values[rows][train], is_concept[train])
    expected = model.predict_proba(values[rows][test])[:, 1]
    assert probe.probabilities(values[rows][test]) == pytest.approx(expected, abs=1e-3)
    assert probe.auroc == pytest.approx(roc_auc_score(is_concept[test], expected), abs=1e-3)
    assert (probe.n_train, probe.n_test) == (train.size, test.size)


def test_translations_stand_on_one_side_and_both_sides_have_the_concept() -> None:
    groups = np.repeat(np.arange(30), 3)
    is_concept = groups % 5 == 0
    for seed in range(5):
        train, test = _parts(groups, is_concept, seed, 0.3, "salt")
        assert sorted([*train, *test]) == list(range(90))
        assert not set(groups[train]) & set(groups[test])
        assert np.unique(groups[test][is_concept[test]]).size == 2
    with pytest.raises(QueryError, match="too few texts with or without salt to hold a share of 0.3 out: 3 of 90"):
        _parts(groups, groups == 0, 0, 0.3, "salt")


def test_what_was_not_planted_is_at_chance(tmp_path: Path) -> None:
    store = planted_store(tmp_path / "silent.actlas", Planting(steps=(64,), sharing=(1.0,), n_silent=1, n_groups=120))
    for seed in range(3):
        probe = train_concept_probe(store, "planted-step64", "fire", site="mlp_pre", layer=1, c=0.1, seed=seed)
        assert not probe.is_above_chance, probe.to_json()
        assert train_concept_probe(store, "planted-step64", "salt", site="mlp_pre", layer=1, c=0.1, seed=seed).is_above_chance


def test_chance_counts_translations_once_and_is_what_random_ranks_reach() -> None:
    is_concept = np.arange(40) % 4 == 0
    alone, thrice = np.arange(40), np.repeat(np.arange(40), 3)
    assert _chance(alone, is_concept) == _chance(thrice, np.repeat(is_concept, 3))
    rng = np.random.default_rng(0)
    areas = [roc_auc_score(is_concept, rng.random(40)) for _ in range(300)]
    assert np.mean(np.array(areas) > _chance(alone, is_concept)) < 0.03


def test_the_penalty_is_chosen_where_none_is_named(scored: Atlas) -> None:
    asked = {"site": "mlp_pre", "layer": 1, "languages": ["fr"]}
    probe = train_concept_probe(scored, "planted-step128", "salt", **asked)
    assert probe.c in (0.01, 0.1, 1.0, 10.0)
    assert probe.to_json()["languages"] == ["fr"]
    again = train_concept_probe(scored, "planted-step128", "salt", **asked, c=probe.c)
    assert (again.weights == probe.weights).all()


def test_what_is_not_there_is_refused(scored: Atlas) -> None:
    def trained(concept: str = "salt", site: str = "mlp_pre", layer: int = 1, **more: object) -> object:
        return train_concept_probe(scored, "planted-step64", concept, site=site, layer=layer, **more)

    with pytest.raises(QueryError, match="layers 0 to 1, not 2"):
        trained(layer=2)
    with pytest.raises(QueryError, match="no concept"):
        trained("snow")
    with pytest.raises(CubeNotFound):
        trained(site="resid")
    # the last concept has no positive text in the last language: left out of all, refused alone
    assert trained("yeast").languages == ("fr", "en")
    with pytest.raises(QueryError, match="no positive or no negative texts in es"):
        trained("yeast", languages=["en", "es"])
    with pytest.raises(QueryError, match="reads 40 neurons of each text"):
        trained().probabilities(np.zeros((3, 5)))
