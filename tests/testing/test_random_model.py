"""The tiny random model: the same weights for a seed, a tokenizer that knows every character of a text."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers

from actlas.testing import random_checkpoint


def test_a_seed_decides_the_weights_and_nothing_else(tmp_path: Path) -> None:
    state = torch.get_rng_state()
    files = [random_checkpoint(tmp_path / name, seed=seed) / "model.safetensors" for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    weights = [file.read_bytes() for file in files]
    assert weights[0] == weights[1] != weights[2]
    assert torch.equal(torch.get_rng_state(), state)


def test_every_character_is_a_token(tmp_path: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(random_checkpoint(tmp_path / "tiny"))
    text = "Two dogs, 2!"
    assert tokenizer.convert_ids_to_tokens(tokenizer(text).input_ids) == list(text)
