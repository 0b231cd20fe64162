"""extract_activations from checkpoint folders to a store: what it holds, and models that cannot be run."""

import json
import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from actlas.errors import (
    BackendUnavailable,
    CapturePointNotFound,
    CubeNotFound,
    ModelNotLoaded,
)
from actlas.names import TokenSample
from actlas.query import language_neurons, open_store
from actlas.query.schema import TABLES
from actlas.store.store import Store
from tests.extract.runs import extract, plain_values


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_store_holds_what_a_plain_script_gets(dtype, tiny_models, small_corpus, tmp_path):
    summary = extract(tiny_models("llama"), small_corpus, tmp_path / "s", dtype=dtype)
    store = Store(tmp_path / "s")
    (name,) = store.checkpoints
    tolerance = {"float32": 1e-5, "float16": 1e-3, "bfloat16": 1e-2}[dtype]
    for site in ("mlp_pre", "resid"):
        expected = plain_values(tiny_models("llama"), small_corpus, site)
        values = store.cube(name, site).read()
        assert values.shape == expected.shape
        assert np.abs(values.astype(np.float32) - expected).max() <= tolerance * np.abs(expected).max()
    (result,) = summary.checkpoints
    assert (result.status, result.n_texts, summary.n_texts, summary.n_over_long) == ("extracted", 44, 44, 0)
    assert result.fidelity <= 1e-5
    record = store.checkpoint(name)
    assert record["sanity_loss"] == pytest.approx(result.sanity_loss)
    assert record["fidelity"]["difference"] == result.fidelity
    assert len(record["weight_hash"]) == 32
    assert {"torch", "transformers"} <= set(record["versions"])


def test_token_vectors_and_counts_are_kept_beside_the_values(tiny_models, small_corpus, tmp_path):
    extract(tiny_models("llama"), small_corpus, tmp_path / "s", dtype="float32", token_sample=TokenSample(per_text=2))
    store = Store(tmp_path / "s")
    vectors = store.token_cube("llama", "embed")
    weights = load_file(tiny_models("llama") / "model.safetensors")["model.embed_tokens.weight"]
    np.testing.assert_array_equal(vectors.read(0), weights.numpy()[vectors.table["token_id"]])
    assert vectors.table.group_by("text_id").len()["len"].max() == 2
    assert not set(vectors.table["token_id"]) & {1, 2}
    counts = store.token_counts("llama")
    per_language = store.corpus.texts.group_by("language", maintain_order=True).agg(pl.col("n_tokens").sum())
    assert counts.n_tokens.tolist() == per_language["n_tokens"].to_list()
    assert counts.active.shape == (2, 2, 40)
    assert (counts.active <= counts.n_tokens[:, None, None]).all()


@pytest.mark.parametrize("stats_only", [False, True])
def test_tokens_are_counted_above_several_thresholds(stats_only, tiny_models, small_corpus, tmp_path):
    folder, thresholds = tiny_models("llama"), (0.25, -0.5, 0.0)
    for threshold in thresholds:
        extract(folder, small_corpus, tmp_path / f"at{threshold}", sites=["mlp_pre"], stats_only=True, count_threshold=threshold)
    options = {"sites": ["mlp_pre"], "stats_only": stats_only, "count_threshold": thresholds}
    extract(folder, small_corpus, tmp_path / "s", **options)
    store = open_store(tmp_path / "s")
    counted = []
    for threshold in thresholds:
        counts = store.token_counts("llama", threshold=threshold)
        expected = Store(tmp_path / f"at{threshold}").token_counts("llama")
        assert counts.threshold == expected.threshold == threshold
        np.testing.assert_array_equal(counts.active, expected.active)
        counted.append(counts.active.sum())
    assert counted[1] > counted[2] > counted[0] > 0
    assert store.token_counts("llama").threshold == -0.5
    with pytest.raises(CubeNotFound, match=r"not counted above 1; counted are those above -0.5, 0, 0.25"):
        store.token_counts("llama", threshold=1.0)
    frames = [language_neurons(store, share=0.5, bar_quantile=0.5, threshold=threshold) for threshold in (None, -0.5, 0.25)]
    assert frames[0].equals(frames[1])
    assert not frames[0].equals(frames[2])
    again = extract(folder, small_corpus, tmp_path / "s", **options)
    assert again.checkpoints[0].status == "there"
    for wrong, message in (((), "count_threshold names nothing"), ((0.0, np.nan), "finite"), ((0.0, 0.0), "named twice")):
        with pytest.raises(ValueError, match=message):
            extract(folder, small_corpus, tmp_path / "s", count_threshold=wrong)


