"""One checkpoint: what its check finds, how large its blocks are, what is refused."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from actlas.errors import (
    DiskTooSmall,
    ExtractionError,
    FidelityError,
    ModelNotLoaded,
    NotFiniteValues,
)
from actlas.extract.backends import agreement
from actlas.extract.backends.hf import backend
from actlas.extract.pooling import stage
from actlas.extract.run import checkpoint_run, pipeline
from actlas.names import TokenSample
from actlas.store.store import Store
from tests.extract.runs import extract, scaled


def test_an_error_while_writing_stops_the_run(tiny_models, small_corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline.CheckpointWriter, "start_block", lambda *_: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="no space left"):
        extract(tiny_models("llama"), small_corpus, tmp_path / "s")


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


def test_a_model_that_batches_change_is_refused(tiny_models, small_corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(agreement, "_ROUNDOFF", {"float32": 2.0**-60})
    with pytest.raises(
        FidelityError, match="8 texts run together differ from the same texts run alone, in float32, by .* not be batched"
    ):
        extract(tiny_models("llama"), small_corpus, tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_values_beyond_the_stored_dtype_are_refused_by_name(tiny_models, small_corpus, tmp_path):
    name = "model.layers.1.mlp.gate_proj.weight"
    folder = scaled(tiny_models("llama"), tmp_path / "big", name, 1e6)
    with pytest.raises(NotFiniteValues, match=r"too large for float16 .*: text \d+, site mlp_pre, layer 1, neuron \d+"):
        extract(folder, small_corpus, tmp_path / "s", dtype="float16")
    assert not (tmp_path / "s").exists()
    sample = TokenSample(sites=("resid",))
    folder = scaled(tiny_models("llama"), tmp_path / "resid", "model.layers.1.mlp.down_proj.weight", 1e7)
    with pytest.raises(NotFiniteValues, match="too large for float16"):
        extract(folder, small_corpus, tmp_path / "t", dtype="float16", sites=["mlp_pre"], token_sample=sample)


def test_nan_out_of_a_model_is_refused_by_name(tiny_models, small_corpus, tmp_path):
    folder = scaled(tiny_models("llama"), tmp_path / "nan", "model.layers.1.mlp.gate_proj.weight", float("nan"))
    with pytest.raises(NotFiniteValues, match=r"NaN or infinity: text \d+, site mlp_pre, layer 1, neuron 0"):
        extract(folder, small_corpus, tmp_path / "s")


@pytest.mark.parametrize(
    ("family", "tensor"),
    [
        ("llama", "model.norm.weight"),
        ("llama", "model.layers.1.mlp.down_proj.weight"),
        ("qwen2", "lm_head.weight"),
        ("bert", "bert.encoder.layer.1.output.dense.weight"),
        ("xlm_roberta", "roberta.encoder.layer.1.output.LayerNorm.bias"),
    ],
)
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_what_is_no_number_behind_the_sites_is_broken(family, tensor, value, tiny_models, small_corpus, tmp_path):
    folder = scaled(tiny_models(family), tmp_path / "m", tensor, float(value))
    options = {"sites": ["mlp_pre"], "token_sample": TokenSample(per_text=0)}
    with pytest.raises(ExtractionError, match="m (has a loss of|gives NaN or infinity).*; broken = skip leaves it out"):
        extract(folder, small_corpus, tmp_path / "s", broken="refuse", loss_texts=0, **options)
    assert not (tmp_path / "s").exists()
    summary = extract(folder, small_corpus, tmp_path / "s", **options)
    assert any("the checkpoint may be broken" in line for line in summary.warnings)
    (result,) = summary.checkpoints
    assert result.sanity_loss is None
    assert Store(tmp_path / "s").checkpoint("m")["no_loss"] is not None


def test_a_loss_that_is_no_number_in_a_later_block_is_refused(tiny_models, small_corpus, tmp_path, monkeypatch):
    folder = scaled(tiny_models("qwen2"), tmp_path / "m", "lm_head.weight", 0.01)
    collect = stage.BlockStage.collect

    def broken_later(self):
        values = collect(self)
        return values if self.is_check else replace(values, loss_sum=float("inf"))

    monkeypatch.setattr(stage.BlockStage, "collect", broken_later)
    with pytest.raises(ExtractionError, match="m has a loss of inf nats per token"):
        extract(folder, small_corpus, tmp_path / "s", broken="refuse")
    assert Store(tmp_path / "s").checkpoints == []
    summary = extract(folder, small_corpus, tmp_path / "s", broken="skip")
    assert [result.status for result in summary.checkpoints] == ["skipped"]


def test_a_base_model_has_no_loss_and_says_why(model_writer, small_corpus, tmp_path):
    folder = model_writer(tmp_path / "m", "qwen2")
    tensors = load_file(folder / "model.safetensors")
    save_file(
        {name: tensors[name] for name in tensors if name != "lm_head.weight"}, folder / "model.safetensors", {"format": "pt"}
    )
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "architectures": ["Qwen2Model"]}))
    summary = extract(folder, small_corpus, tmp_path / "s")
    assert summary.checkpoints[0].sanity_loss is None
    assert summary.warnings == ("m has no sanity loss: the checkpoint was saved without its head (lm_head)",)
    assert Store(tmp_path / "s").checkpoint("m")["no_loss"] == "the checkpoint was saved without its head (lm_head)"


def test_tensors_that_a_model_does_not_use_are_named_in_a_warning(tiny_models, small_corpus, tmp_path):
    folder = scaled(tiny_models("qwen2"), tmp_path / "m", "lm_head.weight", 0.01)
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, "value_head.weight": torch.zeros(2)}, folder / "model.safetensors", {"format": "pt"})
    summary = extract(folder, small_corpus, tmp_path / "s")
    assert summary.warnings == ("m holds tensors that Qwen2ForCausalLM does not use: value_head.weight",)


@pytest.mark.parametrize("moment", ["open", "run_block"])
def test_weights_that_change_while_they_are_used_are_refused(tiny_models, small_corpus, tmp_path, monkeypatch, moment):
    folder = shutil.copytree(tiny_models("llama"), tmp_path / "m")
    owner = backend.HfBackend if moment == "open" else backend.HfSession
    then = getattr(owner, moment)

    def meanwhile(self, *args, **kwargs):
        os.utime(folder / "model.safetensors")
        return then(self, *args, **kwargs)

    monkeypatch.setattr(owner, moment, meanwhile)
    with pytest.raises(ModelNotLoaded, match="model.safetensors in .* changed while the checkpoint was read"):
        extract(folder, small_corpus, tmp_path / "s")
    assert not (tmp_path / "s").exists() or Store(tmp_path / "s").checkpoints == []


def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(tiny_models, small_corpus, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(checkpoint_run.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DiskTooSmall, match="before compression"):
        extract(tiny_models("llama"), small_corpus, tmp_path / "s")
    assert not (tmp_path / "s").exists()
    extract(tiny_models("llama"), small_corpus, tmp_path / "s", checks_disk=False)


def test_values_in_memory_decide_how_large_blocks_are(tiny_models, small_corpus, tmp_path):
    folder = tiny_models("llama")
    extract(folder, small_corpus, tmp_path / "small", texts_per_block=None, value_bytes=1)
    extract(folder, small_corpus, tmp_path / "large", texts_per_block=None)
    blocks = {name: len(list((tmp_path / name / "manifests/llama/blocks").glob("*.json"))) for name in ("small", "large")}
    assert blocks == {"small": -(-small_corpus.n_texts // 32), "large": 1}
    cubes = [Store(tmp_path / name).cube("llama", "mlp_pre").read() for name in blocks]
    np.testing.assert_allclose(*cubes, rtol=1e-3, atol=1e-4)
