"""The GPU engine: neurons in chunks that fit a memory budget, through the Triton kernels of `variants`.

Values that are on the device already are never copied to the host, and values in host memory go over chunk by chunk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actlas.kernels.gpu.device import (
    DeviceLabels,
    Ends,
    chunk,
    launched_beside_values,
    refuse_not_finite,
    require_gpu,
)
from actlas.kernels.gpu.moments import MOMENT_STATS, moment_scores
from actlas.kernels.gpu.ranks import RANK_STATS, order_texts, rank_scores
from actlas.kernels.gpu.variants import ALIGNMENT
from actlas.kernels.labels import ConceptLabels
from actlas.kernels.stats import quantile_of

if TYPE_CHECKING:
    import torch


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
    # values, perhaps twice, and two places for each; then six float64 per concept
    step = max(1, memory_bytes // (16 * n_texts + 64 * max(1, n_concepts)))
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
    if asked & RANK_STATS:
        found, best_text = rank_scores(order_texts(values), labels, has_all=asked & RANK_STATS != {"ap"})
        scores |= {stat: found[stat] for stat in found.keys() & asked}
        if "best_f1_threshold" in asked:
            scores["best_f1_threshold"] = values.gather(1, best_text.long())
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
