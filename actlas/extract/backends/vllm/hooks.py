"""Hooks in a model that runs flat batches: what a rank of vLLM does with its part of the activations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from actlas.errors import ExtractionError, ModelNotSupported
from actlas.extract.backends.base import Capture
from actlas.extract.backends.taps import TapKey, Taps, module_at, tensor_of
from actlas.extract.backends.vllm.flat_batch import FlatPart, PromptLedger
from actlas.extract.backends.vllm.rank_slices import EnginePoint, Heads, RankNeurons, rank_neurons, site_shapes
from actlas.extract.inputs.batches import BlockTexts
from actlas.extract.pooling.batch import BatchPlaces, BatchPooler
from actlas.extract.pooling.stage import BlockStage, Column
from actlas.extract.pooling.transfer import to_device

_OTHER_VERSION = "this version of vLLM builds the model in another way; extract it with backend hf"


@dataclass
class BlockReading:
    """One block on its way through a rank.

    Attributes:
        stage: Where its values go.
        ledger: Which of its texts are still to be seen.
        pooler: Pools activations into the stage.
        parts: Texts of the pass that runs; empty between passes.
        n_passes: Passes that were begun.
        error: The first error of a hook.
    """

    stage: BlockStage
    ledger: PromptLedger
    pooler: BatchPooler
    parts: list[tuple[FlatPart, BatchPlaces]] = field(default_factory=list)
    n_passes: int = 0
    error: Exception | None = None

    @property
    def n_tokens(self) -> int:
        """Tokens of the pass that runs."""
        return self.parts[-1][0].last if self.parts else 0

    def begin_pass(self, token_ids: torch.Tensor, positions: torch.Tensor) -> None:
        """Find out which texts a pass holds."""
        parts = self.ledger.take(token_ids.cpu().numpy(), positions.cpu().numpy())
        self.parts = [(part, self.pooler.begin_batch(part.batch, self.stage)) for part in parts]
        self.n_passes += 1

    def store(self, point: EnginePoint, share: RankNeurons, tokens: torch.Tensor) -> None:
        """Pool the activations ``"tokens neurons"`` of the pass at one capture point."""
        if share.first == share.last:
            return
        column = Column(point.site, point.layer, 0, share.last - share.first)
        for part, places in self.parts:
            n_texts, n_tokens = places.shape
            value = tokens[part.first : part.last, share.first : share.last].view(n_texts, n_tokens, -1)
            self.pooler.store(column, value, places, self.stage)

    def add_loss(self, logits: Callable[[torch.Tensor], torch.Tensor | None]) -> None:
        """Add next-token losses of the chosen texts.

        Args:
            logits: Gives the logits at some tokens of the pass; None on a rank that does not gather them.
        """
        chosen = list(self._predicted())
        if not chosen:
            return
        device = self.stage.loss_sum.device
        positions, targets = (to_device(np.concatenate(parts), device) for parts in zip(*chosen, strict=True))
        self.stage.add_loss(lambda part: logits(positions[part]), targets)

    def _predicted(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Per text with a loss: positions in the pass that predict a token, and the tokens that follow them."""
        for part, _ in self.parts:
            batch = part.batch
            length = batch.token_ids.shape[1]
            for row in np.flatnonzero(self.stage.block.has_loss[batch.rows]):
                yield part.first + row * length + np.arange(length - 1), batch.token_ids[row, 1:]


