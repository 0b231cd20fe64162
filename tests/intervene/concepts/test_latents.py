"""Mean latents: those of a model run on each prompt alone, pair by pair."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from actlas.errors import QueryError
from actlas.intervene.concepts.latents import concept_latents, prompt_rows
from actlas.intervene.concepts.settings import source_pairs
from actlas.query import open_store
from tests.intervene.concepts.conftest import LANGUAGES, N_PAIRS


def alone(store: Path, text: str, end: int, layer: int) -> np.ndarray:
    """Block output at the last token before a character, of one text."""
    folder = store.parent / "words-step2"
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder).eval()
    position = len(tokenizer(text[:end])["input_ids"]) - 1
    kept = {}
    model.model.layers[layer].register_forward_hook(lambda _, __, output: kept.update(output=output))
    with torch.no_grad():
        model(**tokenizer(text, return_tensors="pt", return_token_type_ids=False))
    return kept["output"][0, position].numpy()


@pytest.mark.parametrize(("setting", "n_latents"), [("seen", 6), ("tgt_tgt", 1), ("en_en", 1)])
def test_means_are_those_of_the_prompts_alone(prompt_store: Path, setting: str, n_latents: int) -> None:
    found = concept_latents(prompt_store, setting, "fr-en", checkpoints=["words-step2"])
    assert found.height == 3 * N_PAIRS
    assert found["n_latents"].unique().to_list() == [n_latents]
    texts = open_store(prompt_store).corpus.texts
    wanted = source_pairs(setting, ("fr", "en"), LANGUAGES) or [("fr", "en")]
    role = "target" if setting == "tgt_tgt" else "source"
    for pair in (0, N_PAIRS - 1):
        own = texts.filter((pl.col("pair") == pair) & (pl.col("role") == role))
        own = own.filter(pl.concat_str("language", "language_out", separator="-").is_in(["-".join(each) for each in wanted]))
        assert own.height == n_latents
        vectors = [alone(prompt_store, row["text"], row["source_word_end"], 1) for row in own.iter_rows(named=True)]
        row = found.filter((pl.col("pair") == pair) & (pl.col("layer") == 1)).row(0, named=True)
        np.testing.assert_allclose(row["latent"], np.mean(vectors, axis=0), rtol=1e-4, atol=1e-5)
        assert row["concept"] == own["concept"][0]


def test_which_vectors_a_mean_is_over_is_a_group_by_in_sql(prompt_store: Path) -> None:
    """The documented query finds the same vectors: mean latents come out of the store without the model."""
    store = open_store(prompt_store)
    groups = store.sql(
        "SELECT pair, list(token ORDER BY token) AS tokens FROM tokens JOIN texts USING (text_id) "
        "WHERE span = 'source_word' AND role = 'source' AND texts.language NOT IN ('en', 'fr') "
        "AND language_out NOT IN ('en', 'fr') AND texts.language <> language_out GROUP BY pair ORDER BY pair"
    )
    vectors = store.token_cube("words-step2", "resid").read(layer=2)
    means = np.stack([vectors[tokens].mean(axis=0) for tokens in groups["tokens"].to_list()])
    found = concept_latents(store, "seen", "fr-en", checkpoints=["words-step2"]).filter(layer=2)
    np.testing.assert_allclose(means, found["latent"].to_numpy(), rtol=1e-6, atol=1e-6)


def test_seen_languages_can_be_fewer(prompt_store: Path) -> None:
    fewer = concept_latents(prompt_store, "seen", "fr-en", seen=["de", "es", "en"])
    assert fewer["n_latents"].unique().to_list() == [2]


@pytest.mark.parametrize(
    ("setting", "translation", "seen", "message"),
    [
        ("unpatched", "fr-en", None, "no setting with latents 'unpatched'"),
        ("sen", "fr-en", None, "did you mean 'seen'"),
        ("tgt", "de-en", None, "setting tgt of de-en needs source prompts of de-en, and the store has de-de, de-es"),
        ("tgt_tgt", "fr-de", None, "needs target prompts of fr-de, and the store has es-de, fr-en; make them with"),
        (
            "seen",
            "fr-en",
            ["fr", "de"],
            "needs two seen languages, neither English nor translated between; seen are fr, de",
        ),
        ("seen", "fr", None, "a translation is named by its two languages"),
    ],
)
def test_what_the_store_lacks_is_said(
    prompt_store: Path, setting: str, translation: str, seen: list[str] | None, message: str
) -> None:
    with pytest.raises(QueryError, match=message):
        concept_latents(prompt_store, setting, translation, seen=seen)


def test_prompts_whose_word_was_cut_off_have_no_vector(prompt_store: Path) -> None:
    prompts = prompt_rows(open_store(prompt_store))
    cut = pl.when(pl.int_range(pl.len()) < 9).then(None).otherwise(pl.col("token")).alias("token")
    damaged = type(prompts)(prompts.rows.with_columns(cut), prompts.made_with)
    with pytest.raises(QueryError, match=r"mean: \d of \d+ prompts have no vector at the word to translate; extract them whole"):
        damaged.of("source", [("de", "es")], "mean")
