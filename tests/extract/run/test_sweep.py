"""Checkpoint after checkpoint: their order, what is there already, duplicates, runs that were stopped."""

import json
import shutil
from dataclasses import replace
from math import log, nan

import polars as pl
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from actlas.errors import (
    ExtractionError,
    ModelNotLoaded,
    RecipeMismatch,
)
from actlas.extract.backends.hf import backend as backend_hf
from actlas.store.store import Store
from tests.extract.runs import cube_files, extract, scaled


def test_several_checkpoints_in_order_of_step_and_again_loads_nothing(model_writer, small_corpus, tmp_path, monkeypatch):
    for step in (1000, 64):
        model_writer(tmp_path / "run" / f"step{step}", "llama", seed=step)
    seen = []
    extract(tmp_path / "run", small_corpus, tmp_path / "s", progress=seen.append)
    assert Store(tmp_path / "s").checkpoints == ["run-step64", "run-step1000"]
    stages = [report.stage for report in seen if report.checkpoint == "run-step1000"]
    assert list(dict.fromkeys(stages)) == ["locate", "load", "check", "extract", "weights", "done"]
    assert [r.texts_done for r in seen if r.stage == "extract"][-1] == 44
    assert all(r.seconds_left is not None and r.bytes_per_s > 0 for r in seen if r.stage == "extract" and r.texts_done)
    before = cube_files(tmp_path / "s")
    monkeypatch.setattr(backend_hf, "load_weights", lambda *_: pytest.fail("a complete checkpoint was loaded"))
    summary = extract(tmp_path / "run", small_corpus, tmp_path / "s")
    assert [result.status for result in summary.checkpoints] == ["there", "there"]
    assert cube_files(tmp_path / "s") == before


def test_a_random_twin_follows_as_a_control_and_is_there_the_second_time(model_writer, small_corpus, tmp_path):
    for step in (64, 1000):
        # weights so large that it does worse than a uniform guess, which is said of any other checkpoint
        model_writer(tmp_path / "run" / f"step{step}", "gpt2", seed=step)
    summary = extract(tmp_path / "run", small_corpus, tmp_path / "s", random_twin=True)
    store = Store(tmp_path / "s")
    assert store.checkpoints == ["run-step64", "run-step1000", "run-random0"]
    assert store.controls == {"run-random0": "random-weights twin of run-step1000, seed 0"}
    twin = store.checkpoint("run-random0")
    assert (twin["step"], twin["twin"], twin["same_weights_as"]) == (None, {"of": "run-step1000", "seed": 0}, [])
    assert "twin" not in store.checkpoint("run-step1000")
    assert store.sites("run-random0") == store.sites("run-step64")
    assert twin["sanity_loss"] > log(96) + 0.1
    assert summary.checkpoints[2].fidelity is not None
    assert [line.split()[0] for line in summary.warnings] == ["run-step64", "run-step1000"]
    before = cube_files(tmp_path / "s")
    again = extract(tmp_path / "run", small_corpus, tmp_path / "s", random_twin=True)
    assert [result.status for result in again.checkpoints] == ["there"] * 3
    other = extract(tmp_path / "run", small_corpus, tmp_path / "s", random_twin=True, twin_seed=1)
    assert [result.status for result in other.checkpoints] == ["there", "there", "extracted"]
    assert list(Store(tmp_path / "s").controls) == ["run-random0", "run-random1"]
    assert {path: data for path, data in cube_files(tmp_path / "s").items() if "random1" not in path} == before


def test_a_twin_of_broken_values_is_still_broken(tiny_models, small_corpus, tmp_path, monkeypatch):
    from actlas.extract.run.checks import CheckpointChecks

    judged = []
    monkeypatch.setattr(CheckpointChecks, "_judge", lambda self, _: judged.append((self.is_broken(9e9), self.is_broken(nan))))
    extract(tiny_models("llama"), small_corpus, tmp_path / "s", random_twin=True)
    (model, twin) = judged
    assert "does worse than guessing" in model[0]
    assert "loss of nan" in model[1]
    assert twin[0] is None
    assert "llama-random0 has a loss of nan" in twin[1]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_run_that_was_stopped_goes_on_with_the_same_bytes(error, tiny_models, small_corpus, tmp_path, monkeypatch):
    folder = tiny_models("bloom")
    extract(folder, small_corpus, tmp_path / "whole")
    blocks = []
    run_block = backend_hf.HfSession.run_block

    def stops(self, block, **kwargs):
        blocks.append(block.n_texts)
        if len(blocks) == 6:  # the texts that dtypes are chosen by, two blocks of the fidelity check, two that are written, this
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
    load = backend_hf.load_weights
    monkeypatch.setattr(
        backend_hf, "load_weights", lambda source, *rest: loaded.append(source.folder.name) or load(source, *rest)
    )
    with pytest.raises(ExtractionError, match="run-step2 has the same weights as run-step1; duplicates = skip leaves it out"):
        extract(tmp_path / "run", small_corpus, tmp_path / "s", dtype="float16", duplicates="refuse")
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


