"""From the activations of one batch at one capture point to the block's stage: pooled values, chosen tokens, counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from actlas.errors import CorpusError
from actlas.extract.backends.base import Capture
from actlas.extract.inputs.batches import BlockTexts, Span, TokenBatch
from actlas.extract.pooling.health import Health, SpecialTokens
from actlas.extract.pooling.pool import count_active, count_active_masked, pool_masked, pool_segments, pool_spans
from actlas.extract.pooling.stage import TORCH_DTYPES, BlockStage, Check, Column
from actlas.extract.pooling.transfer import to_device


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
class BatchPlaces:
    """What has to be known of a batch to read its activations ``"texts tokens neurons"``."""

    shape: tuple[int, int]
    rows: torch.Tensor
    spans: Sequence[Span]
    segments: torch.Tensor | None
    is_pooled: torch.Tensor | None
    language: torch.Tensor
    sampled: _Sampled | None
    special: SpecialTokens | None


class BatchPooler:
    """Fills the stage of a block, batch by batch; every backend's hooks hand their activations to one.

    Args:
        capture: What is kept.
        device: Where the activations are.
    """

    def __init__(self, capture: Capture, device: torch.device) -> None:
        self.capture = capture
        self.device = device
        #: A CPU pools span by span and reads no padding; elsewhere starting many kernels would cost more than padding does.
        self.pools_at_once = device.type != "cpu"

    def begin_block(self, block: BlockTexts, dtype: str | None, shapes: Mapping[str, tuple[int, int]]) -> BlockStage:
        """An empty stage for a block.

        Args:
            block: Its texts.
            dtype: Dtype of all values; None for those of the capture.
            shapes: Site -> (layers, neurons) that the hooks of this process read.
        """
        n_sampled = len(block.sampled_rows)

        def empty(site: str, rows: int) -> torch.Tensor:
            layers, width = shapes[site]
            kind = TORCH_DTYPES[dtype or self.capture.dtype_of(site)]
            return torch.empty((layers, rows, width), dtype=kind, device=self.device)

        def zeros(site: str) -> torch.Tensor:
            return torch.zeros((self.capture.n_count_rows, *shapes[site]), dtype=torch.int64, device=self.device)

        return BlockStage(
            block,
            cubes={site: empty(site, block.n_texts) for site in self.capture.sites},
            tokens={site: empty(site, n_sampled) for site in self.capture.token_sites},
            counts={site: zeros(site) for site in self.capture.count_sites},
            n_tokens=np.zeros(self.capture.n_languages, dtype=np.int64),
            loss_sum=torch.zeros((), dtype=torch.float64, device=self.device),
            health={site: self._health(site, shapes) for site in self.capture.sites},
            vector_health={site: self._health(site, shapes) for site in self.capture.token_sites},
            knows_special=self._knows_special or block.is_added is None,
        )

    def _health(self, site: str, shapes: Mapping[str, tuple[int, int]]) -> Health:
        return Health.empty(shapes[site], self.capture.dtype_of(site), self.device, is_summed=self.capture.is_summed)

    @property
    def _knows_special(self) -> bool:
        """Whether a text's value is that of one token, and which one can be seen afterwards."""
        return self.capture.pooling in ("max", "max_with_pad")

    def begin_batch(self, batch: TokenBatch, stage: BlockStage) -> BatchPlaces:
        """Where the texts and tokens of a batch belong; its tokens are added to the stage's."""
        language = stage.block.language[batch.rows]
        n_pooled = batch.stops - batch.starts if batch.is_pooled is None else batch.is_pooled.sum(axis=1)
        np.add.at(stage.n_tokens, language, n_pooled)
        return BatchPlaces(
            shape=(len(batch.rows), batch.token_ids.shape[1]),
            rows=to_device(batch.rows, self.device),
            spans=batch.spans,
            segments=self._segments(batch),
            is_pooled=self._is_pooled(batch),
            language=to_device(language, self.device),
            sampled=self._sampled(stage.block, batch),
            special=self._special(batch),
        )

    def store(self, column: Column, value: torch.Tensor, batch: BatchPlaces, stage: BlockStage) -> None:
        """Read the activations ``"texts tokens neurons"`` of one column of the stage."""
        capture, part = self.capture, slice(column.first, column.last)
        if column.site in stage.cubes:
            if batch.segments is not None:
                pooled = pool_segments(value, batch.segments, capture.pooling)
            elif batch.is_pooled is not None:
                pooled = pool_masked(value, batch.is_pooled, capture.pooling)
            else:
                pooled = pool_spans(value, batch.spans, capture.pooling)
            self._put(stage, column, batch.rows, pooled, is_pooled=True)
            if batch.special is not None:
                stage.health[column.site].note_special(column.layer, part, pooled, value, batch.special)
        if column.site in stage.tokens and batch.sampled is not None:
            self._put(stage, column, batch.sampled.places, batch.sampled.vectors(value), is_pooled=False)
        if column.site in stage.counts:
            for number, threshold in enumerate(capture.count_thresholds):
                if batch.is_pooled is None:
                    active = count_active(value, batch.spans, threshold)
                else:
                    active = count_active_masked(value, batch.is_pooled, threshold)
                rows = batch.language + number * capture.n_languages
                stage.counts[column.site][:, column.layer, part].index_add_(0, rows, active.long())

    def _put(self, stage: BlockStage, column: Column, rows: torch.Tensor, values: torch.Tensor, *, is_pooled: bool) -> None:
        target = (stage.cubes if is_pooled else stage.tokens)[column.site]
        health = (stage.health if is_pooled else stage.vector_health)[column.site]
        health.note(column.layer, slice(column.first, column.last), values)
        target[column.layer, :, column.first : column.last].index_copy_(0, rows, values.to(target.dtype))
        if values.numel():
            # both ends say whether anything between is NaN, infinite, or beyond the stored dtype, in a tenth of the time
            stage.checks.append(Check(column, is_pooled, rows, torch.stack(torch.aminmax(values)).float()))

    def _special(self, batch: TokenBatch) -> SpecialTokens | None:
        if batch.added is None or not self._knows_special:
            return None
        return SpecialTokens(*(to_device(part, self.device) for part in batch.added))

    def _segments(self, batch: TokenBatch) -> torch.Tensor | None:
        """Tokens before, inside and after each text's pooled range, for devices that pool a whole batch at once."""
        if not self.pools_at_once or batch.is_pooled is not None:
            return None
        n_tokens = batch.token_ids.shape[1]
        parts = np.stack([batch.starts, batch.stops - batch.starts, n_tokens - batch.stops], axis=1)
        return to_device(parts, self.device)

    def _is_pooled(self, batch: TokenBatch) -> torch.Tensor | None:
        """Mask of the pooled tokens where ranges do not say it, or would be counted one by one on a GPU."""
        is_pooled = batch.is_pooled
        if is_pooled is not None and not is_pooled.any(axis=1).all():
            # here, because asking a GPU would mean waiting for it
            raise CorpusError(f"nothing to pool: no token is left in row {int(is_pooled.any(axis=1).argmin())} of this batch")
        if is_pooled is None and self.pools_at_once:
            positions = np.arange(batch.token_ids.shape[1])
            is_pooled = (positions >= batch.starts[:, None]) & (positions < batch.stops[:, None])
        return None if is_pooled is None else to_device(is_pooled, self.device)

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
        token_rows, positions, places, groups = (to_device(part, self.device) for part in parts)
        has_means = bool((sizes != 1).any())
        means = to_device(sizes, self.device) if has_means else None
        return _Sampled(token_rows, positions, places, groups, means)
