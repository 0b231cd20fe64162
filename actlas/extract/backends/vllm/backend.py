"""The vLLM backend: one engine per checkpoint in a process of its own, read through hooks in its workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

from numpy.typing import NDArray

from actlas.errors import (
    BackendUnavailable,
    CapturePointNotFound,
    ExtractionError,
    FidelityError,
    ModelNotLoaded,
    OptionError,
)
from actlas.extract.backends.agreement import compare
from actlas.extract.backends.base import Backend, BackendSettings, Capture, LocatedCheckpoint
from actlas.extract.backends.hf.backend import HfBackend, device_named
from actlas.extract.backends.hf.identify import CheckpointFiles, load_config
from actlas.extract.backends.vllm.link import EngineLink, agreed
from actlas.extract.backends.vllm.rank_slices import engine_family, engine_points
from actlas.extract.backends.vllm.settings import EngineSettings, check_facts, engine_arguments
from actlas.extract.backends.vllm.shared_block import SharedBlock, capture_to_json
from actlas.extract.checkpoints.weight_hash import INDEX_FILE, SINGLE_FILE
from actlas.extract.inputs.batches import BlockTexts, plan_batches
from actlas.names import Checkpoint
from actlas.store.values import BlockValues

#: Tokens of a pass where the user does not say.
_TOKENS_PER_BATCH = {"cpu": 2048, "cuda": 8192}


def make_backend(settings: BackendSettings) -> Backend:
    """The backend; `registry.get_backend("vllm", settings)` calls this."""
    spec = find_spec("vllm")
    # a folder that happens to be called vllm has no origin
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("no module named 'vllm'", name="vllm")
    return VllmBackend(settings)


class VllmBackend(CheckpointFiles):
    """Runs checkpoints with vLLM. Files, tokenizers and the reference to compare with are those of transformers."""

    name = "vllm"

    def __init__(self, settings: BackendSettings) -> None:
        if settings.device not in ("auto", "cpu", "cuda"):
            raise BackendUnavailable(
                f"backend vllm takes devices by CUDA_VISIBLE_DEVICES, not as {settings.device!r}; choose device cuda or cpu"
            )
        if settings.compute_dtype.startswith("autocast-"):
            raise BackendUnavailable(f"backend vllm computes in one dtype, not in {settings.compute_dtype}; backend hf can")
        if settings.tensor_parallel < 1:
            raise OptionError(f"tensor_parallel must be at least 1, not {settings.tensor_parallel}")
        self.device = device_named(settings.device).type
        #: What values are compared with; on the CPU, for the engine has taken the memory of the device.
        self.reference = HfBackend(replace(settings, tensor_parallel=1, device="cpu"))
        super().__init__(settings, "float32" if self.device == "cpu" else "auto")

    def locate(self, checkpoint: Checkpoint) -> LocatedCheckpoint:
        """See `base.Backend`. vLLM reads one token less than the model can: it always makes one more."""
        located = super().locate(checkpoint)
        limit = located.max_positions
        return located if limit is None else replace(located, max_positions=limit - 1)

    def linear_sites(self, located: LocatedCheckpoint) -> list[str]:
        """See `base.Backend`."""
        raise CapturePointNotFound("backend vllm fuses linear maps, so 'auto-linear' can not name them; backend hf can")

    def open(self, located: LocatedCheckpoint, capture: Capture) -> VllmSession:
        """See `base.Backend`.

        Raises:
            CapturePointNotFound: If a site can not be read in vLLM.
            ExtractionError: If the engine does not start, or does not run as it was told.
            ModelNotLoaded: If the folder holds weights that were not hashed and would be loaded.
        """
        config = load_config(located.folder, trust_remote_code=self.settings.trust_remote_code)
        check_capture(located.architecture, int(config.get_text_config().num_hidden_layers), capture)
        # vLLM loads every file with this ending where no index says which; what was hashed is one file
        others = sorted({path.name for path in located.folder.glob("*.safetensors")} - {SINGLE_FILE})
        if others and not (located.folder / INDEX_FILE).is_file():
            raise ModelNotLoaded(
                f"{located.folder} holds {', '.join(others[:3])} beside {SINGLE_FILE}, and vLLM would load both; move them away"
            )
        settings = EngineSettings(
            folder=located.folder,
            dtype=located.compute_dtype,
            device=self.device,
            max_tokens=capture.max_tokens,
            tokens_per_batch=self.settings.tokens_per_batch or _TOKENS_PER_BATCH[self.device],
            tensor_parallel=self.settings.tensor_parallel,
            trust_remote_code=self.settings.trust_remote_code,
        )
        link = EngineLink(engine_arguments(settings))
        try:
            return VllmSession(link, settings, located, capture, self.reference, config)
        except BaseException:
            link.close()
            raise


def check_capture(architecture: str, n_layers: int, capture: Capture) -> None:
    """Refuse what vLLM can not give before anything is started.

    Raises:
        CapturePointNotFound: Naming it.
    """
    if capture.site_modules:
        raise CapturePointNotFound(
            f"sites named by hand ({', '.join(capture.site_modules)}) name modules of transformers; backend vllm reads the sites "
            "of its table only. Extract with backend hf"
        )
    if capture.pad_to is not None:
        raise CapturePointNotFound("pooling 'max_with_pad' pools padding, and vLLM has none; take backend hf, or another pooling")
    engine_points(architecture, n_layers, capture.all_sites)


class VllmSession:
    """One engine that is being read; see `base.ModelSession`."""

    def __init__(
        self,
        link: EngineLink,
        settings: EngineSettings,
        located: LocatedCheckpoint,
        capture: Capture,
        reference: HfBackend,
        config: Any,
    ) -> None:
        self._link, self._settings, self._located, self._capture = link, settings, located, capture
        self._reference = reference
        facts = link.on_every_rank("actlas_facts")
        check_facts(settings, located.architecture, facts)
        attached = link.on_every_rank("actlas_attach", capture_to_json(capture))
        shapes, gelu = agreed(attached, "shapes"), agreed(attached, "gelu")
        family, engine = engine_family(located.architecture)
        check_gelu(located.architecture, engine.tanh_gelu, gelu)
        self.shapes: Mapping[str, tuple[int, int]] = {site: tuple(shape) for site, shape in shapes.items()}
        self.is_on_cpu = bool(link.about["is_on_cpu"])
        n_layers = int(config.get_text_config().num_hidden_layers)
        points = engine_points(located.architecture, n_layers, capture.all_sites)
        self.about: Mapping[str, Any] = {
            "architecture": located.architecture,
            "n_layers": n_layers,
            "vocabulary": int(config.get_text_config().vocab_size),
            "modules": {point.site: [f"{point.module}:{point.side}"] for point in points if point.layer == 0},
            # neurons are put into the order that transformers has them in
            "layouts": {
                site: family.sites[site].layout
                for site in capture.all_sites
                if site in family.sites and family.sites[site].layout
            },
            "device": link.about["device"],
            "tokens_per_batch": settings.tokens_per_batch,
            "tensor_parallel": settings.tensor_parallel,
            "engine": {name: agreed(facts, name) for name in facts[0]},
            "fix_ups": {} if gelu is None else {engine.tanh_gelu: gelu},
            "versions": link.about["versions"],
        }

    def run_block(
        self,
        block: BlockTexts,
        *,
        is_alone: bool = False,
        dtype: str | None = None,
        on_batch: Callable[[int], None] | None = None,
    ) -> EngineBlockRun:
        """See `base.ModelSession`."""
        capture = self._capture if dtype is None else self._capture.all_in(dtype)
        return self._run(block, capture, None, is_alone=is_alone, on_batch=on_batch)

    def store_as(self, capture: Capture) -> None:
        """See `base.ModelSession`."""
        self._link.on_every_rank("actlas_store_as", capture_to_json(capture))
        self._capture = capture

    def calibrate(self, block: BlockTexts) -> Mapping[str, Any]:
        """See `base.ModelSession`: every site, the same texts, the same dtype, with transformers."""
        capture = replace(self._capture.all_in("float32"), sites=self._capture.all_sites, token_sites=(), count_sites=())
        values = self._run(block, capture, list(capture.sites)).collect().cubes
        dtype, text_ids = self._located.compute_dtype, block.text_ids.tolist()
        expected = self._expected(block, capture, dtype)
        found = compare(values, expected, dtype, text_ids)
        if found.complaint() is not None and dtype != "float32":
            # some neurons of trained models are moved further by rounding than others: by how much, float32 says
            found = compare(values, expected, dtype, text_ids, exact=self._expected(block, capture, "float32"))
        if (complaint := found.complaint()) is not None:
            raise FidelityError(
                f"values of vLLM differ from those of transformers, in {dtype}, {complaint}. Extract this model with backend hf"
            )
        return {"reference": "transformers", **found.record()}

    def _expected(self, block: BlockTexts, capture: Capture, compute_dtype: str) -> Mapping[str, NDArray[Any]]:
        """What transformers gives, computed in a dtype."""
        session = self._reference.open(replace(self._located, compute_dtype=compute_dtype), capture)
        try:
            return session.run_block(block).collect().cubes
        finally:
            session.close()

    def close(self) -> None:
        """See `base.ModelSession`. Every process of the engine is gone when this returns."""
        self._link.close()

    def _run(
        self,
        block: BlockTexts,
        capture: Capture,
        sites: list[str] | None,
        *,
        is_alone: bool = False,
        on_batch: Callable[[int], None] | None = None,
    ) -> EngineBlockRun:
        shared = SharedBlock.create(capture, self.shapes, block)
        try:
            self._link.begin(shared, None if capture is self._capture else capture.dtype, sites)
            # a budget of one token leaves every text alone
            for rows in plan_batches(block.lengths, 1 if is_alone else self._settings.tokens_per_batch):
                self._link.generate(rows.tolist())
                if on_batch is not None:
                    on_batch(len(rows))
            totals = self._link.finish(shared)
        finally:
            shared.close()
        return EngineBlockRun(shared.values(capture, totals["n_tokens"], totals["loss_sum"], totals["loss_tokens"]))


@dataclass(frozen=True)
class EngineBlockRun:
    """A block that every rank has written its part of; see `base.BlockRun`."""

    values: BlockValues

    def collect(self) -> BlockValues:
        """See `base.BlockRun`. Ranks have checked their values to be finite."""
        return self.values


def check_gelu(architecture: str, path: str, gelu: Mapping[str, str] | None) -> None:
    """Refuse a model whose nonlinearity is not the one it was trained with.

    Raises:
        ExtractionError: If it had to be replaced and was not.

    Example:
        >>> check_gelu("BloomForCausalLM", "mlp.gelu_impl", {"was": "GELU(approximate='none')", "is": "GELU(approximate='tanh')"})
    """
    if path and (gelu is None or "tanh" not in gelu["is"]):
        raise ExtractionError(
            f"vLLM computes {path} of {architecture} with the exact GELU; the model was trained with the tanh form, which was "
            "not put in its place"
        )
