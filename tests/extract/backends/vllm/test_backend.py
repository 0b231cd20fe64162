"""What the vLLM backend refuses before an engine is started, and a session over a played one; test_engine.py has vLLM itself."""

import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from transformers import LlamaConfig

from actlas.errors import (
    BackendUnavailable,
    CapturePointNotFound,
    ExtractionError,
    FidelityError,
    ModelNotLoaded,
    ModelNotSupported,
)
from actlas.extract import extract_activations
from actlas.extract.backends.base import BackendSettings, Capture, LocatedCheckpoint
from actlas.extract.backends.registry import get_backend
from actlas.extract.backends.vllm import backend as backend_vllm
from actlas.extract.backends.vllm.backend import VllmBackend, VllmSession, check_capture, check_gelu
from actlas.extract.backends.vllm.link import EngineLink
from actlas.extract.backends.vllm.settings import EngineSettings, engine_arguments
from actlas.names import Checkpoint
from tests.extract.mutations import MUTATIONS, ROUNDOFF

LISTS = [[5, 6, 7], [5, 6], [8, 9, 4, 2, 3]]
CAPTURE = Capture(sites=("mlp_hidden",), token_sites=("embed",), dtype="float32", max_tokens=8)


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
    with pytest.raises(BackendUnavailable, match="one device, not on 2; backend vllm divides it"):
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
    with pytest.raises(ModelNotSupported, match=r"is quantised \(fp8, says quantization_config"):
        backend.locate(Checkpoint("model", str(folder)))


def test_weights_that_were_not_hashed_are_not_loaded(model_writer, tmp_path: Path, without_engine):
    folder = model_writer(tmp_path / "model", "llama")
    shutil.copy(folder / "model.safetensors", folder / "model.fp16.safetensors")
    backend = VllmBackend(BackendSettings(device="cpu"))
    source = backend.locate(Checkpoint("model", str(folder)))
    with pytest.raises(ModelNotLoaded, match=r"holds model\.fp16\.safetensors beside model\.safetensors, and vLLM would"):
        backend.open(source, Capture(sites=("mlp_pre",)))


def test_a_text_leaves_room_for_the_token_that_vllm_makes(tiny_models):
    source = VllmBackend(BackendSettings(device="cpu")).locate(Checkpoint("m", str(tiny_models("llama"))))
    assert source.max_positions == 63


def test_linear_maps_that_are_fused_have_no_names_of_their_own(tiny_models):
    backend = VllmBackend(BackendSettings(device="cpu"))
    with pytest.raises(CapturePointNotFound, match="auto-linear"):
        backend.linear_sites(backend.locate(Checkpoint("m", str(tiny_models("llama")))))


@pytest.fixture
def session(played_vllm):
    """Opens a session over an engine that is played."""
    sessions = []

    def begin(fault="", n_ranks=2):
        played_vllm(fault)
        settings = EngineSettings(Path("model"), "float32", "cpu", 8, 8, n_ranks)
        link = EngineLink(engine_arguments(settings))
        located = LocatedCheckpoint(Checkpoint("m", "m"), Path("model"), (), "LlamaForCausalLM", 8, "float32")
        try:
            sessions.append(
                VllmSession(link, settings, located, CAPTURE, reference=None, config=LlamaConfig(num_hidden_layers=2))
            )
        except BaseException:
            link.close()
            raise
        return sessions[-1]

    yield begin
    for one in sessions:
        one.close()


def test_a_session_gives_blocks_and_says_what_they_are_of(session, blocks):
    one, done = session(), []
    block = blocks(LISTS, sampled=[(0, 1), (2, 4)])
    values = one.run_block(block, on_batch=done.append).collect()
    assert one.shapes == {"embed": (1, 8), "mlp_hidden": (2, 12)}
    assert values.cubes["mlp_hidden"].shape == (2, 12, 3)
    assert values.tokens["embed"].shape == (1, 2, 8)
    assert sum(done) == 3
    assert one.about["tensor_parallel"] == one.about["engine"]["tensor_parallel"] == 2
    alone = one.run_block(block, is_alone=True, on_batch=done.append).collect()
    assert done[-3:] == [1, 1, 1]
    np.testing.assert_array_equal(alone.cubes["mlp_hidden"], values.cubes["mlp_hidden"])
    assert one.run_block(block, dtype="bfloat16").collect().cubes["mlp_hidden"].dtype == np.uint16


def test_a_rank_that_runs_otherwise_is_refused_before_any_text(session):
    with pytest.raises(ExtractionError, match="max_num_batched_tokens is 9 on rank 0 and 10 on rank 1"):
        session("facts")


def test_an_engine_that_died_leaves_no_block_behind(session, blocks):
    one = session("die")
    with pytest.raises(ExtractionError, match="ended while it was asked to generate"):
        one.run_block(blocks(LISTS))
    one.close()
    one._link.log.unlink()


class PlayedReference:
    """Transformers, played: gives what the engine gives, in whatever form a test makes of it."""

    def __init__(self, engine, mutate=lambda values, _: values):
        self.engine, self.mutate, self.is_open, self.dtypes = engine, mutate, False, []

    def open(self, located, capture):
        self.capture, self.is_open = capture, True
        self.dtypes.append(located.compute_dtype)
        return self

    def run_block(self, block):
        values = self.engine._run(block, self.capture, list(self.capture.sites)).collect()
        cubes = {site: self.mutate(np.array(cube), np.array([0, 0, 1])) for site, cube in values.cubes.items()}
        return SimpleNamespace(collect=lambda: replace(values, cubes=cubes))

    def close(self):
        self.is_open = False


def test_calibration_keeps_what_it_found_and_asks_float32_about_a_neuron_that_is_far_off(session, blocks):
    one = session()
    one._reference = PlayedReference(one)
    found = one.calibrate(blocks(LISTS))
    assert not one._reference.is_open
    assert one._reference.capture.sites == ("embed", "mlp_hidden")
    assert (found["reference"], found["n_texts"], found["difference"]) == ("transformers", 3, 0.0)
    assert found["limit"] > 0
    assert (found["sign_agreement"], found["rank_agreement"]) == (1.0, 1.0)
    # where a narrow dtype fails, float32 says how far rounding moves a neuron
    one._located = replace(one._located, compute_dtype="bfloat16")
    reference = PlayedReference(one)

    def moved(values, _):
        # in bfloat16 alone, and as far as it is off
        if reference.dtypes[-1] == "bfloat16":
            values[0, 3] *= 1.3
        return values

    reference.mutate = moved
    one._reference = reference
    found = one.calibrate(blocks(LISTS))
    assert reference.dtypes == ["bfloat16", "float32"]
    assert found["difference"] > 0.05
    assert found["difference"] == pytest.approx(found["limit"] / 3)
    reference.mutate = lambda values, _: values * 1.3
    with pytest.raises(FidelityError, match="in bfloat16, by"):
        one.calibrate(blocks(LISTS))


def test_calibration_refuses_every_mistake_by_name_in_every_dtype(session, blocks):
    one = session()
    block = blocks(LISTS)
    mistakes = [name for name in MUTATIONS if name != "a layer taken from the next"]  # embed has one
    for dtype, name in itertools.product(ROUNDOFF, mistakes):
        one._located = replace(one._located, compute_dtype=dtype)
        one._reference = PlayedReference(one, MUTATIONS[name])
        with pytest.raises(
            FidelityError, match=rf"of vLLM differ .* transformers, in {dtype}, by .* neuron \d+, text \d+, .* hf"
        ):
            one.calibrate(block)
        assert not one._reference.is_open, name
