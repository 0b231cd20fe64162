"""Weights that a model has no place for, or that a checkpoint lacks."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from actlas.errors import CapturePointNotFound, ModelNotLoaded
from actlas.extract.backends.base import BackendSettings, Capture
from actlas.extract.backends.hf.backend import HfBackend
from actlas.names import Checkpoint

CAPTURE = Capture(sites=("mlp_pre",), dtype="float32", max_tokens=60)


def opened(folder, capture=CAPTURE):
    backend = HfBackend(BackendSettings(device="cpu"))
    return backend.open(backend.locate(Checkpoint("m", str(folder))), capture)


def changed(source, target, tensors=lambda tensors: tensors, **config):
    """A copy of a checkpoint with other tensors and another configuration."""
    shutil.copytree(source, target)
    weights = tensors(load_file(target / "model.safetensors"))
    save_file(weights, target / "model.safetensors", {"format": "pt"})
    settings = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**settings, **config}))
    return target


@pytest.mark.parametrize(
    ("family", "config"),
    [
        ("llama", {"num_hidden_layers": 1}),
        ("bloom", {"n_layer": 1}),
        ("gpt2", {"n_layer": 1}),
        ("opt", {"num_hidden_layers": 1}),
        ("gpt_neox", {"num_hidden_layers": 1}),
        ("xlm_roberta", {"num_hidden_layers": 1}),
    ],
)
def test_layers_that_the_configuration_does_not_mention_are_refused(family, config, tiny_models, tmp_path):
    with pytest.raises(ModelNotLoaded, match="says 1 layers and its weights hold 2"):
        opened(changed(tiny_models(family), tmp_path / "m", **config))


def test_tensors_that_are_not_used_are_named(tiny_models, tmp_path):
    more = {"model.layers.0.mlp.extra.weight": torch.zeros(2), "value_head.5.weight": torch.zeros(2)}
    session = opened(changed(tiny_models("llama"), tmp_path / "m", lambda tensors: tensors | more))
    assert session.about["unused_tensors"] == sorted(more)
    assert opened(tiny_models("llama")).about["unused_tensors"] == []


@pytest.mark.parametrize("family", ["bert", "xlm_roberta"])
def test_the_heads_of_an_encoder_are_left_out_without_a_word(family, tiny_models):
    about = opened(tiny_models(family)).about
    assert about["unused_tensors"] == []
    assert about["no_loss"] == "the model predicts no next token"


def test_a_base_model_needs_no_head(model_writer, tmp_path):
    def base_model(tensors):
        return {name.removeprefix("model."): tensor for name, tensor in tensors.items() if name != "lm_head.weight"}

    whole = model_writer(tmp_path / "whole", "qwen2")
    folder = changed(whole, tmp_path / "m", base_model, architectures=["Qwen2Model"])
    session = opened(folder)
    assert session.about["no_loss"] == "the checkpoint was saved without its head (lm_head)"
    assert session.shapes == opened(whole).shapes
    with pytest.raises(CapturePointNotFound, match="site 'embed' reads lm_head, and the checkpoint was saved without it"):
        opened(folder, Capture(sites=("embed",), site_modules={"embed": "lm_head"}))
    causal = changed(folder, tmp_path / "causal", architectures=["Qwen2ForCausalLM"])
    with pytest.raises(ModelNotLoaded, match=r"lack 1 tensors of Qwen2ForCausalLM: lm_head\.weight"):
        opened(causal)


def test_a_tensor_of_another_shape_is_named(tiny_models, tmp_path):
    folder = changed(tiny_models("llama"), tmp_path / "m", intermediate_size=41)
    with pytest.raises(ModelNotLoaded, match=r"tensor model\.layers\.0\.mlp\.down_proj\.weight .*shape \(24, 40\) .* \(24, 41\)"):
        opened(folder)
