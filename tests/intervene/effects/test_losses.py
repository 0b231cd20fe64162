"""Losses and means against the plain sum over tokens, one text after the other."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from actlas.extract.sites.resolve import site_map
from actlas.intervene.effects.losses import Losses, text_losses, token_means, tokens_per_batch
from actlas.intervene.effects.texts import loss_texts
from actlas.query import Atlas

from .conftest import planned_model


@pytest.fixture(scope="module")
def live() -> SimpleNamespace:
    model = planned_model().eval()
    places = site_map("LlamaForCausalLM", 2, ["mlp_hidden", "attn_qkv", "resid"])
    device = torch.device("cpu")
    return SimpleNamespace(model=model, device=device, inference=torch.inference_mode, points=places.points.__getitem__)


def alone(batches) -> list[torch.Tensor]:
    return [
        torch.from_numpy(batch.token_ids[row][batch.is_token[row]]) for batch in batches for row in range(len(batch.token_ids))
    ]


def test_losses_of_a_batch_are_those_of_texts_alone(store: Atlas, live: SimpleNamespace) -> None:
    texts = loss_texts(store, None, 100, None, 0, tokens_per_batch=40)
    for batches in texts.batches.values():
        losses = text_losses(live, batches)
        with torch.no_grad():
            expected = [
                float(torch.nn.functional.cross_entropy(live.model(one[None]).logits[0, :-1], one[1:], reduction="sum"))
                for one in alone(batches)
            ]
        assert losses.sums == pytest.approx(expected, rel=1e-5)
        assert losses.n_tokens.tolist() == [len(one) - 1 for one in alone(batches)]
        assert losses.mean == pytest.approx(sum(expected) / sum(len(one) - 1 for one in alone(batches)))
    assert tokens_per_batch(live) == 2048


def test_means_are_over_tokens_and_no_padding(store: Atlas, live: SimpleNamespace) -> None:
    texts = loss_texts(store, ["one"], 100, None, 0, tokens_per_batch=40)
    means = token_means(live, texts, ["mlp_hidden", "attn_qkv", "resid"])["one"]
    kept: dict[str, list[torch.Tensor]] = {"mlp_hidden": [], "attn_qkv": [], "resid": []}
    block = live.model.model.layers[1]
    hooks = [
        block.mlp.down_proj.register_forward_pre_hook(lambda _, args: kept["mlp_hidden"].append(args[0][0])),
        block.self_attn.k_proj.register_forward_hook(lambda *args: kept["attn_qkv"].append(args[2][0])),
        block.register_forward_hook(lambda *args: kept["resid"].append(args[2][0])),
    ]
    with torch.no_grad():
        for one in alone(texts.batches["one"]):
            live.model(one[None])
    for hook in hooks:
        hook.remove()
    for site, rows in kept.items():
        expected = torch.cat(rows).double().mean(dim=0).numpy()
        found = means[site][1, 16:32] if site == "attn_qkv" else means[site][1]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert not live.model.model.layers[0].mlp.down_proj._forward_pre_hooks


def test_a_change_and_its_error_are_those_of_a_ratio_of_sums() -> None:
    rng = np.random.default_rng(0)
    n_tokens = rng.integers(3, 30, size=400)
    base = Losses(rng.random(400) * n_tokens, n_tokens)
    losses = Losses(base.sums + (0.5 + rng.normal(size=400)) * n_tokens, n_tokens)
    change, error = losses.change(base)
    assert change == pytest.approx(losses.mean - base.mean)
    draws = [rng.integers(0, 400, size=400) for _ in range(500)]
    resampled = [Losses(losses.sums[d], n_tokens[d]).mean - Losses(base.sums[d], n_tokens[d]).mean for d in draws]
    assert error == pytest.approx(np.std(resampled), rel=0.15)
    assert base.change(base) == (0.0, 0.0)
    assert np.isnan(Losses(np.array([1.0]), np.array([2])).change(Losses(np.array([0.5]), np.array([2])))[1])
