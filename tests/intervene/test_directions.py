"""A direction is a difference of means over tokens; adding it makes the one mean the other."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file

import actlas
from actlas.errors import QueryError
from actlas.intervene import export_direction, language_direction, load_live, read_neurons, steer
from actlas.intervene.effects.losses import token_means
from actlas.intervene.effects.texts import loss_texts
from actlas.testing import random_checkpoint


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("directions")
    texts = {"en": ["a cat", "two dogs"], "de": ["ein Hund", "drei Katzen"], "fr": ["un chat noir"]}
    rows = pl.DataFrame([(name, text) for name, own in texts.items() for text in own], schema=["language", "text"], orient="row")
    labels = pl.DataFrame({"text_id": [0, 1], "concept": "cat", "is_concept": [True, False]})
    corpus = actlas.corpus_from_frames(rows, labels)
    actlas.extract_activations(random_checkpoint(folder / "tiny"), corpus, folder / "s.actlas", device="cpu")
    return actlas.open_store(folder / "s.actlas")


@pytest.fixture(scope="module")
def live(store):
    with load_live(store, "tiny", device="cpu") as live:
        yield live


def test_what_is_added_makes_the_mean_that_of_the_other_language(store, live):
    frame = language_direction(store, live, "de", against=["en"], sites=["attn_out", "mlp_hidden"])
    texts = loss_texts(store, None, 64, None, 0, 99)
    before = token_means(live, texts, ["attn_out", "mlp_hidden"])
    # the first layer of the MLP alone: what comes after it sees another stream
    first = frame.filter(site="mlp_hidden", layer=0)
    with steer(live, first, how="add"):
        after = token_means(live, texts, ["mlp_hidden"])
    np.testing.assert_allclose(after["en"]["mlp_hidden"][0], before["de"]["mlp_hidden"][0], atol=1e-6)
    assert frame.filter(site="attn_out")["value"].to_numpy() == pytest.approx(
        (before["de"]["attn_out"] - before["en"]["attn_out"]).reshape(-1), abs=1e-7
    )
    others = language_direction(store, live, "de")
    mean = (before["en"]["mlp_hidden"] + before["fr"]["mlp_hidden"]) / 2
    assert others["value"].to_numpy() == pytest.approx((before["de"]["mlp_hidden"] - mean).reshape(-1), abs=1e-7)
    for against in (["de"], []):
        with pytest.raises(QueryError):
            language_direction(store, live, "de", against=against)


@pytest.mark.parametrize("ending", ["safetensors", "parquet"])
def test_a_direction_comes_back_from_its_file(store, live, tmp_path, ending):
    path = tmp_path / f"de.{ending}"
    export_direction(store, path, checkpoint="tiny", language="de", sites=["mlp_hidden"], device="cpu")
    frame, expected = read_neurons(path, live), language_direction(store, live, "de")
    columns = ["site", "layer", "neuron", "value", "weight_hash"]
    assert frame.select(columns).sort(columns).equals(expected.select(columns).sort(columns))
    if ending == "safetensors":
        assert load_file(path)["mlp_hidden.mask"].all()
