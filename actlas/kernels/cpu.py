"""The CPU engine: blocks of neurons, one thread each, through the compiled loops of `cpu_numba`."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from numba import typeof
from numpy.typing import NDArray

from actlas.kernels import cpu_numba
from actlas.kernels.inputs import Block, Bools, member_sets
from actlas.kernels.jit import compiled
from actlas.kernels.stats import COUNT_STATS, quantile_of

Floats = NDArray[np.float64]

#: 16-bit values of at most this many texts go through the 16-bit sort, where key and text share 32 bits.
MAX_TEXTS_16 = 65536
#: Bytes of output and values that a block may hold.
BLOCK_BYTES = 1 << 20
#: Cost of the sparse way in steps of the dense walk (one rank, 16 concepts): per positive, and per word of the bitmap. `docs/kernels.md`
#: says how they were measured.
STEPS_PER_POSITIVE = 0.9
STEPS_PER_WORD = 0.45
#: With a bitmap that another statistic needs anyway, only the sum over positives is left to save.
STEPS_PER_POSITIVE_MARKED = 0.5

_SLOTS = {
    "ap": cpu_numba.AP,
    "ap_anti": cpu_numba.AP_ANTI,
    "auroc": cpu_numba.AUROC,
    "p_active": cpu_numba.P_ACTIVE,
    "p_active_off": cpu_numba.P_ACTIVE_OFF,
    "mean": cpu_numba.MEAN,
    "mean_off": cpu_numba.MEAN_OFF,
    "std": cpu_numba.STD,
    "best_f1": cpu_numba.BEST_F1,
    "best_f1_threshold": cpu_numba.BEST_F1_THRESHOLD,
}
_UNRANKED = ("p_active", "p_active_off", "mean", "mean_off", "std")


def n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Plan:
    """Labels and statistics, prepared once for any number of blocks over the same texts."""

    stats: tuple[str, ...]
    n_texts: int
    n_positive: NDArray[np.int64]
    n_member: NDArray[np.int64]
    labels: cpu_numba.Labels
    wanted: cpu_numba.Wanted

    @classmethod
    def of(cls, is_concept: Bools, is_member: Bools | None, stats: tuple[str, ...], threshold: float) -> Plan:
        """Sorts concepts so that those with the same members, and then those with many positives, stand together."""
        positive = is_concept if is_member is None else is_concept & is_member
        n_texts = positive.shape[0]
        n_positive = positive.sum(0, dtype=np.int64)
        n_member = np.full(positive.shape[1], n_texts, np.int64) if is_member is None else is_member.sum(0, dtype=np.int64)
        answerable = np.flatnonzero((n_positive > 0) & (n_positive < n_member)).astype(np.int64)
        which, sets = member_sets(is_member, answerable)
        order = np.lexsort((-n_positive[answerable], which))
        concepts, which = answerable[order], which[order]
        texts = [np.flatnonzero(positive[:, concept]).astype(np.uint32) for concept in concepts]
        quantiles = [q for stat in stats if (q := quantile_of(stat)) is not None]
        slot = np.zeros(cpu_numba.N_SLOTS, np.bool_)
        slot[[_SLOTS[stat] for stat in stats if stat in _SLOTS]] = True
        is_marked = bool(quantiles) or bool(slot[[cpu_numba.AP_ANTI, cpu_numba.BEST_F1, cpu_numba.BEST_F1_THRESHOLD]].any())
        wants_both = bool(slot[cpu_numba.AP] and slot[cpu_numba.AUROC])
        n_whole = int((which < 0).sum())
        dense, cost = _dense_groups(positive, concepts[:n_whole], n_positive, is_marked, wants_both)
        labels = cpu_numba.Labels(
            concept=concepts,
            starts=_starts(texts),
            positives=np.concatenate([*texts, np.zeros(0, np.uint32)]),
            member_set=which,
            member_starts=_starts(sets),
            members=np.concatenate([*sets, np.zeros(0, np.uint32)]),
            dense=dense,
            sparse_cost=cost if slot[cpu_numba.AP] or slot[cpu_numba.AUROC] else cost[:0],
        )
        wanted = cpu_numba.Wanted(slot, np.array(quantiles, np.float64), float(threshold))
        return cls(stats, n_texts, n_positive, n_member, labels, wanted)

    @cached_property
    def needs_rank(self) -> bool:
        """Whether any statistic depends on the order of a neuron's texts."""
        return any(stat not in _UNRANKED and stat not in COUNT_STATS for stat in self.stats)

    @cached_property
    def inverse(self) -> Floats:
        """1 / i for every number of texts."""
        return 1.0 / np.maximum(np.arange(self.n_texts + 2), 1)

    @cached_property
    def slots(self) -> dict[str, int]:
        """Where the inner loops leave each statistic."""
        quantiles = [stat for stat in self.stats if quantile_of(stat) is not None]
        fixed = {stat: _SLOTS[stat] for stat in self.stats if stat in _SLOTS}
        return fixed | {stat: cpu_numba.N_SLOTS + i for i, stat in enumerate(quantiles)}


def _starts(lists: list[NDArray[np.uint32]]) -> NDArray[np.int64]:
    return np.cumsum([0, *(part.size for part in lists)], dtype=np.int64)


