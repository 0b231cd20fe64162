"""A model whose plan is known: every letter has a neuron that writes the next one, so a language's loss hangs on its neurons."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import actlas
from actlas.query import Atlas, open_store

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
#: Each language goes round its own letters.
LETTERS = {"one": "abcdef", "two": "ghijkl"}
N_NEURONS = 40
#: Neurons of the first layer of each language: that of a letter is its token id.
PLAN = {"one": set(range(4, 10)), "two": set(range(10, 16))}


def planned_model() -> LlamaForCausalLM:
    """Two layers, in which attention gives nothing and the MLP of the first one knows the next letter."""
    vocabulary = 4 + 12
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=vocabulary,
        intermediate_size=N_NEURONS,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    with torch.no_grad():
        for layer in model.model.layers:
            for linear in (layer.self_attn.o_proj, layer.mlp.down_proj):
                linear.weight.mul_(1e-4)
        model.model.embed_tokens.weight.copy_(torch.eye(vocabulary))
        model.lm_head.weight.copy_(2 * torch.eye(vocabulary))
        # no neuron of the second layer is ever active
        model.model.layers[1].mlp.gate_proj.weight.fill_(-0.5)
        mlp = model.model.layers[0].mlp
        mlp.gate_proj.weight[:vocabulary] = -1.0 + 2 * torch.eye(vocabulary)
        mlp.gate_proj.weight[vocabulary:] = -1.0
        mlp.up_proj.weight[:vocabulary] = torch.eye(vocabulary)
        mlp.down_proj.weight[:, :vocabulary] = 0
        for letters in (range(4, 10), range(10, 16)):
            for token in letters:
                following = letters[(token - letters[0] + 1) % len(letters)]
                mlp.down_proj.weight[following, token] = 0.05
    return model


def planned_checkpoint(folder: Path) -> Path:
    """The model as a checkpoint, with a tokenizer of single letters."""
    letters = "".join(LETTERS.values())
    tokenizer = Tokenizer(models.WordLevel({token: n for n, token in enumerate((*SPECIAL, *letters))}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    planned_model().save_pretrained(folder)
    names = dict(zip(("pad_token", "bos_token", "eos_token", "unk_token"), SPECIAL, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of that model; its texts go round the letters of their language."""
    folder = tmp_path_factory.mktemp("planned")
    rows = [
        (language, (letters * 4)[start : start + length])
        for language, letters in LETTERS.items()
        for start in range(6)
        for length in (7, 10 + start)
    ]
    texts = pl.DataFrame(rows, schema=["language", "text"], orient="row")
    texts = texts.with_columns(
        pl.when(pl.int_range(pl.len()) % 4 == 0).then(pl.lit("test")).otherwise(pl.lit("train")).alias("split")
    )
    labels = pl.DataFrame({"text_id": range(24), "concept": "long", "is_concept": [n % 2 == 1 for n in range(24)]})
    corpus = actlas.corpus_from_frames(texts, labels)
    path = folder / "planned.actlas"
    actlas.extract_activations(planned_checkpoint(folder / "tiny"), corpus, path, device="cpu", dtype="float32")
    actlas.score_neurons(path, stats=("ap", "auroc", "median"))
    return path


@pytest.fixture
def store(planned: Path) -> Atlas:
    return open_store(planned)
