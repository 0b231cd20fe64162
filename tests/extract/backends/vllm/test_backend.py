"""What the vLLM backend refuses before an engine is started; the rest needs vLLM (test_engine.py)."""

import json
from pathlib import Path

import pytest

from actlas.errors import BackendUnavailable, CapturePointNotFound, ExtractionError, ModelNotSupported
from actlas.extract import extract_activations
from actlas.extract.backends.base import BackendSettings, Capture
from actlas.extract.backends.registry import get_backend
from actlas.extract.backends.vllm import backend as backend_vllm
from actlas.extract.backends.vllm.backend import VllmBackend, check_capture, check_gelu
from actlas.names import Checkpoint


@pytest.fixture
def without_engine(monkeypatch):
    """No engine may be started."""

    def refuse(*_):
        raise AssertionError("an engine was started")

    monkeypatch.setattr(backend_vllm, "EngineLink", refuse)


def test_without_vllm_the_pip_line_is_told(monkeypatch):
    monkeypatch.setattr(backend_vllm, "find_spec", lambda _: None)
    with pytest.raises(BackendUnavailable, match=r"backend 'vllm' needs vllm: pip install 'actlas\[hf,vllm\]'"):
        get_backend("vllm", BackendSettings())


def test_one_engine_has_the_devices_it_is_shown():
    with pytest.raises(BackendUnavailable, match="CUDA_VISIBLE_DEVICES"):
        VllmBackend(BackendSettings(device="cpu:0"))
    with pytest.raises(ValueError, match="tensor_parallel must be at least 1, not 0"):
        VllmBackend(BackendSettings(device="cpu", tensor_parallel=0))


def test_transformers_takes_no_ranks(tiny_models, small_corpus, tmp_path):
    with pytest.raises(BackendUnavailable, match="one device, not on 2; --backend vllm"):
        extract_activations(tiny_models("llama"), small_corpus, tmp_path / "s", device="cpu", tensor_parallel=2)


def test_what_vllm_can_not_give_is_refused():
    with pytest.raises(CapturePointNotFound, match="max_with_pad' pools padding, and vLLM has none"):
        check_capture("LlamaForCausalLM", 2, Capture(sites=("resid",), pooling="max_with_pad", pad_to=16))
    with pytest.raises(CapturePointNotFound, match=r"named by hand \(mlp_pre\) name modules of transformers"):
        check_capture("LlamaForCausalLM", 2, Capture(sites=("mlp_pre",), site_modules={"mlp_pre": "h.{layer}.fc:output"}))
    with pytest.raises(ModelNotSupported, match="does not know where 'Gemma2ForCausalLM' has its sites"):
        check_capture("Gemma2ForCausalLM", 2, Capture(sites=("mlp_pre",)))
    check_capture("LlamaForCausalLM", 2, Capture(sites=("mlp_pre", "attn_qkv"), count_sites=("mlp_hidden",)))


def test_bloom_without_the_tanh_form_is_refused():
    with pytest.raises(ExtractionError, match="mlp.gelu_impl of BloomForCausalLM with the exact GELU; the model was"):
        check_gelu("BloomForCausalLM", "mlp.gelu_impl", None)
    with pytest.raises(ExtractionError, match="exact GELU"):
        check_gelu("BloomForCausalLM", "mlp.gelu_impl", {"was": "GELU()", "is": "GELU()"})
    check_gelu("LlamaForCausalLM", "", None)


def test_a_quantised_checkpoint_is_refused_before_an_engine_starts(model_writer, tmp_path: Path, without_engine):
    folder = model_writer(tmp_path / "model", "llama")
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "fp8", "activation_scheme": "dynamic"}
    (folder / "config.json").write_text(json.dumps(config))
    backend = VllmBackend(BackendSettings(device="cpu"))
    source = backend.locate(Checkpoint("model", str(folder)))
    with pytest.raises(ExtractionError, match="is quantised; its values would be those of rounded weights"):
        backend.open(source, Capture(sites=("mlp_pre",)))


def test_a_text_leaves_room_for_the_token_that_vllm_makes(tiny_models):
    source = VllmBackend(BackendSettings(device="cpu")).locate(Checkpoint("m", str(tiny_models("llama"))))
    assert source.max_positions == 63


def test_linear_maps_that_are_fused_have_no_names_of_their_own(tiny_models):
    backend = VllmBackend(BackendSettings(device="cpu"))
    with pytest.raises(CapturePointNotFound, match="auto-linear"):
        backend.linear_sites(backend.locate(Checkpoint("m", str(tiny_models("llama")))))
