"""Where the time of one neuron goes: each step of the CPU engine alone beside a copy of the values."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from actlas.kernels import concept_scores, prepare_labels
from actlas.kernels.cpu.engine import new_scratch
from actlas.kernels.cpu.neuron import _dense_group, _weigh
from actlas.kernels.cpu.plan import Plan
from actlas.kernels.cpu.rank import find_ties, magnitudes_of
from actlas.kernels.cpu.rank import rank as rank_texts
from actlas.kernels.cpu.sums import end_groups, list_ends, rank_labels, sum_precision_apart, transpose_plane
from benchmarks import kernel_peers
from benchmarks.harness import interleave, save

N_NEURONS, N_TEXTS, N_CONCEPTS = 500, 4000, 20
_jit = numba.njit(nogil=True, boundscheck=False, error_model="numpy", fastmath=True, _nrt=False)


@_jit
def copy(rows: Any, target: Any) -> None:
    for i in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            target[j] = rows[i, j]


@_jit
def rank(rows: Any, work: Any, s: Any) -> None:
    for i in range(rows.shape[0]):
        rank_texts(rows[i], magnitudes_of(rows[i]), work, s.text_at)


@_jit
def ties(times: Any, work: Any, s: Any) -> None:
    n = s.x.shape[0]
    for _ in range(times):
        find_ties(n, work.packed, s)


@_jit
def labels_by_rank(times: Any, labels: Any, s: Any) -> None:
    for _ in range(times):
        for g in range(labels.words.shape[0]):
            rank_labels(labels.words[g], 0, s.x.shape[0], s.text_at, s.ranked)


@_jit
def ends_by_rank(times: Any, s: Any) -> None:
    for _ in range(times):
        end_groups(s.x.shape[0], s.ends, s.end_at)


@_jit
def bitmaps(times: Any, labels: Any, s: Any) -> None:
    for _ in range(times):
        for k in range(labels.concept.shape[0]):
            if k & 7 == 0:
                transpose_plane(s.x.shape[0], s.ranked, (k >> 3) & 3, s.bits)


@_jit
def ends(times: Any, labels: Any, s: Any) -> None:
    for _ in range(times):
        for k in range(labels.concept.shape[0]):
            p = labels.starts[k + 1] - labels.starts[k]
            list_ends(s.x.shape[0], p, s.bits[k & 7], s.end_at, s.n_at_least)


@_jit
def sums(times: Any, labels: Any, inverse: Any, s: Any) -> Any:
    total = 0.0
    n, p = s.x.shape[0], labels.starts[1]
    transpose_plane(n, s.ranked, 0, s.bits)
    list_ends(n, p, s.bits[0], s.end_at, s.n_at_least)
    for _ in range(times):
        for _ in range(labels.concept.shape[0]):
            total += sum_precision_apart(p, s.n_at_least, s.n_at_least, inverse)
    return total


@_jit
def walks(times: Any, call: Any, s: Any) -> None:
    n = s.x.shape[0]
    for _ in range(times):
        _weigh(0, n, call.inverse, s.ends, s.weight, s.carry)
        for g in range(call.labels.words.shape[0]):
            _dense_group(g, (n, 0), call, s)


def run(options: argparse.Namespace) -> None:
    """Each step over the same neurons, interleaved; steps on one neuron's state are repeated as often."""
    n_neurons = 50 if options.quick else N_NEURONS
    values = kernel_peers.make_values("gaussian", n_neurons, N_TEXTS, "float16")
    is_concept = kernel_peers.make_labels(N_TEXTS, N_CONCEPTS, 0.05)
    scores = concept_scores(values, is_concept, ("ap",), backend="cpu", threads=1)["ap"]
    if not np.abs(scores[:2] - kernel_peers.sklearn_loop(values[:2], is_concept)).max() <= 1e-12:
        raise SystemExit("differs from scikit-learn; no figure is given")
    plan = Plan.of(prepare_labels(is_concept), ("ap",), 0.0)
    call = plan.call
    labels, inverse = call.labels, call.inverse
    work, s = new_scratch(N_TEXTS, False)
    rows, target = values.view(np.uint16), np.empty(N_TEXTS, np.uint16)
    steps: dict[str, Callable[[], Any]] = {
        "copy of the values": lambda: copy(rows, target),
        "rank the texts": lambda: rank(rows, work, s),
        "find ties": lambda: ties(n_neurons, work, s),
        "labels by rank": lambda: labels_by_rank(n_neurons, labels, s),
        "sparse: ends of groups by rank": lambda: ends_by_rank(n_neurons, s),
        "sparse: bitmaps": lambda: bitmaps(n_neurons, labels, s),
        "sparse: ends of the positives' groups": lambda: ends(n_neurons, labels, s),
        "sparse: sums over positives": lambda: sums(n_neurons, labels, inverse, s),
        "dense: walks": lambda: walks(n_neurons, call, s),
        "all of average precision": lambda: concept_scores(values, is_concept, ("ap",), backend="cpu", threads=1),
    }
    timings = interleave(steps, options.rounds, clock=time.thread_time)
    whole = timings["all of average precision"]
    rows_out = []
    for name, timing in timings.items():
        row = {"step": name, "us_per_neuron": 1e6 * timing.median / n_neurons, "share": timing.ratio_to(whole)}
        rows_out.append(row)
        print(f"{name}: {row['us_per_neuron']:.2f} us, {row['share']['median']:.0%}", flush=True)
    if not options.quick:
        settings = {"rounds": options.rounds, "n_texts": N_TEXTS, "n_concepts": N_CONCEPTS, "prevalence": 0.05, "clock": "thread"}
        print(save("kernels_parts", settings, rows_out, threads=1))
