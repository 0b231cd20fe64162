"""Probes of one layer, all seeds together, beside scikit-learn's loop over seeds.

    python -m benchmarks.bench_probe                        synthetic vectors
    python -m benchmarks.bench_probe --store run.actlas     and vectors of some layers of a store

Accuracies are compared with scikit-learn's at a tolerance at which they stand still, on every split, before anything is timed.
Timed beside the batched solver is scikit-learn's loop as `train_probes` runs it: at its usual tolerance, a probe per core.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actlas.query import open_store
from actlas.query.probing.draws import Draw
from actlas.query.probing.labels import Labelled, labelled
from actlas.query.probing.settings import ProbeSettings
from actlas.query.probing.solvers import BatchedSolver, Fitted, SklearnSolver
from benchmarks.harness import Timing, interleave, save

SEEDS = (0, 1, 2)
#: A difference of more points than this, and of more than `MOST_ROWS` vectors, is no equal answer.
MOST_POINTS = 0.2
MOST_ROWS = 2
#: At which scikit-learn's accuracies stand still.
CONVERGED = 1e-6


@dataclass(frozen=True, eq=False)
class Cell:
    """Vectors of one layer, and their labels."""

    name: str
    vectors: NDArray[np.float32]
    labelled: Labelled


def synthetic(n: int, d: int, n_labels: int, seed: int = 0) -> Cell:
    """Vectors as layers have them: of few large and many small directions, correlated channels of unequal spread, tokens that all
    labels share, and labels in families, which differ more between them than within."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> NDArray[np.float32]:
        return rng.standard_normal(shape, dtype=np.float32)

    spread = np.sqrt(1 / np.arange(1, d + 1, dtype=np.float32))
    codes, tokens = rng.integers(0, n_labels, n), normal(400, d)
    own = normal(n_labels, d)
    means = 0.7 * (own + own[np.arange(n_labels) // 4 * 4])
    strength = 0.35 * rng.gamma(1.5, 0.7, (n, 1)).astype(np.float32)
    vectors = (tokens[rng.integers(0, 400, n)] + normal(n, d) + strength * means[codes]) * spread
    turn = np.linalg.qr(normal(d, d))[0]
    vectors = vectors @ turn * np.exp(0.5 * normal(d))
    rows = np.arange(n)
    names = tuple(str(label) for label in range(n_labels))
    return Cell("synthetic", vectors, Labelled(rows, codes, names, rows // 4, np.full(n, "en")))


def of_store(path: Path) -> Iterator[Cell]:
    """The middle layer of the first and the last checkpoint of a store."""
    store = open_store(path)
    for checkpoint in (store.checkpoints[0], store.checkpoints[-1]):
        cube = store.token_cube(checkpoint, "resid")
        of = labelled(store.corpus, cube.table, "language")
        yield Cell(checkpoint, cube.read(cube.shape[0] // 2), of)


@dataclass(eq=False)
class ProcessorTime:
    """A method that notes how long the processor worked on it, all threads together: that of other processes does not count."""

    method: Callable[..., Any]
    seconds: list[float] = field(default_factory=list)

    def __call__(self, *arguments: Any) -> Any:
        start = time.process_time()
        answer = self.method(*arguments)
        self.seconds.append(time.process_time() - start)
        return answer


def accuracies(draws: list[Draw], fitted: list[Fitted]) -> NDArray[np.float64]:
    """In points."""
    return np.array([100 * (one.predicted == draw.codes[draw.test]).mean() for one, draw in zip(fitted, draws, strict=True)])


def measured(cell: Cell, c: float, rounds: int) -> dict[str, Any]:
    """One row of the results."""
    settings = ProbeSettings(c=c, c_grid=None)
    draws = [Draw.of(cell.labelled, seed, settings) for seed in SEEDS]
    usual, batched = SklearnSolver(1000), BatchedSolver(1000)
    each = [ProcessorTime(solver) for solver in (batched, usual, SklearnSolver(100_000, tolerance=CONVERGED))]
    found, loop, converged = (solver(cell.vectors, draws) for solver in each)
    largest = float(np.abs(accuracies(draws, found) - accuracies(draws, converged)).max())
    n_train, n_test = draws[0].train.size, draws[0].test.size
    assert largest <= max(MOST_POINTS, 100.01 * MOST_ROWS / n_test), f"{cell.name}, c {c}: {largest} points apart"
    methods = {"loop": lambda: usual(cell.vectors, draws), "batched": lambda: batched(cell.vectors, draws)}
    cores = {name: ProcessorTime(method) for name, method in methods.items()}
    timed = interleave(cores, rounds)
    processor = {name: Timing(tuple(method.seconds[1:])) for name, method in cores.items()}
    d, n_labels = cell.vectors.shape[1], len(cell.labelled.names)
    return {
        "vectors": cell.name,
        "n_train": n_train,
        "n_test": n_test,
        "channels": d,
        "labels": n_labels,
        "c": c,
        "accuracy": float(accuracies(draws, converged).mean()),
        "largest_difference": largest,
        "largest_difference_of_loop": float(np.abs(accuracies(draws, loop) - accuracies(draws, converged)).max()),
        "iterations": {
            name: int(np.median([one.n_iterations for one in fitted]))
            for name, fitted in (("batched", found), ("loop", loop), ("converged", converged))
        },
        "gflop_per_gradient": 4 * n_train * d * n_labels / 1e9,
        "seconds_per_probe": {name: timing.median / len(SEEDS) for name, timing in timed.items()},
        "loop_over_batched": timed["loop"].ratio_to(timed["batched"]),
        "processor_loop_over_batched": processor["loop"].ratio_to(processor["batched"]),
        "processor_converged_over_batched": each[2].seconds[0] / processor["batched"].median,
    }


def main() -> None:
    """Measure, and write the results."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--store", type=Path, action="append", default=[])
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--small", action="store_true", help="a size that takes seconds; nothing is written")
    given = options.parse_args()
    if given.small:
        print(measured(synthetic(2000, 64, 4), 1.0, 1))
        return
    rows = []
    cells = [synthetic(8000, 256, 8), synthetic(25_000, 1024, 16), *(cell for path in given.store for cell in of_store(path))]
    for cell in cells:
        for c in (0.01, 1.0):
            rows.append(measured(cell, c, given.rounds))
            print(rows[-1], flush=True)
            save("probe", {"seeds": len(SEEDS), "rounds": given.rounds, "converged": CONVERGED}, rows)


if __name__ == "__main__":
    main()
