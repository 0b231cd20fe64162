"""A reader gives every token of every text in a padded batch, and leaves the model as it was."""

from __future__ import annotations

import numpy as np
import polars as pl

from actlas.intervene import LiveModel
from actlas.intervene.effects.texts import padded
from actlas.intervene.tokens.reading import TokenReader

NEURONS = pl.DataFrame(
    {"site": ["attn_qkv", "attn_qkv", "resid", "embed"], "layer": [1, 1, 0, 0], "neuron": [60, 3, 5, 2]},
    schema_overrides={"layer": pl.Int32},
)


def test_padding_changes_nothing(live: LiveModel) -> None:
    texts = [np.array([5, 6, 7, 8]), np.array([9, 10])]
    with TokenReader(live, NEURONS, {}) as reader:
        together = reader.read(padded(texts))
        alone = [reader.read(padded([text])) for text in texts]
    assert set(together) == {("attn_qkv", 1), ("resid", 0), ("embed", 0)}
    assert reader.neurons["attn_qkv", 1].tolist() == [3, 60]
    for place, values in together.items():
        assert values.shape == (6, 2 if place[0] == "attn_qkv" else 1)
        assert np.allclose(values, np.concatenate([one[place] for one in alone]), atol=1e-5)


def test_parts_of_a_site_lie_in_the_order_of_its_neurons(live: LiveModel) -> None:
    """Queries, keys and values are modules of their own."""
    every = pl.DataFrame({"site": "attn_qkv", "layer": 1, "neuron": range(72)})
    with TokenReader(live, every, {}) as reader, TokenReader(live, NEURONS, {}) as few:
        batch = padded([np.array([5, 6, 7])])
        assert np.array_equal(reader.read(batch)["attn_qkv", 1][:, [3, 60]], few.read(batch)["attn_qkv", 1])


def test_values_are_rounded_to_the_dtype_of_their_site(live: LiveModel) -> None:
    batch = padded([np.array([5, 6, 7])])
    with TokenReader(live, NEURONS, {"resid": "float16", "embed": "bfloat16"}) as reader, TokenReader(live, NEURONS, {}) as plain:
        rounded, whole = reader.read(batch), plain.read(batch)
    assert np.array_equal(rounded["resid", 0], whole["resid", 0].astype(np.float16).astype(np.float32))
    assert not np.array_equal(rounded["embed", 0], whole["embed", 0])
    assert np.allclose(rounded["embed", 0], whole["embed", 0], rtol=2**-8)


def test_hooks_are_taken_off(live: LiveModel) -> None:
    with TokenReader(live, NEURONS, {}):
        pass
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in live.model.modules())
