"""Steered generation equals one that recomputes everything, row by row; contexts leave nothing behind."""

from __future__ import annotations

import polars as pl
import pytest
import torch

from actlas.errors import InterventionError
from actlas.intervene import ablate, steer
from tests.intervene.plainly import columns_of, continued, hooks_of, logits_of, padded, plain

PROMPTS = ["abc", "hello there", "x"]
FRAME = pl.DataFrame(
    {
        "site": ["mlp_pre", "attn_qkv", "attn_qkv", "resid", "mlp_hidden", "embed"],
        "layer": [1, 0, 0, 1, 0, 0],
        "neuron": [3, 30, 71, 2, 7, 5],
        "value": [3.0, 2.0, -2.0, 4.0, 1.5, 0.5],
    }
)
OTHER = FRAME.with_columns(pl.col("value") * -2, (pl.col("neuron") - 1))


@pytest.mark.parametrize("how", ["set", "add", "scale"])
@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_a_steered_pass_is_what_plain_hooks_give(live, how, strength):
    batch = padded(live, PROMPTS)
    with steer(live, FRAME, how, strength=strength):
        got = logits_of(live, batch)
    with plain(live, FRAME, how, strength):
        expected = logits_of(live, batch)
    assert torch.equal(got, expected)
    assert not torch.equal(got, logits_of(live, batch))


@pytest.mark.parametrize("position", ["all", "last"])
def test_generation_with_cache_and_padding_is_that_of_each_text_alone_without_a_cache(live, position):
    frames = [FRAME, None, OTHER]
    with steer(live, frames, "set", position):
        got = continued(live, padded(live, PROMPTS))
    for prompt, frame, tokens in zip(PROMPTS, frames, got, strict=True):
        assert tokens == alone(live, prompt, frame, position)


def alone(live, prompt, frame, position, n_new=6):
    """Greedy tokens, each by a pass over the whole text, in which every position that was steered once is steered again."""
    ids = live.tokenizer(prompt)["input_ids"]
    first = len(ids) - 1 if position == "last" else 0
    for _ in range(n_new):
        with plain(live, FRAME.clear() if frame is None else frame, "set", first=first), torch.inference_mode():
            ids = [*ids, int(live.model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())]
    return ids[-n_new:]


def test_beams_and_several_answers_have_the_frame_of_their_prompt(live):
    frames, how = [FRAME, None, OTHER], {"num_beams": 3, "num_return_sequences": 3}
    batch = padded(live, PROMPTS)
    with steer(live, frames):
        together = continued(live, batch, **how)
    for row, frame in enumerate(frames):
        with steer(live, [frame] * 3):
            assert continued(live, batch, **how)[3 * row : 3 * row + 3] == together[3 * row : 3 * row + 3]
    assert together[3:6] == continued(live, batch, **how)[3:6]


def test_rows_without_a_frame_are_left_alone_bit_by_bit(live):
    batch = padded(live, PROMPTS)
    untouched = logits_of(live, batch)
    for how in ("set", "add", "scale"):
        with steer(live, [FRAME, FRAME.clear(), None], how):
            got = logits_of(live, batch)
        assert torch.equal(got[1:].view(torch.int32), untouched[1:].view(torch.int32))
        assert not torch.equal(got[0], untouched[0])


def test_sampled_tokens_of_rows_that_are_left_alone_are_the_same(live):
    batch = padded(live, PROMPTS)
    torch.manual_seed(3)
    expected = continued(live, batch, do_sample=True)
    torch.manual_seed(3)
    with steer(live, [None, None, FRAME]):
        got = continued(live, batch, do_sample=True)
    assert got[:2] == expected[:2]


def test_nothing_to_do_is_no_hook_at_all(live):
    for frame, strength in ((FRAME.clear(), 1.0), ([None, FRAME.clear()], 1.0), (FRAME, 0.0)):
        with steer(live, frame, strength=strength):
            assert not hooks_of(live)


def test_contexts_are_undone_in_any_order_and_after_anything(live):
    batch = padded(live, PROMPTS)
    untouched = logits_of(live, batch)
    with pytest.raises(ZeroDivisionError), steer(live, FRAME):
        _ = 1 / 0
    assert not hooks_of(live)

    def steps():
        with steer(live, FRAME):
            yield logits_of(live, batch)
            yield logits_of(live, batch)

    half_way = steps()
    next(half_way)
    half_way.close()
    assert not hooks_of(live)
    first, second = steer(live, FRAME, "add"), steer(live, OTHER, "add")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    with_second = logits_of(live, batch)
    second.__exit__(None, None, None)
    with steer(live, OTHER, "add"):
        assert torch.equal(logits_of(live, batch), with_second)
    assert not hooks_of(live)
    assert torch.equal(logits_of(live, batch), untouched)


def test_the_inner_context_acts_on_what_the_outer_one_gives(live):
    batch = padded(live, PROMPTS)
    with steer(live, FRAME), steer(live, FRAME, "scale"):
        got = logits_of(live, batch)
    with steer(live, FRAME.with_columns(pl.col("value") ** 2)):
        assert torch.equal(got, logits_of(live, batch))


def test_what_is_ablated(live):
    batch = padded(live, PROMPTS)
    frame = FRAME.with_columns(pl.Series("auroc", [0.9, 0.4, 0.5, 1.0, 0.75, 0.1]))
    for how, plainly in (
        ("zero", ("set", frame.with_columns(value=pl.lit(0.0)))),
        ("mean", ("set", frame)),
        ("damp", ("scale", frame.with_columns(value=2 * (1 - pl.col("auroc"))).filter(pl.col("auroc") > 0.5))),
    ):
        with ablate(live, frame, how):
            got = logits_of(live, batch)
        with plain(live, plainly[1], plainly[0]):
            assert torch.equal(got, logits_of(live, batch)), how
    with ablate(live, frame.drop("value"), "zero"):
        pass
    with ablate(live, [frame, None, frame], "damp"):
        assert len(hooks_of(live)) == 5  # of the model, its base model, and of three sides of modules


def test_what_cannot_be_done_is_refused(live):
    batch = padded(live, PROMPTS)
    with pytest.raises(InterventionError, match="3 rows, and 2 were given"), steer(live, [FRAME, FRAME]):
        logits_of(live, batch)
    right = {name: tensor.flip(1) for name, tensor in batch.items()}
    with pytest.raises(InterventionError, match="pad on the left"), steer(live, FRAME, "set", "last"):
        logits_of(live, right)
    with pytest.raises(InterventionError, match="needs column auroc"):
        ablate(live, FRAME, "damp")
    with pytest.raises(InterventionError, match="auroc lies between 0 and 1, and the frame holds 7"):
        ablate(live, FRAME.with_columns(auroc=pl.lit(7.0)), "damp")
    with pytest.raises(InterventionError, match="how"):
        steer(live, FRAME, "multiply")
    context = steer(live, FRAME)
    with context, pytest.raises(InterventionError, match="entered already"), context:
        pass
    assert not hooks_of(live)


def test_neurons_stand_where_the_modules_of_a_site_have_them(live):
    assert columns_of(live, "attn_qkv", 0, 30) == ("model.layers.0.self_attn.k_proj", "output", 6)
    assert columns_of(live, "attn_qkv", 1, 71) == ("model.layers.1.self_attn.v_proj", "output", 23)
