"""The main job on real text: ten languages through a random BLOOM, from files to SQL, by the command line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from actlas.cli import run
from actlas.query import open_store

pytestmark = [pytest.mark.ntrex, pytest.mark.slow]

LANGUAGES = ("arb", "deu", "eng", "fra", "ind", "ita", "por", "spa", "swa", "zho-CN")
CONCEPTS = {
    "water": r"\b(water|sea|river|ocean|lake)s?\b",
    "police": r"\bpolice\b|\bofficers?\b",
    "money": r"\b(dollars?|pounds?|euros?|money)\b|[$£€]",
    "school": r"\b(schools?|students?|teachers?|universit\w+)\b",
    "football": r"\b(football|goals?|striker|league)\b",
    "law": r"\b(laws?|courts?|judges?|lawyers?)\b",
    "government": r"\b(governments?|minister|president|parliament)\b",
    "war": r"\b(wars?|army|soldiers?|military|attacks?)\b",
    "family": r"\b(mother|father|son|daughter|wife|husband|famil\w+)\b",
    "health": r"\b(health|hospitals?|doctors?|patients?|medical)\b",
    "work": r"\b(jobs?|workers?|employ\w+)\b",
    "city": r"\b(city|cities|towns?|streets?)\b",
    "car": r"\b(cars?|vehicles?|drivers?|road)\b",
    "year": r"\b(19|20)\d\d\b",
    "animal": r"\b(animals?|dogs?|cats?|birds?|fish)\b",
    "house": r"\b(houses?|homes?|rooms?)\b",
}
#: Texts of each language, evenly spread; ACTLAS_NTREX_TEXTS=1997 takes them all, which is minutes of two cores.
N_TEXTS = int(os.environ.get("ACTLAS_NTREX_TEXTS", "200"))
SITES = ("mlp_pre", "mlp_hidden", "attn_out", "resid")


def bloom(folder: Path, texts: list[str]) -> Path:
    """A random BLOOM of 8 layers and 256 channels, with a tokenizer trained on the texts."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import BloomConfig, BloomForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<pad>", "</s>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=8000, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    )
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>").save_pretrained(folder)
    torch.manual_seed(0)
    config = BloomConfig(vocab_size=8000, hidden_size=256, n_layer=8, n_head=8, pad_token_id=0, bos_token_id=1, eos_token_id=1)
    BloomForCausalLM(config).save_pretrained(folder)
    return folder


def evenly(lines: list[str]) -> list[str]:
    """N_TEXTS of the lines, from the whole file."""
    return lines[:: max(1, len(lines) // N_TEXTS)][:N_TEXTS]


def test_real_text_from_files_to_answers(ntrex: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lines = {language: evenly((ntrex / f"{language}.txt").read_text(encoding="utf-8").splitlines()) for language in LANGUAGES}
    for language, texts in lines.items():
        (tmp_path / f"{language}.txt").write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    files = [f"{language}={tmp_path / f'{language}.txt'}" for language in LANGUAGES]
    patterns = [part for name, regex in CONCEPTS.items() for part in ("--concept", f"{name}={regex}")]
    corpus, store = str(tmp_path / "corpus"), str(tmp_path / "run.actlas")
    assert run(["corpus", "parallel", *files, *patterns, "--concept-language", "eng", "--out", corpus]) == 0
    model = str(bloom(tmp_path / "bloom-tiny-step0", [line for texts in lines.values() for line in texts[::4]]))
    sites = [part for site in SITES for part in ("--site", site)]
    assert run(["--quiet", "extract", model, "--corpus", corpus, "--store", store, *sites, "--max-tokens", "96"]) == 0
    assert run(["--quiet", "score", store, "--stats", "ap,auroc,p_active,median"]) == 0
    assert run(["--quiet", "experts", store, "--k", "100"]) == 0
    capfd.readouterr()
    assert run(["--quiet", "overlap", store, "--k", "100", "--format", "json"]) == 0
    overlap = json.loads(capfd.readouterr().out)
    assert run(["--quiet", "verify", store]) == 0
    capfd.readouterr()
    query = (
        "SELECT language, count(*) AS n, max(ap) AS best FROM experts WHERE concept = 'water' GROUP BY language ORDER BY language"
    )
    assert run(["sql", store, query, "--format", "json"]) == 0
    answer = json.loads(capfd.readouterr().out)

    opened = open_store(store)
    (checkpoint,) = opened.checkpoints
    assert opened.corpus.n_texts == 10 * N_TEXTS
    assert len(overlap) == 45 * len(CONCEPTS)
    assert [row["language"] for row in answer] == sorted(LANGUAGES)
    assert all(row["n"] == 100 for row in answer)

    from sklearn.metrics import average_precision_score

    # experts are over linear sites only; the best of one language is what scikit-learn says of its values
    is_concept, _ = opened.corpus.concept_matrix("swa", ["water"])
    best = opened.sql("SELECT site, layer, neuron, ap FROM experts WHERE concept='water' AND language='swa' AND rank = 1").row(
        0, named=True
    )
    assert best["site"] in ("attn_out", "mlp_pre")
    values = opened.cube(checkpoint, best["site"]).read(best["layer"], best["neuron"], opened.corpus.language_slice("swa"))
    assert best["ap"] == pytest.approx(average_precision_score(is_concept[:, 0], values.astype(np.float64)), abs=1e-12)
    assert best["ap"] == pytest.approx(next(row["best"] for row in answer if row["language"] == "swa"))
