"""A tiny model whose tokens are pieces of words, with and without the space before them."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from actlas.intervene.concepts.prompts import LANGUAGE_NAMES
from actlas.intervene.concepts.words import read_words

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
PIECES = r" ?[\w'’]{1,6}| ?[^\w\s]|\s"


def word_tokenizer() -> PreTrainedTokenizerFast:
    """A word of the bundled table has a token for every six letters; the first one is another behind a space."""
    words = [word for own in read_words().words.values() for by in own.values() for word in by]
    pieces = [*SPECIAL, '"', ' "', ":", " -", "\n", " "]
    for text in (*words, *LANGUAGE_NAMES.values()):
        pieces += [piece for variant in (text, f" {text}") for piece in re.findall(PIECES, variant)]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(PIECES), "isolated")
    names = dict(zip(("pad_token", "bos_token", "eos_token", "unk_token"), SPECIAL, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def word_model(folder: Path, *, seed: int = 0) -> Path:
    """A Llama of three layers with random weights, large enough for its answers to differ, as a checkpoint."""
    tokenizer = word_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=128,
        initializer_range=0.3,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
