"""Batches of prompts, and that beginning them once gives what running them whole gives, in models of several families."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from actlas.intervene.concepts.greedy import GreedyPrompts, PromptBatch, prompt_batches
from actlas.intervene.live import load_live
from actlas.testing.tiny_configs import model_of, tiny_configs
from tests.intervene.concepts.models import word_tokenizer


def test_prompts_are_padded_on_the_left_and_keep_their_pairs_and_positions() -> None:
    tokens = [np.arange(1, n + 1, dtype=np.int32) for n in (4, 2, 3)]
    short, long = prompt_batches(np.array([0, 5, 9]), tokens, np.array([3, 0, 1]), 2, 0)
    assert short.pairs.tolist() == [5, 9]
    assert short.token_ids.tolist() == [[0, 1, 2], [1, 2, 3]]
    assert short.is_token.tolist() == [[False, True, True], [True, True, True]]
    assert short.position.tolist() == [0, 1]
    assert (long.pairs.tolist(), long.position.tolist()) == ([0], [3])


def some_prompts() -> PromptBatch:
    rng = np.random.default_rng(0)
    tokens = [rng.integers(3, 90, n).astype(np.int32) for n in (24, 20, 22)]
    (batch,) = prompt_batches(np.arange(3), tokens, np.array([17, 15, 15]), 3, 0)
    return batch


#: Absolute and rotary positions, alibi, sliding windows of 16 tokens.
FAMILIES = ("bloom", "gemma2", "gpt2", "llama", "mpt", "xglm")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_beginning_that_was_cached_changes_nothing(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model_of(tiny_configs()[family]()).save_pretrained(tmp_path / family)
    word_tokenizer().save_pretrained(tmp_path / family)
    batch = some_prompts()
    latents = np.random.default_rng(1).normal(size=(3, 2, 24)).astype(np.float32)
    with load_live(tmp_path / family, device="cpu") as live:
        cached = GreedyPrompts(live, batch, 3, 0)
        assert cached._beginning
        monkeypatch.setattr(GreedyPrompts, "_cached", lambda _: {})
        whole = GreedyPrompts(live, batch, 3, 0)
        plain = whole.run(None, None)[0]
        for given in ((None, None), (latents, 0), (latents, 1), (None, None)):
            (logits, texts), (wanted, wanted_texts) = cached.run(*given), whole.run(*given)
            np.testing.assert_allclose(logits.numpy(), wanted.numpy(), rtol=1e-4, atol=1e-4)
            assert texts == wanted_texts
            # the last block's output at the word reaches no other token
            assert np.allclose(wanted, plain, atol=1e-3) is (given[1] != 0)


def test_settings_of_a_checkpoint_touch_no_text(tmp_path: Path) -> None:
    model_of(tiny_configs()["llama"]()).save_pretrained(tmp_path)
    word_tokenizer().save_pretrained(tmp_path)
    with load_live(tmp_path, device="cpu") as live:
        plain = GreedyPrompts(live, some_prompts(), 4, 0).run(None, None)[1]
        assert plain is not None
        said = [number for text in plain for number in live.tokenizer(text)["input_ids"]]
        own = live.model.generation_config
        own.suppress_tokens = sorted({*said, int(live.tokenizer.unk_token_id)})
        assert GreedyPrompts(live, some_prompts(), 4, 0).run(None, None)[1] == plain
        assert live.model.generation_config is own


def test_a_prompt_that_begins_with_its_word_has_no_beginning(tmp_path: Path) -> None:
    model_of(tiny_configs()["llama"]()).save_pretrained(tmp_path)
    word_tokenizer().save_pretrained(tmp_path)
    (batch,) = prompt_batches(np.arange(2), [np.array([5, 6, 7]), np.array([8, 9])], np.array([1, 0]), 2, 0)
    with load_live(tmp_path, device="cpu") as live:
        prompts = GreedyPrompts(live, batch, 0, 0)
        assert not prompts._beginning
        logits, texts = prompts.run(np.zeros((2, 2, 24), dtype=np.float32), 1)
        assert texts is None
        assert logits.shape[0] == 2
