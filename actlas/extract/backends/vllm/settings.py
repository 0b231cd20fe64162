"""Settings under which hooks in an engine see every token once, and the check that they are in force. Standard library only."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actlas.errors import ExtractionError

#: Environment of the engine's process; the first three are needed, the rest keep it to itself.
_ENVIRONMENT = {
    # the engine's core in the process that owns it: what is submitted at once is batched alike every time
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_USE_V2_MODEL_RUNNER": "0",
    "VLLM_WORKER_MULTIPROCESSING_METHOD": "spawn",
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
#: The same where the user did not say.
_DEFAULT_ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    # ranks on one CPU share its cores; vLLM would ask for a memory node each
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_LOGGING_LEVEL": "WARNING",
}
#: Most texts of one pass.
_TEXTS_PER_PASS = 256
_WORKER = "actlas.extract.backends.vllm.worker.ActlasWorker"


@dataclass(frozen=True)
class EngineSettings:
    """How one engine runs.

    Attributes:
        folder: Files of the checkpoint.
        dtype: Dtype it computes in.
        device: "cpu" or "cuda".
        max_tokens: Longest text.
        tokens_per_batch: Most tokens of one pass.
        tensor_parallel: Ranks that the model is divided among.
        trust_remote_code: Whether code that the checkpoint brings along may run.
    """

    folder: Path
    dtype: str
    device: str
    max_tokens: int
    tokens_per_batch: int
    tensor_parallel: int = 1
    trust_remote_code: bool = False

    @property
    def max_model_len(self) -> int:
        """One more than the longest text: vLLM always makes a token."""
        return self.max_tokens + 1

    @property
    def batched_tokens(self) -> int:
        """Most tokens of one pass; a text is never cut."""
        return max(self.tokens_per_batch, self.max_model_len)

    @property
    def batched_texts(self) -> int:
        """Most texts of one pass."""
        return min(_TEXTS_PER_PASS, self.batched_tokens)


def engine_environment(environment: Mapping[str, str], n_ranks: int) -> dict[str, str]:
    """Environment of the engine's process.

    Args:
        environment: The run's own.
        n_ranks: Ranks of the engine.

    Example:
        >>> changed = engine_environment({"VLLM_LOGGING_LEVEL": "INFO"}, n_ranks=1)
        >>> changed["VLLM_LOGGING_LEVEL"], changed["VLLM_ENABLE_V1_MULTIPROCESSING"]
        ('INFO', '0')
    """
    # ranks that each start a thread per core wait for one another more than they work
    threads = {} if n_ranks == 1 else {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // n_ranks))}
    return {**_DEFAULT_ENVIRONMENT, **threads, **environment, **_ENVIRONMENT}


def engine_arguments(settings: EngineSettings) -> dict[str, Any]:
    """Arguments of `vllm.LLM`.

    Example:
        >>> engine_arguments(EngineSettings(Path("m"), "float32", "cpu", 64, 2048))["enforce_eager"]
        True
    """
    arguments: dict[str, Any] = {
        "model": str(settings.folder),
        "model_impl": "vllm",
        "load_format": "safetensors",
        "skip_tokenizer_init": True,
        "trust_remote_code": settings.trust_remote_code,
        "dtype": settings.dtype,
        "quantization": None,
        "kv_cache_dtype": "auto",
        "enforce_eager": True,
        "enable_prefix_caching": False,
        "enable_chunked_prefill": False,
        "async_scheduling": False,
        "max_model_len": settings.max_model_len,
        "max_num_batched_tokens": settings.batched_tokens,
        "max_num_seqs": settings.batched_texts,
        "tensor_parallel_size": settings.tensor_parallel,
        "pipeline_parallel_size": 1,
        "worker_extension_cls": _WORKER,
        "disable_log_stats": True,
        "seed": 0,
    }
    if settings.tensor_parallel > 1:
        arguments["distributed_executor_backend"] = "mp"
    return arguments


#: Setting -> why a run with another value is refused.
_REASONS = {
    "enforce_eager": "hooks do not fire in a compiled model",
    "compilation": "hooks do not fire in a compiled model",
    "cuda_graphs": "hooks do not fire in a recorded graph",
    "prefix_caching": "the beginning of a text that was seen before would be missing",
    "chunked_prefill": "texts would be cut into pieces",
    "async_scheduling": "passes would not be those of the texts that were submitted",
    "dtype": "the values would be those of another dtype",
    "kv_cache_dtype": "attention would read rounded keys and values",
    "quantization": "the values would be those of rounded weights",
    "device": "it would not run where it was told to",
    "tensor_parallel": "neurons would be missing or written twice",
    "pipeline_parallel": "a rank would have only some of the layers",
    "data_parallel": "an engine would see only some of the texts",
    "speculative": "passes would hold tokens that are no text",
    "lora": "the values would be those of other weights",
    "kv_transfer": "keys and values could come from elsewhere",
    "model_runner": "only vLLM's first model runner was verified",
}


def expected_facts(settings: EngineSettings) -> dict[str, Any]:
    """What every rank must report after the start; see `ActlasWorker.actlas_facts`."""
    return {
        "enforce_eager": True,
        "compilation": "NONE",
        "cuda_graphs": "NONE",
        "prefix_caching": False,
        "chunked_prefill": False,
        "async_scheduling": False,
        "dtype": settings.dtype,
        "kv_cache_dtype": "auto",
        "quantization": None,
        "device": settings.device,
        "tensor_parallel": settings.tensor_parallel,
        "pipeline_parallel": 1,
        "data_parallel": 1,
        "speculative": False,
        "lora": False,
        "kv_transfer": False,
        "model_runner": "v1",
    }


def check_facts(settings: EngineSettings, architecture: str, ranks: list[Mapping[str, Any]]) -> None:
    """Refuse an engine that does not run as it was told.

    Args:
        settings: What it was told.
        architecture: Class of the model.
        ranks: What each rank reports.

    Raises:
        ExtractionError: Naming every setting that is not in force, and why that matters.
    """
    wrong: dict[str, str] = {}
    if len(ranks) != settings.tensor_parallel:
        wrong["ranks"] = f"{len(ranks)} ranks answered, not {settings.tensor_parallel}"
    for facts in ranks:
        for name, expected in expected_facts(settings).items():
            if facts[name] != expected:
                wrong[name] = f"{name} is {facts[name]!r}, not {expected!r} ({_REASONS[name]})"
        if facts["max_num_batched_tokens"] < facts["max_model_len"] or facts["max_model_len"] < settings.max_model_len:
            wrong["length"] = (
                f"a pass takes {facts['max_num_batched_tokens']} tokens and a text may have {facts['max_model_len']}, where "
                f"{settings.max_model_len} are needed (texts would be cut or refused)"
            )
        if facts["model"] != architecture:
            wrong["model"] = f"the model is a {facts['model']}, not a {architecture} (its modules are not known)"
    if wrong:
        raise ExtractionError(f"vLLM does not run as it was told: {'; '.join(wrong.values())}")
