"""Tiny random models of every family, a tokenizer that fits them, and a small corpus."""

import itertools
import random
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from actlas.extract.inputs.batches import BlockTexts
from actlas.store.corpus.corpus import corpus_from_frames
from actlas.testing.tiny_configs import tiny_configs

transformers.logging.disable_progress_bar()

#: Families that most tests go through; those beside them are proved in `backends/hf/test_proving.py`.
CONFIGS = {
    name: config
    for name, config in tiny_configs().items()
    if name
    in (
        *("bloom", "xglm", "gpt2", "gpt_neox", "opt", "llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "olmo2"),
        *("falcon", "falcon_alibi", "bert", "xlm_roberta"),
    )
}
#: Other forms of a family: name -> family and the settings in which it differs.
FORMS = {
    "opt, norms behind": ("opt", {"do_layer_norm_before": False}),
    "opt, no projection": ("opt", {"word_embed_proj_dim": 24}),
    "gpt_neox, serial": ("gpt_neox", {"use_parallel_residual": False}),
    "falcon, grouped heads": ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "falcon, a key per head": ("falcon", {"multi_query": False}),
    "mistral, short window": ("mistral", {"sliding_window": 8}),
    "qwen2, short window": ("qwen2", {"use_sliding_window": True, "sliding_window": 8, "layer_types": ["sliding_attention"] * 2}),
    "gemma2, low cap": ("gemma2", {"final_logit_softcapping": 0.5}),
    "gemma3, two kinds of layers": ("gemma3", {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 8}),
    "xlm_roberta, padding is 1": ("xlm_roberta", {"pad_token_id": 1, "bos_token_id": 0}),
}
ENCODERS = ("bert", "xlm_roberta")
GATED = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "olmo2")

WORDS = [a + b for a, b in itertools.product(["ka", "mo", "su", "ti", "re"], ["la", "ne", "vo", "shi"])]


def write_tokenizer(folder: Path, *, padding_side: str = "right", adds_special: bool = True) -> None:
    """A BPE tokenizer over the syllables of WORDS with <s> ... </s> around a text."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(vocab_size=96, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([" ".join(WORDS)] * 3, trainer)
    if adds_special:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        padding_side=padding_side,
    ).save_pretrained(folder)


def write_model(folder: Path, family: str, *, seed: int = 0) -> Path:
    """A random model of a family, with a tokenizer, as a checkpoint folder."""
    torch.manual_seed(seed)
    family, changes = FORMS.get(family, (family, {}))
    config = tiny_configs()[family]()
    config = type(config)(**{**config.to_dict(), **changes})
    auto = transformers.AutoModelForMaskedLM if family in ENCODERS else transformers.AutoModelForCausalLM
    model = auto.from_config(config)
    # norms and biases start as ones and zeros, under which several mistakes would not show
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            parameter.data += 0.1 * torch.randn_like(parameter)
        assert parameter.isfinite().all(), name
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory):
    """family -> folder of a tiny checkpoint, made once."""
    made = {}

    def get(family: str) -> Path:
        if family not in made:
            made[family] = write_model(tmp_path_factory.mktemp("models") / family, family)
        return made[family]

    return get


def make_texts(n: int, *, seed: int = 0, longest: int = 12) -> list[str]:
    """`n` texts of one to `longest` words."""
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, longest))) for _ in range(n)]


@pytest.fixture(scope="session")
def small_corpus():
    """44 texts in two languages with one concept."""
    texts = make_texts(44)
    frame = pl.DataFrame({"text": texts, "language": ["aa"] * 23 + ["bb"] * 21})
    labels = pl.DataFrame({"text_id": range(44), "concept": ["kala"] * 44, "is_concept": ["kala" in text for text in texts]})
    return corpus_from_frames(frame, labels)


def block_of(lists, *, language=None, is_special=None, sampled=(), has_loss=True) -> BlockTexts:
    """Token id lists as a block."""
    lengths = [len(ids) for ids in lists]
    n = len(lists)
    return BlockTexts(
        token_ids=np.concatenate([np.asarray(ids, dtype=np.int32) for ids in lists]),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        is_special=is_special,
        language=np.zeros(n, dtype=np.int64) if language is None else np.asarray(language),
        sampled_rows=np.array([row for row, _ in sampled], dtype=np.int64),
        sampled_positions=np.array([at for _, at in sampled], dtype=np.int64),
        sampled_lengths=np.ones(len(sampled), dtype=np.int64),
        has_loss=np.full(n, has_loss),
        text_ids=np.arange(n, dtype=np.int64) * 10,
    )


@pytest.fixture
def blocks():
    """The function that makes a block out of token id lists."""
    return block_of


@pytest.fixture
def model_writer():
    """The function that writes a tiny checkpoint."""
    return write_model


@pytest.fixture
def tokenizer_writer():
    """The function that writes a tokenizer into a checkpoint folder."""
    return write_tokenizer


@pytest.fixture
def text_maker():
    """The function that makes texts which the tiny tokenizer knows."""
    return make_texts


@pytest.fixture(autouse=True)
def short_waits():
    """Models here are tiny: two threads of torch spend longer waiting for each other than they save.

    Products of matrices differ in their last bits between numbers of threads: what is compared with children needs theirs.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def one_thread(monkeypatch):
    """Here and in processes started here: products of matrices differ in their last bits between numbers of threads."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # and here by short_waits


@pytest.fixture
def corpus_folder(small_corpus, tmp_path):
    """The small corpus on disk."""
    small_corpus.write(tmp_path / "corpus")
    return tmp_path / "corpus"


@pytest.fixture
def contents():
    """A function: all bytes of a store's arrays and corpus by path."""

    def read(store):
        return {
            str(path.relative_to(store)): path.read_bytes()
            for folder in ("cubes", "tokens", "counts", "corpus")
            for path in sorted((store / folder).rglob("*"))
            if path.is_file()
        }

    return read
