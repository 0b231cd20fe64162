"""Texts of one block into batches of similar length, under a budget of padded tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from actlas.errors import OptionError


def plan_batches(lengths: NDArray[np.integer], tokens_per_batch: int) -> list[NDArray[np.int64]]:
    """Divide texts into batches whose padded size stays within a budget.

    Texts are sorted by length, then row, and cut greedily, so the answer depends on the arguments alone: a block of texts
    that is computed again is computed in the same batches and gives the same bytes.

    Args:
        lengths: Tokens of each text.
        tokens_per_batch: Most tokens of a batch, padding included. A text longer than that makes a batch of its own.

    Returns:
        Row numbers of every batch, shortest text first. Each row is in exactly one batch.

    Example:
        >>> [batch.tolist() for batch in plan_batches(np.array([9, 2, 3, 8]), tokens_per_batch=18)]
        [[1, 2], [3, 0]]
    """
    if tokens_per_batch < 1:
        raise OptionError(f"tokens_per_batch must be at least 1, not {tokens_per_batch}")
    order = np.argsort(lengths, kind="stable")
    batches: list[NDArray[np.int64]] = []
    first = 0
    # sorted by length, so the newest text is the longest and sets the padded size of the batch
    for i, row in enumerate(order):
        if i > first and int(lengths[row]) * (i - first + 1) > tokens_per_batch:
            batches.append(order[first:i])
            first = i
    if len(order):
        batches.append(order[first:])
    return batches


@dataclass(frozen=True)
class Span:
    """Texts of a batch pooled over the same positions: rows first..last, positions start..stop, ends exclusive."""

    first: int
    last: int
    start: int
    stop: int


def spans(starts: NDArray[np.integer], stops: NDArray[np.integer]) -> list[Span]:
    """Runs of neighbouring rows that share start and stop.

    Pooling a span touches no padding and needs no mask; batches sorted by length have few of them.

    Example:
        >>> spans(np.array([0, 0, 0]), np.array([4, 4, 5]))
        [Span(first=0, last=2, start=0, stop=4), Span(first=2, last=3, start=0, stop=5)]
    """
    if not len(starts):
        return []
    changes = np.flatnonzero((np.diff(starts) != 0) | (np.diff(stops) != 0)) + 1
    edges = [0, *changes.tolist(), len(starts)]
    return [Span(first, last, int(starts[first]), int(stops[first])) for first, last in pairwise(edges)]


@dataclass(frozen=True)
class TokenBatch:
    """Token ids of some texts, padded to one length.

    Attributes:
        rows: Row of each text in its block.
        token_ids: int64 ``"texts tokens"``, padded on the right: a causal model never sees what follows.
        lengths: Real tokens of each text.
        starts: First position of each text that is pooled and counted.
        stops: Position after the last one.
        is_pooled: bool ``"texts tokens"``, only where the pooled positions of some text are not one range.
        added: Rows and positions of the pooled tokens that the tokenizer added, rows ascending; None where there are none.
    """

    rows: NDArray[np.int64]
    token_ids: NDArray[np.int64]
    lengths: NDArray[np.int64]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    is_pooled: NDArray[np.bool_] | None
    added: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None

    @property
    def spans(self) -> list[Span]:
        return spans(self.starts, self.stops)

    @property
    def attention_mask(self) -> NDArray[np.int64]:
        """1 for real tokens, 0 for padding."""
        return (np.arange(self.token_ids.shape[1]) < self.lengths[:, None]).astype(np.int64)

    @property
    def is_padded(self) -> bool:
        return bool((self.lengths != self.token_ids.shape[1]).any())


@dataclass(frozen=True)
class BlockTexts:
    """Tokens of consecutive texts, as a backend gets them.

    Attributes:
        token_ids: All tokens of the block, one text after the other.
        offsets: Where each text starts; one longer than there are texts.
        is_special: Tokens left out of pooling, counts and samples because the tokenizer added them; None: all pooled.
        language: Number of each text's language.
        sampled_rows: Text, by its row in the block, of every vector that is kept.
        sampled_positions: Position of its first token in the text.
        sampled_lengths: How many tokens from there on it is the mean of.
        has_loss: Texts that the sanity loss is taken on.
        text_ids: text_id of each text, for messages.
        is_added: Tokens that the tokenizer added and that are pooled like any other; None: there are none.
    """

    token_ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    is_special: NDArray[np.bool_] | None
    language: NDArray[np.int64]
    sampled_rows: NDArray[np.int64]
    sampled_positions: NDArray[np.int64]
    sampled_lengths: NDArray[np.int64]
    has_loss: NDArray[np.bool_]
    text_ids: NDArray[np.int64]
    is_added: NDArray[np.bool_] | None = None

    @property
    def n_texts(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self.offsets)

    def batches(self, tokens_per_batch: int, *, pad_id: int, pad_to: int | None = None) -> Iterator[TokenBatch]:
        """The block in batches of similar length, within the token budget.

        Args:
            tokens_per_batch: Most tokens of a batch, padding included.
            pad_id: Token that fills the rest.
            pad_to: Pad every text to this length, as the published max-pooling scripts do.
        """
        lengths = self.lengths if pad_to is None else np.full(self.n_texts, pad_to)
        for rows in plan_batches(lengths, tokens_per_batch):
            yield self.batch(rows, pad_id=pad_id, pad_to=pad_to)

    def batch(self, rows: NDArray[np.int64], *, pad_id: int, pad_to: int | None = None) -> TokenBatch:
        """One batch of the texts in `rows`."""
        lengths = self.lengths[rows]
        width = int(lengths.max()) if pad_to is None else pad_to
        token_ids = np.full((len(rows), width), pad_id, dtype=np.int64)
        is_pooled = np.zeros((len(rows), width), dtype=bool)
        for i, row in enumerate(rows):
            tokens = slice(self.offsets[row], self.offsets[row + 1])
            token_ids[i, : lengths[i]] = self.token_ids[tokens]
            is_pooled[i, : lengths[i]] = True if self.is_special is None else ~self.is_special[tokens]
        starts = is_pooled.argmax(axis=1)
        stops = width - is_pooled[:, ::-1].argmax(axis=1)
        has_gaps = bool((is_pooled.sum(axis=1) != stops - starts).any())
        return TokenBatch(rows, token_ids, lengths, starts, stops, is_pooled if has_gaps else None, self._added(rows))

    def _added(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        """Where in a batch the added tokens stand."""
        if self.is_added is None:
            return None
        places = [np.flatnonzero(self.is_added[self.offsets[row] : self.offsets[row + 1]]) for row in rows]
        return np.repeat(np.arange(len(rows)), [len(part) for part in places]), np.concatenate(places).astype(np.int64)
