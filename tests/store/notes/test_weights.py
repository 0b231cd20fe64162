"""The table of a checkpoint's weights and its sketches, as a file."""

import numpy as np
import polars as pl
import pytest

from actlas.errors import DamagedStore
from actlas.store.layout import WEIGHTS_FILE
from actlas.store.notes.weights import WEIGHT_COLUMNS, WeightRecord, place_of, read_weights, weight_table

RECORDS = [
    WeightRecord("h.10.attn.weight", (2, 3), "BF16", 2.0, 1.5, 0.4, 1.49, np.array([1.0, -2.5])),
    WeightRecord("h.2.ln.weight", (3,), "F32", 1.0),
    WeightRecord("wte.weight", (5, 2), "F32", float("nan")),
]


def test_what_is_written_is_read_again_by_layer(tmp_path):
    (tmp_path / WEIGHTS_FILE).write_bytes(weight_table("m-step1", RECORDS))
    frame, sketches = read_weights(tmp_path)
    assert dict(frame.schema) == dict(WEIGHT_COLUMNS)
    assert frame.select("checkpoint", "module", "layer", "kind", "n_weights").rows() == [
        ("m-step1", "wte.weight", None, "wte", 10),
        ("m-step1", "h.2.ln.weight", 2, "ln", 3),
        ("m-step1", "h.10.attn.weight", 10, "attn", 6),
    ]
    assert sketches[:2] == [None, None]
    assert sketches[2] is not None
    assert sketches[2].tolist() == [1.0, -2.5]
    assert frame["shape"].to_list()[2] == [2, 3]
    assert np.isnan(frame["norm"][0])


def test_the_same_weights_give_the_same_bytes():
    assert weight_table("m", RECORDS) == weight_table("m", RECORDS[::-1])


def test_a_file_without_sketches_is_not_taken_for_one(tmp_path):
    pl.DataFrame({"checkpoint": ["m"]}).write_parquet(tmp_path / WEIGHTS_FILE)
    with pytest.raises(DamagedStore, match="it has no column module"):
        read_weights(tmp_path)


def test_layers_and_kinds_of_names():
    assert place_of("gpt_neox.layers.7.attention.dense.bias") == (7, "attention.dense.bias")
    assert place_of("word_embeddings_layernorm.weight") == (None, "word_embeddings_layernorm")
