"""The GPU engine: neurons in chunks that fit a memory budget, through the Triton kernels of `gpu_kernels`.

Values that are on the device already are never copied to the host, and values in host memory go over chunk by chunk.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from actlas.errors import BackendUnavailable
from actlas.kernels.cpu.plan import Plan
from actlas.kernels.inputs import Bools, is_torch, refuse_not_finite, to_numpy
from actlas.kernels.stats import quantile_of

if TYPE_CHECKING:
    import torch

#: 16-bit values of at most this many texts are ranked by counting; others by torch.sort.
MAX_TEXTS_COUNTED = 16384
#: Spread below this share of the mean square is computed anew from the positives: the sums have lost its digits.
_CONDITION = 0.05
_RANK_STATS = {"ap": 0, "ap_anti": 1, "auroc": 2, "best_f1": 3}
_MOMENTS = {"p_active", "p_active_off", "mean", "mean_off", "std"}


def require_gpu(values: Any = None) -> torch.device:
    """The device that kernels will run on; the CPU only where Triton's interpreter was asked for.

    Raises:
        BackendUnavailable: If torch, triton or a CUDA device is missing.
    """
    try:
        import torch
        import triton  # noqa: F401
    except ImportError as error:
        hint = "pip install 'actlas[gpu]', or backend='cpu' for the same numbers"
        raise BackendUnavailable(f"kernels backend 'gpu' needs {error.name}, which is not installed: {hint}") from error
    if os.environ.get("TRITON_INTERPRET") == "1":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise BackendUnavailable(
            "kernels backend 'gpu' needs a CUDA device, and torch.cuda.is_available() is False here. "
            "backend='cpu' gives the same numbers"
        )
    if is_torch(values) and values.device.type == "cuda":
        return values.device  # type: ignore[no-any-return]
    return torch.device("cuda")


@dataclass(frozen=True)
class _DeviceLabels:
    """A plan's labels on the device, with 32-bit starts."""

    starts: torch.Tensor
    texts: torch.Tensor
    member_set: torch.Tensor
    member_starts: torch.Tensor
    members: torch.Tensor
    columns: torch.Tensor  # uint8 "texts columns": positives of each concept, then its members, or once all texts

    @classmethod
    def of(cls, plan: Plan, is_concept: Bools, is_member: Bools | None, device: torch.device) -> _DeviceLabels:
        import torch

        def move(array: NDArray[Any]) -> torch.Tensor:
            return torch.from_numpy(np.ascontiguousarray(array, dtype=np.int32)).to(device)

        labels = plan.labels
        if is_member is None:
            positive, member = is_concept[:, labels.concept], np.ones((is_concept.shape[0], 1), np.bool_)
        else:
            positive, member = (is_concept & is_member)[:, labels.concept], is_member[:, labels.concept]
        columns = np.concatenate([positive, member], axis=1)
        return cls(
            move(labels.starts),
            # a kernel may not be given a pointer to nothing
            move(labels.positives if labels.positives.size else np.zeros(1)),
            move(labels.member_set),
            move(labels.member_starts),
            move(labels.members if labels.members.size else np.zeros(1)),
            torch.from_numpy(np.ascontiguousarray(columns).view(np.uint8)).to(device),
        )


@dataclass(frozen=True)
class Ranks:
    """Per neuron and text, int32: a rank of its own, the texts with at least its value, the texts with a higher one."""

    rank_of: torch.Tensor
    upto: torch.Tensor
    first: torch.Tensor


def n_programs(device: torch.device, n_neurons: int) -> int:
    """Programs of a kernel that keeps scratch memory per program."""
    import torch

    per_device = 4 * torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 2
    return max(1, min(n_neurons, per_device))