def test_words_are_kept_as_the_mean_of_their_tokens(tiny_models, small_corpus, tmp_path):
    folder = tiny_models("llama")
    extract(folder, small_corpus, tmp_path / "all", dtype="float32", token_sample=TokenSample(choice="all"))
    extract(folder, small_corpus, tmp_path / "word", dtype="float32", token_sample=TokenSample(choice="word"))
    tokens = Store(tmp_path / "all").token_cube("llama", "resid")
    words = Store(tmp_path / "word").token_cube("llama", "resid")
    n_words = sum(len(text.split()) for text in small_corpus.texts["text"])
    assert words.table.height == words.read(1).shape[0] == n_words
    rows = tokens.table.with_row_index("at")
    for index in (0, 7, n_words - 1):
        word = words.table.row(index, named=True)
        following = words.table.filter((pl.col("text_id") == word["text_id"]) & (pl.col("position") > word["position"]))
        stop = following["position"].min() or 10**6
        inside = rows.filter((pl.col("text_id") == word["text_id"]) & pl.col("position").is_between(word["position"], stop - 1))
        expected = tokens.read(1)[inside["at"].to_list()].mean(axis=0)
        np.testing.assert_allclose(words.read(1)[index], expected, rtol=1e-5, atol=1e-5)


def test_the_token_table_leads_from_a_question_in_sql_to_vectors(tiny_models, small_corpus, tmp_path):
    """Ends of two named spans, joined with their texts; `token` is where `TokenCube.read` has the vector."""
    spans = {"first_start": [0] * 44, "first_end": [len(text.split()[0]) for text in small_corpus.texts["text"]]}
    spans |= {"last_start": [text.rfind(" ") + 1 for text in small_corpus.texts["text"]]}
    spans |= {"last_end": [len(text) for text in small_corpus.texts["text"]]}
    corpus = replace(small_corpus, texts=small_corpus.texts.with_columns(**{n: pl.Series(v) for n, v in spans.items()}))
    folder = tiny_models("llama")
    extract(folder, corpus, tmp_path / "span", dtype="float32", token_sample=TokenSample(choice="span"))
    extract(folder, corpus, tmp_path / "all", dtype="float32", token_sample=TokenSample(choice="all"))
    ends, tokens = open_store(tmp_path / "span"), open_store(tmp_path / "all")
    query = """
        SELECT s.*, x.text, x.n_tokens, l.is_concept FROM tokens AS s
        JOIN texts AS x USING (text_id) JOIN labels AS l USING (text_id)
        WHERE span = 'last' ORDER BY token
    """
    found = ends.sql(query)
    assert found.height == 44
    assert all(row["text"].endswith(row["surface"].strip()) for row in found.to_dicts())
    assert found["word"].to_list() == [len(text.split()) - 1 for text in found["text"]]
    # the same token out of a store that holds all of them
    every = tokens.scan("tokens").collect().join(found.select("text_id", "position"), on=["text_id", "position"], how="semi")
    vectors = [
        store.token_cube("llama", "resid").read(1)[at["token"].to_numpy()]
        for store, at in ((ends, found.sort("text_id")), (tokens, every.sort("text_id")))
    ]
    np.testing.assert_allclose(*vectors, rtol=1e-5, atol=1e-5)
    for store in (ends, tokens):
        frame = store.scan("tokens").collect()
        assert frame.equals(store.sql("FROM tokens ORDER BY token").select(frame.columns))
        assert frame.columns == list(TABLES["tokens"].columns)
    assert tokens.sql("SELECT count(*) AS n, count(span) AS spans, min(n_subtokens) AS least FROM tokens").row(0)[1:] == (0, 1)


def test_an_unknown_family_is_refused_and_can_be_named_by_hand(small_corpus, tokenizer_writer, tmp_path):
    kinds = [[["global", "local"], 1]]
    config = transformers.GPTNeoConfig(vocab_size=96, hidden_size=24, num_layers=2, num_heads=4, attention_types=kinds)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "m")
    tokenizer_writer(tmp_path / "m")
    with pytest.raises(CapturePointNotFound, match="no sites known for architecture 'GPTNeoForCausalLM'"):
        extract(tmp_path / "m", small_corpus, tmp_path / "s")
    by_hand = "mlp_hidden=transformer.h.{layer}.mlp.c_proj:input"
    extract(tmp_path / "m", small_corpus, tmp_path / "s", sites=[by_hand])
    assert Store(tmp_path / "s").sites("m") == ["mlp_hidden"]
    with pytest.raises(CapturePointNotFound, match=r"GPTNeoForCausalLM has no module 'transformer.h.0.mlp.nothing'"):
        extract(tmp_path / "m", small_corpus, tmp_path / "t", sites=["mlp_hidden=transformer.h.{layer}.mlp.nothing"])
    with pytest.raises(CapturePointNotFound, match="a site needs one vector per token"):
        extract(
            tmp_path / "m",
            small_corpus,
            tmp_path / "t",
            sites=["x=lm_head:input", "x=transformer.h.{layer}.attn.attention.k_proj:output", "embed=transformer.wte:input"],
        )


