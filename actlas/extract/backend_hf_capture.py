"""Forward hooks that pool on the spot: what leaves a hook is one value per text, on the device, in the stored dtype."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from actlas.errors import CapturePointNotFound, ExtractionError
from actlas.extract.backend import Capture
from actlas.extract.backend_hf_stage import TORCH_DTYPES, BlockStage, Check, Column
from actlas.extract.batches import BlockTexts, Span, TokenBatch
from actlas.extract.pooling import count_active, count_active_masked, pool, pool_segments, pool_spans
from actlas.extract.sites import SiteMap


class Tap:
    """One side of one module."""

    def __init__(self, path: str, side: str, takes_first: bool) -> None:
        self.path = path
        self.side = side
        self.takes_first = takes_first
        self.columns: list[Column] = []

    def attach(self, model: torch.nn.Module, read: Callable[[Tap, torch.Tensor], None]) -> Any:
        """Register the hook; `read` gets the tensor that stands there."""
        try:
            module = model.get_submodule(self.path)
        except AttributeError as error:
            raise CapturePointNotFound(
                f"{type(model).__name__} has no module {self.path!r}; print the model to see its names"
            ) from error
        if self.side == "input":

            def before(_: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                read(self, self._tensor(args[0] if args else next(iter(kwargs.values()), None)))

            return module.register_forward_pre_hook(before, with_kwargs=True)

        def after(_: torch.nn.Module, __: tuple[Any, ...], output: Any) -> None:
            read(self, self._tensor(output))

        return module.register_forward_hook(after)

    def _tensor(self, value: Any) -> torch.Tensor:
        # never value[0] of a tensor: that is the first text of the batch
        if isinstance(value, tuple) and (self.takes_first or len(value) == 1):
            value = value[0]
        if not isinstance(value, torch.Tensor):
            raise CapturePointNotFound(
                f"the {self.side} of {self.path} is a {type(value).__name__}, not a tensor; name a module that gives one"
            )
        return value


@dataclass(frozen=True)
class _Sampled:
    """Tokens of a batch whose vectors are kept: batch row and position of each, and the vector of the block it belongs to.

    `group` numbers the vectors of this batch, token by token; `sizes` says how many tokens each is the mean of, and is None where
    every vector is one token.
    """

    rows: torch.Tensor
    positions: torch.Tensor
    places: torch.Tensor
    group: torch.Tensor
    sizes: torch.Tensor | None

    def vectors(self, value: torch.Tensor) -> torch.Tensor:
        """The vectors out of activations ``"texts tokens channels"``."""
        tokens = value[self.rows, self.positions]
        if self.sizes is None:
            return tokens
        total = torch.zeros((len(self.places), tokens.shape[1]), dtype=torch.float32, device=tokens.device)
        return (total.index_add_(0, self.group, tokens.float()) / self.sizes[:, None]).to(tokens.dtype)


@dataclass(frozen=True)
class _Batch:
    """What the hooks have to know of the batch that runs."""

    shape: tuple[int, int]
    rows: torch.Tensor
    spans: Sequence[Span]
    segments: torch.Tensor | None
    is_pooled: torch.Tensor | None
    language: torch.Tensor
    sampled: _Sampled | None


class Hooks:
    """The hooks of one model: attached once, filling the stage of whatever block runs.

    Args:
        model: The loaded model.
        places: Where the sites are.
        capture: What is wanted of them.
        device: Where the model is.
    """

    def __init__(self, model: torch.nn.Module, places: SiteMap, capture: Capture, device: torch.device) -> None:
        self.capture = capture
        self.device = device
        #: A CPU pools span by span and reads no padding; elsewhere starting many kernels would cost more than padding does.
        self.pools_at_once = device.type != "cpu"
        self.shapes: dict[str, tuple[int, int]] = {}
        self._places = places
        self._fired: dict[tuple[str, str], int] = {}
        self._widths: dict[tuple[str, str], int] = {}
        self._shape = (0, 0)
        self._batch: _Batch | None = None
        self._stage: BlockStage | None = None
        keys = {(path, point.side): None for points in places.points.values() for point in points for path in point.modules}
        self._taps = {key: Tap(*key, takes_first=key[0] in places.takes_first) for key in keys}
        self._handles = [tap.attach(model, self._read) for tap in self._taps.values()]

    def remove(self) -> None:
        """Take the hooks off the model."""
        for handle in self._handles:
            handle.remove()

    def measure(self, forward: Callable[[], object], shape: tuple[int, int]) -> None:
        """Learn the width of every capture point from one forward pass over a batch of `shape`.

        Raises:
            CapturePointNotFound: If a module is not used, or is used more than once, or gives no tokens.
        """
        self._batch = self._stage = None
        self._fired, self._widths, self._shape = {}, {}, shape
        forward()
        self._check_fired()
        for site, points in self._places.points.items():
            widths = []
            for point in points:
                first = 0
                for path in point.modules:
                    width = self._widths[path, point.side]
                    self._taps[path, point.side].columns.append(Column(site, point.layer, first, first + width))
                    first += width
                widths.append(first)
            if len(set(widths)) != 1:
                raise CapturePointNotFound(f"site {site} is not equally wide in every layer: {widths}; leave it out")
            self.shapes[site] = (len(points), widths[0])

    def begin_block(self, block: BlockTexts, dtype: str) -> BlockStage:
        """A stage for a block; the batches that follow fill it."""
        kind, n_sampled = TORCH_DTYPES[dtype], len(block.sampled_rows)

        def empty(site: str, rows: int) -> torch.Tensor:
            layers, width = self.shapes[site]
            return torch.empty((layers, rows, width), dtype=kind, device=self.device)

        def zeros(site: str) -> torch.Tensor:
            size = (self.capture.n_languages, *self.shapes[site])
            return torch.zeros(size, dtype=torch.int64, device=self.device)

        self._stage = BlockStage(
            block,
            cubes={site: empty(site, block.n_texts) for site in self.capture.sites},
            tokens={site: empty(site, n_sampled) for site in self.capture.token_sites},
            counts={site: zeros(site) for site in self.capture.count_sites},
            n_tokens=np.zeros(self.capture.n_languages, dtype=np.int64),
            loss_sum=torch.zeros((), dtype=torch.float64, device=self.device),
        )
        return self._stage

    def run_batch(self, batch: TokenBatch, forward: Callable[[], Any]) -> Any:
        """Run one batch of the current block; every capture point must be reached exactly once."""
        stage = self._stage
        assert stage is not None, "a batch belongs to a block"
        block = stage.block
        language = block.language[batch.rows]
        n_pooled = batch.stops - batch.starts if batch.is_pooled is None else batch.is_pooled.sum(axis=1)
        np.add.at(stage.n_tokens, language, n_pooled)
        self._batch = _Batch(
            shape=(len(batch.rows), batch.token_ids.shape[1]),
            rows=torch.from_numpy(batch.rows).to(self.device),
            spans=batch.spans,
            segments=self._segments(batch),
            is_pooled=self._is_pooled(batch),
            language=torch.from_numpy(language).to(self.device),
            sampled=self._sampled(block, batch),
        )
        self._shape = self._batch.shape
        self._fired = {}
        answer = forward()
        self._check_fired()
        self._batch = None
        return answer

    def _segments(self, batch: TokenBatch) -> torch.Tensor | None:
        """Tokens before, inside and after each text's pooled range, for devices that pool a whole batch at once."""
        if not self.pools_at_once or batch.is_pooled is not None:
            return None
        n_tokens = batch.token_ids.shape[1]
        parts = np.stack([batch.starts, batch.stops - batch.starts, n_tokens - batch.stops], axis=1)
        return torch.from_numpy(parts).to(self.device)

    def _is_pooled(self, batch: TokenBatch) -> torch.Tensor | None:
        """Mask of the pooled tokens where ranges do not say it, or would be counted one by one on a GPU."""
        is_pooled = batch.is_pooled
        if is_pooled is None and self.pools_at_once:
            positions = np.arange(batch.token_ids.shape[1])
            is_pooled = (positions >= batch.starts[:, None]) & (positions < batch.stops[:, None])
        return None if is_pooled is None else torch.from_numpy(is_pooled).to(self.device)

    def _sampled(self, block: BlockTexts, batch: TokenBatch) -> _Sampled | None:
        """The tokens of a batch whose vectors are kept; None if there are none."""
        in_batch = np.full(block.n_texts, -1, dtype=np.int64)
        in_batch[batch.rows] = np.arange(len(batch.rows))
        rows = in_batch[block.sampled_rows]
        chosen = np.flatnonzero(rows >= 0)
        if not len(chosen):
            return None
        sizes = block.sampled_lengths[chosen]
        group = np.repeat(np.arange(len(chosen)), sizes)
        step = np.arange(len(group)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        parts = (rows[chosen][group], block.sampled_positions[chosen][group] + step, chosen, group)
        token_rows, positions, places, groups = (torch.from_numpy(part).to(self.device) for part in parts)
        has_means = bool((sizes != 1).any())
        means = torch.from_numpy(sizes).to(self.device) if has_means else None
        return _Sampled(token_rows, positions, places, groups, means)

    def _check_fired(self) -> None:
        for (path, side), tap in self._taps.items():
            times = self._fired.get((tap.path, tap.side), 0)
            if times != 1:
                raise ExtractionError(
                    f"the {side} of {path} was reached {times} times in one forward pass, not once; "
                    "its values would not be those of the texts"
                )

    def _read(self, tap: Tap, value: torch.Tensor) -> None:
        texts, tokens = self._shape
        key = (tap.path, tap.side)
        self._fired[key] = self._fired.get(key, 0) + 1
        if value.shape[:-1] == (texts * tokens,):
            value = value.view(texts, tokens, -1)
        if value.ndim != 3 or value.shape[:2] != (texts, tokens):
            raise CapturePointNotFound(
                f"the {tap.side} of {tap.path} has shape {tuple(value.shape)} for a batch of {texts} texts and {tokens} "
                "tokens; a site needs one vector per token"
            )
        self._widths[key] = value.shape[2]
        if self._batch is not None and self._stage is not None:
            for column in tap.columns:
                self._store(column, value, self._batch, self._stage)

    def _store(self, column: Column, value: torch.Tensor, batch: _Batch, stage: BlockStage) -> None:
        capture, part = self.capture, slice(column.first, column.last)
        if column.site in stage.cubes:
            if batch.segments is not None:
                pooled = pool_segments(value, batch.segments, capture.pooling)
            elif batch.is_pooled is not None:
                pooled = pool(value, batch.is_pooled, capture.pooling)
            else:
                pooled = pool_spans(value, batch.spans, capture.pooling)
            self._put(stage, column, batch.rows, pooled, is_pooled=True)
        if column.site in stage.tokens and batch.sampled is not None:
            self._put(stage, column, batch.sampled.places, batch.sampled.vectors(value), is_pooled=False)
        if column.site in stage.counts:
            if batch.is_pooled is None:
                active = count_active(value, batch.spans, capture.count_threshold)
            else:
                active = count_active_masked(value, batch.is_pooled, capture.count_threshold)
            stage.counts[column.site][:, column.layer, part].index_add_(0, batch.language, active.long())

    def _put(self, stage: BlockStage, column: Column, rows: torch.Tensor, values: torch.Tensor, *, is_pooled: bool) -> None:
        target = (stage.cubes if is_pooled else stage.tokens)[column.site]
        stored = values.to(target.dtype)
        target[column.layer, :, column.first : column.last].index_copy_(0, rows, stored)
        is_stored_finite = torch.isfinite(stored).all()
        is_same = stored.dtype == values.dtype
        is_computed_finite = is_stored_finite if is_same else torch.isfinite(values).all()
        stage.checks.append(Check(column, is_pooled, rows, is_computed_finite, is_stored_finite))


def describe_places(places: SiteMap) -> Mapping[str, list[str]]:
    """Site -> modules of its first layer, and the side, for the provenance record."""
    return {site: [f"{path}:{points[0].side}" for path in points[0].modules] for site, points in places.points.items()}
