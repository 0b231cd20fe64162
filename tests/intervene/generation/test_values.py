"""Values of new texts are those that an extraction of the same texts keeps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from actlas import corpus_from_frames, extract_activations
from actlas.errors import QueryError, SiteNotProved
from actlas.intervene import LiveModel, load_live, steer
from actlas.intervene.generation.presence import probe_texts
from actlas.intervene.generation.values import pooled_values
from actlas.query import Atlas, open_store, train_concept_probe

TEXTS = ["a cat sleeps", "x", "two dogs run over there", "a cat" * 40, "no", *(f"{n} cats" for n in range(40))]


def extracted(tiny: Path, folder: Path, **options: Any) -> Atlas:
    texts = pl.DataFrame({"text_id": range(len(TEXTS)), "text": TEXTS, "language": "en"})
    labels = pl.DataFrame({"text_id": range(len(TEXTS)), "concept": "cat", "is_concept": ["cat" in text for text in TEXTS]})
    labels = labels.with_columns(
        pl.when(pl.col("text_id") > 9).then(pl.col("text_id") % 2 == 0).otherwise("is_concept").alias("is_concept")
    )
    settings = {"max_tokens": 32, "dtype": "float32", "device": "cpu", **options}
    extract_activations(tiny, corpus_from_frames(texts, labels), folder / "run.actlas", sites=["mlp_pre", "resid"], **settings)
    return open_store(folder / "run.actlas")


@pytest.fixture(scope="module")
def live(tiny: Path) -> Iterator[LiveModel]:
    with load_live(tiny, device="cpu") as loaded:
        yield loaded


@pytest.fixture(scope="module")
def store(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    return extracted(tiny, tmp_path_factory.mktemp("values"))


def check(live: LiveModel, store: Atlas) -> None:
    order = np.random.default_rng(0).permutation(len(TEXTS))
    for site, layer in (("mlp_pre", 1), ("resid", 0)):
        found = pooled_values(live, store.recipe, [TEXTS[row] for row in order], site, layer)
        assert found.dtype == np.float32
        assert found == pytest.approx(store.cube("tiny", site).read(layer=layer).T[order], abs=1e-5)


def test_they_are_those_of_an_extraction(store: Atlas, live: LiveModel) -> None:
    check(live, store)


@pytest.mark.parametrize(
    "options",
    [
        {"pooling": "mean", "special_tokens": "run"},
        {"pooling": "last", "special_tokens": "none"},
        {"pooling": "max_with_pad"},
    ],
    ids=str,
)
def test_they_follow_the_recipe(tiny: Path, live: LiveModel, tmp_path: Path, options: dict[str, str]) -> None:
    check(live, extracted(tiny, tmp_path, **options))


def test_a_probe_is_asked_of_new_texts(store: Atlas, live: LiveModel) -> None:
    probe = train_concept_probe(store, "tiny", "cat", site="mlp_pre", layer=1, c=0.1)
    # whatever it knows: what is asked here is whether values and weights belong together
    knowing = replace(probe, auroc=1.0)
    values = store.cube("tiny", "mlp_pre").read(layer=1).T
    found = probe_texts(live, store.recipe, knowing, [*TEXTS, ""])
    assert found.to_list()[:-1] == pytest.approx(probe.probabilities(values).tolist(), abs=1e-4)
    assert found.to_list()[-1] is None
    assert probe_texts(live, store.recipe, replace(probe, auroc=0.5), TEXTS).to_list() == [None] * len(TEXTS)
    assert probe_texts(live, store.recipe, knowing, []).is_empty()
    with pytest.raises(QueryError, match="a probe for values of other says nothing of those of tiny"):
        probe_texts(live, store.recipe, replace(probe, checkpoint="other"), TEXTS)


def test_nothing_is_left_on_the_model_and_what_is_forced_is_seen(live: LiveModel, store: Atlas) -> None:
    recipe = store.recipe
    before = pooled_values(live, recipe, TEXTS, "mlp_pre", 1)
    frame = pl.DataFrame({"site": ["mlp_pre"], "layer": [1], "neuron": [3], "value": [7.5]})
    with steer(live, frame):
        assert (pooled_values(live, recipe, TEXTS, "mlp_pre", 1)[:, 3] == 7.5).all()
    assert (pooled_values(live, recipe, TEXTS, "mlp_pre", 1) == before).all()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in live.model.modules())


def test_a_place_that_the_model_lacks_is_refused(live: LiveModel, store: Atlas) -> None:
    recipe = store.recipe
    with pytest.raises(QueryError, match="layers 0 to 1, not 2"):
        pooled_values(live, recipe, TEXTS, "mlp_pre", 2)
    with pytest.raises(SiteNotProved, match="no proved site 'mlp_gate'"):
        pooled_values(live, recipe, TEXTS, "mlp_gate", 0)
    assert np.isnan(pooled_values(live, recipe, ["", ""], "mlp_pre", 0)).all()
