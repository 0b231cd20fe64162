"""What each kernel of the GPU engine asks memory for, what of that main memory has to serve, and how long it takes at least.

    python -m benchmarks.gpu.ledger                 # writes gpu_predicted.json: predicted, not run on a GPU
    python -m benchmarks.gpu.ledger --compare       # holds kernels_gpu.json, measured, to it; exit status 1 beyond a factor of 2

The models are exact: tests count every lane in Triton's interpreter (`traffic`) and compare. What is assumed beyond that, and
only shows on a device, is what the second-level cache serves.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from benchmarks.harness import RESULTS, save

#: Prediction and measurement may differ by this factor.
FACTOR = 2.0
#: Bytes read and written per second by a copy, on an H100 and an H200.
BANDWIDTHS = (3.0e12, 4.3e12)
#: Rates on the chip of both: bytes from the second-level cache, and multiply-adds of 16-bit numbers on tensor cores (132
#: multiprocessors, 1.755 GHz, 2,048 per cycle). The first is what others have measured, the second the vendor's peak.
CACHE_RATE = 5.5e12
PRODUCT_RATE = 132 * 1.755e9 * 2048
CACHE_BYTES = 50 << 20
#: Programs of a kernel that keeps scratch memory per program, there.
PROGRAMS = 4 * 132
ITEM_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4}
#: What tells one case from another, in predictions and in measurements.
CASE = ("n_neurons", "n_texts", "n_concepts", "dtype", "prevalence")
CASES = [(200_000, 10_000, 50, dtype) for dtype in ITEM_BYTES] + [(20_000, n_texts, 50, "float16") for n_texts in (1000, 20_000)]
PREVALENCE = 0.05
#: Neurons that torch's part is counted on: a whole tile of any kernel.
_FEW = 64


@dataclass(frozen=True)
class Problem:
    """What is asked of the engine.

    Attributes:
        n_neurons: Rows of the values.
        n_texts: Columns of the values.
        dtype: Of the values.
        n_positive: Positives of each concept that has an answer, in the order of the labels.
        member_sets: Texts of the member set of each of these; 0 where every text takes part.
        changes: Texts of each member set, as often as the engine comes to it.
        n_columns: Label columns of the moments.
    """

    n_neurons: int
    n_texts: int
    dtype: str
    n_positive: Sequence[int]
    member_sets: Sequence[int] = ()
    changes: Sequence[int] = ()
    n_columns: int = 0

    @property
    def value_bytes(self) -> int:
        """Bytes of the values, read once: no way moves less."""
        return self.n_neurons * self.n_texts * ITEM_BYTES[self.dtype]


@dataclass(frozen=True)
class Ledger:
    """What one launch, or one pass of torch, does.

    Attributes:
        name: Of the kernel.
        loaded: Array -> bytes asked for.
        stored: Array -> bytes written.
        added: Array -> bytes of items that atomic operations change.
        main_memory: Bytes that main memory has to serve; the rest comes from the second-level cache.
        products: Multiply-adds of the tensor cores.
    """

    name: str
    loaded: Mapping[str, int]
    stored: Mapping[str, int]
    added: Mapping[str, int] = field(default_factory=dict)
    main_memory: int = 0
    products: int = 0

    @property
    def asked(self) -> int:
        """Bytes that go between the multiprocessors and the second-level cache."""
        return sum(self.loaded.values()) + sum(self.stored.values()) + 2 * sum(self.added.values())

    def seconds(self, bandwidth: float) -> dict[str, float]:
        """How long each level takes alone; the launch takes as long as the slowest."""
        return {
            "main memory": self.main_memory / bandwidth,
            "cache": self.asked / CACHE_RATE,
            "products": self.products / PRODUCT_RATE,
        }


def ceil_div(n: int, step: int) -> int:
    return -(-n // step)


def moments(problem: Problem, numbers: Mapping[str, Any]) -> Ledger:
    """`moments_kernel`: tiles of neurons and columns, of labels that are padded to full tiles."""
    m, n, c = problem.n_neurons, problem.n_texts, problem.n_columns
    bm, bn, bc = numbers["BM"], numbers["BN"], numbers["BC"]
    tiles, passes = ceil_div(m, bm), ceil_div(c, bc)
    padded = ceil_div(n, bn) * bn
    results = {"sums": 8 * m * c, "squares": 8 * m * c, "active": 4 * m * c}
    # the columns of a tile of neurons follow each other: all but the first find its values in the cache
    inputs = problem.value_bytes + padded * passes * bc + 8 * m
    # tensor cores multiply float16: one for what is active, and the pieces of values and of squares
    products = 1 + 1 + 2 if numbers["IS_SHORT"] else 1 + 3 + 3
    return Ledger(
        "moments_kernel",
        loaded={
            "values": problem.value_bytes * passes,
            "labels": tiles * passes * padded * bc,
            "pivot": 4 * m * passes,
            "scale": 4 * m * passes,
        },
        stored=results,
        main_memory=inputs + sum(results.values()),
        products=products * tiles * bm * padded * passes * bc,
    )


def rank16(problem: Problem, numbers: Mapping[str, Any]) -> Ledger:
    """`rank16_kernel`: a counter for each of 65,536 values per program, swept for every neuron."""
    m, n = problem.n_neurons, problem.n_texts
    ranks, sweep = 4 * m * n, 4 * 65536 * m
    counters = 4 * 65536 * numbers["n_programs"]
    # counters are looked up for lanes beyond the last text too
    looked_up = 8 * m * ceil_div(n, numbers["BN"]) * numbers["BN"]
    per_sweep = sweep if counters > CACHE_BYTES // 2 else 0
    return Ledger(
        "rank16_kernel",
        loaded={"bits": 4 * problem.value_bytes, "counts": sweep + looked_up},
        stored={"counts": 2 * sweep, "first": ranks, "rank_of": ranks, "n_at_least": ranks},
        added={"counts": 2 * ranks},
        # the four passes over a neuron's values follow each other, and all but the first find them in the cache
        main_memory=problem.value_bytes + 3 * ranks + 4 * per_sweep,
    )


def concepts(problem: Problem, numbers: Mapping[str, Any]) -> Ledger:
    """`concepts_kernel`: a bitmap of ranks per concept, then one visit per positive."""
    m, n_concepts, words = problem.n_neurons, len(problem.n_positive), 4 * numbers["n_words"]
    p, members, n_changes = sum(problem.n_positive), sum(problem.changes), len(problem.changes)
    p_counted = sum(p for p, size in zip(problem.n_positive, problem.member_sets, strict=True) if size)
    loaded = {
        "member_set": 4 * n_concepts,
        "starts": 8 * n_concepts,
        "member_starts": 8 * n_changes,
        "members": 4 * members,
        "texts": 8 * p,
        "rank_of": 4 * (p + members),
        "n_at_least": 4 * p,
        "first": 4 * p,
        # an index reads the bitmap; a positive looks up two words and the counts before them, twice over with members
        "scratch": words * (n_concepts + n_changes) + 16 * (p + p_counted),
    }
    stored = {"scratch": words * (2 * n_concepts + 2 * n_changes), "out": 32 * n_concepts, "best_n_at_least": 4 * n_concepts}
    added = {"scratch": 4 * (p + members)}
    return Ledger(
        "concepts_kernel",
        loaded={name: m * size for name, size in loaded.items() if size},
        stored={name: m * size for name, size in stored.items()},
        added={name: m * size for name, size in added.items() if size},
        # ranks of a neuron are fetched whole, for positives lie all over them
        main_memory=m * (3 * 4 * problem.n_texts + 36 * n_concepts),
    )


#: What is known of each kernel: from a problem and the numbers of a launch.
MODELS: dict[str, Callable[[Problem, Mapping[str, Any]], Ledger]] = {
    "moments_kernel": moments,
    "rank16_kernel": rank16,
    "concepts_kernel": concepts,
}


def parts(what: str, problem: Problem, labels: Any) -> list[Ledger]:
    """What one call does, in order: launches by their models, operations of torch as counted on few neurons.

    Everything grows linearly with the neurons, so two counts say how it is for any number of them; a test holds this for three.

    Args:
        what: "moments", or statistics as `concept_scores` takes them, separated by commas.
        problem: The whole of it.
        labels: Prepared labels of its texts and concepts.
    """
    few, twice = (_counted(what, problem, labels, n) for n in (_FEW, 2 * _FEW))
    ledgers = []
    for one, two in zip(few, twice, strict=True):
        if one.kernel in MODELS:
            programs = min(problem.n_neurons, PROGRAMS)
            ledgers.append(MODELS[one.kernel](problem, {**one.numbers, "n_programs": programs}))
            continue
        loaded, stored = (
            _grown(first["torch"], second["torch"], problem.n_neurons)
            for first, second in ((one.loaded, two.loaded), (one.stored, two.stored))
        )
        ledgers.append(Ledger(one.kernel, {"torch": loaded}, {"torch": stored}, main_memory=loaded + stored))
    return ledgers


def _grown(few: int, twice: int, n_neurons: int) -> int:
    return few + (twice - few) * (n_neurons - _FEW) // _FEW


def _counted(what: str, problem: Problem, labels: Any, n_neurons: int) -> list[Any]:
    """What a call asks for, for few neurons, in the interpreter."""
    import torch

    from actlas.kernels.gpu.device import DeviceLabels
    from actlas.kernels.gpu.engine import concept_scores_gpu
    from actlas.kernels.gpu.moments import moments
    from benchmarks.gpu.traffic import count_traffic

    generator = torch.Generator().manual_seed(0)
    values = torch.randn((n_neurons, problem.n_texts), generator=generator).to(getattr(torch, problem.dtype))

    def call() -> None:
        if what == "moments":
            moments(values, DeviceLabels.of(labels, values.device).columns, 0.0)
        else:
            concept_scores_gpu(values, labels, tuple(what.split(",")), memory_bytes=1 << 40)

    with count_traffic(runs=False) as launches:
        call()  # makes what is made once for all blocks of neurons
        launches.clear()
        call()
    return launches


@dataclass(frozen=True)
class Goal:
    """How long something may take on a device.

    Attributes:
        about: In words.
        seconds: From a problem and the bandwidth of a copy.
    """

    about: str
    seconds: Callable[[Problem, float], float]


GOALS = {
    # a copy reads and writes; the values are only read
    "moments": Goal("80% of the bandwidth of a copy", lambda problem, rate: problem.value_bytes / (0.8 * rate)),
    "ap": Goal("10 ms for 200,000 x 10,000", lambda problem, _: 10e-3 * problem.n_neurons * problem.n_texts / 2e9),
}


def slowest(ledgers: Sequence[Ledger], bandwidth: float) -> tuple[float, str]:
    """Seconds of launches one after the other, each as slow as its slowest level; and the level that most of them go to."""
    by_level: dict[str, float] = {}
    for ledger in ledgers:
        seconds = ledger.seconds(bandwidth)
        level = max(seconds, key=lambda name: seconds[name])
        by_level[level] = by_level.get(level, 0.0) + seconds[level]
    return sum(by_level.values()), max(by_level, key=lambda name: by_level[name])


def differences(predicted: Sequence[Mapping[str, Any]], measured: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was measured and lies more than `FACTOR` beside what is predicted for the bandwidth of that device.

    Args:
        predicted: Rows of `gpu_predicted.json`.
        measured: Rows of `kernels_gpu.json`.

    Raises:
        ValueError: If nothing was measured that is predicted.
    """
    found, n_compared = [], 0
    for row in predicted:
        for other in measured:
            if any(row[name] != other[name] for name in CASE) or row["what"] not in other["milliseconds"]:
                continue
            n_compared += 1
            ledgers = [Ledger(**part) for part in row["parts"]]
            expected, level = slowest(ledgers, other["copy_bytes_per_second"])
            took = other["milliseconds"][row["what"]] / 1e3
            if not expected / FACTOR <= took <= expected * FACTOR:
                found.append(
                    f"{row['what']} of {row['n_neurons']:,} x {row['n_texts']:,} x {row['n_concepts']} {row['dtype']}: measured "
                    f"{took * 1e3:.2f} ms, predicted {expected * 1e3:.2f} ms ({level})"
                )
    if not n_compared:
        raise ValueError("nothing was measured that is predicted")
    return found


