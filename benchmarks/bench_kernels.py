"""Kernels against everything else that computes the same numbers, in one process and on one thread unless said.

    python -m benchmarks.bench_kernels [matrix] [statistics] [threads] [parts] [costs] [checkpoint] [torchmetrics] [auroc]
                                       [--full | --quick]

- matrix: average precision over texts, concepts, dtypes, shapes of values and prevalence: each varied from one centre, which
  comes first and last, or all of them crossed (--full: in no order, saved on the way, without torchmetrics; takes an hour or
  two). Peers work on as many of the same neurons as fill a comparable time; figures are per value and concept.
- statistics: each statistic alone, and the nine defaults together, over the time of average precision alone
- auroc: the area under the ROC curve and its peers, at the centre of the matrix and some of its neighbours
- threads: the same call on one thread and on all cores (wall clock; the others are CPU time of the one thread)
- parts: each step of the engine alone, beside one copy of the values
- costs: what `actlas.kernels.cpu.registers.Cost` holds, measured
- torchmetrics: the centre of the matrix alone, with torchmetrics among the peers (the extra `bench`)
- checkpoint: every neuron of a BLOOM-560m, 1,700 texts, 200 concepts, on all cores, with peak memory

All results of a cell are compared on the timed arrays before any figure of it is printed: to scikit-learn where that runs, and
for every neuron to the numpy peer.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import time
import tracemalloc
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from actlas.kernels import DEFAULT_STATS, NAMED_STATS, concept_scores
from actlas.kernels.cpu.engine import n_cores
from benchmarks import kernel_checkpoint, kernel_costs, kernel_parts, kernel_peers
from benchmarks.harness import Timing, interleave, save

#: Largest difference that any two methods may show; a larger one stops the benchmark.
TOLERANCE = 1e-12
#: The same for torchmetrics, whose results are float32.
FLOAT32_TOLERANCE = 1e-5
#: Neurons that torchmetrics is given at most: more than it gets through in the time.
MOST_RANKED = 256
#: Neurons that we are given at least.
FEWEST = 64
N_TEXTS, N_CONCEPTS = (1000, 4000, 20000, 100_000), (1, 20, 100, 200)
DTYPES, PREVALENCES = ("float16", "bfloat16", "float32"), (0.01, 0.05, 0.5)


@dataclass(frozen=True)
class Cell:
    """One place of the matrix."""

    n_texts: int = 4000
    n_concepts: int = 20
    dtype: str = "float16"
    shape: str = "gaussian"
    prevalence: float = 0.05


def cells(full: bool) -> Iterator[Cell]:
    """The centre, its neighbours along every axis and the centre again, or the whole product."""
    axes = {
        "n_texts": N_TEXTS,
        "n_concepts": N_CONCEPTS,
        "dtype": DTYPES,
        "shape": kernel_peers.SHAPES,
        "prevalence": PREVALENCES,
    }
    if full:
        grids = np.meshgrid(*(np.arange(len(axis)) for axis in axes.values()), indexing="ij")
        for places in zip(*(grid.ravel() for grid in grids), strict=True):
            yield Cell(*(axis[place] for axis, place in zip(axes.values(), places, strict=True)))
        return
    yield Cell()
    for name, axis in axes.items():
        yield from (replace(Cell(), **{name: value}) for value in axis if value != getattr(Cell(), name))
    # the two cases with a way of their own, where the centre's labels would hide it
    yield Cell(shape="relu90", prevalence=0.5)
    yield Cell(shape="relu90", n_concepts=200)
    # a machine that others share has changed by now
    yield Cell()


def as_input(values: np.ndarray) -> np.ndarray | torch.Tensor:
    """What `concept_scores` is given: bfloat16 as a torch tensor."""
    return torch.from_numpy(values.view(np.int16)).view(torch.bfloat16) if values.dtype == np.uint16 else values


def neurons_for(method: Callable[[int], object], seconds: float, most: int) -> int:
    """How many neurons `method` gets through in about that time."""
    method(1)  # first calls compile and allocate
    n = 1
    while True:
        start = time.thread_time()
        method(n)
        took = time.thread_time() - start
        if took > seconds / 4 or n >= most:
            return max(1, min(most, int(n * seconds / max(took, 1e-9))))
        n = min(most, 4 * n)


def copy_bandwidth(values: np.ndarray) -> float:
    """Bytes read and written per second by copying the values once."""
    target = np.empty_like(values)
    seconds = interleave({"copy": lambda: np.copyto(target, values)}, 5, clock=time.thread_time)["copy"].median
    return 2 * values.nbytes / seconds


def peak_bytes(call: Callable[[], object]) -> int:
    """Most memory that numpy held during the call, beyond what it held before."""
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def measure_cell(
    cell: Cell, rounds: int, seconds: float, statistic: str = "ap", left_out: Collection[str] = ()
) -> dict[str, object]:
    most = max(16, int(6e8 * seconds) // cell.n_texts // (4 if cell.n_concepts > 20 else 1))
    values = kernel_peers.make_values(cell.shape, most, cell.n_texts, cell.dtype)
    labels = kernel_peers.make_labels(cell.n_texts, cell.n_concepts, cell.prevalence)

    def ours(n: int) -> np.ndarray:
        return concept_scores(as_input(values[:n]), labels, (statistic,), backend="cpu", threads=1)[statistic]

    skipped = {*left_out, *(["torch counting"] if cell.dtype == "float32" else [])}
    peers = {name: peer for name, peer in kernel_peers.PEERS[statistic].items() if name not in skipped}
    # labels are prepared once per call, which a block of neurons shares
    n_ours = max(min(FEWEST, most), neurons_for(ours, 2 * seconds, most))
    ranked = [name for name in kernel_peers.TORCHMETRICS_PEERS if name in peers]
    given = dict.fromkeys(peers, values[:n_ours])
    if ranked:
        given |= dict.fromkeys(ranked, kernel_peers.unit_ranks(values[: min(n_ours, MOST_RANKED)]))
    asked = {name: labels[:, :20] if name in kernel_peers.PER_CONCEPT else labels for name in peers}
    sizes = {
        name: neurons_for(lambda n, peer=peer, name=name: peer(given[name][:n], asked[name]), seconds, len(given[name]))
        for name, peer in peers.items()
    }
    scores = ours(n_ours)
    difference = {}
    for name, peer in peers.items():
        n = n_ours if name in kernel_peers.WHOLE else sizes[name]
        step = max(1, int(2e7) // cell.n_texts)
        theirs = np.concatenate([peer(given[name][start : min(start + step, n)], asked[name]) for start in range(0, n, step)])
        difference[name] = float(np.abs(theirs - scores[:n, : asked[name].shape[1]]).max())
        if not difference[name] <= (FLOAT32_TOLERANCE if name in ranked else TOLERANCE):
            raise SystemExit(f"{cell}: differs from {name} by {difference[name]}; no figure is given")
    methods: dict[str, Callable[[], object]] = {"actlas": lambda: ours(n_ours)}
    for name, peer in peers.items():
        methods[name] = lambda peer=peer, name=name: peer(given[name][: sizes[name]], asked[name])
    timings = interleave(methods, rounds, clock=time.thread_time)
    n_cells = {name: n * cell.n_texts * asked[name].shape[1] for name, n in sizes.items()}
    n_cells["actlas"] = n_ours * cell.n_texts * cell.n_concepts
    per_cell = {name: Timing(tuple(s / n_cells[name] for s in timing.seconds)) for name, timing in timings.items()}
    best = min((name for name in kernel_peers.TORCH_PEERS if name in per_cell), key=lambda name: per_cell[name].median)
    floor = 2 * values[:n_ours].nbytes / copy_bandwidth(values[:n_ours])
    return {
        **asdict(cell),
        "statistic": statistic,
        "n_neurons": n_ours,
        "ns_per_cell": {name: 1e9 * timing.median for name, timing in per_cell.items()},
        "peer_over_actlas": {name: timing.ratio_to(per_cell["actlas"]) for name, timing in per_cell.items() if name != "actlas"},
        "best_torch": best,
        "largest_difference": difference,
        "time_over_copy": timings["actlas"].median / floor,
        "bytes_beyond_values": peak_bytes(lambda: ours(n_ours)),
        "load_1min": os.getloadavg()[0],
    }


def matrix(options: argparse.Namespace) -> None:
    rows = []
    chosen = list(cells(options.full))
    name = "kernels_full" if options.full else "kernels"
    settings = {"rounds": options.rounds, "clock": "thread", "n_cells": len(chosen)}
    if options.full:
        # in no order, and saved on the way: a part of the crossed matrix is a fair sample of it
        random.Random(0).shuffle(chosen)
    # whose time per concept is always the same, as the neighbours of the centre show
    left_out = kernel_peers.TORCHMETRICS_PEERS if options.full else ()
    seconds = 0.01 if options.quick else 0.02 if options.full else 0.05
    for cell in chosen:
        row = measure_cell(cell, options.rounds, seconds, left_out=left_out)
        rows.append(row)
        ratios = row["peer_over_actlas"]
        assert isinstance(ratios, dict)
        shown = "  ".join(f"{name} {ratios[name]['median']:.1f}x" for name in ratios)
        print(f"{cell}: {row['ns_per_cell']['actlas']:.3f} ns  {shown}  copy {row['time_over_copy']:.1f}x", flush=True)  # type: ignore[index]
        if options.full and not options.quick:
            save(name, settings, rows, threads=1)
    if not options.quick:
        print(save(name, settings, rows, threads=1))


def torchmetrics(options: argparse.Namespace) -> None:
    """The centre of the matrix with torchmetrics among the peers, in a result file of its own."""
    if not set(kernel_peers.TORCHMETRICS_PEERS) <= set(kernel_peers.AP_PEERS):
        print("torchmetrics: left out, it is not installed (pip install -e '.[bench]')")
        return
    row = measure_cell(Cell(), options.rounds, 0.01 if options.quick else 0.2)
    print(row["peer_over_actlas"], row["largest_difference"])
    if not options.quick:
        print(save("kernels_torchmetrics", {"rounds": options.rounds, "clock": "thread"}, [row], threads=1))


def auroc(options: argparse.Namespace) -> None:
    """AUROC among its peers."""
    rows = []
    changes = ({}, {"n_texts": 1000}, {"n_texts": 20000}, {"n_concepts": 200}, {"dtype": "float32"}, {"shape": "relu90"})
    for cell in (*(replace(Cell(), **change) for change in changes), Cell(prevalence=0.5)):
        row = measure_cell(cell, options.rounds, 0.01 if options.quick else 0.05, "auroc")
        rows.append(row)
        print(cell, row["peer_over_actlas"], row["largest_difference"], flush=True)
    if not options.quick:
        print(save("kernels_auroc", {"rounds": options.rounds, "clock": "thread"}, rows, threads=1))


def statistics(options: argparse.Namespace) -> None:
    """Time of each statistic over that of average precision, at the centre of the matrix and at two of its edges."""
    rows = []
    for cell in (Cell(), Cell(n_concepts=200), Cell(shape="relu90"), Cell(prevalence=0.5), Cell(dtype="float32")):
        n_neurons = max(8, int(4e6 if options.quick else 4e7) // (cell.n_texts * max(1, cell.n_concepts // 20)))
        values = kernel_peers.make_values(cell.shape, n_neurons, cell.n_texts, cell.dtype)
        labels = kernel_peers.make_labels(cell.n_texts, cell.n_concepts, cell.prevalence)
        asked = {"nine defaults": DEFAULT_STATS, **{name: (name,) for name in NAMED_STATS}}
        difference = {}
        for name, stats in asked.items():
            scores = concept_scores(values, labels, stats, backend="cpu", threads=1)
            expected = concept_scores(values[:2], labels, stats, backend="reference")
            difference[name] = max(float(np.abs(scores[stat][:2] - expected[stat]).max()) for stat in stats)
            if not difference[name] <= 1e-11:
                raise SystemExit(f"{cell}: {name} differs from its definition by {difference[name]}; no figure is given")
        score = partial(concept_scores, values, labels, backend="cpu", threads=1)
        methods = {name: partial(score, stats) for name, stats in asked.items()}
        timings = interleave(methods, options.rounds, clock=time.thread_time)
        ratios = {name: timing.ratio_to(timings["ap"]) for name, timing in timings.items()}
        rows.append({**asdict(cell), "time_over_ap": ratios, "largest_difference": difference})
        print(f"{cell}: nine defaults {ratios['nine defaults']['median']:.2f}x of ap", flush=True)
    if not options.quick:
        print(save("kernels_statistics", {"rounds": options.rounds, "clock": "thread"}, rows, threads=1))


def _score_on(values: np.ndarray, labels: np.ndarray, n_threads: int) -> np.ndarray:
    return concept_scores(values, labels, ("ap",), backend="cpu", threads=n_threads)["ap"]


def _lone_worker(cell: Cell, n_neurons: int, orders: Connection) -> None:
    """A process that scores its own values on one thread whenever it is told to."""
    values = kernel_peers.make_values(cell.shape, n_neurons, cell.n_texts, cell.dtype)
    labels = kernel_peers.make_labels(cell.n_texts, cell.n_concepts, cell.prevalence)
    _score_on(values, labels, 1)
    orders.send(None)
    while orders.recv():
        _score_on(values, labels, 1)
        orders.send(None)


def threads(options: argparse.Namespace) -> None:
    """Wall time on one thread over that on more, and over that of as many processes that share the neurons and nothing else.

    The latter is what the machine can give: cores that share caches, memory and the right to run are no whole cores.
    """
    rows = []
    counts = sorted({1, 2, *(2**i for i in range(1, 8) if 2**i <= n_cores()), n_cores()})
    for cell in (Cell(), Cell(shape="relu90"), Cell(prevalence=0.5), Cell(n_texts=20000)):
        n_neurons = max(64, int(8e6 if options.quick else 8e7) // cell.n_texts)
        values = kernel_peers.make_values(cell.shape, n_neurons, cell.n_texts, cell.dtype)
        labels = kernel_peers.make_labels(cell.n_texts, cell.n_concepts, cell.prevalence)

        score = partial(_score_on, values, labels)
        if any(not np.array_equal(score(1), score(n)) for n in counts):
            raise SystemExit("the number of threads changed a result; no figure is given")
        most = counts[-1]
        spawn = multiprocessing.get_context("spawn")
        ends = [spawn.Pipe() for _ in range(most)]
        workers = [spawn.Process(target=_lone_worker, args=(cell, n_neurons // most, end)) for _, end in ends]
        for worker in workers:
            worker.start()

        def all_apart(ends: list[tuple[Any, Any]] = ends) -> None:
            for end, _ in ends:
                end.send(True)
            for end, _ in ends:
                end.recv()

        for end, _ in ends:  # values are there and kernels compiled
            end.recv()
        methods: dict[str, Callable[[], object]] = {str(n): partial(score, n) for n in counts}
        timings = interleave(methods | {"processes": all_apart}, options.rounds)
        for end, _ in ends:
            end.send(False)
        for worker in workers:
            worker.join()
        speedups = {n: timings["1"].ratio_to(timing) for n, timing in timings.items()}
        apart = speedups.pop("processes")
        row = {"n_neurons": n_neurons, "speed_over_one_thread": speedups, "n_processes": most, "processes_over_one_thread": apart}
        rows.append({**asdict(cell), **row})
        shown = {n: round(speedup["median"], 2) for n, speedup in speedups.items()}
        print(cell, shown, f"{most} processes {apart['median']:.2f}", flush=True)
    if not options.quick:
        print(save("kernels_threads", {"rounds": options.rounds, "clock": "wall"}, rows, threads=n_cores()))


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "matrix": matrix,
    "statistics": statistics,
    "threads": threads,
    "parts": kernel_parts.run,
    "costs": kernel_costs.run,
    "torchmetrics": torchmetrics,
    "auroc": auroc,
    "checkpoint": kernel_checkpoint.run,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"any of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--full", action="store_true", help="all axes of the matrix crossed")
    parser.add_argument("--quick", action="store_true", help="small sizes, nothing written")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    unknown = sorted(set(options.parts) - set(PARTS))
    if unknown:
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    torch.set_num_threads(1)
    with threadpool_limits(1):
        run(options)


def run(options: argparse.Namespace) -> None:
    for part in options.parts or PARTS:
        PARTS[part](options)


if __name__ == "__main__":
    main()
