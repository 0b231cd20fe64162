"""Runs of tiny models that several test files make, and what they should have given."""

import shutil
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file

from actlas.extract import extract_activations

OPTIONS = {"sites": ("mlp_pre", "resid"), "device": "cpu", "max_tokens": 60, "texts_per_block": 16, "syncs": False}


def extract(model, corpus, store, **changes):
    return extract_activations(model, corpus, store, **{**OPTIONS, **changes})


def cube_files(store: Path) -> dict[str, bytes]:
    """Everything of a store that its cubes, token vectors and counts consist of."""
    folders = ("cubes", "tokens", "counts", "corpus")
    return {
        str(path.relative_to(store)): path.read_bytes()
        for folder in folders
        for path in sorted((store / folder).rglob("*"))
        if path.is_file()
    }


def plain_values(folder, corpus, site="mlp_pre"):
    """Max over tokens of Llama's gate projection or block output, one text at a time: "layers neurons texts"."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    kept = {}
    for layer, block in enumerate(model.model.layers):
        module = block.mlp.gate_proj if site == "mlp_pre" else block
        module.register_forward_hook(lambda _, __, output, layer=layer: kept.__setitem__(layer, output[0]))
    texts = []
    for text in corpus.texts["text"]:
        with torch.no_grad():
            model(**tokenizer(text, return_tensors="pt", truncation=True, max_length=60, return_token_type_ids=False))
        texts.append(np.stack([kept[layer].amax(0).float().numpy() for layer in range(2)]))
    return np.stack(texts, axis=2)


def scaled(folder, target, name, factor):
    """A copy of a checkpoint with one tensor scaled."""
    shutil.copytree(folder, target)
    tensors = load_file(target / "model.safetensors")
    tensors[name] = tensors[name] * factor
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    return target
