"""A seed gives the same draws whatever the batch, the arm and the padding; draws follow the probabilities that were asked for."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch

from actlas.errors import OptionError
from actlas.intervene.generation.sampling import chosen_tokens, start_token, write_texts
from actlas.intervene.generation.settings import Sampling, TextPlan
from actlas.intervene.live import LiveModel

SHORT = Sampling(max_new_tokens=12, temperature=1.0)
PROMPTS = (None, "the salt", "wo ist")


@pytest.fixture(scope="module")
def frame(live: LiveModel) -> pl.DataFrame:
    """Enough neurons that texts differ."""
    return pl.DataFrame({"site": "mlp_pre", "layer": 0, "neuron": np.arange(40), "value": 3.0})


def test_texts_do_not_depend_on_their_batch(live: LiveModel, frame: pl.DataFrame) -> None:
    plans = [TextPlan(prompt, seed, forced) for forced in (None, frame) for prompt in PROMPTS for seed in range(5)]
    together = write_texts(live, plans, SHORT)
    assert together.height == 30
    for size in (1, 7):
        assert write_texts(live, plans, SHORT, batch=size).equals(together)
    backwards = write_texts(live, plans[::-1], SHORT, batch=7)
    assert backwards.reverse().equals(together)
    assert together["text"].n_unique() == 30


def test_left_padding_changes_nothing(live: LiveModel) -> None:
    """Against the tokens that the model itself finds likeliest, one prompt at a time and without a cache."""
    found = write_texts(live, [TextPlan(prompt, 0) for prompt in PROMPTS], Sampling(temperature=0, max_new_tokens=6))
    for prompt, text in zip(PROMPTS, found["text"], strict=True):
        ids = live.tokenizer(prompt)["input_ids"] if prompt else [live.tokenizer.bos_token_id]
        n_prompt = len(ids)
        for _ in range(6):
            with torch.inference_mode():
                ids.append(int(live.model(torch.tensor([ids])).logits[0, -1].argmax()))
        new = ids[n_prompt:]
        end = new.index(live.tokenizer.eos_token_id) if live.tokenizer.eos_token_id in new else None
        assert text == live.tokenizer.decode(new[:end], skip_special_tokens=True)


def test_matrix_products_are_taken_in_the_dtype_asked_for(live: LiveModel, monkeypatch: pytest.MonkeyPatch) -> None:
    found = set()
    hook = live.model.lm_head.register_forward_hook(lambda _, __, output: found.add(output.dtype))
    write_texts(live, [TextPlan("the salt", 0)], SHORT)
    monkeypatch.setattr(live, "compute_dtype", "autocast-bfloat16")
    assert found == {torch.float32}
    write_texts(live, [TextPlan("the salt", 0)], SHORT)
    hook.remove()
    assert found == {torch.float32, torch.bfloat16}


def test_draws_of_a_seed_are_the_same_in_every_arm_and_differ_between_prompts(live: LiveModel, frame: pl.DataFrame) -> None:
    assert TextPlan("a", 3).draws(5).tolist() == TextPlan("a", 3, frame).draws(9)[:5].tolist()
    assert TextPlan("a", 3).draws(5).tolist() != TextPlan("b", 3).draws(5).tolist()
    nothing = frame.clear()
    plans = [TextPlan(None, seed, forced) for forced in (None, nothing) for seed in range(6)]
    texts = write_texts(live, plans, SHORT)["text"].to_list()
    assert texts[:6] == texts[6:]


def test_tokens_are_chosen_as_often_as_their_probability(live: LiveModel) -> None:
    logits = torch.randn(1, 9, generator=torch.Generator().manual_seed(0)).expand(20_000, 9)
    draws = torch.rand(20_000, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for temperature in (0.5, 1.0):
        share = torch.bincount(chosen_tokens(logits, draws, Sampling(temperature)), minlength=9) / 20_000
        torch.testing.assert_close(share, (logits[0] / temperature).softmax(-1), atol=0.012, rtol=0)


def test_only_the_likeliest_are_drawn_from(live: LiveModel) -> None:
    logits = torch.tensor([[0.1, 0.4, 0.2, 0.3]]).log().expand(2_000, 4)
    draws = torch.linspace(0, 1 - 1e-12, 2_000, dtype=torch.float64)

    def drawn(**settings: float) -> dict[int, float]:
        tokens, counts = chosen_tokens(logits, draws, Sampling(temperature=1.0, **settings)).unique(return_counts=True)
        return {int(token): round(float(n) / 2_000, 2) for token, n in zip(tokens, counts, strict=True)}

    assert drawn() == {0: 0.1, 1: 0.4, 2: 0.2, 3: 0.3}
    assert drawn(top_k=2) == {1: 0.57, 3: 0.43}
    # 0.4 and 0.3 have the share together
    assert drawn(top_p=0.7) == {1: 0.57, 3: 0.43}
    assert drawn(top_p=0.71) == {1: 0.44, 2: 0.22, 3: 0.33}
    assert drawn(top_p=0.01) == {1: 1.0}
    assert chosen_tokens(logits[:1], draws[:1], Sampling(temperature=0)).item() == 1


def test_a_draw_next_to_one_takes_the_last_token_that_has_a_share() -> None:
    logits = torch.tensor([[0.0, 0.0, -torch.inf]])
    assert chosen_tokens(logits, torch.tensor([1 - 2**-53], dtype=torch.float64), Sampling()).item() == 1
    assert chosen_tokens(logits, torch.tensor([0.0], dtype=torch.float64), Sampling()).item() == 0


def test_a_text_ends_where_the_model_ends_it(live: LiveModel) -> None:
    found = write_texts(live, [TextPlan(None, seed) for seed in range(40)], Sampling(temperature=3.0, max_new_tokens=64))
    assert 0 < found["is_finished"].sum() < 40
    assert found.filter(~pl.col("is_finished"))["n_tokens"].unique().to_list() == [64]
    assert found.filter("is_finished")["n_tokens"].max() < 64


def test_generation_settings_of_the_checkpoint_neither_count_nor_change(live: LiveModel) -> None:
    plain = write_texts(live, [TextPlan(None, 1)], SHORT)
    own = live.model.generation_config
    own.repetition_penalty, own.suppress_tokens = 9.0, [int(live.tokenizer.convert_tokens_to_ids(token)) for token in "abcdefgh"]
    try:
        assert write_texts(live, [TextPlan(None, 1)], SHORT).equals(plain)
        assert live.model.generation_config is own
    finally:
        own.repetition_penalty, own.suppress_tokens = None, None


def test_progress_adds_up_to_the_texts(live: LiveModel) -> None:
    told: list[int] = []
    write_texts(live, [TextPlan(None, seed) for seed in range(23)], SHORT, batch=10, written=told.append)
    assert sum(told) == 23
    assert len(told) > 3


def test_what_does_not_fit_is_refused(live: LiveModel) -> None:
    with pytest.raises(OptionError, match="do not fit the 128 positions"):
        write_texts(live, [TextPlan("a" * 100, 0)], Sampling())


def test_a_tokenizer_without_start_token_begins_with_its_end_token() -> None:
    def live_with(bos: int | None, eos: int | None) -> SimpleNamespace:
        tokenizer = SimpleNamespace(bos_token_id=bos, eos_token_id=eos, pad_token_id=None, convert_ids_to_tokens="<{}>".format)
        model = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=None))
        return SimpleNamespace(tokenizer=tokenizer, model=model, checkpoint="tiny")

    assert start_token(live_with(1, 2)) == "<1>"
    assert start_token(live_with(None, 2)) == "<2>"
    with pytest.raises(OptionError, match="tiny has no start and no end token .* give prompts"):
        start_token(live_with(None, None))
