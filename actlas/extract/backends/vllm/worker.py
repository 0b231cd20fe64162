"""What every worker of vLLM gets on top: methods that are called by name and take and give small plain values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from actlas.extract.backends.vllm.hooks import FlatReader, force_tanh_gelu
from actlas.extract.backends.vllm.rank_slices import engine_family, engine_points
from actlas.extract.backends.vllm.shared_block import SharedBlock, capture_from_json
from actlas.extract.child import error_to_json


class ActlasWorker:
    """The `worker_extension_cls`: vLLM adds it to the bases of its worker class.

    Every method gives {"value": its answer} or {"error": as `error_to_json` writes it}.
    """

    # these three are the worker's own
    vllm_config: Any
    model_runner: Any
    device: Any

    def actlas_facts(self) -> dict[str, Any]:
        """The settings that this rank runs under."""
        return _answer(self._actlas_facts)

    def actlas_attach(self, capture: str, forces_gelu: bool = True) -> dict[str, Any]:
        """Hook the sites.

        Args:
            capture: As `capture_to_json` writes it.
            forces_gelu: Whether a GELU of another form than the model's is replaced.
        """
        return _answer(lambda: self._actlas_attach(capture, forces_gelu))

    def actlas_store_as(self, capture: str) -> dict[str, Any]:
        """Hand over values in other dtypes.

        Args:
            capture: As `capture_to_json` writes it.
        """
        return _answer(lambda: setattr(self.actlas_reader, "capture", capture_from_json(capture)))

    def actlas_begin(self, block: str, dtype: str | None, sites: list[str] | None = None) -> dict[str, Any]:
        """Wait for the texts of a block.

        Args:
            block: As `SharedBlock.to_json` writes it.
            dtype: As in `FlatReader.begin`.
            sites: As in `FlatReader.begin`.
        """
        return _answer(lambda: self.actlas_reader.begin(SharedBlock.open(block).texts(), dtype, sites))

    def actlas_finish(self, block: str) -> dict[str, Any]:
        """Write this rank's neurons into a block.

        Args:
            block: As `SharedBlock.to_json` writes it.
        """
        return _answer(lambda: self._actlas_finish(block))

    def _actlas_facts(self) -> dict[str, Any]:
        config = self.vllm_config
        model, cache, scheduler = config.model_config, config.cache_config, config.scheduler_config
        parallel, compilation = config.parallel_config, config.compilation_config
        runner = type(self.model_runner)
        return {
            "enforce_eager": bool(model.enforce_eager),
            "compilation": compilation.mode.name,
            "cuda_graphs": compilation.cudagraph_mode.name,
            "prefix_caching": bool(cache.enable_prefix_caching),
            "chunked_prefill": bool(scheduler.enable_chunked_prefill),
            "async_scheduling": bool(scheduler.async_scheduling),
            "max_model_len": int(model.max_model_len),
            "max_num_batched_tokens": int(scheduler.max_num_batched_tokens),
            "dtype": str(model.dtype).removeprefix("torch."),
            "kv_cache_dtype": str(cache.cache_dtype),
            "quantization": None if model.quantization is None else str(model.quantization),
            "device": str(self.device.type),
            "tensor_parallel": int(parallel.tensor_parallel_size),
            "pipeline_parallel": int(parallel.pipeline_parallel_size),
            "data_parallel": int(parallel.data_parallel_size),
            "speculative": config.speculative_config is not None,
            "lora": config.lora_config is not None,
            "kv_transfer": config.kv_transfer_config is not None,
            "model_runner": "v2" if ".worker.gpu." in runner.__module__ else "v1",
            "model": type(self.model_runner.get_model()).__name__,
        }

    def _actlas_attach(self, capture_json: str, forces_gelu: bool) -> dict[str, Any]:
        from vllm.distributed import get_tensor_model_parallel_rank, get_tensor_model_parallel_world_size

        model = self.model_runner.get_model()
        text = self.vllm_config.model_config.hf_text_config
        architecture = type(model).__name__
        family, engine = engine_family(architecture)
        capture = capture_from_json(capture_json)
        gelu = None
        if engine.tanh_gelu and forces_gelu:
            gelu = force_tanh_gelu(model, f"{family.prefix}.{family.layers_path}", engine.tanh_gelu)
        self.actlas_reader = FlatReader(
            model,
            engine_points(architecture, int(text.num_hidden_layers), capture.all_sites),
            capture,
            hidden_size=int(text.hidden_size),
            rank=get_tensor_model_parallel_rank(),
            n_ranks=get_tensor_model_parallel_world_size(),
            device=self.device,
        )
        return {"shapes": {site: list(shape) for site, shape in self.actlas_reader.shapes.items()}, "gelu": gelu}

    def _actlas_finish(self, block: str) -> dict[str, Any]:
        reading = self.actlas_reader.finish()
        values = reading.stage.collect()
        SharedBlock.open(block).fill(values, self.actlas_reader.neurons)
        return {
            "n_tokens": reading.stage.n_tokens.tolist(),
            "loss_sum": values.loss_sum,
            "loss_tokens": values.loss_tokens,
            "n_passes": reading.n_passes,
        }


def _answer(step: Callable[[], Any]) -> dict[str, Any]:
    """What `step` gives, or its error as plain values: an exception would take the engine down and lose its words."""
    try:
        return {"value": step()}
    except Exception as error:
        return {"error": error_to_json(error)}
