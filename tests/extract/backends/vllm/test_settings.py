"""An engine that does not run as it was told is refused, with the reason."""

from pathlib import Path

import pytest

from actlas.errors import ExtractionError
from actlas.extract.backends.vllm.settings import (
    EngineSettings,
    check_facts,
    engine_arguments,
    engine_environment,
    expected_facts,
)

SETTINGS = EngineSettings(Path("model"), "float32", "cpu", max_tokens=64, tokens_per_batch=2048)
GOOD = {
    **expected_facts(SETTINGS),
    "max_model_len": 65,
    "max_num_batched_tokens": 2048,
    "model": "LlamaForCausalLM",
}
WRONG = [
    ("enforce_eager", False, "hooks do not fire in a compiled model"),
    ("compilation", "VLLM_COMPILE", "hooks do not fire in a compiled model"),
    ("cuda_graphs", "FULL", "hooks do not fire in a recorded graph"),
    ("prefix_caching", True, "the beginning of a text that was seen before would be missing"),
    ("chunked_prefill", True, "texts would be cut into pieces"),
    ("async_scheduling", True, "passes would not be those"),
    ("dtype", "bfloat16", "another dtype"),
    ("kv_cache_dtype", "fp8", "rounded keys and values"),
    ("quantization", "fp8", "rounded weights"),
    ("device", "cuda", "not run where it was told"),
    ("tensor_parallel", 2, "missing or written twice"),
    ("pipeline_parallel", 2, "only some of the layers"),
    ("data_parallel", 2, "only some of the texts"),
    ("speculative", True, "tokens that are no text"),
    ("lora", True, "other weights"),
    ("kv_transfer", True, "from elsewhere"),
    ("model_runner", "v2", "only vLLM's first model runner was verified"),
]


def test_an_engine_that_listened_passes():
    check_facts(SETTINGS, "LlamaForCausalLM", [GOOD])


def test_every_fact_that_is_expected_is_tried_here():
    assert {name for name, _, _ in WRONG} == set(expected_facts(SETTINGS))


@pytest.mark.parametrize(("name", "value", "reason"), WRONG, ids=[name for name, _, _ in WRONG])
def test_a_setting_that_is_not_in_force_is_refused_with_its_reason(name, value, reason):
    with pytest.raises(ExtractionError, match=f"does not run as it was told: {name} is {value!r}, not .*{reason}"):
        check_facts(SETTINGS, "LlamaForCausalLM", [{**GOOD, name: value}])


def test_a_pass_shorter_than_a_text_is_refused():
    with pytest.raises(ExtractionError, match="a pass takes 64 tokens and a text may have 65"):
        check_facts(SETTINGS, "LlamaForCausalLM", [{**GOOD, "max_num_batched_tokens": 64}])
    with pytest.raises(ExtractionError, match="a text may have 32, where 65 are needed"):
        check_facts(SETTINGS, "LlamaForCausalLM", [{**GOOD, "max_model_len": 32}])


def test_another_model_than_the_tables_is_refused():
    with pytest.raises(ExtractionError, match="the model is a TransformersForCausalLM, not a LlamaForCausalLM"):
        check_facts(SETTINGS, "LlamaForCausalLM", [{**GOOD, "model": "TransformersForCausalLM"}])


def test_every_rank_is_asked():
    settings = EngineSettings(Path("m"), "float32", "cpu", 64, 2048, tensor_parallel=2)
    good = {**GOOD, "tensor_parallel": 2}
    check_facts(settings, "LlamaForCausalLM", [good, good])
    with pytest.raises(ExtractionError, match="1 ranks answered, not 2"):
        check_facts(settings, "LlamaForCausalLM", [good])
    with pytest.raises(ExtractionError, match="prefix_caching is True"):
        check_facts(settings, "LlamaForCausalLM", [good, {**good, "prefix_caching": True}])


def test_a_pass_holds_the_longest_text_and_the_token_that_vllm_makes():
    made = engine_arguments(EngineSettings(Path("m"), "bfloat16", "cpu", max_tokens=500, tokens_per_batch=100))
    assert made["max_model_len"] == 501
    assert made["max_num_batched_tokens"] == 501
    assert made["max_num_seqs"] <= made["max_num_batched_tokens"]


def test_what_the_user_set_is_kept_and_what_is_needed_is_not_up_to_the_user():
    made = engine_environment({"VLLM_CPU_KVCACHE_SPACE": "7", "VLLM_USE_V2_MODEL_RUNNER": "1"}, 2)
    assert made["VLLM_CPU_KVCACHE_SPACE"] == "7"
    assert made["VLLM_USE_V2_MODEL_RUNNER"] == "0"
    assert int(made["OMP_NUM_THREADS"]) >= 1
    assert "OMP_NUM_THREADS" not in engine_environment({}, 1)
