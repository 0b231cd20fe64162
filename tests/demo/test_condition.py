import json
import logging as python_logging
import shutil
from dataclasses import replace

import polars as pl
import pytest
import torch
from transformers import logging

from actlas.cli import run
from actlas.demo import condition as condition_module
from actlas.demo import train as train_module
from actlas.demo.condition import SITES, build_condition, keep_token_values, steer_condition
from actlas.demo.corpus import CONCEPTS
from actlas.demo.settings import K, model_folder, seconds_file
from actlas.demo.train import TrainingSettings
from actlas.query import open_store

TINY = TrainingSettings(
    checkpoints=(0, 2), width=16, layers=1, heads=2, vocabulary=400, batch=4, warm_up=2, languages=("en", "es", "de")
)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    out = tmp_path_factory.mktemp("condition")
    with pytest.MonkeyPatch.context() as patch:
        split = train_module.split_meanings
        patch.setattr(train_module, "split_meanings", lambda seed=0: (split(seed)[0][:300], split(seed)[1]))
        lines = []
        build_condition("multi", out, lines.append, TINY)
        yield out, lines


def test_a_condition_leaves_a_store_with_every_table(built):
    out, lines = built
    store = open_store(out / "store.actlas")
    assert store.checkpoints == ["multi-step0", "multi-step2"]
    assert store.sites("multi-step2") == sorted(SITES)
    assert store.corpus.languages == TINY.languages
    assert {
        "experts",
        "expert_mask",
        "layer_histogram",
        "overlap",
        "overlap_controls",
        "overlap_tests_by_concept",
        "lape",
        "probe",
    } <= set(store.table_names())
    counts = store.scan("experts").group_by("checkpoint", "language", "concept").len().collect()
    assert counts.height == 2 * 3 * len(CONCEPTS)
    assert set(counts["len"]) == {K}
    assert lines[0] == "multi: step    0 of 2"
    assert lines[-1] == "multi: done"


def test_the_start_token_is_neither_pooled_nor_sampled(built):
    out, _ = built
    store = open_store(out / "store.actlas")
    assert store.recipe.special_tokens == "run"
    assert store.scan("tokens").select(pl.col("position").min()).collect().item() >= 1


def test_phases_are_timed(built):
    out, _ = built
    assert list(json.loads(seconds_file(out, "multi").read_text())) == ["train", "extract", "score", "experts", "probe"]


def test_the_last_checkpoint_writes_with_experts_forced_and_under_controls(built, monkeypatch, tmp_path):
    out = shutil.copytree(built[0], tmp_path / "own")
    monkeypatch.setattr(condition_module, "STEERED_SEEDS", 2)
    lines = []
    steer_condition("multi", out, lines.append)
    assert lines == ["multi: writing texts with experts forced, and controls"]
    texts = open_store(out / "store.actlas").scan("generations").collect()
    assert set(texts["checkpoint"]) == {"multi-step2"}
    assert set(texts["arm"]) == {"none", "experts", "random", "next", "other"}
    assert texts["has_word"].null_count() < texts.height
    assert list(json.loads(seconds_file(out, "multi").read_text()))[-1] == "steer"


def test_experts_of_the_last_checkpoint_are_read_token_by_token(built, tmp_path):
    out, lines = shutil.copytree(built[0], tmp_path / "own"), []
    keep_token_values("multi", out, lines.append)
    assert lines == ["multi: reading the strongest texts of experts token by token"]
    store = open_store(out / "store.actlas")
    experts = store.sql("SELECT DISTINCT checkpoint, site, layer, neuron FROM experts WHERE checkpoint = 'multi-step2'")
    kept = store.sql("SELECT DISTINCT checkpoint, site, layer, neuron FROM token_values")
    assert kept.join(experts, on=kept.columns).height == kept.height == experts.height
    assert list(json.loads(seconds_file(out, "multi").read_text()))[-1] == "tokens"


def test_a_second_call_reuses_the_model_and_the_store(built):
    out, _ = built
    cube = next((out / "store.actlas" / "cubes").rglob("c/0/0/0"))
    stamp = cube.stat().st_mtime_ns
    lines = []
    build_condition("multi", out, lines.append, TINY)
    assert lines[0].startswith("multi: already trained")
    assert cube.stat().st_mtime_ns == stamp


def test_a_store_of_other_weights_is_removed_before_training(built, tmp_path, monkeypatch):
    out, _ = built
    shutil.copytree(out, tmp_path / "copy")
    store = tmp_path / "copy" / "store.actlas"

    class Trained(Exception):
        pass

    def train(folder, settings, progress):
        assert not store.exists()
        raise Trained

    monkeypatch.setattr(condition_module, "train", train)
    with pytest.raises(Trained):
        build_condition("multi", tmp_path / "copy", settings=replace(TINY, seed=1))
    assert not store.exists()
    assert model_folder(tmp_path / "copy", "multi").exists()


def test_the_command_builds_the_condition_that_was_asked_for(monkeypatch, tmp_path, capsys):
    asked = {}

    def build(condition, out, progress, settings):
        asked.update(condition=condition, out=out, settings=settings)
        progress(f"built with {torch.get_num_threads()} thread")

    monkeypatch.setattr(condition_module, "build_condition", build)
    monkeypatch.setattr(condition_module, "steer_condition", lambda condition, out, progress: progress("steered"))
    monkeypatch.setattr(condition_module, "keep_token_values", lambda condition, out, progress: progress("read"))
    threads = torch.get_num_threads()
    try:
        assert run(["demo", "--condition", "mono", "--out", str(tmp_path), "--seed", "3"]) == 0
    finally:
        torch.set_num_threads(threads)
        logging.enable_progress_bar()
    assert asked == {"condition": "mono", "out": tmp_path, "settings": TrainingSettings(condition="mono", seed=3)}
    assert capsys.readouterr().out == "built with 1 thread\nsteered\nread\n"


def test_what_the_kernels_log_is_a_line_of_progress(monkeypatch, tmp_path):
    kernels = python_logging.getLogger("actlas.kernels")
    monkeypatch.setattr(kernels, "level", python_logging.INFO)
    monkeypatch.setattr(condition_module, "build_condition", lambda *_: kernels.info("compiling kernels, once"))
    monkeypatch.setattr(condition_module, "steer_condition", lambda *_: None)
    monkeypatch.setattr(condition_module, "keep_token_values", lambda *_: None)
    n_threads, lines = torch.get_num_threads(), []
    try:
        condition_module.build_in_this_process("mono", tmp_path, lines.append)
    finally:
        torch.set_num_threads(n_threads)
        logging.enable_progress_bar()
    kernels.info("the demo is over")
    assert lines == ["mono: compiling kernels, once"]
