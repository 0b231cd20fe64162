"""Every neuron of one BLOOM-560m checkpoint against 200 concepts, from generated values, with peak memory."""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from actlas.kernels import concept_scores
from actlas.kernels.cpu.engine import n_cores
from benchmarks import kernel_peers
from benchmarks.harness import save

#: Outputs of the linear maps of 24 layers of width 1024, as published expert-neuron work counts them.
N_NEURONS, N_TEXTS, N_CONCEPTS = 221_184, 1700, 200
BLOCK = 4096
K = 500
STATS = ("ap",)


def score() -> dict[str, float]:
    """Blocks of neurons through `concept_scores`; the k best per concept are kept, as a question about experts would."""
    labels = kernel_peers.make_labels(N_TEXTS, N_CONCEPTS, 0.4)  # 700 positive texts of 1,700
    best = np.full((N_CONCEPTS, K), -np.inf)
    generating = scoring = 0.0
    largest_difference = 0.0
    for start in range(0, N_NEURONS, BLOCK):
        started = time.perf_counter()
        values = kernel_peers.make_values("gaussian", min(BLOCK, N_NEURONS - start), N_TEXTS, "float16", seed=start)
        generating += time.perf_counter() - started
        started = time.perf_counter()
        ap = concept_scores(values, labels, STATS, backend="cpu")["ap"]
        best = np.partition(np.concatenate([best, ap.T], axis=1), -K, axis=1)[:, -K:]
        scoring += time.perf_counter() - started
        theirs = kernel_peers.sklearn_loop(values[:1], labels[:, :2])
        largest_difference = max(largest_difference, float(np.abs(theirs - ap[:1, :2]).max()))
    started = time.perf_counter()
    kernel_peers.sklearn_loop(values[:2], labels[:, :50])
    loop = (time.perf_counter() - started) / 100
    return {
        "seconds": scoring,
        "seconds_generating": generating,
        "scikit_learn_seconds_extrapolated": loop * N_NEURONS * N_CONCEPTS,
        "largest_difference": largest_difference,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "kth_best_of_first_concept": float(best[0].min()),
    }


def run(options: argparse.Namespace) -> None:
    """In a process of its own, so that the peak is its own."""
    if options.quick:
        print("checkpoint: left out of quick runs (it takes minutes)")
        return
    folder = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.kernel_checkpoint"], capture_output=True, text=True, check=True, cwd=folder
    )
    row = json.loads(done.stdout)
    if not row["largest_difference"] <= 1e-12:
        raise SystemExit(f"differs from scikit-learn by {row['largest_difference']}; no figure is given")
    row["scikit_learn_over_actlas"] = row["scikit_learn_seconds_extrapolated"] / row["seconds"]
    row |= {"n_neurons": N_NEURONS, "n_texts": N_TEXTS, "n_concepts": N_CONCEPTS, "stats": list(STATS)}
    print(f"checkpoint: {row['seconds']:.0f} s on {n_cores()} cores, peak {row['peak_bytes'] / 2**30:.2f} GiB,", end=" ")
    print(f"scikit-learn loop extrapolated to {row['scikit_learn_seconds_extrapolated'] / 3600:.0f} h")
    print(save("kernels_checkpoint", {"block": BLOCK, "k": K, "clock": "wall"}, [row], threads=n_cores()))


if __name__ == "__main__":
    print(json.dumps(score()))
