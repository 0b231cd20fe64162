"""extract_activations from checkpoint folders to a store, and everything it refuses."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from actlas.cli import run
from actlas.errors import (
    BackendUnavailable,
    CapturePointNotFound,
    CorpusError,
    CubeNotFound,
    DiskTooSmall,
    ExtractionError,
    FidelityError,
    ModelNotLoaded,
    NotFiniteValues,
    RecipeMismatch,
)
from actlas.extract import extract_activations
from actlas.extract.backends import agreement
from actlas.extract.backends.hf import backend as backend_hf
from actlas.extract.run import checkpoint_run, pipeline
from actlas.extract.run.profile import STAGES
from actlas.names import TokenSample
from actlas.query import language_neurons, open_store
from actlas.query.schema import TABLES
from actlas.store.store import Store

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
    assert record["fidelity"]["largest_relative_difference"] == result.fidelity
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
        extract(
            folder, small_corpus, tmp_path / f"at{threshold}", sites=["mlp_hidden"], stats_only=True, count_threshold=threshold
        )
    options = {"sites": ["mlp_hidden"], "stats_only": stats_only, "count_threshold": thresholds}
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
    for wrong, message in (((), "one finite number or several"), ((0.0, np.nan), "finite"), ((0.0, 0.0), "named twice")):
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


def test_several_checkpoints_in_order_of_step_and_again_loads_nothing(model_writer, small_corpus, tmp_path, monkeypatch):
    for step in (1000, 64):
        model_writer(tmp_path / "run" / f"step{step}", "llama", seed=step)
    seen = []
    extract(tmp_path / "run", small_corpus, tmp_path / "s", progress=seen.append)
    assert Store(tmp_path / "s").checkpoints == ["run-step64", "run-step1000"]
    stages = [report.stage for report in seen if report.checkpoint == "run-step1000"]
    assert list(dict.fromkeys(stages)) == ["locate", "load", "check", "extract", "done"]
    assert [r.texts_done for r in seen if r.stage == "extract"][-1] == 44
    assert all(r.seconds_left is not None and r.bytes_per_s > 0 for r in seen if r.stage == "extract" and r.texts_done)
    before = cube_files(tmp_path / "s")
    monkeypatch.setattr(backend_hf, "_load", lambda *_: pytest.fail("a complete checkpoint was loaded"))
    summary = extract(tmp_path / "run", small_corpus, tmp_path / "s")
    assert [result.status for result in summary.checkpoints] == ["there", "there"]
    assert cube_files(tmp_path / "s") == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_run_that_was_stopped_goes_on_with_the_same_bytes(error, tiny_models, small_corpus, tmp_path, monkeypatch):
    folder = tiny_models("bloom")
    extract(folder, small_corpus, tmp_path / "whole")
    blocks = []
    run_block = backend_hf.HfSession.run_block

    def stops(self, block, **kwargs):
        blocks.append(block.n_texts)
        if len(blocks) == 5:  # two blocks of the fidelity check, two that are written, then this
            raise error
        return run_block(self, block, **kwargs)

    monkeypatch.setattr(backend_hf.HfSession, "run_block", stops)
    with pytest.raises(error):
        extract(folder, small_corpus, tmp_path / "parts")
    store = Store(tmp_path / "parts")
    assert (store.checkpoints, store.unfinished) == ([], {"bloom": 32})
    monkeypatch.setattr(backend_hf.HfSession, "run_block", run_block)
    summary = extract(folder, small_corpus, tmp_path / "parts")
    assert summary.checkpoints[0].n_texts == 12
    assert cube_files(tmp_path / "parts") == cube_files(tmp_path / "whole")


def test_an_error_while_writing_stops_the_run(tiny_models, small_corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline.CheckpointWriter, "start_block", lambda *_: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="no space left"):
        extract(tiny_models("llama"), small_corpus, tmp_path / "s")


def test_texts_longer_than_allowed(tiny_models, small_corpus, tmp_path):
    folder = tiny_models("llama")
    n_long = sum(
        len(ids) > 9 for ids in transformers.AutoTokenizer.from_pretrained(folder)(small_corpus.texts["text"].to_list()).input_ids
    )
    summary = extract(folder, small_corpus, tmp_path / "cut", max_tokens=9)
    assert (summary.n_over_long, summary.n_texts) == (n_long, 44)
    assert Store(tmp_path / "cut").corpus.texts["n_tokens"].max() == 9
    summary = extract(folder, small_corpus, tmp_path / "drop", max_tokens=9, over_long="drop")
    dropped = Store(tmp_path / "drop")
    assert summary.n_texts == dropped.corpus.n_texts == 44 - n_long
    assert dropped.cube("llama", "mlp_pre").shape[2] == 44 - n_long
    ids = dropped.corpus.texts["text_id"].to_numpy()
    whole = Store(tmp_path / "cut").cube("llama", "mlp_pre").read(texts=ids)
    np.testing.assert_allclose(dropped.cube("llama", "mlp_pre").read(), whole, rtol=1e-2, atol=1e-3)
    with pytest.raises(CorpusError, match="let over_long truncate or drop"):
        extract(folder, small_corpus, tmp_path / "no", max_tokens=9, over_long="error")
    with pytest.raises(ExtractionError, match="reads at most 64 tokens and this run allows 65; lower max_tokens to 64"):
        extract(folder, small_corpus, tmp_path / "no", max_tokens=65)
    assert not (tmp_path / "no").exists()


def test_without_a_length_the_model_s_own_limit_holds(tiny_models, small_corpus, tmp_path):
    extract_activations(tiny_models("llama"), small_corpus, tmp_path / "s", device="cpu")
    assert Store(tmp_path / "s").recipe.max_tokens == 64


def test_another_recipe_or_other_weights_do_not_fit(tiny_models, model_writer, small_corpus, tmp_path):
    folder = shutil.copytree(tiny_models("llama"), tmp_path / "m")
    extract(folder, small_corpus, tmp_path / "s")
    with pytest.raises(RecipeMismatch, match="pooling 'max' there, 'mean' asked"):
        extract(folder, small_corpus, tmp_path / "s", pooling="mean")
    model_writer(folder, "llama", seed=5)
    with pytest.raises(RecipeMismatch, match="holds m with weights"):
        extract(folder, small_corpus, tmp_path / "s")


def test_one_set_of_weights_under_two_steps_is_flagged(tiny_models, small_corpus, tmp_path):
    for step in (1, 2):
        shutil.copytree(tiny_models("llama"), tmp_path / "run" / f"step{step}")
    summary = extract(tmp_path / "run", small_corpus, tmp_path / "s")
    assert any("run-step2 has the same weights as run-step1" in line for line in summary.warnings)
    assert Store(tmp_path / "s").checkpoint("run-step2")["same_weights_as"] == ["run-step1"]


def test_duplicates_are_known_before_they_are_loaded(tiny_models, model_writer, small_corpus, tmp_path, monkeypatch):
    for step in (1, 2):
        shutil.copytree(tiny_models("llama"), tmp_path / "run" / f"step{step}")
    model_writer(tmp_path / "run" / "step3", "llama", seed=3)
    seen, loaded = [], []
    load = backend_hf._load
    monkeypatch.setattr(backend_hf, "_load", lambda source, *rest: loaded.append(source.folder.name) or load(source, *rest))
    with pytest.raises(ExtractionError, match="run-step2 has the same weights as run-step1; duplicates = skip leaves it out"):
        extract(tmp_path / "run", small_corpus, tmp_path / "s", duplicates="refuse")
    summary = extract(tmp_path / "run", small_corpus, tmp_path / "s", duplicates="skip", progress=seen.append)
    assert loaded == ["step1", "step3"]
    assert [result.status for result in summary.checkpoints] == ["there", "skipped", "extracted"]
    assert summary.warnings[0] == "run-step2 has the same weights as run-step1; it is left out"
    assert next(report.stage for report in seen if report.warning) == "locate"
    assert Store(tmp_path / "s").checkpoints == ["run-step1", "run-step3"]
    # what only the store knows counts as well
    summary = extract(tmp_path / "run" / "step2", small_corpus, tmp_path / "s", duplicates="skip")
    assert summary.warnings[0] == "run-step2 has the same weights as run-step1; it is left out"
    extract(tmp_path / "run", small_corpus, tmp_path / "s")
    assert loaded[2:] == ["step2"]
    with pytest.raises(ValueError, match="duplicates 'no' is not known"):
        extract(tmp_path / "run", small_corpus, tmp_path / "s", duplicates="no")


def test_broken_checkpoints_can_be_left_out_before_they_are_extracted(tiny_models, small_corpus, tmp_path):
    scaled(tiny_models("qwen2"), tmp_path / "run" / "step1", "lm_head.weight", 30.0)
    scaled(tiny_models("qwen2"), tmp_path / "run" / "step2", "model.layers.1.mlp.gate_proj.weight", float("nan"))
    scaled(tiny_models("qwen2"), tmp_path / "run" / "step3", "lm_head.weight", 0.01)
    with pytest.raises(ExtractionError, match="run-step1 does worse than guessing: .*; broken = skip leaves it out"):
        extract(tmp_path / "run", small_corpus, tmp_path / "s", broken="refuse")
    assert not (tmp_path / "s").exists()
    for fidelity_texts, name in ((4, "s"), (0, "unchecked")):
        summary = extract(tmp_path / "run", small_corpus, tmp_path / name, broken="skip", fidelity_texts=fidelity_texts)
        assert [result.status for result in summary.checkpoints] == ["skipped", "skipped", "extracted"]
        assert "run-step2 is broken: " in summary.warnings[1]
        assert summary.warnings[1].endswith("it is left out")
        assert Store(tmp_path / name).checkpoints == ["run-step3"]
        assert Store(tmp_path / name).unfinished == {}


@pytest.mark.parametrize("options", [{}, {"fidelity_texts": 0}, {"sites": ["mlp_hidden"], "stats_only": True}])
def test_a_broken_checkpoint_is_reported_before_it_is_extracted(options, tiny_models, small_corpus, tmp_path):
    folder = scaled(tiny_models("qwen2"), tmp_path / "m", "lm_head.weight", 30.0)
    seen = []
    summary = extract(folder, small_corpus, tmp_path / "s", progress=seen.append, **options)
    (line,) = summary.warnings
    assert line.startswith("m does worse than guessing: ")
    said = [report.stage for report in seen if report.warning]
    assert said == ["check"]


def test_another_tokenizer_does_not_fit(model_writer, tokenizer_writer, small_corpus, tmp_path):
    for step in (1, 2):
        model_writer(tmp_path / "run" / f"step{step}", "llama", seed=step)
    tokenizer_writer(tmp_path / "run" / "step2", adds_special=False)
    with pytest.raises(RecipeMismatch, match="run-step2 has another tokenizer"):
        extract(tmp_path / "run", small_corpus, tmp_path / "s")
    summary = extract(tmp_path / "run", small_corpus, tmp_path / "one", tokenizer=str(tmp_path / "run" / "step1"))
    assert len(summary.checkpoints) == 2


def test_a_model_that_batches_change_is_refused(tiny_models, small_corpus, tmp_path, monkeypatch):
    monkeypatch.setitem(agreement.TOLERANCE, "float32", -1.0)
    with pytest.raises(FidelityError, match="4 texts run together differ from the same texts run alone by"):
        extract(tiny_models("llama"), small_corpus, tmp_path / "s")
    assert not (tmp_path / "s").exists()


def scaled(folder, target, name, factor):
    """A copy of a checkpoint with one tensor scaled."""
    shutil.copytree(folder, target)
    tensors = load_file(target / "model.safetensors")
    tensors[name] = tensors[name] * factor
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    return target


def test_values_beyond_the_stored_dtype_are_refused_by_name(tiny_models, small_corpus, tmp_path):
    name = "model.layers.1.mlp.gate_proj.weight"
    folder = scaled(tiny_models("llama"), tmp_path / "big", name, 1e6)
    with pytest.raises(NotFiniteValues, match=r"too large for float16 .*: text \d+, site mlp_pre, layer 1, neuron \d+"):
        extract(folder, small_corpus, tmp_path / "s")
    assert Store(tmp_path / "s").checkpoints == []
    extract(folder, small_corpus, tmp_path / "wide", dtype="bfloat16")
    sample = TokenSample(sites=("resid",))
    folder = scaled(tiny_models("llama"), tmp_path / "resid", "model.layers.1.mlp.down_proj.weight", 1e7)
    with pytest.raises(NotFiniteValues, match="too large for float16"):
        extract(folder, small_corpus, tmp_path / "t", sites=["mlp_pre"], token_sample=sample)


def test_nan_out_of_a_model_is_refused_by_name(tiny_models, small_corpus, tmp_path):
    folder = scaled(tiny_models("llama"), tmp_path / "nan", "model.layers.1.mlp.gate_proj.weight", float("nan"))
    with pytest.raises(NotFiniteValues, match=r"NaN or infinity: text \d+, site mlp_pre, layer 1, neuron 0"):
        extract(folder, small_corpus, tmp_path / "s")


def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(tiny_models, small_corpus, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(checkpoint_run.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DiskTooSmall, match="before compression"):
        extract(tiny_models("llama"), small_corpus, tmp_path / "s")
    assert not (tmp_path / "s").exists()
    extract(tiny_models("llama"), small_corpus, tmp_path / "s", checks_disk=False)


def test_an_unknown_family_is_refused_and_can_be_named_by_hand(small_corpus, tokenizer_writer, tmp_path):
    config = transformers.GPTJConfig(vocab_size=96, n_embd=24, n_layer=2, n_head=4, n_positions=64, rotary_dim=4)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "m")
    tokenizer_writer(tmp_path / "m")
    with pytest.raises(CapturePointNotFound, match="no sites known for architecture 'GPTJForCausalLM'"):
        extract(tmp_path / "m", small_corpus, tmp_path / "s")
    by_hand = "mlp_hidden=transformer.h.{layer}.mlp.fc_out:input"
    extract(tmp_path / "m", small_corpus, tmp_path / "s", sites=[by_hand])
    assert Store(tmp_path / "s").sites("m") == ["mlp_hidden"]
    with pytest.raises(CapturePointNotFound, match=r"GPTJForCausalLM has no module 'transformer.h.0.mlp.nothing'"):
        extract(tmp_path / "m", small_corpus, tmp_path / "t", sites=["mlp_hidden=transformer.h.{layer}.mlp.nothing"])
    with pytest.raises(CapturePointNotFound, match="a site needs one vector per token"):
        extract(
            tmp_path / "m",
            small_corpus,
            tmp_path / "t",
            sites=["x=lm_head:input", "x=transformer.h.{layer}.attn.k_proj:output", "embed=transformer.wte:input"],
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
    config = transformers.GPTJConfig(vocab_size=96, n_embd=24, n_layer=2, n_head=4, n_positions=64, rotary_dim=4)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "m")
    tokenizer_writer(tmp_path / "m")
    extract(tmp_path / "m", small_corpus, tmp_path / "s", sites=["auto-linear"])
    store = Store(tmp_path / "s")
    assert store.sites("m") == ["attn_k_proj", "attn_out_proj", "attn_q_proj", "attn_v_proj", "mlp_fc_in", "mlp_fc_out"]
    assert store.shape("m", "mlp_fc_in") == (2, 96)
    assert np.isfinite(store.cube("m", "mlp_fc_in").read()).all()


def test_counting_alone_keeps_no_cube_and_can_be_stopped(tiny_models, small_corpus, tmp_path, monkeypatch):
    folder = tiny_models("llama")
    extract(folder, small_corpus, tmp_path / "whole", sites=["mlp_hidden"])
    expected = Store(tmp_path / "whole").token_counts("llama")
    run_block, blocks = backend_hf.HfSession.run_block, []

    def stops(self, block, **kwargs):
        blocks.append(block)
        if len(blocks) == 3:  # the texts that a checkpoint is tried on, a block that is written, then this
            raise KeyboardInterrupt
        return run_block(self, block, **kwargs)

    options = {"sites": ["mlp_hidden", "mlp_up"], "stats_only": True}
    monkeypatch.setattr(backend_hf.HfSession, "run_block", stops)
    with pytest.raises(KeyboardInterrupt):
        extract(folder, small_corpus, tmp_path / "s", **options)
    monkeypatch.setattr(backend_hf.HfSession, "run_block", run_block)
    summary = extract(folder, small_corpus, tmp_path / "s", **options)
    assert summary.checkpoints[0].n_texts == 28
    store = Store(tmp_path / "s")
    assert store.sites("llama") == []
    np.testing.assert_array_equal(store.token_counts("llama").active, expected.active)
    assert store.token_counts("llama", "mlp_up").active.shape == (2, 2, 40)
    assert not (tmp_path / "s" / "cubes").exists()


def test_the_command_line_says_where_the_time_went(tiny_models, small_corpus, tmp_path, capsys):
    small_corpus.write(tmp_path / "corpus")
    arguments = ["--corpus", str(tmp_path / "corpus"), "--store", str(tmp_path / "s"), "--device", "cpu", "--profile"]
    assert run(["--quiet", "extract", str(tiny_models("llama")), *arguments, "--max-tokens", "60"]) == 0
    said = capsys.readouterr().out
    kept = Store(tmp_path / "s").checkpoint("llama")["profile"]
    assert set(kept["seconds"]) == set(STAGES) - {"accumulate"}
    assert set(kept["waits"]) == {name for name in kept["seconds"] if STAGES[name]}
    for name, spent in kept["seconds"].items():
        assert f"\n  {name:9} {spent:9.2f} s" in said
    for name, spent in kept["waits"].items():
        assert f" s  waited {spent:9.2f} s for {STAGES[name]}\n" in said
    assert f"bound by {kept['bound_by']}\n" in said


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


def test_values_in_memory_decide_how_large_blocks_are(tiny_models, small_corpus, tmp_path):
    folder = tiny_models("llama")
    extract(folder, small_corpus, tmp_path / "small", texts_per_block=None, value_bytes=1)
    extract(folder, small_corpus, tmp_path / "large", texts_per_block=None)
    blocks = {name: len(list((tmp_path / name / "manifests/llama/blocks").glob("*.json"))) for name in ("small", "large")}
    assert blocks == {"small": -(-small_corpus.n_texts // 32), "large": 1}
    cubes = [Store(tmp_path / name).cube("llama", "mlp_pre").read() for name in blocks]
    np.testing.assert_allclose(*cubes, rtol=1e-3, atol=1e-4)