def rank_texts(values: torch.Tensor) -> Ranks:
    """Ranks of each neuron's texts, shape "neurons texts"."""
    import torch

    from actlas.kernels.gpu.triton_kernels import rank16_kernel

    n_neurons, n_texts = values.shape
    if values.dtype == torch.float32 or n_texts > MAX_TEXTS_COUNTED:
        return _sorted_ranks(values)
    ranks = Ranks(*(torch.empty((n_neurons, n_texts), dtype=torch.int32, device=values.device) for _ in range(3)))
    programs = n_programs(values.device, n_neurons)
    counts = torch.zeros((programs, 65536), dtype=torch.int32, device=values.device)
    bits = values.view(torch.int16)
    rank16_kernel[(programs,)](
        bits, counts, ranks.rank_of, ranks.upto, ranks.first, n_neurons, n_texts, *bits.stride(), programs, BN=1024
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
    upto = torch.where(torch.cat([differs, edge], 1), place + 1, n_texts).flip(1).cummin(1).values.flip(1)
    by_text = (
        torch.empty_like(place, memory_format=torch.contiguous_format).scatter_(1, text, part) for part in (place, upto, first)
    )
    return Ranks(*by_text)


def rank_sums(ranks: Ranks, plan: Plan, labels: _DeviceLabels) -> tuple[torch.Tensor, torch.Tensor]:
    """`concepts_kernel` over all neurons: float64 "4 neurons concepts", and the texts that reach the best threshold."""
    import torch

    from actlas.kernels.gpu.triton_kernels import concepts_kernel

    n_neurons, n_texts = ranks.rank_of.shape
    n_concepts = plan.labels.concept.size
    device = ranks.rank_of.device
    n_words = n_texts // 16 + 1
    programs = n_programs(device, n_neurons)
    scratch = torch.zeros((programs, 4, n_words), dtype=torch.int32, device=device)
    out = torch.empty((4, n_neurons, n_concepts), dtype=torch.float64, device=device)
    best_upto = torch.empty((n_neurons, n_concepts), dtype=torch.int32, device=device)
    concepts_kernel[(programs,)](
        ranks.rank_of, ranks.upto, ranks.first, labels.starts, labels.texts, labels.member_set, labels.member_starts,
        labels.members, scratch, out, best_upto, n_texts, n_concepts, n_words, n_neurons, programs, BN=256, BW=512,
    )  # fmt: skip
    return out, best_upto


@dataclass(frozen=True)
class Moments:
    """Per neuron: `pivot`; per neuron and label column, in float64: sums of value - pivot and of its square, active texts."""

    pivot: torch.Tensor
    sums: torch.Tensor
    squares: torch.Tensor
    active: torch.Tensor


#: Tile sizes tried on a device, neurons x texts x columns, with warps and stages; the fastest is remembered per shape.
_TILES = ((32, 64, 64, 4, 3), (64, 64, 64, 4, 3), (64, 128, 64, 8, 3), (128, 64, 64, 8, 4))
_best_tile: dict[tuple[Any, ...], tuple[int, int, int, int, int]] = {}


def moments(values: torch.Tensor, columns: torch.Tensor, threshold: float) -> Moments:
    """Sums over the texts of each label column, in one pass over the values."""
    import torch

    from actlas.kernels.gpu.triton_kernels import moments_kernel

    n_neurons, n_texts = values.shape
    n_columns = columns.shape[1]
    is_short = values.dtype != torch.float32
    # 16-bit values are exact as they are; around a pivot, float32 keeps more of the spread
    pivot = torch.zeros(n_neurons, device=values.device) if is_short else values[:, 0].float().contiguous()
    largest = (values.amax(1).float() - pivot).abs().maximum((values.amin(1).float() - pivot).abs())
    scale = torch.exp2(-torch.frexp(largest)[1].clamp(-120, 120).float())
    sums, squares, active = (torch.empty((n_neurons, n_columns), dtype=torch.float64, device=values.device) for _ in range(3))

    def launch(tile: tuple[int, int, int, int, int]) -> None:
        bm, bn, bc, warps, stages = tile
        moments_kernel[(-(-n_neurons // bm), -(-n_columns // bc))](
            values, columns, pivot, scale, sums, squares, active, n_neurons, n_texts, n_columns, *values.stride(), threshold,
            IS_SHORT=is_short, BM=bm, BN=bn, BC=bc, num_warps=warps, num_stages=stages,
        )  # fmt: skip

    key = (values.device, values.dtype, n_texts, n_columns, values.stride())
    if values.device.type == "cuda" and key not in _best_tile:
        from triton.testing import do_bench

        _best_tile[key] = min(_TILES, key=lambda tile: do_bench(lambda: launch(tile), warmup=5, rep=20))
    launch(_best_tile.get(key, _TILES[0]))
    factor = scale.double()[:, None]
    return Moments(pivot, sums / factor, squares / factor**2, active)


def concept_scores_gpu(
    values: Any,
    is_concept: Any,
    stats: tuple[str, ...],
    is_member: Any | None = None,
    threshold: float = 0.0,
    memory_bytes: int | None = None,
) -> dict[str, torch.Tensor]:
    """Scores as float32 tensors on the device; see `actlas.kernels.concept_scores`.

    Args:
        values: Shape "neurons texts", numpy or torch, any strides.
        is_concept: Shape "texts concepts".
        stats: Names of statistics.
        is_member: Shape "texts concepts", or None.
        threshold: A text is active above this value.
        memory_bytes: Budget for intermediate results; None: a quarter of the device's free memory.

    Returns:
        Per statistic a tensor "neurons concepts".
    """
    import torch

    device = require_gpu(values)
    labels_host = _on_host(is_concept)
    members_host = None if is_member is None else _on_host(is_member)
    plan = Plan.of(labels_host, members_host, stats, threshold, lists_positives=True)
    labels = _DeviceLabels.of(plan, labels_host, members_host, device)
    n_neurons, n_texts = values.shape
    n_concepts = plan.n_positive.size
    scores = {stat: torch.full((n_neurons, n_concepts), torch.nan, device=device) for stat in stats}
    for stat, count in (("n_positive", plan.n_positive), ("n_member", plan.n_member)):
        if stat in scores:
            scores[stat][:] = torch.from_numpy(count).to(device)
    if memory_bytes is None:
        memory_bytes = torch.cuda.mem_get_info(device)[0] // 4 if device.type == "cuda" else 1 << 28
    # values, three ranks, and what torch.sort needs beside them; then six float64 per concept
    step = max(1, memory_bytes // (48 * n_texts + 64 * max(1, n_concepts)))
    order = torch.from_numpy(plan.labels.concept).to(device)
    for start in range(0, n_neurons, step):
        chunk = _chunk(values, start, min(start + step, n_neurons), device)
        _refuse_not_finite(chunk, start)
        if order.numel():
            for stat, part in _score_chunk(chunk, plan, labels).items():
                scores[stat][start : start + len(chunk), order] = part.float()
    return scores


def _on_host(labels: Any) -> Bools:
    return to_numpy(labels.cpu() if is_torch(labels) else labels, "labels")


def _chunk(values: Any, start: int, stop: int, device: torch.device) -> torch.Tensor:
    import torch

    part = values[start:stop]
    if is_torch(part):
        return part.detach().to(device)  # type: ignore[no-any-return]
    if str(part.dtype) == "bfloat16":
        return torch.from_numpy(np.ascontiguousarray(part).view(np.int16)).view(torch.bfloat16).to(device)
    return torch.from_numpy(np.require(part, requirements=("C", "W"))).to(device)


def _refuse_not_finite(chunk: torch.Tensor, start: int) -> None:
    is_finite = chunk.isfinite()
    if not bool(is_finite.all()):
        neuron, text = (int(i) for i in (~is_finite).nonzero()[0])
        refuse_not_finite(start + neuron, text, chunk[neuron].float().cpu().numpy())


def _score_chunk(chunk: torch.Tensor, plan: Plan, labels: _DeviceLabels) -> dict[str, torch.Tensor]:
    """Statistics of one chunk, concepts in the plan's order."""
    asked = set(plan.stats)
    scores: dict[str, torch.Tensor] = {}
    if asked & (_RANK_STATS.keys() | {"best_f1_threshold"}):
        ranks = rank_texts(chunk)
        out, best_upto = rank_sums(ranks, plan, labels)
        scores |= {stat: out[i] for stat, i in _RANK_STATS.items() if stat in asked}
        if "best_f1_threshold" in asked:
            ranked = chunk.new_empty(chunk.shape).scatter_(1, ranks.rank_of.long(), chunk)
            scores["best_f1_threshold"] = ranked.gather(1, best_upto.long() - 1)
    if asked & _MOMENTS:
        scores |= _moment_scores(chunk, plan, labels)
    for stat in plan.stats:
        if (q := quantile_of(stat)) is not None:
            scores[stat] = _quantile(chunk, plan, labels, q)
    return scores


def _positives(chunk: torch.Tensor, plan: Plan, labels: _DeviceLabels, k: int) -> torch.Tensor:
    start, stop = plan.labels.starts[k : k + 2].tolist()
    return chunk[:, labels.texts[start:stop].long()]


def _quantile(chunk: torch.Tensor, plan: Plan, labels: _DeviceLabels, q: float) -> torch.Tensor:
    import torch

    columns = []
    for k in range(plan.labels.concept.size):
        ranked = _positives(chunk, plan, labels, k).float().sort(dim=1).values.double()
        place = q * (ranked.shape[1] - 1)
        below = min(int(place), max(ranked.shape[1] - 2, 0))
        a, b = ranked[:, below], ranked[:, min(below + 1, ranked.shape[1] - 1)]
        columns.append(a + (b - a) * (place - below))
    return torch.stack(columns, dim=1)


def _moment_scores(chunk: torch.Tensor, plan: Plan, labels: _DeviceLabels) -> dict[str, torch.Tensor]:
    import torch

    asked = set(plan.stats) & _MOMENTS
    found = moments(chunk, labels.columns, plan.wanted.threshold)
    n_concepts = plan.labels.concept.size
    order = plan.labels.concept
    n = torch.from_numpy(plan.n_positive[order]).to(chunk.device).double()
    n_off = torch.from_numpy((plan.n_member - plan.n_positive)[order]).to(chunk.device).double()
    pivot = found.pivot.double()[:, None]
    on, off = found.sums[:, :n_concepts], found.sums[:, n_concepts:] - found.sums[:, :n_concepts]
    active, active_off = found.active[:, :n_concepts], found.active[:, n_concepts:] - found.active[:, :n_concepts]
    scores = {
        "mean": pivot + on / n,
        "mean_off": pivot + off / n_off,
        "p_active": active / n,
        "p_active_off": active_off / n_off,
    }
    if "std" in asked:
        square = found.squares[:, :n_concepts] / n
        variance = square - (on / n) ** 2
        std = variance.clamp(min=0).sqrt()
        is_lost = variance < _CONDITION * square
        for k in is_lost.any(0).nonzero().flatten().tolist():
            rows = is_lost[:, k].nonzero().flatten()
            std[rows, k] = _positives(chunk[rows], plan, labels, k).double().std(dim=1, correction=0)
        scores["std"] = std
    return {stat: part for stat, part in scores.items() if stat in asked}
