"""Strongest texts, and token values gathered batch by batch, against loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from actlas.intervene.tokens.strongest import Gathered, Strongest, pooled, spread, strongest_texts
from actlas.query import open_store, top_texts


def test_strongest_texts_are_the_top_texts(extracted: Path) -> None:
    store = open_store(extracted)
    neurons = pl.DataFrame({"site": ["mlp_pre", "attn_out", "mlp_pre"], "layer": [1, 0, 1], "neuron": [9, 3, 2]})
    expected = top_texts(store, sites=["attn_out", "mlp_pre"], n=3)
    found = strongest_texts(store, "tiny", neurons, 3)
    assert [(one.site, one.layer, one.neurons.tolist()) for one in found] == [("attn_out", 0, [3]), ("mlp_pre", 1, [2, 9])]
    for one in found:
        for neuron, texts, values in zip(one.neurons, one.texts, one.values, strict=True):
            own = expected.filter(site=one.site, layer=one.layer, neuron=int(neuron))
            assert store.corpus.texts["text_id"].to_numpy()[texts].tolist() == own["text_id"].to_list()
            assert values.tolist() == own["value"].to_list()


def test_values_are_gathered_in_any_order_of_batches() -> None:
    rng = np.random.default_rng(0)
    rows, lengths = np.array([2, 3, 5, 8]), np.array([3, 1, 4, 2])
    strongest = Strongest("s", 0, np.array([4, 7, 9]), np.array([[5, 2], [8, 5], [2, 3]]), np.zeros((3, 2), dtype=np.float32))
    token_values = [rng.normal(size=(length, 3)).astype(np.float32) for length in lengths]
    gathered = Gathered(strongest, rows, lengths)
    for batch in (np.array([3, 0]), np.array([1]), np.array([2])):
        gathered.add(batch, lengths[batch], np.concatenate([token_values[text] for text in batch]))
    expected = [token_values[rows.tolist().index(text)][:, at] for at, own in enumerate(strongest.texts) for text in own]
    assert np.array_equal(gathered.values, np.concatenate(expected))
    assert gathered.lengths.tolist() == [len(one) for one in expected]


@pytest.mark.parametrize("pooling", ["max", "mean", "last", "max_with_pad"])
def test_pooling_is_that_of_extraction(pooling: str) -> None:
    import torch

    from actlas.extract.pooling.pool import pool

    rng = np.random.default_rng(1)
    lengths = np.array([4, 2, 5])
    values = rng.normal(size=lengths.sum()).astype(np.float32)
    is_pooled = np.ones(len(values), dtype=bool)
    is_pooled[[0, 4, 10]] = False
    first = np.cumsum(lengths) - lengths
    own = pooled(values, first, is_pooled, pooling)
    for text, (start, length) in enumerate(zip(first, lengths, strict=True)):
        part, mask = values[start : start + length], is_pooled[start : start + length]
        expected = pool(torch.from_numpy(part)[None, :, None], torch.from_numpy(mask)[None], pooling)
        assert own[text] == pytest.approx(expected.item(), rel=1e-6)


def test_no_ranges_are_no_numbers() -> None:
    assert spread(np.array([3]), np.array([0])).tolist() == []
