"""Hooks in a model that runs flat batches: what a rank of vLLM does with its part of the activations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from actlas.errors import CapturePointNotFound, ExtractionError
from actlas.extract.backends.base import Capture
from actlas.extract.backends.vllm.flat_batch import FlatPart, PromptLedger
from actlas.extract.backends.vllm.rank_slices import EnginePoint, Heads, RankNeurons, rank_neurons, site_shapes
from actlas.extract.inputs.batches import BlockTexts
from actlas.extract.pooling.batch import BatchPlaces, BatchPooler
from actlas.extract.pooling.stage import BlockStage, Column


class FlatReader:
    """Reads the capture points of one rank's part of a model, pass by pass.

    A hook must not raise: vLLM would take it for a broken engine. The first error is kept and raised by `finish`.

    Args:
        model: The rank's part of the model.
        points: Where the sites are.
        capture: What is wanted of them.
        hidden_size: Width of the residual stream.
        rank: Which rank this is.
        n_ranks: How many there are.
        device: Where the model is.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        points: Sequence[EnginePoint],
        capture: Capture,
        *,
        hidden_size: int,
        rank: int = 0,
        n_ranks: int = 1,
        device: torch.device | None = None,
    ) -> None:
        self.capture = capture
        self.device = device or torch.device("cpu")
        self._model = model
        self._taps: dict[tuple[str, str], list[tuple[EnginePoint, RankNeurons]]] = {}
        widths: dict[tuple[str, int], int] = {}
        self.neurons: dict[str, NDArray[np.int64]] = {}
        for point in points:
            module = _module(model, point.module)
            n_neurons, heads = _width(module, point, hidden_size)
            share = rank_neurons(point.split, n_neurons, rank, n_ranks, heads)
            widths[point.site, point.layer] = share.n_neurons
            self.neurons[point.site] = share.neurons
            self._taps.setdefault((point.module, point.side), []).append((point, share))
        #: Site -> (layers, neurons) over all ranks.
        self.shapes = site_shapes(points, widths)
        self._own = {site: (layers, len(self.neurons[site])) for site, (layers, _) in self.shapes.items()}
        self._stage: BlockStage | None = None
        self._ledger: PromptLedger | None = None
        self._pooler = BatchPooler(capture, self.device)
        self._parts: list[tuple[FlatPart, BatchPlaces]] | None = None
        self._fired: dict[tuple[str, str], int] = {}
        self._error: Exception | None = None
        self.n_passes = 0
        self._handles = [
            model.register_forward_pre_hook(self._begin_pass, with_kwargs=True),
            *(self._attach(_module(model, path), path, side) for path, side in self._taps),
            model.register_forward_hook(self._end_pass),
        ]

    def remove(self) -> None:
        """Take the hooks off the model."""
        for handle in self._handles:
            handle.remove()

    def begin(self, block: BlockTexts, dtype: str, sites: Sequence[str] | None = None) -> None:
        """Wait for the texts of a block.

        Args:
            block: The texts.
            dtype: Dtype of the values.
            sites: Pool these instead of the capture's, and nothing else.
        """
        capture = self.capture
        if sites is not None:
            capture = replace(capture, sites=tuple(sites), token_sites=(), count_sites=())
        self._pooler = BatchPooler(capture, self.device)
        # parts are texts of one length: pooling them span by span reads what is there and nothing else
        self._pooler.pools_at_once = False
        self._stage = self._pooler.begin_block(block, dtype, self._own)
        self._stage.neurons = self.neurons
        self._ledger = PromptLedger(block, np.arange(block.n_texts))
        self._error, self.n_passes = None, 0

    def finish(self) -> BlockStage:
        """The values, once every text went through the model exactly once.

        Raises:
            ExtractionError: If a pass held something else, or texts are missing, or a module was not reached.
        """
        stage, ledger, error = self._stage, self._ledger, self._error
        self._stage = self._ledger = self._error = None
        assert stage is not None, "a block was begun"
        assert ledger is not None, "a block was begun"
        if error is not None:
            raise error
        ledger.check_empty()
        stage.seal()
        return stage

    def _attach(self, module: torch.nn.Module, path: str, side: str) -> Any:
        if side == "input":

            def before(_: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                self._guard(self._read, path, side, args[0] if args else next(iter(kwargs.values()), None))

            return module.register_forward_pre_hook(before, with_kwargs=True)

        def after(_: torch.nn.Module, __: tuple[Any, ...], output: Any) -> None:
            self._guard(self._read, path, side, output)

        return module.register_forward_hook(after)

    def _guard(self, step: Callable[..., None], *args: Any) -> None:
        if self._stage is None or self._error is not None:
            return
        try:
            step(*args)
        except Exception as error:
            self._error = error

    def _begin_pass(self, _: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        def begin() -> None:
            assert self._stage is not None, "guarded"
            assert self._ledger is not None, "guarded"
            token_ids = kwargs.get("input_ids", args[0] if args else None)
            positions = kwargs.get("positions", args[1] if len(args) > 1 else None)
            if not isinstance(token_ids, torch.Tensor) or not isinstance(positions, torch.Tensor):
                raise ExtractionError("vLLM runs this model on embeddings, not on token ids; whose they are can not be told")
            parts = self._ledger.take(token_ids.cpu().numpy(), positions.cpu().numpy())
            self._parts = [(part, self._pooler.begin_batch(part.batch, self._stage)) for part in parts]
            self._fired = {}
            self.n_passes += 1

        self._guard(begin)

    def _end_pass(self, _: torch.nn.Module, __: tuple[Any, ...], output: Any) -> None:
        def end() -> None:
            for (path, side), fired in ((key, self._fired.get(key, 0)) for key in self._taps):
                if fired != 1:
                    raise ExtractionError(f"the {side} of {path} was reached {fired} times in one pass of vLLM, not once")
            self._add_loss(output)
            self._parts = None

        self._guard(end)

    def _read(self, path: str, side: str, value: Any) -> None:
        if self._parts is None:
            return
        key = (path, side)
        self._fired[key] = self._fired.get(key, 0) + 1
        n_tokens = self._parts[-1][0].last
        for point, share in self._taps[key]:
            tokens = _tensor(value, point)
            if point.factor:
                tokens = tokens * self._model.get_buffer(point.factor)
            if tokens.shape != (n_tokens, share.width):
                raise CapturePointNotFound(
                    f"the {side} of {path} has shape {tuple(tokens.shape)} in vLLM where {n_tokens} tokens and {share.width} "
                    "neurons were expected"
                )
            self._store(point, share, tokens)

    def _store(self, point: EnginePoint, share: RankNeurons, tokens: torch.Tensor) -> None:
        assert self._stage is not None, "guarded"
        assert self._parts is not None, "guarded"
        if share.first == share.last:
            return
        column = Column(point.site, point.layer, 0, share.last - share.first)
        for part, places in self._parts:
            texts, length = places.shape
            value = tokens[part.first : part.last, share.first : share.last].view(texts, length, -1)
            self._pooler.store(column, value, places, self._stage)

    def _add_loss(self, output: Any) -> None:
        """Next-token losses of the chosen texts, from the model's own head; every rank takes part in it."""
        stage = self._stage
        assert stage is not None, "guarded"
        assert self._parts is not None, "guarded"
        where, targets = [], []
        for part, _ in self._parts:
            batch = part.batch
            for i in np.flatnonzero(stage.block.has_loss[batch.rows]):
                length = batch.token_ids.shape[1]
                where.append(part.first + i * length + np.arange(length - 1))
                targets.append(batch.token_ids[i, 1:])
        if not where:
            return
        at = torch.from_numpy(np.concatenate(where)).to(self.device)
        wanted = torch.from_numpy(np.concatenate(targets)).to(self.device)
        # None on every rank but the one that gathers
        stage.add_loss(lambda part: self._model.compute_logits(output[at[part]]), wanted)  # type: ignore[operator]


def force_tanh_gelu(model: torch.nn.Module, blocks: str, path: str) -> dict[str, str]:
    """Give every block the tanh form of GELU.

    Args:
        model: The model.
        blocks: Path of the list of blocks.
        path: Path of the activation below a block.

    Returns:
        "was" and "is": the module before and after.
    """
    parent, _, name = path.rpartition(".")
    was = ""
    for block in _module(model, blocks).children():
        owner = _module(block, parent) if parent else block
        was = was or repr(_module(block, path))
        setattr(owner, name, torch.nn.GELU(approximate="tanh"))
    return {"was": was, "is": repr(torch.nn.GELU(approximate="tanh"))}


def _module(model: torch.nn.Module, path: str) -> torch.nn.Module:
    try:
        return model.get_submodule(path)
    except AttributeError as error:
        raise CapturePointNotFound(
            f"{type(model).__name__} has no module {path!r} in this version of vLLM; extract it with --backend hf"
        ) from error


def _tensor(value: Any, point: EnginePoint) -> torch.Tensor:
    """The activations. (hidden, residual) are summed at once: the next block overwrites both. (output, bias) is the output."""
    if point.adds_residual:
        if not isinstance(value, tuple) or len(value) != 2:
            raise CapturePointNotFound(f"{point.module} gives no (hidden, residual) in this version of vLLM")
        return torch.add(value[0], value[1])
    if isinstance(value, tuple):
        if len(value) != 2 or value[1] is not None:
            raise CapturePointNotFound(f"{point.module} keeps its bias apart in this version of vLLM")
        value = value[0]
    if not isinstance(value, torch.Tensor):
        raise CapturePointNotFound(f"the {point.side} of {point.module} is a {type(value).__name__}, not a tensor")
    return value


def _width(module: torch.nn.Module, point: EnginePoint, hidden_size: int) -> tuple[int, Heads | None]:
    """Neurons of a capture point over all ranks, from what vLLM's modules say of themselves."""
    facts: Mapping[str, Any] = vars(module)
    if point.split in ("heads", "heads_apart"):
        if facts.get("v_head_size", facts["head_size"]) != facts["head_size"]:
            raise CapturePointNotFound(f"{point.module} has values of another size than keys; leave attn_qkv out")
        heads = Heads(facts["total_num_heads"], facts["total_num_kv_heads"], facts["head_size"])
        return heads.width, heads
    if point.split in ("gate", "up"):
        return int(facts["output_sizes"][0]), None
    if point.site == "resid":
        return hidden_size, None
    if point.site == "embed":
        return int(facts["embedding_dim"]), None
    return int(facts["input_size" if point.side == "input" else "output_size"]), None