class FlatReader:
    """Reads the capture points of one rank's part of a model, pass by pass.

    A hook must not raise: vLLM would take it for a broken engine. The first error is kept and raised by `finish`.

    Args:
        model: The rank's part of the model.
        points: Where the sites are.
        capture: What is read of them.
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
        self._points: dict[TapKey, list[tuple[EnginePoint, RankNeurons]]] = {}
        widths: dict[tuple[str, int], int] = {}
        #: Site -> numbers, among the neurons of all ranks, of those that this rank has.
        self.neurons: dict[str, NDArray[np.int64]] = {}
        for point in points:
            n_neurons, heads = _width(module_at(model, point.module, _OTHER_VERSION), point, hidden_size)
            share = rank_neurons(point.split, n_neurons, rank, n_ranks, heads)
            widths[point.site, point.layer] = share.n_neurons
            self.neurons[point.site] = share.neurons
            self._points.setdefault((point.module, point.side), []).append((point, share))
        #: Site -> (layers, neurons) over all ranks.
        self.shapes = site_shapes(points, widths)
        self._own = {site: (layers, len(self.neurons[site])) for site, (layers, _) in self.shapes.items()}
        self._reading: BlockReading | None = None
        self._taps = Taps(model, self._points, self._on_tap, advice=_OTHER_VERSION)
        self._handles = [
            model.register_forward_pre_hook(self._before_pass, with_kwargs=True),
            model.register_forward_hook(self._after_pass),
        ]

    def remove(self) -> None:
        """Take the hooks off the model."""
        self._taps.remove()
        for handle in self._handles:
            handle.remove()

    def begin(self, block: BlockTexts, dtype: str | None, sites: Sequence[str] | None = None) -> None:
        """Wait for the texts of a block.

        Args:
            block: The texts.
            dtype: Dtype of all values; None for those of the capture.
            sites: Pool these instead of the capture's, and nothing else.
        """
        capture = self.capture
        if sites is not None:
            capture = replace(capture, sites=tuple(sites), token_sites=(), count_sites=())
        pooler = BatchPooler(capture, self.device)
        # parts are texts of one length: pooling them span by span reads no padding and builds no mask
        pooler.pools_at_once = False
        stage = pooler.begin_block(block, dtype, self._own)
        stage.neurons = self.neurons
        self._reading = BlockReading(stage, PromptLedger(block, np.arange(block.n_texts)), pooler)

    def finish(self) -> BlockReading:
        """The block, once every text of it went through the model exactly once.

        Raises:
            ExtractionError: If no block was begun, or a pass held something else, or texts are missing, or a module was not
                reached.
        """
        reading, self._reading = self._reading, None
        if reading is None:
            raise ExtractionError("a block was asked for that was never begun")
        if reading.error is not None:
            raise reading.error
        reading.ledger.check_empty()
        reading.stage.seal()
        return reading

    def _guard(self, step: Callable[[BlockReading], None]) -> None:
        """Take a step with the block that is read, if there is one and nothing has gone wrong with it."""
        reading = self._reading
        if reading is None or reading.error is not None:
            return
        try:
            step(reading)
        except Exception as error:
            reading.error = error

    def _before_pass(self, _: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        def begin(reading: BlockReading) -> None:
            token_ids = kwargs.get("input_ids", args[0] if args else None)
            positions = kwargs.get("positions", args[1] if len(args) > 1 else None)
            if not isinstance(token_ids, torch.Tensor) or not isinstance(positions, torch.Tensor):
                raise ExtractionError("vLLM runs this model on embeddings, not on token ids, so its texts cannot be recognised")
            reading.begin_pass(token_ids, positions)
            self._taps.begin_pass()

        self._guard(begin)

    def _after_pass(self, _: torch.nn.Module, __: tuple[Any, ...], output: Any) -> None:
        def end(reading: BlockReading) -> None:
            self._taps.check_pass("one pass of vLLM")
            # the model's own head, in which every rank takes part
            reading.add_loss(lambda positions: self._model.compute_logits(output[positions]))  # type: ignore[operator]
            reading.parts = []

        self._guard(end)

    def _on_tap(self, key: TapKey, value: Any) -> None:
        self._guard(lambda reading: self._read(reading, key, value))

    def _read(self, reading: BlockReading, key: TapKey, value: Any) -> None:
        if not reading.parts:
            return  # vLLM may embed tokens outside of a pass
        path, side = key
        for point, share in self._points[key]:
            tokens = tensor_of(value, key, "sum" if point.adds_residual else "no_bias")
            if point.factor:
                tokens = tokens * self._model.get_buffer(point.factor)
            if tokens.shape != (reading.n_tokens, share.width):
                raise ModelNotSupported(
                    f"the {side} of {path} has shape {tuple(tokens.shape)} in vLLM where {reading.n_tokens} tokens and "
                    f"{share.width} neurons were expected"
                )
            reading.store(point, share, tokens)


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
    for block in module_at(model, blocks, _OTHER_VERSION).children():
        owner = module_at(block, parent, _OTHER_VERSION)
        was = was or repr(module_at(block, path, _OTHER_VERSION))
        setattr(owner, name, torch.nn.GELU(approximate="tanh"))
    return {"was": was, "is": repr(torch.nn.GELU(approximate="tanh"))}


def _width(module: torch.nn.Module, point: EnginePoint, hidden_size: int) -> tuple[int, Heads | None]:
    """Neurons of a capture point over all ranks, from what vLLM's modules say of themselves."""
    facts: Mapping[str, Any] = vars(module)
    if point.split in ("heads", "heads_apart"):
        if facts.get("v_head_size", facts["head_size"]) != facts["head_size"]:
            raise ModelNotSupported(f"{point.module} has values of another size than keys; leave attn_qkv out")
        heads = Heads(facts["total_num_heads"], facts["total_num_kv_heads"], facts["head_size"])
        return heads.width, heads
    if point.split in ("gate", "up"):
        return int(facts["output_sizes"][0]), None
    if point.site == "resid":
        return hidden_size, None
    if point.site == "embed":
        return int(facts["embedding_dim"]), None
    return int(facts["input_size" if point.side == "input" else "output_size"]), None
