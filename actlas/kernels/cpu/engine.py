"""The CPU engine: neurons in portions, one thread each, through the compiled loops of `neuron`."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from numba import typeof
from numpy.typing import NDArray

from actlas.compiled.jit import compiled_now
from actlas.compiled.vectors import LANES
from actlas.kernels.cpu import neuron
from actlas.kernels.cpu.plan import Plan
from actlas.kernels.cpu.rank import N_COUNTERS, Sorting
from actlas.kernels.cpu.sums import Scratch
from actlas.kernels.inputs import HostValues
from actlas.kernels.labels import ConceptLabels, engine_form, prepare_labels

Floats = NDArray[np.float64]

#: Key and text of 16-bit values share 32 bits where there are at most this many texts, else 64.
MAX_TEXTS_16 = 65535
#: Bytes of a cache line and of a page.
CACHE_LINE, PAGE = 64, 4096
#: Bytes of values and scores that a thread has in hand.
PORTION_BYTES = 1 << 22
#: Texts, of all its neurons together, that a thread has in hand at least.
PORTION_TEXTS = 1 << 17

#: Per dtype: first magnitude that is not finite, shift to float32's mantissa, scale that puts the exponent right.
_FORMS: dict[str, tuple[Any, Any, Any]] = {
    "float16": (np.uint16(0x7C00), np.uint32(13), np.float32(2.0**112)),
    "bfloat16": (np.uint16(0x7F80), np.uint32(16), np.float32(1.0)),
    "float32": (np.uint32(0x7F800000), np.uint32(0), np.float32(1.0)),
}


def n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def new_scratch(n_texts: int, wide: bool) -> tuple[Sorting, Scratch]:
    """Working memory for one thread."""
    n_words = (n_texts + 63) // 64 + 1
    n = 64 * n_words + 1
    # one piece, so that the arrays' places relative to each other, which the speed depends on, are always the same
    memory = np.empty(104 * n + 7 * N_COUNTERS, np.uint8)
    used = -memory.ctypes.data % PAGE

    def empty(dtype: Any, size: int = n, in_page: int | None = None) -> NDArray[Any]:
        # vector reads of a whole cache line must not straddle two of them
        nonlocal used
        start = used if in_page is None else -(-used // PAGE) * PAGE + in_page
        used = start + -(-size * np.dtype(dtype).itemsize // CACHE_LINE) * CACHE_LINE
        return memory[start : start + size * np.dtype(dtype).itemsize].view(dtype)

    # short indices keep twice as many texts in the first-level cache
    key, index = (np.uint64, np.uint32) if wide else (np.uint32, np.uint16)
    work = Sorting(
        empty(key),
        empty(key),
        keys=empty(np.uint16),
        few=empty(np.uint8, N_COUNTERS),
        many=empty(index, N_COUNTERS),
        starts=empty(index, N_COUNTERS // 16),
        wait=empty(np.int64, 1),
    )
    work.wait[0] = 0
    n_halves = 2 * n_words + 1
    scratch = Scratch(
        x=empty(np.float32, n_texts),
        text_at=empty(index),
        ends=empty(np.uint64, n_words),
        weight=empty(np.float64),
        carry=empty(np.float64),
        mid_rank=empty(np.uint32),
        mid_rank_sum=empty(np.uint64, LANES),
        walk=empty(np.float64, 3 * LANES),
        ranked=empty(np.uint32),
        bits=empty(np.uint32, 8 * n_halves).reshape(8, n_halves),
        member_ranked=empty(np.uint32),
        member_bits=empty(np.uint64, 8 * n_halves).reshape(8, n_halves),
        numbers=empty(index),
        first_at=empty(index),
        end_at=empty(index),
        # few entries written one after the other: slowest where each write straddles two pages
        n_at_least=empty(index, in_page=0),
        group_end=empty(index, in_page=PAGE // 4),
        n_found=empty(index, in_page=PAGE // 2),
        n_members_at_least=empty(index),
        positive_values=empty(np.float32),
    )
    scratch.numbers[:] = np.arange(1, n + 1)
    return work, scratch


@cache
def _kernel(is_short: bool, wide: bool) -> Callable[..., int]:
    """The compiled loop for 16-bit or 32-bit values, and for few or many texts; each is compiled when it is first needed."""
    plan = Plan.of(prepare_labels(np.eye(2, dtype=np.bool_)), ("ap",), 0.0, wide=wide)
    work, scratch = new_scratch(2, wide)
    rows = np.zeros((1, 2), np.uint16 if is_short else np.uint32)
    form = _FORMS["float16" if is_short else "float32"]
    arguments = (rows, form, plan.call, work, scratch, np.zeros((1, 1, 1)))
    kernel: Callable[..., int] = neuron.score_block
    return compiled_now(kernel, tuple(typeof(argument) for argument in arguments))


def concept_scores_cpu(
    host: HostValues, labels: ConceptLabels, stats: tuple[str, ...], threshold: float, threads: int | None = None
) -> dict[str, Floats]:
    """Scores of all neurons; see `actlas.kernels.concept_scores`."""
    scores = {stat: np.empty((host.bits.shape[0], labels.n_concepts)) for stat in stats}
    for stat, count in (("n_positive", labels.n_positive), ("n_member", labels.n_member)):
        if stat in scores:
            scores[stat][:] = count
    wide = host.dtype == "float32" or labels.n_texts > MAX_TEXTS_16
    plan = engine_form(labels, ("cpu", stats, threshold, wide), lambda: Plan.of(labels, stats, threshold, wide=wide))
    score_values(host, plan, scores, wide=wide, threads=threads)
    return scores


def score_values(host: HostValues, plan: Plan, scores: dict[str, Floats], *, wide: bool, threads: int | None = None) -> None:
    """Writes the plan's statistics of all neurons into `scores`, per statistic "neurons concepts"."""
    n_neurons, n_texts = host.bits.shape
    if n_neurons == 0 or not plan.slots:
        return
    n_concepts = next(iter(scores.values())).shape[1]
    is_short = host.dtype != "float32"
    kernel = _kernel(is_short, wide)
    form = _FORMS[host.dtype]
    n_slots = neuron.N_SLOTS + plan.call.request.quantiles.size
    n_threads = threads or n_cores()
    # enough calls that threads end together; each costs as much as ranking ten thousand texts, so few where neurons have few
    fair = -(-n_neurons // (n_threads if n_threads == 1 else 32 * n_threads))
    worthwhile = min(PORTION_TEXTS // n_texts, -(-n_neurons // (2 * n_threads)))
    step = max(1, min(max(fair, worthwhile), PORTION_BYTES // (n_texts * host.bits.itemsize + 8 * n_slots * n_concepts)))
    starts = iter(range(0, n_neurons, step))

    def score(_: int) -> int | None:
        """Portions of one thread, which takes the next one when it is done with one; the first neuron refused, if any."""
        work, scratch = new_scratch(n_texts, wide)
        # concepts without an answer are never written and stay NaN
        out = np.full((step, n_slots, n_concepts), np.nan)
        for start in starts:
            rows = host.rows(start, min(start + step, n_neurons), wide=not is_short)
            refused = kernel(rows, form, plan.call, work, scratch, out)
            if refused >= 0:
                return start + refused
            for stat, slot in plan.slots.items():
                scores[stat][start : start + len(rows)] = out[: len(rows), slot]
        return None

    n_threads = min(n_threads, -(-n_neurons // step))
    if n_threads == 1:
        refused = [score(0)]
    else:
        with ThreadPoolExecutor(n_threads, thread_name_prefix="actlas-kernels") as pool:
            refused = list(pool.map(score, range(n_threads)))
    if any(first is not None for first in refused):
        host.refuse_not_finite(min(first for first in refused if first is not None))