def test_another_tokenizer_does_not_fit(model_writer, tokenizer_writer, small_corpus, tmp_path):
    for step in (1, 2):
        model_writer(tmp_path / "run" / f"step{step}", "llama", seed=step)
    tokenizer_writer(tmp_path / "run" / "step2", adds_special=False)
    with pytest.raises(RecipeMismatch, match="run-step2 has another tokenizer"):
        extract(tmp_path / "run", small_corpus, tmp_path / "s")
    summary = extract(tmp_path / "run", small_corpus, tmp_path / "one", tokenizer=str(tmp_path / "run" / "step1"))
    assert len(summary.checkpoints) == 2


def test_what_does_not_fit_the_store_is_refused_before_a_model_is_loaded(tiny_models, small_corpus, tmp_path, monkeypatch):
    extract(tiny_models("llama"), small_corpus, tmp_path / "s")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
    monkeypatch.setattr(backend_hf, "load_weights", lambda *_: pytest.fail("a model was loaded"))
    with pytest.raises(RecipeMismatch, match="pooling 'max' there, 'mean' asked"):
        extract(tiny_models("llama"), small_corpus, tmp_path / "s", pooling="mean")
    with pytest.raises(RecipeMismatch, match="a zarr hierarchy that actlas did not make"):
        extract(tiny_models("llama"), small_corpus, tmp_path / "other")


def test_a_token_that_the_model_has_no_embedding_for_is_named(model_writer, small_corpus, tmp_path, monkeypatch):
    folder = model_writer(tmp_path / "m", "llama")
    largest = max(len(AutoTokenizer.from_pretrained(folder)) - 1, 0)
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(largest)
    model.save_pretrained(folder)
    with pytest.raises(ModelNotLoaded, match=rf"gives token id \d+ and m has {largest} embedding rows"):
        extract(folder, small_corpus, tmp_path / "s")
    assert not (tmp_path / "s").exists()
    # what does not occur does no harm
    model.resize_token_embeddings(96)
    model.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["never"] + [f"never{i}" for i in range(90)])
    tokenizer.save_pretrained(folder)
    extract(folder, small_corpus, tmp_path / "s")


def test_a_tokenizer_that_cuts_the_beginning_gives_the_same_store(tiny_models, small_corpus, tmp_path):
    left = shutil.copytree(tiny_models("llama"), tmp_path / "llama")
    settings = json.loads((left / "tokenizer_config.json").read_text())
    (left / "tokenizer_config.json").write_text(json.dumps({**settings, "truncation_side": "left"}))
    for folder, name in ((tiny_models("llama"), "right"), (left, "left")):
        extract(folder, small_corpus, tmp_path / name, max_tokens=6)
    assert cube_files(tmp_path / "left") == cube_files(tmp_path / "right")


def test_a_store_of_the_first_versions_goes_on_with_its_own_hash_of_the_tokenizer(tiny_models, small_corpus, tmp_path):
    from actlas.extract.backends.base import BackendSettings
    from actlas.extract.backends.hf.tokenizer import HfTokenizer

    folder = shutil.copytree(tiny_models("llama"), tmp_path / "run" / "step1")
    extract(folder, small_corpus, tmp_path / "s")
    newest, first = HfTokenizer.load(str(folder), BackendSettings()).hashes
    root = tmp_path / "s" / "zarr.json"
    assert newest in root.read_text()
    recipe = Store(tmp_path / "s").recipe
    text = root.read_text().replace(newest, first).replace(recipe.fingerprint, replace(recipe, tokenizer=first).fingerprint)
    metadata = json.loads(text)
    del metadata["attributes"]["actlas"]["log"]
    root.write_text(json.dumps(metadata))
    shutil.rmtree(tmp_path / "s" / "log")
    scaled(folder, tmp_path / "run" / "step2", "model.layers.1.mlp.gate_proj.weight", 1.5)
    summary = extract(tmp_path / "run", small_corpus, tmp_path / "s")
    assert [result.status for result in summary.checkpoints] == ["there", "extracted"]
    assert Store(tmp_path / "s").recipe.tokenizer == first


def test_a_store_of_other_tokens_is_refused(tiny_models, small_corpus, tmp_path):
    extract(tiny_models("llama"), small_corpus, tmp_path / "s")
    path = tmp_path / "s" / "corpus" / "tokens.parquet"
    ids = pl.read_parquet(path).with_columns(
        pl.when(pl.col("text_id") == 7).then(pl.col("token_ids").list.reverse()).otherwise(pl.col("token_ids"))
    )
    ids.write_parquet(path)
    with pytest.raises(RecipeMismatch, match="are other tokens than this run gives, text 7 first"):
        extract(tiny_models("llama"), small_corpus, tmp_path / "s")
