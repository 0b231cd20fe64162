"""Every family: an empty frame and a context that ended leave it as it was, and every site is changed where it should be."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from actlas.intervene import LiveModel, patch, steer
from actlas.intervene.live import ProvedSites
from actlas.testing.tiny_configs import model_of, tiny_configs
from tests.intervene.plainly import hooks_of, plain

CPU = torch.device("cpu")


def live_of(family: str) -> LiveModel:
    model = model_of(tiny_configs()[family]())
    proved = ProvedSites.of(model, type(model).__name__, "float32", CPU, {})
    about = {"checkpoint": family, "weight_hash": "a" * 32, "compute_dtype": "float32", "device": CPU}
    return LiveModel(model, proved, load_tokenizer=lambda: None, **about)


def answer(live: LiveModel) -> torch.Tensor:
    """What two texts come to, one of which is padded on the left."""
    ids = torch.tensor([[0, 5, 9, 70], [8, 41, 3, 77]])
    mask = torch.tensor([[0, 1, 1, 1], [1, 1, 1, 1]])
    with torch.inference_mode():
        given = live.model(input_ids=ids, attention_mask=mask)
    return given.logits if hasattr(given, "logits") else given.last_hidden_state


@pytest.mark.parametrize("family", tiny_configs())
def test_a_family(family: str) -> None:
    live = live_of(family)
    untouched = answer(live)
    with steer(live, pl.DataFrame(schema={"site": pl.String, "layer": pl.Int32, "neuron": pl.Int32, "value": pl.Float32})):
        assert torch.equal(answer(live), untouched)
    rng = np.random.default_rng(0)
    rows = [
        (site, layer, int(neuron), float(rng.normal()))
        for site in live.sites
        for layer, width in enumerate(live.widths(site))
        for neuron in (width // 3, width - 1)
    ]
    frame = pl.DataFrame(rows, schema=["site", "layer", "neuron", "value"], orient="row")
    with steer(live, frame, "add"):
        got = answer(live)
    with plain(live, frame, "add"):
        assert torch.equal(got, answer(live))
    for site in live.sites:
        with steer(live, frame.filter(pl.col("site") == site), "add"):
            assert not torch.equal(answer(live), untouched), site
    # one row of the batch alone
    with steer(live, [None, frame], "set"):
        got = answer(live)
    assert torch.equal(got[0].view(torch.int32), untouched[0].view(torch.int32))
    with steer(live, frame, "set"):
        torch.testing.assert_close(answer(live)[1], got[1], rtol=0, atol=0)
    assert not hooks_of(live)
    assert torch.equal(answer(live), untouched)


@pytest.mark.parametrize("family", ["bloom", "falcon", "bert", "xlm_roberta", "opt"])
def test_the_last_block_patched_at_one_token_leaves_the_others_as_they_were(family: str) -> None:
    live = live_of(family)
    untouched, width = answer(live), live.widths("resid")[1]
    with patch(live, np.ones((2, 2, width)), layers=[1], position=[1, 1]):
        got = answer(live)
    # position 1 is the third column of the text that is padded, and the second one of the other
    is_changed = (got != untouched).any(-1)
    assert is_changed.tolist() == [[False, False, True, False], [False, True, False, False]]
