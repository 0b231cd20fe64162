"""The k best neurons per concept without ranking all of them: bounds from 8-bit histograms, then exact scores of what is left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from actlas.errors import KernelInputError
from actlas.kernels.cpu.plan import Plan
from actlas.kernels.gpu.engine import _chunk, _DeviceLabels, _on_host, _refuse_not_finite, rank_sums, rank_texts, require_gpu
from actlas.kernels.inputs import checked_shapes

if TYPE_CHECKING:
    import torch

_LEVELS = 256
_CHUNK_BYTES = 1 << 28


@dataclass(frozen=True)
class TopK:
    """The best neurons of each concept, best first; equal scores in the order of the neurons.

    Attributes:
        ap: "k concepts", float64; NaN where a concept has no positive or no negative text.
        neuron: "k concepts"; -1 there.
        n_ranked: How many neurons had to be ranked exactly.
    """

    ap: torch.Tensor
    neuron: torch.Tensor
    n_ranked: int


def codes_of(values: torch.Tensor) -> torch.Tensor:
    """8-bit codes, evenly between each neuron's lowest and highest value; a higher value never has a lower code."""
    import torch

    x = values.float()
    low, high = x.amin(1, keepdim=True), x.amax(1, keepdim=True)
    # halves keep the range of the largest float32 values finite; 0 where a neuron is constant
    width = (high / 2 - low / 2).clamp_min(torch.finfo(torch.float32).tiny)
    return ((x / 2 - low / 2) / width * _LEVELS).clamp(0, _LEVELS - 1).to(torch.uint8)


def histograms(codes: torch.Tensor, labels: _DeviceLabels, n_concepts: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Positives per neuron, concept and code, and texts per neuron and code, int32."""
    import torch

    from actlas.kernels.gpu.triton_kernels import histogram_kernel

    n_neurons, n_texts = codes.shape
    positives = torch.empty((n_neurons, n_concepts, _LEVELS), dtype=torch.int32, device=codes.device)
    histogram_kernel[(n_neurons, n_concepts)](codes, labels.starts, labels.texts, positives, n_texts, n_concepts, BN=256)
    texts = torch.zeros((n_neurons, _LEVELS), dtype=torch.int32, device=codes.device)
    texts.scatter_add_(1, codes.long(), torch.ones_like(codes, dtype=torch.int32))
    return positives, texts


def average_precision_bounds(positives: torch.Tensor, texts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Lowest and highest average precision that values with these histograms can have, "neurons concepts".

    Proof. Let a level hold p positives among n texts, with t positives among s texts in the levels above, and let e be the end
    of the group of ties of some positive of this level. Groups never straddle levels. If q of the level's positives are at or
    above e, precision there is at most (t + q) / (s + q), because the texts up to e include the s above and those q. As t <= s,
    that does not fall when q grows, and q <= p: so each of the p positives adds at most (t + p) / (s + p), whatever the ties.
    (Ordering the level's positives first, without ties, is *not* an upper bound: the first of them would add (t + 1) / (s + 1).)
    The other way round, count the level's positives from the top: at the j-th, at least t + j positives are found among at most
    s + n texts, so together they add at least (p t + p (p + 1) / 2) / (s + n).
    """
    p = positives.double()
    n = texts.double()[:, None, :]
    t = p.flip(-1).cumsum(-1).flip(-1) - p
    s = n.flip(-1).cumsum(-1).flip(-1) - n
    total = p.sum(-1)
    lowest = ((p * t + p * (p + 1) / 2) / (s + n).clamp_min(1)).sum(-1) / total
    highest = (p * (t + p) / (s + p).clamp_min(1)).sum(-1) / total
    return lowest, highest


def top_k_neurons(values: Any, is_concept: Any, k: int) -> TopK:
    """The `k` neurons with the highest average precision for each concept, exactly.

    Bounds from 8-bit histograms rule out neurons that cannot be among them; only the others are ranked. `concept_scores` gives
    the same numbers for all neurons.

    Args:
        values: Shape "neurons texts", numpy or torch.
        is_concept: Shape "texts concepts".
        k: How many; at most the number of neurons.

    Returns:
        Scores and neurons on the device.

    Raises:
        KernelInputError: If shapes do not fit, a value is not finite, or there are fewer than `k` neurons.
        BackendUnavailable: If there is no device to run on.
    """
    import torch

    n_neurons, n_texts, n_concepts = checked_shapes(values, is_concept, None)
    if not 0 < k <= n_neurons:
        raise KernelInputError(f"k must be between 1 and the number of neurons, {n_neurons}; got {k}")
    device = require_gpu(values)
    host = _on_host(is_concept)
    plan = Plan.of(host, None, ("ap",), 0.0, lists_positives=True)
    labels = _DeviceLabels.of(plan, host, None, device)
    concepts = torch.from_numpy(plan.labels.concept).to(device)
    best = TopK(
        torch.full((k, n_concepts), torch.nan, dtype=torch.float64, device=device),
        torch.full((k, n_concepts), -1, dtype=torch.int64, device=device),
        0,
    )
    if not concepts.numel():
        return best
    bounds = []
    step = max(1, _CHUNK_BYTES // (8 * n_texts + 48 * _LEVELS * concepts.numel()))
    for start in range(0, n_neurons, step):
        chunk = _chunk(values, start, min(start + step, n_neurons), device)
        _refuse_not_finite(chunk, start)
        bounds.append(torch.stack(average_precision_bounds(*histograms(codes_of(chunk), labels, concepts.numel()))))
    lowest, highest = torch.cat(bounds, dim=1)
    bar = lowest.topk(k, dim=0).values[-1]
    # sums of up to n_texts rounded terms: a neuron is ruled out only by more than rounding
    candidates = (highest >= bar * (1 - 1e-9)).any(1).nonzero().flatten()
    parts = []
    for start in range(0, len(candidates), step):
        rows = candidates[start : start + step]
        chunk = _chunk(values[_index(values, rows)], 0, len(rows), device)
        parts.append(rank_sums(rank_texts(chunk), plan, labels)[0][0])
    exact = torch.cat(parts)
    ranked = exact.sort(dim=0, descending=True, stable=True)
    best.ap[:, concepts] = ranked.values[:k]
    best.neuron[:, concepts] = candidates[ranked.indices[:k]]
    return TopK(best.ap, best.neuron, len(candidates))


def _index(values: Any, rows: torch.Tensor) -> Any:
    """`rows` as something that `values` can be indexed with."""
    if isinstance(values, np.ndarray):
        return rows.cpu().numpy()
    return rows.to(values.device)
