"""What the transformers backend refuses and records; values of every family: tests/extract/sites/test_families.py."""

import pytest
import torch

from actlas.errors import BackendUnavailable, ModelNotLoaded
from actlas.extract.backends.base import BackendSettings, Capture
from actlas.extract.backends.hf.backend import HfBackend, device_named
from actlas.names import Checkpoint

CAPTURE = Capture(sites=("mlp_pre",), dtype="float32", max_tokens=60)


@pytest.fixture
def backend():
    return HfBackend(BackendSettings(device="cpu"))


def test_a_device_is_named_or_found():
    assert device_named("cpu").type == "cpu"
    assert device_named("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(BackendUnavailable, match="no device 'warp'; choose cpu, cuda, cuda:N or auto"):
        device_named("warp")
    with pytest.raises(BackendUnavailable, match="no values can be read on device 'meta'; choose cpu, cuda, cuda:N or auto"):
        device_named("meta")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_here_is_refused():
    with pytest.raises(BackendUnavailable, match="'cuda:0' needs CUDA, .* device cpu gives the same values"):
        device_named("cuda:0")


def test_a_cpu_computes_in_float32_unless_told(tiny_models):
    checkpoint = Checkpoint("m", str(tiny_models("llama")))
    for chosen, dtype in (("auto", "float32"), ("bfloat16", "bfloat16"), ("autocast-bfloat16", "autocast-bfloat16")):
        assert HfBackend(BackendSettings(device="cpu", compute_dtype=chosen)).locate(checkpoint).compute_dtype == dtype


def test_a_session_says_what_it_is_of(backend, tiny_models):
    session = backend.open(backend.locate(Checkpoint("m", str(tiny_models("bloom")))), CAPTURE)
    assert session.shapes == {"mlp_pre": (2, 96)}
    assert session.about["architecture"] == "BloomForCausalLM"
    assert session.about["modules"] == {"mlp_pre": ["transformer.h.0.mlp.dense_h_to_4h:output"]}
    assert session.about["n_layers"] == 2
    session.close()


def test_a_weight_that_is_missing_is_not_made_up(backend, model_writer, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = model_writer(tmp_path / "m", "llama")
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelNotLoaded, match=r"lack 1 tensors of LlamaForCausalLM: model.layers.1.mlp.up_proj.weight"):
        backend.open(backend.locate(Checkpoint("m", str(folder))), CAPTURE)


def test_a_checkpoint_without_a_tokenizer_needs_one_named(model_writer, tmp_path, tiny_models):
    folder = model_writer(tmp_path / "m", "llama")
    for path in folder.glob("tokenizer*"):
        path.unlink()
    backend = HfBackend(BackendSettings(device="cpu"))
    with pytest.raises(ModelNotLoaded, match="has no tokenizer; name a folder or hub id as the tokenizer of the run"):
        backend.tokenizer(backend.locate(Checkpoint("m", str(folder))))
    other = HfBackend(BackendSettings(device="cpu", tokenizer=str(tiny_models("llama"))))
    assert other.tokenizer(other.locate(Checkpoint("m", str(folder)))).hash
