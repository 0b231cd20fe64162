"""Tokens to one value per text and neuron, on whatever device the activations are."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from actlas.errors import CorpusError, OptionError
from actlas.extract.inputs.batches import Span
from actlas.names import POOLINGS

#: Longest run of tokens that is counted in 8 bits before the counts are widened.
_COUNT_STEP = 255


def pool(activations: torch.Tensor, is_pooled: torch.Tensor, pooling: str) -> torch.Tensor:
    """One value per text and neuron. Any mask will do; this is what `pool_spans` computes faster.

    Args:
        activations: ``"texts tokens neurons"``.
        is_pooled: bool ``"texts tokens"``; False for padding. `max_with_pad` ignores it.
        pooling: "max", "mean", "last" (the last pooled token) or "max_with_pad" (every position, padding included).

    Returns:
        ``"texts neurons"`` in the dtype of `activations`; means of half precision are summed in float32. A NaN among
        the pooled tokens stays visible as NaN.

    Raises:
        ValueError: If `pooling` is not known, or if a text has no pooled token.

    Example:
        >>> activations = torch.tensor([[[1.0], [5.0], [9.0]]])
        >>> pool(activations, torch.tensor([[True, True, False]]), "max").tolist()
        [[5.0]]
    """
    _check(pooling)
    if pooling != "max_with_pad" and not bool(is_pooled.any(dim=1).all()):
        rows = (~is_pooled.any(dim=1)).nonzero().flatten().tolist()
        raise CorpusError(f"nothing to pool: no token is left in row {rows[0]} of this batch")
    return pool_masked(activations, is_pooled, pooling)


def pool_masked(activations: torch.Tensor, is_pooled: torch.Tensor, pooling: str) -> torch.Tensor:
    """What `pool` computes, where every text is known to have a pooled token: a GPU is not waited for."""
    if pooling == "max_with_pad":
        return activations.amax(dim=1)
    mask = is_pooled[:, :, None]
    if pooling == "max":
        return activations.masked_fill(~mask, -torch.inf).amax(dim=1)
    if pooling == "mean":
        values = activations.float().masked_fill(~mask, 0.0) if activations.dtype != torch.float64 else activations * mask
        return (values.sum(dim=1) / mask.sum(dim=1)).to(activations.dtype)
    positions = torch.arange(activations.shape[1], device=activations.device)
    last = torch.where(is_pooled, positions, -1).amax(dim=1)
    return activations[torch.arange(len(last), device=activations.device), last]


def pool_spans(activations: torch.Tensor, spans: Sequence[Span], pooling: str) -> torch.Tensor:
    """What `pool` computes, where every text's pooled tokens are one range: reads no padding, copies nothing.

    Args:
        activations: ``"texts tokens neurons"``.
        spans: Ranges that together cover the rows in order.
        pooling: As in `pool`.

    Returns:
        ``"texts neurons"``.

    Example:
        >>> activations = torch.tensor([[[1.0], [5.0], [9.0]]])
        >>> pool_spans(activations, [Span(0, 1, start=0, stop=2)], "mean").tolist()
        [[3.0]]
    """
    _check(pooling)
    if pooling == "max_with_pad":
        return activations.amax(dim=1)
    parts = []
    for span in spans:
        if span.start >= span.stop:
            raise CorpusError(f"nothing to pool: no token is left in row {span.first} of this batch")
        part = activations[span.first : span.last, span.start : span.stop]
        if pooling == "max":
            parts.append(part.amax(dim=1))
        elif pooling == "last":
            parts.append(part[:, -1])
        elif part.dtype in (torch.float16, torch.bfloat16):
            parts.append(part.mean(dim=1, dtype=torch.float32).to(part.dtype))
        else:
            parts.append(part.mean(dim=1))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def pool_segments(activations: torch.Tensor, lengths: torch.Tensor, pooling: str) -> torch.Tensor:
    """What `pool_spans` computes, in one pass however many lengths a batch has: for devices where starting a kernel costs most.

    Args:
        activations: ``"texts tokens neurons"``.
        lengths: int64 ``"texts 3"``: tokens before, inside and after the pooled range; each row sums to all tokens.
        pooling: As in `pool`.

    Returns:
        ``"texts neurons"``.

    Example:
        >>> activations = torch.tensor([[[1.0], [5.0], [9.0]]])
        >>> pool_segments(activations, torch.tensor([[0, 2, 1]]), "max").tolist()
        [[5.0]]
    """
    _check(pooling)
    if pooling == "max_with_pad":
        return activations.amax(dim=1)
    if pooling == "last":
        texts = torch.arange(len(lengths), device=activations.device)
        return activations[texts, lengths[:, 0] + lengths[:, 1] - 1]
    tokens = activations.flatten(0, 1)
    if pooling == "mean" and tokens.dtype != torch.float64:
        tokens = tokens.float()
    segments = torch.segment_reduce(tokens, pooling, lengths=lengths.flatten(), axis=0, unsafe=True)
    return segments.view(-1, 3, tokens.shape[1])[:, 1].to(activations.dtype)


def count_active(activations: torch.Tensor, spans: Sequence[Span], threshold: float) -> torch.Tensor:
    """Tokens above `threshold` per text and neuron.

    Args:
        activations: ``"texts tokens neurons"``.
        spans: Tokens that count; together they cover the rows in order.
        threshold: A token is active strictly above it.

    Returns:
        int32 ``"texts neurons"``, or uint8 where no text has more tokens than that can count.

    Example:
        >>> count_active(torch.tensor([[[1.0], [0.0], [2.0]]]), [Span(0, 1, 0, 3)], 0.0).tolist()
        [[2]]
    """
    parts = []
    for span in spans:
        steps = range(span.start, span.stop, _COUNT_STEP)
        counts = [
            # adding at most 255 flags fits 8 bits, and adding bytes is several times faster than adding wider numbers
            (activations[span.first : span.last, start : min(start + _COUNT_STEP, span.stop)] > threshold)
            .view(torch.uint8)
            .sum(dim=1, dtype=torch.uint8)
            for start in steps
        ]
        parts.append(counts[0] if len(counts) == 1 else torch.stack([count.int() for count in counts]).sum(dim=0).int())
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def count_active_masked(activations: torch.Tensor, is_pooled: torch.Tensor, threshold: float) -> torch.Tensor:
    """What `count_active` computes, for any mask ``"texts tokens"``."""
    return ((activations > threshold) & is_pooled[:, :, None]).sum(dim=1, dtype=torch.int32)


def _check(pooling: str) -> None:
    if pooling not in POOLINGS:
        raise OptionError(f"pooling {pooling!r} is not known; choose one of {', '.join(POOLINGS)}")
