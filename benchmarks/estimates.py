"""What the commands of docs/recipes.md would take: download, disk and hours, predicted from configurations alone.

    python -m benchmarks.estimates

No model is fetched and none is run: `actlas.estimate_extraction` reads a folder per model that holds config.json and nothing
else, and a corpus of a stated size. Without a tokenizer a token is four characters, so the text itself says nothing.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

import actlas
from actlas.store.corpus.corpus import Corpus
from benchmarks.harness import save

N_LANGUAGES = 16
TEXTS_PER_LANGUAGE = 2000
CHARACTERS_PER_TEXT = 400
DEVICES = ("H100", "A100")
#: Columns of an estimate that do not depend on the device.
_KEPT = ("parameters", "download_bytes", "n_tokens", "tokens_from", "cube_bytes", "vector_bytes", "disk_bytes", "efficiency")


@dataclass(frozen=True)
class PublishedSize:
    """A model as the page's command names it.

    Attributes:
        name: What the command extracts, without its revisions.
        n_checkpoints: How many the command names; None where that depends on what the hub has.
        n_parameters: What its makers say; a configuration that gives another number is wrong.
        config: What its config.json says of architecture and sizes.
        sites: Sites of the command; None where it names none.
        has_twin: Whether the command asks for a random twin.
    """

    name: str
    n_checkpoints: int | None
    n_parameters: int
    config: Mapping[str, Any]
    sites: Sequence[str] | None = None
    has_twin: bool = False


_BLOOM = {"architectures": ["BloomForCausalLM"], "model_type": "bloom", "vocab_size": 250_880}
MODELS = (
    PublishedSize(
        name="bigscience/bloom-560m-intermediate",
        n_checkpoints=8,  # 1,000, 10,000 and every 100,000 to 600,000
        n_parameters=559_214_592,
        config={**_BLOOM, "hidden_size": 1024, "n_layer": 24, "n_head": 16},
        sites=("attn_qkv", "attn_out", "mlp_pre", "mlp_out"),
        has_twin=True,
    ),
    PublishedSize(
        name="bigscience/bloom-7b1-intermediate",
        n_checkpoints=None,
        n_parameters=7_069_016_064,
        config={**_BLOOM, "hidden_size": 4096, "n_layer": 30, "n_head": 32},
        sites=("mlp_pre",),
    ),
    PublishedSize(
        name="EleutherAI/pythia-160m",
        n_checkpoints=4,
        n_parameters=162_322_944,
        config={
            "architectures": ["GPTNeoXForCausalLM"],
            "model_type": "gpt_neox",
            "vocab_size": 50_304,
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "tie_word_embeddings": False,
        },
        has_twin=True,
    ),
    PublishedSize(
        name="utter-project/EuroLLM-1.7B",
        n_checkpoints=1,
        n_parameters=1_657_000_000,
        config={
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": 128_000,
            "hidden_size": 2048,
            "intermediate_size": 5632,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "tie_word_embeddings": False,
        },
    ),
    PublishedSize(
        name="allenai/OLMo-2-0425-1B",
        n_checkpoints=None,
        n_parameters=1_484_916_736,
        config={
            "architectures": ["Olmo2ForCausalLM"],
            "model_type": "olmo2",
            "vocab_size": 100_352,
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_hidden_layers": 16,
            "num_attention_heads": 16,
            "num_key_value_heads": 16,
            "tie_word_embeddings": False,
        },
    ),
)


def corpus_of(n_languages: int, texts_per_language: int, characters_per_text: int) -> Corpus:
    """Texts of one length each, as many in every language."""
    n_texts = n_languages * texts_per_language
    languages = [f"l{number:02d}" for number in range(n_languages) for _ in range(texts_per_language)]
    texts = pl.DataFrame({"text": ["a" * characters_per_text] * n_texts, "language": languages})
    labels = pl.DataFrame({"text_id": [0, 1], "concept": ["any", "any"], "is_concept": [True, False]})
    return actlas.corpus_from_frames(texts, labels)


def estimated(model: PublishedSize, corpus: Corpus, folder: Path) -> dict[str, Any]:
    """What one checkpoint of a model takes, and all that its command names, twin included."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(model.config))
    plans = {}
    for device in DEVICES:
        # bytes to download are those of this dtype, whatever the machine that runs this would choose
        plan = actlas.estimate_extraction(folder, corpus, device_name=device, sites=model.sites, compute_dtype="bfloat16")
        plans[device] = plan.row(0, named=True)
    first = plans[DEVICES[0]]
    n_runs = None if model.n_checkpoints is None else model.n_checkpoints + model.has_twin
    return {
        "model": model.name,
        "sites": list(model.sites or ("mlp_pre",)),
        "n_checkpoints": model.n_checkpoints,
        "n_runs": n_runs,
        **{name: first[name] for name in _KEPT},
        "hours": {device: plans[device]["hours"] for device in DEVICES},
    }


def main() -> None:
    corpus = corpus_of(N_LANGUAGES, TEXTS_PER_LANGUAGE, CHARACTERS_PER_TEXT)
    with tempfile.TemporaryDirectory() as folder:
        rows = [estimated(model, corpus, Path(folder) / str(number)) for number, model in enumerate(MODELS)]
    size = {"languages": N_LANGUAGES, "texts_per_language": TEXTS_PER_LANGUAGE, "characters_per_text": CHARACTERS_PER_TEXT}
    print(save("estimates", {"is_predicted": True, **size}, rows))


if __name__ == "__main__":
    main()
