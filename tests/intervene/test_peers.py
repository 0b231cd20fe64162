"""The recipes of docs/steering.md give the logits that `steer` gives; `make test-peers` runs them beside other libraries."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import torch

from actlas.intervene import LiveModel, load_live, module_columns, steer
from tests.intervene.recipes import recipe

TOKENS = torch.tensor([[5, 9, 70, 8], [41, 3, 77, 12]])
FRAME = pl.DataFrame(
    [
        ("resid", 1, 2, 4.0),
        ("attn_qkv", 0, 30, 2.0),
        ("attn_qkv", 1, 71, -2.0),
        ("attn_out", 0, 4, 1.0),
        ("mlp_pre", 1, 3, 3.0),
        ("mlp_pre", 1, 39, 3.0),
        ("mlp_up", 0, 11, 2.0),
        ("mlp_hidden", 0, 7, 1.5),
        ("mlp_out", 0, 23, 1.5),
        ("embed", 0, 5, 0.5),
    ],
    schema=["site", "layer", "neuron", "value"],
    orient="row",
)


def expected(live: LiveModel) -> torch.Tensor:
    with torch.inference_mode(), steer(live, FRAME):
        return live.model(TOKENS).logits


def test_modules_stand_in_the_order_in_which_they_run(live: LiveModel) -> None:
    table = module_columns(live, FRAME)
    ran: list[tuple[str, str]] = []
    handles = []
    for path, module in live.model.named_modules():
        handles.append(module.register_forward_pre_hook(lambda _, __, path=path: ran.append((path, "input"))))
        handles.append(module.register_forward_hook(lambda _, __, ___, path=path: ran.append((path, "output"))))
    live.model(TOKENS)
    for handle in handles:
        handle.remove()
    places = list(dict.fromkeys(table.select("module", "side").rows()))
    assert places == sorted(places, key=ran.index)
    assert len(places) == 9
    assert module_columns(live, FRAME.clear()).rows() == []


# warnings of theirs are not ours
@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
def test_nnsight_gives_the_same_logits(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("nnsight", reason="make test-peers has an environment with nnsight")
    with load_live(tiny, device="cpu") as live:
        wanted, table, untouched = expected(live), module_columns(live, FRAME), live.model(TOKENS).logits
        got = recipe("nnsight", tmp_path).steered_by_nnsight(live.model, table, TOKENS)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-6)
    assert float((got - untouched).abs().max()) > 0.01


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
def test_transformer_lens_gives_the_same_logits(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformer_lens", reason="make test-peers has an environment with TransformerLens")
    with load_live(tiny, device="cpu") as live:
        wanted, table, untouched = expected(live), module_columns(live, FRAME), live.model(TOKENS).logits
        got = recipe("transformer_lens", tmp_path).steered_by_transformer_lens(live.model, tiny, table, TOKENS)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-6)
    assert float((got - untouched).abs().max()) > 0.01
