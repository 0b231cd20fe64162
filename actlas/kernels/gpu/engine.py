"""The GPU engine: neurons in chunks that fit a memory budget, through the Triton kernels of `variants`.

Values that are on the device already are never copied to the host, and values in host memory go over chunk by chunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from actlas.kernels.gpu.device import (
    DeviceLabels,
    Ends,
    chunk,
    launched_beside_values,
    n_programs,
    refuse_not_finite,
    require_gpu,
)
from actlas.kernels.gpu.moments import MOMENT_STATS, moment_scores
from actlas.kernels.gpu.variants import ALIGNMENT, find
from actlas.kernels.labels import ConceptLabels
from actlas.kernels.stats import quantile_of

if TYPE_CHECKING:
    import torch

#: 16-bit values of at most this many texts are ranked by counting; others by torch.sort.
MAX_TEXTS_COUNTED = 16384
_RANK_STATS = {"ap": 0, "ap_anti": 1, "auroc": 2, "best_f1": 3}


@dataclass(frozen=True)
class Ranks:
    """Per neuron and text, int32: a rank of its own, the texts with at least its value, the texts with a higher one."""

    rank_of: torch.Tensor
    n_at_least: torch.Tensor
    first: torch.Tensor


def rank_texts(values: torch.Tensor) -> Ranks:
    """Ranks of each neuron's texts, shape "neurons texts"."""
    import torch

    n_neurons, n_texts = values.shape
    if values.dtype == torch.float32 or n_texts > MAX_TEXTS_COUNTED:
        return _sorted_ranks(values)
    ranks = Ranks(*(torch.empty((n_neurons, n_texts), dtype=torch.int32, device=values.device) for _ in range(3)))
    programs = n_programs(values.device, n_neurons)
    counts = torch.zeros((programs, 65536), dtype=torch.int32, device=values.device)
    bits = values.view(torch.int16)
    find("rank16_kernel").launch(
        (programs,), bits, counts, ranks.rank_of, ranks.n_at_least, ranks.first, n_neurons, n_texts, *bits.stride(), programs
    )
    return ranks


def _sorted_ranks(values: torch.Tensor) -> Ranks:
    import torch

    ranked, text = torch.sort(values + 0.0, dim=1, descending=True)  # adding 0.0 turns -0.0 into 0.0
    n_texts = values.shape[1]
    place = torch.arange(n_texts, dtype=torch.int32, device=values.device).expand(values.shape)
    differs = ranked[:, 1:] != ranked[:, :-1]
    edge = torch.ones_like(differs[:, :1])
    first = torch.where(torch.cat([edge, differs], 1), place, 0).cummax(1).values
    n_at_least = torch.where(torch.cat([differs, edge], 1), place + 1, n_texts).flip(1).cummin(1).values.flip(1)
    by_text = (
        torch.empty_like(place, memory_format=torch.contiguous_format).scatter_(1, text, part)
        for part in (place, n_at_least, first)
    )
    return Ranks(*by_text)


def rank_sums(ranks: Ranks, labels: DeviceLabels) -> tuple[torch.Tensor, torch.Tensor]:
    """`concepts_kernel` over all neurons: float64 "4 neurons concepts", and the texts that reach the best threshold."""
    import torch

    n_neurons, n_texts = ranks.rank_of.shape
    n_concepts = labels.order.numel()
    device = ranks.rank_of.device
    n_words = n_texts // 16 + 1
    programs = n_programs(device, n_neurons)
    scratch = torch.zeros((programs, 4, n_words), dtype=torch.int32, device=device)
    out = torch.empty((4, n_neurons, n_concepts), dtype=torch.float64, device=device)
    best_n_at_least = torch.empty((n_neurons, n_concepts), dtype=torch.int32, device=device)
    find("concepts_kernel").launch(
        (programs,), ranks.rank_of, ranks.n_at_least, ranks.first, labels.starts, labels.texts, labels.member_set,
        labels.member_starts, labels.members, scratch, out, best_n_at_least, n_texts, n_concepts, n_words, n_neurons, programs,
    )  # fmt: skip
    return out, best_n_at_least


@launched_beside_values
def concept_scores_gpu(
    values: Any, labels: ConceptLabels, stats: tuple[str, ...], threshold: float = 0.0, memory_bytes: int | None = None
) -> dict[str, torch.Tensor]:
    """Scores as float32 tensors on the device; see `actlas.kernels.concept_scores`.

    Args:
        values: Shape "neurons texts", numpy or torch, any strides.
        labels: Of these texts.
        stats: Names of statistics.
        threshold: A text is active above this value.
        memory_bytes: Budget for intermediate results; None: a quarter of the device's free memory.

    Returns:
        Per statistic a tensor "neurons concepts".
    """
    import torch

    device = require_gpu(values)
    on_device = DeviceLabels.of(labels, device)
    n_neurons, n_texts = values.shape
    n_concepts = labels.n_concepts
    scores = {stat: torch.full((n_neurons, n_concepts), torch.nan, device=device) for stat in stats}
    for stat, count in (("n_positive", labels.n_positive), ("n_member", labels.n_member)):
        if stat in scores:
            scores[stat][:] = torch.from_numpy(count).to(device)
    if memory_bytes is None:
        memory_bytes = torch.cuda.mem_get_info(device)[0] // 4 if device.type == "cuda" else 1 << 28
    # values, three ranks, and what torch.sort needs beside them; then six float64 per concept
    step = max(1, memory_bytes // (48 * n_texts + 64 * max(1, n_concepts)))
    step = step // ALIGNMENT * ALIGNMENT or step  # so that chunks start where kernels take them, and need no copy
    for start in range(0, n_neurons, step):
        part = chunk(values, start, min(start + step, n_neurons), device)
        ends = refuse_not_finite(part, start)
        if on_device.order.numel():
            for stat, numbers in _score_chunk(part, ends, on_device, stats, threshold).items():
                scores[stat][start : start + len(part), on_device.order] = numbers.float()
    return scores


def _score_chunk(
    values: torch.Tensor, ends: Ends, labels: DeviceLabels, stats: tuple[str, ...], threshold: float
) -> dict[str, torch.Tensor]:
    """Statistics of one chunk of neurons, concepts in the order of the labels."""
    asked = set(stats)
    scores: dict[str, torch.Tensor] = {}
    if asked & (_RANK_STATS.keys() | {"best_f1_threshold"}):
        ranks = rank_texts(values)
        out, n_at_least = rank_sums(ranks, labels)
        scores |= {stat: out[i] for stat, i in _RANK_STATS.items() if stat in asked}
        if "best_f1_threshold" in asked:
            ranked = values.new_empty(values.shape).scatter_(1, ranks.rank_of.long(), values)
            scores["best_f1_threshold"] = ranked.gather(1, n_at_least.long() - 1)
    if asked & MOMENT_STATS:
        scores |= moment_scores(values, labels, asked, threshold, ends)
    for stat in stats:
        if (q := quantile_of(stat)) is not None:
            scores[stat] = _quantile(values, labels, q)
    return scores


def _quantile(values: torch.Tensor, labels: DeviceLabels, q: float) -> torch.Tensor:
    import torch

    columns = []
    for k in range(labels.order.numel()):
        ranked = labels.positives(values, k).float().sort(dim=1).values.double()
        place = q * (ranked.shape[1] - 1)
        below = min(int(place), max(ranked.shape[1] - 2, 0))
        a, b = ranked[:, below], ranked[:, min(below + 1, ranked.shape[1] - 1)]
        columns.append(a + (b - a) * (place - below))
    return torch.stack(columns, dim=1)
