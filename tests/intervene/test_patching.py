"""Latents are put at one token of every text, where padding, caches and beams may be."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
import torch

from actlas.errors import InterventionError, NeuronNotFound, SiteNotProved
from actlas.intervene import patch
from tests.intervene.plainly import continued, hooks_of, logits_of, padded

PROMPTS = ["abc", "hello there", "xyzw"]
POSITION = [1, 4, 3]
LATENTS = np.random.default_rng(0).normal(size=(3, 2, 24)).astype(np.float32)


@contextmanager
def patched_plainly(live, latents, layers, position):
    """Block outputs of one text without padding, which no cache shortens."""
    with ExitStack() as stack:
        for layer in layers:

            def change(_, __, output, layer=layer):
                output = output.clone()
                output[0, position] = torch.from_numpy(latents[layer])
                return output

            stack.callback(live.model.get_submodule(f"model.layers.{layer}").register_forward_hook(change).remove)
        yield


def alone(live, row, layers, n_new=6):
    ids = live.tokenizer(PROMPTS[row])["input_ids"]
    for _ in range(n_new):
        with patched_plainly(live, LATENTS[row], layers, POSITION[row]), torch.inference_mode():
            ids = [*ids, int(live.model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())]
    return ids[-n_new:]


@pytest.mark.parametrize("layers", [[1], range(2)])
@pytest.mark.parametrize("how", [{}, {"use_cache": False}])
def test_a_padded_batch_with_a_cache_is_each_text_alone_without_one(live, layers, how):
    with patch(live, LATENTS, layers=layers, position=POSITION):
        got = continued(live, padded(live, PROMPTS), **how)
    assert got == [alone(live, row, layers) for row in range(3)]


def test_padding_on_the_right_and_none(live):
    with patch(live, LATENTS, layers=[0], position=POSITION):
        left, right = (logits_of(live, padded(live, PROMPTS, side)) for side in ("left", "right"))
    for row, prompt in enumerate(PROMPTS):
        with patch(live, LATENTS[row : row + 1], layers=[0], position=POSITION[row]):
            expected = logits_of(live, {"input_ids": torch.tensor([live.tokenizer(prompt)["input_ids"]])})[0]
        torch.testing.assert_close(left[row, -len(prompt) :], expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(right[row, : len(prompt)], expected, atol=1e-5, rtol=0)


def test_beams_have_the_latents_of_their_prompt(live):
    how = {"num_beams": 3, "num_return_sequences": 2}
    with patch(live, LATENTS, position=POSITION):
        together = continued(live, padded(live, PROMPTS), **how)
    for row, prompt in enumerate(PROMPTS):
        with patch(live, LATENTS[row : row + 1], position=POSITION[row]):
            assert continued(live, padded(live, [prompt]), **how) == together[2 * row : 2 * row + 2]


def test_latents_by_layer_or_as_tensors_and_at_other_sites(live):
    batch = padded(live, PROMPTS)
    with patch(live, LATENTS, layers=[1], position=POSITION):
        expected = logits_of(live, batch)
    for latents in ({1: LATENTS[:, 1]}, torch.from_numpy(LATENTS)):
        with patch(live, latents, layers=[1], position=POSITION):
            assert torch.equal(logits_of(live, batch), expected)
    with patch(live, {0: np.ones((3, 72))}, position=2, site="attn_qkv"):
        assert len(hooks_of(live)) == 5  # of the model, its base model, and of three projections
        assert not torch.equal(logits_of(live, {name: each[:, -3:] for name, each in batch.items()}), expected[:, -3:])
    assert not hooks_of(live)


@pytest.mark.parametrize(
    ("latents", "asked", "error", "message"),
    [
        (LATENTS[0], {"position": POSITION}, InterventionError, "rows by layers by neurons, with all 2 layers"),
        (LATENTS[:, :1], {"position": POSITION}, InterventionError, "with all 2 layers"),
        (LATENTS[:2], {"position": POSITION}, InterventionError, "for 3 positions"),
        (LATENTS[:, :, :5], {"position": POSITION}, InterventionError, "needs one row of 24 neurons for each"),
        (LATENTS * np.nan, {"position": POSITION}, InterventionError, "latents of layer 0 hold NaN"),
        (LATENTS, {"position": [-1, 0, 0]}, InterventionError, "position -1"),
        (LATENTS, {"position": POSITION, "layers": [2]}, NeuronNotFound, "no latents of layer 2"),
        ({5: LATENTS[:, 0]}, {"position": POSITION}, NeuronNotFound, "latents of layer 5"),
        (LATENTS, {"position": POSITION, "site": "head"}, SiteNotProved, "no proved site 'head'"),
    ],
)
def test_what_does_not_fit_is_refused(live, latents, asked, error, message):
    with pytest.raises(error, match=message):
        patch(live, latents, **asked)


def test_a_token_that_a_text_does_not_have_is_refused(live):
    for side in ("left", "right"):
        batch = padded(live, PROMPTS, side)
        with pytest.raises(InterventionError, match="row 0 of the batch has no token 3"), patch(live, LATENTS, position=3):
            logits_of(live, batch)
    with pytest.raises(InterventionError, match="row 1 of the batch has no token 11"), patch(live, LATENTS, position=[0, 11, 0]):
        continued(live, padded(live, PROMPTS))
    # a prompt in pieces shows its padding piece by piece
    with pytest.raises(InterventionError, match="has no token 4"), patch(live, LATENTS, position=POSITION):
        continued(live, padded(live, PROMPTS), prefill_chunk_size=2)