def predicted_rows() -> list[dict[str, Any]]:
    """One row for each call and case."""
    from actlas.kernels import prepare_labels

    rows = []
    for n_neurons, n_texts, n_concepts, dtype in CASES:
        is_concept = np.random.default_rng(0).random((n_texts, n_concepts)) < PREVALENCE
        labels = prepare_labels(is_concept)
        problem = Problem(n_neurons, n_texts, dtype, np.diff(labels.starts).tolist(), [0] * n_concepts, n_columns=n_concepts + 1)
        for what, goal in GOALS.items():
            ledgers = parts(what, problem, labels)
            times = {rate: slowest(ledgers, rate) for rate in BANDWIDTHS}
            rows.append(
                {
                    "what": what,
                    **dict(zip(CASE, (n_neurons, n_texts, n_concepts, dtype, PREVALENCE), strict=True)),
                    "least_bytes": problem.value_bytes,
                    "main_memory_bytes": sum(ledger.main_memory for ledger in ledgers),
                    "milliseconds": {f"{rate / 1e12} TB/s": 1e3 * seconds for rate, (seconds, _) in times.items()},
                    "bound_by": {f"{rate / 1e12} TB/s": level for rate, (_, level) in times.items()},
                    "goal": goal.about,
                    "goal_milliseconds": {f"{rate / 1e12} TB/s": 1e3 * goal.seconds(problem, rate) for rate in BANDWIDTHS},
                    "parts": [asdict(ledger) for ledger in ledgers],
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compare", action="store_true", help="hold what was measured to what is predicted")
    if not parser.parse_args().compare:
        about = {"is_predicted": True, "cache_rate": CACHE_RATE, "product_rate": PRODUCT_RATE}
        print(save("gpu_predicted", about, predicted_rows()))
        return
    predicted, measured = (json.loads((RESULTS / f"{name}.json").read_text()) for name in ("gpu_predicted", "kernels_gpu"))
    lines = differences(predicted["rows"], measured["rows"])
    if lines:
        raise SystemExit("\n".join(lines))
    print(f"measured and predicted lie within a factor of {FACTOR:g}")


if __name__ == "__main__":
    main()
