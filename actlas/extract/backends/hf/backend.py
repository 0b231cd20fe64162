"""The transformers backend: any local or hub checkpoint in safetensors, read through forward hooks."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import transformers

from actlas.errors import BackendUnavailable, ModelNotSupported
from actlas.extract.backends.base import BackendSettings, Capture, LocatedCheckpoint
from actlas.extract.backends.hf.hooks import Hooks, describe_places, present
from actlas.extract.backends.hf.identify import CheckpointFiles, load_config
from actlas.extract.backends.hf.loading import LoadedModel, arithmetic, auto_class, load_weights, refuse_head_sites
from actlas.extract.backends.hf.proving import Prover
from actlas.extract.backends.hf.random_twin import with_new_weights
from actlas.extract.inputs.batches import BlockTexts, TokenBatch
from actlas.extract.pooling.stage import BlockStage
from actlas.extract.pooling.transfer import to_device
from actlas.extract.sites.families import family_of
from actlas.extract.sites.proofs import Proof
from actlas.extract.sites.resolve import linear_patterns, site_map
from actlas.names import Checkpoint

#: Tokens of a batch, padding included, where the user does not say: a CPU is busy with few and pads less, a GPU is not.
_TOKENS_PER_BATCH = {"cpu": 2048, "cuda": 32768}
_LINEAR = (torch.nn.Linear, transformers.pytorch_utils.Conv1D)


def make_backend(settings: BackendSettings) -> HfBackend:
    """The backend; `registry.get_backend("hf", settings)` calls this."""
    return HfBackend(settings)


class HfBackend(CheckpointFiles):
    """Runs checkpoints with transformers."""

    name = "hf"

    def __init__(self, settings: BackendSettings) -> None:
        if settings.tensor_parallel != 1:
            raise BackendUnavailable(
                f"backend hf runs a model on one device, not on {settings.tensor_parallel}; backend vllm divides it among several"
            )
        self.device = device_named(settings.device)
        super().__init__(settings, "float32" if self.device.type == "cpu" else "auto")

    def locate(self, checkpoint: Checkpoint) -> LocatedCheckpoint:
        """See `base.Backend`; a random-weights twin is made from the files of the checkpoint that it is a twin of."""
        located = super().locate(checkpoint)
        return located if checkpoint.twin is None else with_new_weights(located, checkpoint.twin.seed, self.settings)

    def linear_sites(self, located: LocatedCheckpoint) -> list[str]:
        """See `base.Backend`."""
        config = load_config(located.folder, trust_remote_code=self.settings.trust_remote_code)
        with torch.device("meta"):
            model = auto_class(located.architecture).from_config(config, trust_remote_code=self.settings.trust_remote_code)
        n_layers = int(config.get_text_config().num_hidden_layers)
        for path, blocks in model.named_modules():
            if isinstance(blocks, torch.nn.ModuleList) and len(blocks) == n_layers:
                modules = [name for name, module in blocks[0].named_modules() if isinstance(module, _LINEAR)]
                return linear_patterns(path, modules)
        raise ModelNotSupported(f"{located.architecture} has no list of {n_layers} blocks in which to look for linear maps")

    def open(self, located: LocatedCheckpoint, capture: Capture) -> HfSession:
        """See `base.Backend`."""
        config = load_config(located.folder, trust_remote_code=self.settings.trust_remote_code)
        n_layers = int(config.get_text_config().num_hidden_layers)
        # an unknown family is refused before its weights are read
        site_map(located.architecture, n_layers, capture.all_sites, capture.site_modules)
        loaded = load_weights(located, config, self.settings)
        loaded.model.to(self.device).eval()
        tokens = self.settings.tokens_per_batch or _TOKENS_PER_BATCH[self.device.type]
        return HfSession(loaded, capture, self.device, tokens, located)


class HfSession:
    """One loaded model with its hooks; see `base.ModelSession`."""

    def __init__(
        self,
        loaded: LoadedModel,
        capture: Capture,
        device: torch.device,
        tokens_per_batch: int,
        located: LocatedCheckpoint,
    ) -> None:
        model = loaded.model
        n_layers = int(model.config.get_text_config().num_hidden_layers)
        has_head = model.get_output_embeddings() is not None
        known = loaded.known_as(located.architecture)
        places = present(site_map(known, n_layers, capture.all_sites, capture.site_modules, has_head=has_head), model)
        if loaded.missing_head:
            refuse_head_sites(places, loaded.missing_head)
        self._model, self._base = model, model.base_model
        self._known, self._has_head, self._compute_dtype = known, has_head, located.compute_dtype
        self._capture, self._device, self._tokens_per_batch = capture, device, tokens_per_batch
        self._hooks = Hooks(model, places, capture, device)
        self._pad_id = pad_id_of(model)
        probe = torch.tensor([[self._pad_id] * 3] * 2, device=device)
        self._cast = arithmetic(located.compute_dtype)[1]
        with inference(device, self._cast):
            self._hooks.measure(lambda: self._base(input_ids=probe, use_cache=False), (2, 3))
            no_loss = loaded.why_no_loss(has_head=has_head) or self._unusual_head(probe)
        self._has_loss = no_loss is None
        self.shapes: Mapping[str, tuple[int, int]] = dict(self._hooks.shapes)
        self.is_on_cpu = device.type == "cpu"
        self.about: Mapping[str, Any] = {
            "architecture": type(model).__name__,
            "n_layers": n_layers,
            "vocabulary": int(model.config.get_text_config().vocab_size),
            "modules": describe_places(places),
            "layouts": dict(places.layouts),
            "attention": str(getattr(model.config, "_attn_implementation", "")),
            "device": _device_name(device),
            "tokens_per_batch": tokens_per_batch,
            "no_loss": no_loss,
            "unused_tensors": list(loaded.unused),
            "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        }

    def run_block(
        self,
        block: BlockTexts,
        *,
        is_alone: bool = False,
        dtype: str | None = None,
        on_batch: Callable[[int], None] | None = None,
    ) -> BlockStage:
        """See `base.ModelSession`."""
        stage = self._hooks.begin_block(block, dtype)
        # what is kept has the capture's dtype, what is only looked at another one
        stage.is_check = dtype is not None
        # a budget of one token leaves every text alone
        budget = 1 if is_alone else self._tokens_per_batch
        with inference(self._device, self._cast):
            for batch in block.batches(budget, pad_id=self._pad_id, pad_to=self._capture.pad_to):
                self._run_batch(batch, stage)
                if on_batch is not None:
                    on_batch(len(batch.rows))
        stage.seal()
        return stage

    def store_as(self, capture: Capture) -> None:
        """See `base.ModelSession`."""
        self._capture = self._hooks.pooler.capture = capture

    def calibrate(self, block: BlockTexts) -> None:
        """See `base.ModelSession`: this is what others are compared with."""

    def prove(self, *, is_full: bool = False) -> list[Proof]:
        """See `base.ProvingSession`; what was named by hand under the name of a site is held to it."""
        family = family_of(self._known)
        if family is None:
            return []
        prover = Prover.of(
            self._model,
            self._known,
            family,
            self._compute_dtype,
            self._pad_id,
            self._device,
            has_head=self._has_head,
            site_modules=self._capture.site_modules,
        )
        with inference(self._device, self._cast), self._hooks.paused():
            return prover.prove(is_full=is_full)

    def close(self) -> None:
        """See `base.ModelSession`."""
        self._hooks.remove()
        del self._model, self._base
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _run_batch(self, batch: TokenBatch, stage: BlockStage) -> None:
        inputs = {"input_ids": to_device(batch.token_ids, self._device)}
        if batch.is_padded:
            inputs["attention_mask"] = to_device(batch.attention_mask, self._device)
        last = self._hooks.run_batch(batch, stage, lambda: self._base(**inputs, use_cache=False).last_hidden_state)
        if stage.is_check:
            stage.add_end(last, batch.lengths)
        has_loss = stage.block.has_loss[batch.rows]
        if self._has_loss and has_loss.any():
            self._add_loss(batch, has_loss, inputs["input_ids"], last, stage)

    def _add_loss(
        self, batch: TokenBatch, has_loss: np.ndarray, token_ids: torch.Tensor, last: torch.Tensor, stage: BlockStage
    ) -> None:
        """Next-token losses of the chosen texts."""
        positions = np.arange(batch.token_ids.shape[1] - 1)
        is_predicted = (positions < batch.lengths[:, None] - 1) & has_loss[:, None]
        rows, columns = (to_device(index, self._device) for index in np.nonzero(is_predicted))
        targets = token_ids[rows, columns + 1]
        stage.add_loss(lambda part: self._logits(last[rows[part], columns[part]]), targets)

    def _logits(self, hidden: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self._model.get_output_embeddings()(hidden)
        cap = getattr(self._model.config.get_text_config(), "final_logit_softcapping", None)
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def _unusual_head(self, probe: torch.Tensor) -> str | None:
        """Why a model has no sanity loss: its logits are not what `_logits` gives. None where they are, or are no numbers."""
        whole = self._model(input_ids=probe, use_cache=False).logits
        ours = self._logits(self._base(input_ids=probe, use_cache=False).last_hidden_state)
        if whole.shape == ours.shape:
            if not bool(torch.isfinite(whole).all()):
                return None  # the loss will say so
            if float((whole - ours).abs().max()) <= 1e-2 * max(float(whole.abs().max()), 1e-6):
                return None
        return f"{type(self._model).__name__} does more to its logits than its head does"


@contextmanager
def inference(device: torch.device, cast: torch.dtype | None) -> Iterator[None]:
    """Within it nothing is kept for gradients, and matrix products are taken in another dtype where there is one."""
    with torch.inference_mode(), torch.autocast(device.type, dtype=cast, enabled=cast is not None):
        yield


def device_named(name: str) -> torch.device:
    """The device that a name means, with its number; "auto" is CUDA where there is one, and "cuda" is the current one.

    Raises:
        BackendUnavailable: If this machine has no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise BackendUnavailable(f"no device {name!r}; choose cpu, cuda, cuda:N or auto") from error
    if device.type not in _TOKENS_PER_BATCH:
        raise BackendUnavailable(f"no values can be read on device {name!r}; choose cpu, cuda, cuda:N or auto")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise BackendUnavailable(
            f"device {name!r} needs CUDA, and torch.cuda.is_available() is False on this machine; device cpu gives the same "
            "values up to rounding"
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BackendUnavailable(f"no device {name!r}: this machine has {torch.cuda.device_count()}, numbered from cuda:0")
    # tensors say which device they are on, and "cuda" is none of those
    return torch.device("cuda", torch.cuda.current_device()) if device == torch.device("cuda") else device


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({platform.machine()})"


def pad_id_of(model: Any) -> int:
    """Any token fills a batch, for nothing reads it; only `max_with_pad` sees which one it is."""
    config = model.config.get_text_config()
    for token in (config.pad_token_id, config.eos_token_id):
        if isinstance(token, int) and 0 <= token < config.vocab_size:
            return token
    return 0