def test_weights_that_are_missing_are_not_made_up(tiny_models, small_corpus, tmp_path):
    folder = shutil.copytree(tiny_models("llama"), tmp_path / "m")
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelNotLoaded, match="lack 1 tensors of LlamaForCausalLM: model.layers.1.mlp.up_proj.weight"):
        extract(folder, small_corpus, tmp_path / "s")


def test_a_folder_without_a_tokenizer_says_so(tiny_models, small_corpus, tmp_path):
    folder = shutil.copytree(tiny_models("llama"), tmp_path / "m")
    for path in folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(ModelNotLoaded, match="has no tokenizer; name a folder or hub id as the tokenizer"):
        extract(folder, small_corpus, tmp_path / "s")


def test_the_step_of_a_checkpoint_without_weights_in_safetensors(tiny_models, small_corpus, tmp_path):
    folder = shutil.copytree(tiny_models("llama"), tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelNotLoaded, match="no safetensors weights"):
        extract(folder, small_corpus, tmp_path / "s")


def test_backends_and_devices_that_are_not_there_are_refused(tiny_models, small_corpus, tmp_path):
    with pytest.raises(BackendUnavailable, match="no extraction backend 'onnx'; choose one of"):
        extract(tiny_models("llama"), small_corpus, tmp_path / "s", backend="onnx")
    with pytest.raises(BackendUnavailable, match="no device 'tape'"):
        extract(tiny_models("llama"), small_corpus, tmp_path / "s", device="tape")
    if not torch.cuda.is_available():
        with pytest.raises(BackendUnavailable, match="needs CUDA"):
            extract(tiny_models("llama"), small_corpus, tmp_path / "s", device="cuda")


def test_a_base_model_checkpoint_and_half_precision(tiny_models, small_corpus, tmp_path):
    folder = tmp_path / "base"
    model = transformers.AutoModel.from_pretrained(tiny_models("bloom"))
    model.save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["BloomModel"]
    tokenizer = str(tiny_models("bloom"))
    result = extract(folder, small_corpus, tmp_path / "s", dtype="float32", tokenizer=tokenizer).checkpoints[0]
    extract(tiny_models("bloom"), small_corpus, tmp_path / "whole", dtype="float32")
    whole, base = Store(tmp_path / "whole"), Store(tmp_path / "s")
    np.testing.assert_array_equal(base.cube("base", "resid").read(), whole.cube("bloom", "resid").read())
    assert result.sanity_loss == pytest.approx(whole.checkpoint("bloom")["sanity_loss"])
    half = extract(folder, small_corpus, tmp_path / "half", compute_dtype="bfloat16", tokenizer=tokenizer)
    assert half.checkpoints[0].fidelity < 0.1
    assert Store(tmp_path / "half").recipe.compute_dtype == "bfloat16"


def test_every_linear_map_of_an_unknown_decoder(small_corpus, tokenizer_writer, tmp_path):
    kinds = [[["global", "local"], 1]]
    config = transformers.GPTNeoConfig(vocab_size=96, hidden_size=24, num_layers=2, num_heads=4, attention_types=kinds)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "m")
    tokenizer_writer(tmp_path / "m")
    extract(tmp_path / "m", small_corpus, tmp_path / "s", sites=["auto-linear"])
    store = Store(tmp_path / "s")
    attention = [f"attn_attention_{name}_proj" for name in ("k", "out", "q", "v")]
    assert store.sites("m") == [*attention, "mlp_c_fc", "mlp_c_proj"]
    assert store.shape("m", "mlp_c_fc") == (2, 96)
    assert np.isfinite(store.cube("m", "mlp_c_fc").read()).all()


def test_autocast_keeps_the_weights_and_takes_products_in_the_named_dtype(tiny_models, small_corpus, tmp_path):
    folder = tiny_models("llama")
    results = {
        name: extract(folder, small_corpus, tmp_path / name, dtype="float32", compute_dtype=name)
        for name in ("float32", "autocast-bfloat16")
    }
    assert results["autocast-bfloat16"].checkpoints[0].fidelity < 0.1
    cast = Store(tmp_path / "autocast-bfloat16")
    assert cast.recipe.compute_dtype == "autocast-bfloat16"
    values = cast.cube("llama", "mlp_pre").read()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = plain_values(folder, small_corpus)
    scale = np.abs(expected).max()
    assert np.abs(values - expected).max() < 1e-2 * scale
    assert not np.array_equal(values, Store(tmp_path / "float32").cube("llama", "mlp_pre").read())
