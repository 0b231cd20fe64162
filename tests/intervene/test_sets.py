"""Sets that a store holds, and the auroc by which experts are damped."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from actlas.errors import QueryError
from actlas.intervene.sets import site_shape, store_sets, with_auroc
from actlas.query import import_neuron_sets, open_store, score_neurons
from actlas.testing import planted_store

CHECKPOINT = "planted-step64"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = planted_store(tmp_path_factory.mktemp("sets") / "s.actlas")
    score_neurons(path, checkpoints=[CHECKPOINT], stats=("ap", "auroc"))
    torch.save(
        [[torch.tensor([16]), torch.tensor([3])], [torch.tensor([5]), torch.tensor([]).long()]], path.parent / "x.neuron.pth"
    )
    import_neuron_sets(path, path.parent / "x.neuron.pth", name="published", languages=["fr", "en"])
    return open_store(path)


def test_imported_sets_are_one_per_language(store):
    sets = store_sets(store, CHECKPOINT, "published", languages=["en", "fr"])
    assert {one.language: one.frame.select("site", "layer", "neuron", "value").rows() for one in sets} == {
        "fr": [("mlp_hidden", 0, 16, 0.0), ("mlp_hidden", 1, 3, 0.0)],
        "en": [("mlp_hidden", 0, 5, 0.0)],
    }
    assert len({one.digest for one in sets}) == 2
    with pytest.raises(QueryError, match="did you mean 'published'"):
        store_sets(store, CHECKPOINT, "publised")
    with pytest.raises(QueryError, match="damping is by how well a neuron detects one"):
        with_auroc(store, CHECKPOINT, sets[0])


def test_all_neurons_are_a_set_of_every_language(store):
    sets = store_sets(store, CHECKPOINT, "all", languages=["fr", "es"])
    assert [one.language for one in sets] == [name for name in store.corpus.languages if name in ("fr", "es")]
    for one in sets:
        assert one.frame.select("site", "layer", "neuron").rows() == [("mlp_hidden", at, n) for at in range(2) for n in range(40)]


def test_auroc_of_experts_is_theirs_in_that_language(store):
    (one,) = store_sets(store, CHECKPOINT, "experts", languages=["fr"], concepts=["fire"], k=5)
    frame = with_auroc(store, CHECKPOINT, one)
    assert frame.height == 5
    corpus, rows = store.corpus, store.corpus.language_slice("fr")
    own = corpus.texts.slice(rows.start, rows.stop - rows.start)["text_id"]
    labels = {row["text_id"]: row["is_concept"] for row in corpus.labels.filter(concept="fire").to_dicts()}
    member = np.array([text in labels for text in own])
    truth = np.array([labels[text] for text in own if text in labels])
    for row in frame.to_dicts():
        values = np.asarray(store.cube(CHECKPOINT, row["site"]).read(layer=row["layer"], neurons=row["neuron"], texts=rows))
        assert row["auroc"] == pytest.approx(roc_auc_score(truth, values.reshape(-1)[member].astype(float)))


def test_a_site_that_was_only_counted_has_its_shape(store):
    assert site_shape(store, CHECKPOINT, "mlp_hidden") == (2, 40)
    with pytest.raises(QueryError, match="at resid is not known"):
        site_shape(store, CHECKPOINT, "resid")