def _dense_groups(
    positive: Bools, concepts: NDArray[np.int64], n_positive: NDArray[np.int64], is_marked: bool, wants_both: bool
) -> tuple[NDArray[np.uint16], Floats]:
    """Label words of the dense walk, and what its groups of concepts would cost the sparse way."""
    n_texts, lanes = positive.shape[0], cpu_numba.LANES
    n_groups = -(-concepts.size // lanes)
    words = np.zeros((n_groups, n_texts), np.uint16)
    cost = np.zeros(n_groups)
    for g in range(n_groups):
        members = concepts[g * lanes : (g + 1) * lanes]
        words[g] = positive[:, members] @ (np.uint16(1) << np.arange(members.size, dtype=np.uint16))
        per_positive = (STEPS_PER_POSITIVE_MARKED if is_marked else STEPS_PER_POSITIVE) * (1.4 if wants_both else 1.0)
        per_concept = 0.0 if is_marked else STEPS_PER_WORD * (n_texts + 63) // 64
        cost[g] = per_positive * n_positive[members].sum() + per_concept * members.size
    return words, cost


def _new_scratch(n_texts: int, wide: bool) -> tuple[cpu_numba.Sorting, cpu_numba.Scratch]:
    """Working memory for one thread."""
    n_words = (n_texts + 63) // 64 + 1
    n = 64 * n_words + 1

    def empty(dtype: Any, size: int = n) -> NDArray[Any]:
        return np.empty(size, dtype)

    key = np.uint64 if wide else np.uint32
    work = cpu_numba.Sorting(empty(key), empty(key), np.empty((3, 2048) if wide else (2, 256), np.uint32))
    scratch = cpu_numba.Scratch(
        x=empty(np.float32, n_texts),
        rank_of=empty(np.uint32),
        text_at=empty(np.uint32),
        ends=empty(np.uint64, n_words),
        next_end=empty(np.uint32, n_words),
        last_end=empty(np.uint32, n_words),
        weight=empty(np.float64),
        carry=empty(np.float64),
        middle=empty(np.float64),
        walk=empty(np.float64, 4 * cpu_numba.LANES),
        marks=np.zeros(n, np.uint8),
        bits=empty(np.uint64, n_words),
        before=empty(np.uint32, n_words),
        member_bits=empty(np.uint64, n_words),
        members_before=empty(np.uint32, n_words),
        upto=empty(np.uint32),
        found=empty(np.uint32),
        among=empty(np.uint32),
        part=empty(np.float32),
    )
    return work, scratch


#: Per 16-bit dtype: first magnitude that is not finite, shift to float32's mantissa, scale that puts the exponent right.
_FORMAT16 = {
    "float16": (np.uint16(0x7C00), np.uint32(13), np.float32(2.0**112)),
    "bfloat16": (np.uint16(0x7F80), np.uint32(16), np.float32(1.0)),
}


@cache
def _kernel(wide: bool) -> Callable[..., int]:
    """The compiled loop for 16-bit or for 32-bit values; its types are always the same, so there is one compilation of each."""
    plan = Plan.of(np.eye(2, dtype=np.bool_), None, ("ap",), 0.0)
    work, scratch = _new_scratch(2, wide)
    rows = np.zeros((1, 2), np.uint32 if wide else np.uint16)
    form: tuple[Any, ...] = () if wide else _FORMAT16["float16"]
    arguments = (rows, *form, True, work, plan.labels, plan.wanted, plan.inverse, scratch, np.zeros((1, 1, 1)))
    kernel = cpu_numba.score_block32 if wide else cpu_numba.score_block16
    return compiled(kernel, tuple(typeof(argument) for argument in arguments))


def concept_scores_cpu(block: Block, plan: Plan, threads: int | None = None) -> dict[str, Floats]:
    """Scores of all neurons of `block`; see `actlas.kernels.concept_scores`."""
    n_neurons, n_concepts = block.bits.shape[0], plan.n_positive.size
    wide = block.dtype == "float32" or plan.n_texts > MAX_TEXTS_16
    form: tuple[Any, ...] = () if wide else _FORMAT16[block.dtype]
    scores = {stat: np.full((n_neurons, n_concepts), np.nan) for stat in plan.stats}
    for stat, count in (("n_positive", plan.n_positive), ("n_member", plan.n_member)):
        if stat in scores:
            scores[stat][:] = count
    if n_neurons == 0:
        return scores
    kernel = _kernel(wide)
    n_slots = cpu_numba.N_SLOTS + plan.wanted.quantiles.size
    step = max(1, min(256, BLOCK_BYTES // (4 * plan.n_texts + 8 * n_slots * n_concepts)))

    def score(starts: range) -> int | None:
        """Blocks of one thread; the first neuron whose values are refused, if any."""
        work, scratch = _new_scratch(plan.n_texts, wide)
        out = np.full((n_slots, step, n_concepts), np.nan)
        for start in starts:
            rows = block.rows(start, min(start + step, n_neurons), wide=wide)
            refused = kernel(rows, *form, plan.needs_rank, work, plan.labels, plan.wanted, plan.inverse, scratch, out)
            if refused >= 0:
                return start + refused
            for stat, slot in plan.slots.items():
                scores[stat][start : start + len(rows)] = out[slot, : len(rows)]
        return None

    n_threads = max(1, min(threads or n_cores(), -(-n_neurons // step)))
    parts = [range(i * step, n_neurons, n_threads * step) for i in range(n_threads)]
    if n_threads == 1:
        refused = [score(parts[0])]
    else:
        with ThreadPoolExecutor(n_threads, thread_name_prefix="actlas-kernels") as pool:
            refused = list(pool.map(score, parts))
    if any(first is not None for first in refused):
        block.refuse_not_finite(min(first for first in refused if first is not None))
    return scores
