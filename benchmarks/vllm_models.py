"""Tiny random models that vLLM's CPU build can run (heads of 32), a tokenizer and a corpus: for parity and its tests."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import polars as pl
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from actlas.store.corpus.corpus import Corpus, corpus_from_frames

_SMALL = {"vocab_size": 96, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_LLAMA = {
    **_SMALL,
    "hidden_size": 128,
    "intermediate_size": 192,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.1,
}
CONFIGS = {
    "llama": lambda: transformers.LlamaConfig(**_LLAMA),
    "mistral": lambda: transformers.MistralConfig(**_LLAMA, head_dim=32, sliding_window=None),
    "qwen2": lambda: transformers.Qwen2Config(**_LLAMA, tie_word_embeddings=False),
    "qwen3": lambda: transformers.Qwen3Config(**_LLAMA, head_dim=32),
    "gemma3": lambda: transformers.Gemma3TextConfig(**_LLAMA, head_dim=32, query_pre_attn_scalar=32, sliding_window=16),
    "bloom": lambda: transformers.BloomConfig(**_SMALL, hidden_size=128, n_layer=3, n_head=4, initializer_range=0.1),
    "gpt2": lambda: transformers.GPT2Config(**_SMALL, n_embd=128, n_layer=3, n_head=4, n_positions=512, initializer_range=0.1),
    "opt": lambda: transformers.OPTConfig(
        **_SMALL,
        hidden_size=128,
        ffn_dim=192,
        num_hidden_layers=3,
        num_attention_heads=4,
        word_embed_proj_dim=128,
        max_position_embeddings=512,
        init_std=0.1,
    ),
}
GATED = ("llama", "mistral", "qwen2", "qwen3", "gemma3")
_WORDS = [a + b for a, b in itertools.product(["ka", "mo", "su", "ti", "re"], ["la", "ne", "vo", "shi"])]


def sites_of(family: str) -> tuple[str, ...]:
    """Every site that the family has."""
    plain = ("attn_qkv", "attn_out", "mlp_pre", "mlp_hidden", "mlp_out", "resid", "embed")
    return (*plain, "mlp_up") if family in GATED else plain


def write_model(folder: Path, family: str, seed: int = 0) -> Path:
    """A random model of a family with a tokenizer, as a checkpoint folder."""
    torch.manual_seed(seed)
    transformers.logging.disable_progress_bar()
    model = transformers.AutoModelForCausalLM.from_config(CONFIGS[family]())
    for parameter in model.parameters():
        if parameter.ndim == 1:
            # norms and biases start as ones and zeros, under which a missing one would not show
            parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(
        [" ".join(_WORDS)] * 3, trainers.BpeTrainer(vocab_size=96, special_tokens=special, show_progress=False)
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    return folder


def make_corpus(n_texts: int = 60, longest: int = 40) -> Corpus:
    """Texts of two languages and many lengths, two of them equal."""
    chance = random.Random(0)
    texts = [" ".join(chance.choices(_WORDS, k=chance.randint(1, longest))) for _ in range(n_texts)]
    texts[7] = texts[3]
    first = n_texts // 2
    frame = pl.DataFrame({"text": texts, "language": ["aa"] * first + ["bb"] * (n_texts - first)})
    labels = pl.DataFrame({"text_id": range(n_texts), "concept": "kala", "is_concept": ["kala" in text for text in texts]})
    return corpus_from_frames(frame, labels)
