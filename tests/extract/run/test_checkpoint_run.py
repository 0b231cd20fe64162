"""One checkpoint from its files to its record: an error, changed weights and a missing head on the way."""

import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from actlas.errors import (
    ModelNotLoaded,
)
from actlas.extract.backends.hf import backend
from actlas.extract.run import pipeline
from actlas.store.store import Store
from tests.extract.runs import extract, scaled


def test_an_error_while_writing_stops_the_run(tiny_models, small_corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline.CheckpointWriter, "start_block", lambda *_: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="no space left"):
        extract(tiny_models("llama"), small_corpus, tmp_path / "s")


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
