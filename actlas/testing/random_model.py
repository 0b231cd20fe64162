"""A tiny model with random weights, to try extraction on without a network."""

from __future__ import annotations

import string
from pathlib import Path

_CHARACTERS = string.ascii_letters + string.digits + string.punctuation + " "
_SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")


def random_checkpoint(folder: Path | str, *, seed: int = 0) -> Path:
    """Write a Llama of two layers with random weights, and a tokenizer of single characters, as a checkpoint.

    Args:
        folder: Folder to write to; its name becomes the id of the checkpoint.
        seed: Of the weights.

    Returns:
        The folder. ``mlp_pre`` of the model has 2 layers of 40 neurons.

    Example:
        >>> path = random_checkpoint(folder / "tiny")
        >>> sorted(file.name for file in path.glob("*.json"))
        ['config.json', 'generation_config.json', 'tokenizer.json', 'tokenizer_config.json']
    """
    import torch
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = {token: number for number, token in enumerate((*_SPECIAL, *_CHARACTERS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    names = dict(zip(("pad_token", "bos_token", "eos_token", "unk_token"), _SPECIAL, strict=True))
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=128,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        LlamaForCausalLM(config).save_pretrained(folder)
    inputs = ["input_ids", "attention_mask"]
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_input_names=inputs, **names).save_pretrained(folder)
    return Path(folder)
