"""One site computed out of others, and how far it is from what was read there. Everything here is about one layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

#: Computes a figure that no limit allows: tensors that do not even fit together.
IMPOSSIBLE = float("inf")


def distance(got: torch.Tensor, expected: torch.Tensor, scale: torch.Tensor | None = None) -> float:
    """The largest difference of any neuron, relative to what rounding in it is relative to.

    Args:
        got: ``"tokens neurons"``, as it was read.
        expected: The same, as it was computed.
        scale: Sizes of the terms that it was computed of; None for its own. Each neuron's is its largest over the tokens, so that
            a few large neurons do not hide the others.

    Example:
        >>> distance(torch.tensor([[1.0, 200.0]]), torch.tensor([[2.0, 200.0]]))
        0.5
    """
    if got.shape != expected.shape:
        return IMPOSSIBLE
    work = work_dtype(got.dtype)
    sizes = (expected if scale is None else scale).to(work).abs().amax(0)
    # below it numbers have fewer bits
    floor = torch.finfo(got.dtype).tiny
    figures = (got.to(work) - expected.to(work)).abs().amax(0) / (sizes + floor)
    # amax passes NaN on
    return float(figures.amax())


def work_dtype(dtype: torch.dtype) -> torch.dtype:
    """What to compute in, so that its rounding is not seen."""
    return torch.float64 if dtype == torch.float32 else torch.float32


def linear(module: torch.nn.Module, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
    """A linear map of values, and the sizes that its rounding is relative to; None where it does not take them.

    Args:
        module: With a weight, as of `torch.nn.Linear` or as of transformers' `Conv1D`.
        values: ``"tokens neurons"``.
    """
    weight = getattr(module, "weight", None)
    if weight is None or weight.ndim != 2:
        return None
    # Conv1D keeps its weight the other way round, and says so by how wide its output is
    weight = weight.detach().T if hasattr(module, "nf") else weight.detach()
    if weight.shape[1] != values.shape[-1]:
        return None
    work = work_dtype(values.dtype)
    # products are summed up in float32 whatever they are of; where a few are far larger than the others, some steps are lost
    summed = 4 * torch.finfo(torch.float32).eps / torch.finfo(values.dtype).eps
    weight, values = weight.to(values.dtype).to(work), values.to(work)
    result, sizes = values @ weight.T, values.abs() @ weight.abs().T * summed
    if (bias := getattr(module, "bias", None)) is not None:
        result, sizes = result + bias.detach().to(work), sizes + bias.detach().to(work).abs()
    return result, result.abs() + sizes


def gated(
    activation: Callable[[torch.Tensor], torch.Tensor], pre: torch.Tensor, up: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the down projection takes, and the sizes that its rounding is relative to."""
    work = work_dtype(pre.dtype)
    result, sizes = activation(pre.to(work)), pre.to(work).abs()
    return (result, sizes) if up is None else (result * up.to(work), sizes * up.to(work).abs())


def values_of(qkv: torch.Tensor, heads: str, n_heads: int, n_key_heads: int, head_width: int) -> torch.Tensor | None:
    """What a token that sees itself alone gives to the output projection: its values, once for every head of queries.

    Args:
        qkv: ``"tokens neurons"``.
        heads: "parts" or "groups", see `streams.HeadOrder`.
        n_heads: Heads of queries.
        n_key_heads: Heads of keys and values.
        head_width: Channels of a head.

    Returns:
        ``"tokens channels"``; None where the sizes do not fit.
    """
    per_group = n_heads // n_key_heads
    if qkv.shape[-1] != (n_heads + 2 * n_key_heads) * head_width:
        return None
    if heads == "groups":
        split = qkv.reshape(-1, n_key_heads, per_group + 2, head_width)[:, :, -1]
    else:
        split = qkv[:, -n_key_heads * head_width :].reshape(-1, n_key_heads, head_width)
    return split.repeat_interleave(per_group, dim=1).flatten(1)


def is_query(heads: str, n_heads: int, n_key_heads: int, query_width: int, width: int) -> torch.Tensor:
    """Which neurons of `attn_qkv` stand for queries: bool ``"neurons"``.

    Args:
        heads: See `streams.HeadOrder`.
        n_heads: Heads of queries.
        n_key_heads: Heads of keys and values.
        query_width: Channels of a head of queries.
        width: Neurons.
    """
    if heads != "groups":
        return torch.arange(width) < n_heads * query_width
    per_group = n_heads // n_key_heads
    return (torch.arange(width) // query_width) % (per_group + 2) < per_group


def total(terms: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """A sum, and the sizes of its terms."""
    work = work_dtype(terms[0].dtype)
    return sum(term.to(work) for term in terms), sum(term.to(work).abs() for term in terms)  # type: ignore[return-value]
