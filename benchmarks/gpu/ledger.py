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
from numpy.typing import NDArray

from benchmarks.harness import RESULTS, save

#: Prediction and measurement may differ by this factor.
FACTOR = 2.0
#: Bytes read and written per second by a copy, on an H100 and an H200.
BANDWIDTHS = (3.0e12, 4.3e12)
#: Rates on the chip of both. Bytes from the second-level cache, as others have measured it; and the vendor's peaks of 132
#: multiprocessors at 1.755 GHz: 2,048 multiply-adds of 16-bit numbers and 128 bytes of shared memory per cycle.
CACHE_RATE = 5.5e12
PRODUCT_RATE = 132 * 1.755e9 * 2048
SHARED_RATE = 132 * 1.755e9 * 128
#: Instructions of warps, four per cycle.
INSTRUCTION_RATE = 132 * 1.755e9 * 4
ITEM_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4}
#: What tells one case from another, in predictions and in measurements.
CASE = ("n_neurons", "n_texts", "n_concepts", "dtype", "prevalence")
CASES = [(200_000, 10_000, 50, dtype) for dtype in ITEM_BYTES] + [(20_000, n_texts, 50, "float16") for n_texts in (1000, 20_000)]
PREVALENCE = 0.05
#: Neurons that torch's part is counted on: a whole tile of any kernel.
_FEW = 64
#: Neurons whose values say how often texts are walked over; a divisor of those of every case.
_SAMPLE = 32


@dataclass(frozen=True)
class Problem:
    """What is asked of the engine.

    Attributes:
        n_neurons: Rows of the values.
        n_texts: Columns of the values.
        dtype: Of the values.
        n_positive: Positives of each concept that has an answer, in the order of the labels.
        changes: Texts of each member set, as often as the engine comes to it.
        n_columns: Label columns of the moments.
        bits: Of the values of some neurons, of which n_neurons are a multiple; None where nothing depends on values.
    """

    n_neurons: int
    n_texts: int
    dtype: str
    n_positive: Sequence[int]
    changes: Sequence[int] = ()
    n_columns: int = 0
    bits: NDArray[np.integer] | None = None

    def ordering(self, size: int) -> Ordering:
        """How often an order of the texts takes a walk over them, with this many counters."""
        assert self.bits is not None, "the order of texts depends on their values"
        return Ordering.of(self.bits, size).times(self.n_neurons // len(self.bits))

    @property
    def place_bytes(self) -> int:
        """Bytes of a text's place."""
        return 2 if self.n_texts <= 32768 else 4

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
        shared: Bytes of shared memory that counters take, as far as they are known.
        instructions: Of warps, as counted in what is assembled for an H100, as far as they are known.
    """

    name: str
    loaded: Mapping[str, int]
    stored: Mapping[str, int]
    added: Mapping[str, int] = field(default_factory=dict)
    main_memory: int = 0
    products: int = 0
    shared: int = 0
    instructions: int = 0

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
            "shared memory": self.shared / SHARED_RATE,
            "instructions": self.instructions / INSTRUCTION_RATE,
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


@dataclass(frozen=True)
class Ordering:
    """How often `order_kernel` walks over the texts of all neurons, which depends on the values.

    Attributes:
        bits: Walks over values.
        order: Walks over places in `order`.
        spare: Walks over places in `spare`.
        order_written: How often places are written to `order`.
        spare_written: The same of `spare`.
        windows: Times that the counters are filled.
        distinct: Distinct values of each neuron.
    """

    bits: int
    order: int
    spare: int
    order_written: int
    spare_written: int
    windows: int
    distinct: Sequence[int]

    @classmethod
    def of(cls, bits: NDArray[np.integer], size: int) -> Ordering:
        """From the bits of the values, int16 or int32 "neurons texts", and the number of counters."""
        counts = dict.fromkeys(("bits", "order", "spare", "order_written", "spare_written", "windows"), 0)
        distinct = []

        def walk(number: NDArray[np.integer], source: str, target: str) -> tuple[NDArray[np.integer], int]:
            """Once for the range, then twice for each filling of the counters."""
            windows = ceil_div(int(number.max()) + 1 - int(number.min()), size)
            for name in {"bits", source}:
                counts[name] += 1 + 2 * windows
            counts[f"{target}_written"] += 1
            counts["windows"] += windows
            found, place = np.unique(number, return_inverse=True)
            return place, len(found)

        for row in bits.astype(np.int64):
            if bits.dtype == np.int16:
                u = row & 0xFFFF
                total = walk(np.where(u > 0x8000, u, 0x7FFF ^ (u & 0x7FFF)), "bits", "order")[1]
            else:
                magnitude = row & 0x7FFFFFFF
                key = np.where((row < 0) & (magnitude != 0), row, 0x7FFFFFFF ^ magnitude)
                place, total = walk((key >> 16) & 0xFFFF, "bits", "order")
                for digit in range(0, 8, 2):
                    if total < len(row):
                        place, _ = walk(place * 4 + ((key >> (14 - 2 * digit)) & 3), "order", "spare")
                        place, total = walk(place * 4 + ((key >> (12 - 2 * digit)) & 3), "spare", "order")
            distinct.append(total)
        return cls(**counts, distinct=distinct)

    def times(self, factor: int) -> Ordering:
        """Of as many times the neurons."""
        walks = {name: value * factor for name, value in vars(self).items() if name != "distinct"}
        return Ordering(**walks, distinct=list(self.distinct) * factor)


def order(problem: Problem, numbers: Mapping[str, Any]) -> Ledger:
    """`order_kernel` with its counters on the chip: each filling of them walks over the values twice."""
    m, n, found = problem.n_neurons, problem.n_texts, problem.ordering(numbers["SIZE"])
    item, place = ITEM_BYTES[problem.dtype], problem.place_bytes
    loaded = {"bits": found.bits * n * item, "order": found.order * n * place, "spare": found.spare * n * place}
    stored = {"order": found.order_written * n * place, "spare": found.spare_written * n * place, "n_distinct": 4 * m}
    return Ledger(
        "order_kernel",
        loaded={name: size for name, size in loaded.items() if size},
        stored={name: size for name, size in stored.items() if size},
        # a neuron's values and places stay in the cache from one walk to the next
        main_memory=problem.value_bytes + m * n * place + 4 * m,
        # counters are added to, read and looked up in
        shared=found.windows * (8 * n + 12 * numbers["SIZE"]),
        # 16 warps; 485 for each of the two walks over a block of texts, 686 to number what occurs
        instructions=16 * found.windows * (ceil_div(n, numbers["BLOCK"]) * 485 + 686),
    )


def concepts(problem: Problem, numbers: Mapping[str, Any]) -> Ledger:
    """`concepts_kernel` with its counters on the chip: for each filling of them every concept visits its positives.

    All statistics together are known only where one filling holds all places: else values say how often a best F1 is beaten.
    """
    m, n, place, n_concepts = problem.n_neurons, problem.n_texts, problem.place_bytes, len(problem.n_positive)
    windows = sum(ceil_div(n_distinct, numbers["SIZE"]) for n_distinct in problem.ordering(numbers["SIZE"]).distinct)
    p, members, n_changes = sum(problem.n_positive), sum(problem.changes), len(problem.changes)
    listed = p + members
    n_sums, text_walks = (4, p) if numbers["HAS_ALL"] else (1, 0)
    if numbers["HAS_ALL"] and windows != m:
        raise ValueError("all statistics of more places than counters are not known beforehand")
    loaded = {
        "order": windows * place * (n + listed + text_walks),
        "texts": windows * 4 * (p + text_walks),
        "starts": windows * 8 * n_concepts,
        "member_set": windows * 4 * n_concepts,
        "member_starts": windows * 8 * n_changes,
        "members": windows * 4 * members,
        "n_distinct": 4 * m,
        "sums": 8 * n_concepts * (windows - m),
    }
    stored = {"sums": windows * 8 * n_concepts * n_sums, "best_text": 4 * n_concepts * m if numbers["HAS_ALL"] else 0}
    sizes = (n, *problem.n_positive, *problem.changes)
    n_blocks, rows = sum(ceil_div(size, numbers["BLOCK"]) for size in sizes), numbers["SIZE"] // 256
    return Ledger(
        "concepts_kernel",
        loaded={name: size for name, size in loaded.items() if size},
        stored={name: size for name, size in stored.items() if size},
        # places and labels stay in the cache from one concept to the next
        main_memory=m * n * place + 4 * m + sum(stored.values()),
        shared=windows * (4 * (n + listed) + 8 * numbers["SIZE"] * (1 + n_concepts + n_changes)),
        # 8 warps, average precision alone; a block of texts is counted, then a row of counters is summed and weighed
        instructions=8 * windows * (n_blocks * (92 + 2 * rows) + len(sizes) * (60 + 11 * rows)),
    )


#: What is known of each kernel: from a problem and the numbers of a launch.
MODELS: dict[str, Callable[[Problem, Mapping[str, Any]], Ledger]] = {
    "moments_kernel": moments,
    "order_kernel": order,
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
            ledgers.append(MODELS[one.kernel](problem, {**one.numbers, **_size(problem, one)}))
            continue
        loaded, stored = (
            _grown(first["torch"], second["torch"], problem.n_neurons)
            for first, second in ((one.loaded, two.loaded), (one.stored, two.stored))
        )
        ledgers.append(Ledger(one.kernel, {"torch": loaded}, {"torch": stored}, main_memory=loaded + stored))
    return ledgers


def _size(problem: Problem, launch: Any) -> dict[str, int]:
    """Counters for the places, of which the engine found none where kernels do not run."""
    if launch.kernel != "concepts_kernel" or launch.numbers["HAS_ALL"] or problem.place_bytes > 2:
        return {}
    return {"SIZE": 2048 if max(problem.ordering(2048).distinct) <= 2048 else 8192}


def _grown(few: int, twice: int, n_neurons: int) -> int:
    return few + (twice - few) * (n_neurons - _FEW) // _FEW


def _counted(what: str, problem: Problem, labels: Any, n_neurons: int) -> list[Any]:
    """What a call asks for, for few neurons, in the interpreter."""

    from actlas.kernels.gpu.device import DeviceLabels
    from actlas.kernels.gpu.engine import concept_scores_gpu
    from actlas.kernels.gpu.moments import moments
    from benchmarks.gpu.traffic import count_traffic

    values = _gaussian(n_neurons, problem.n_texts, problem.dtype)

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


def _gaussian(n_neurons: int, n_texts: int, dtype: str) -> Any:
    import torch

    generator = torch.Generator().manual_seed(0)
    return torch.randn((n_neurons, n_texts), generator=generator).to(getattr(torch, dtype))


def bits_of(values: Any) -> NDArray[np.integer]:
    """The bits of torch's values as integers."""
    import torch

    return values.view(torch.int32 if values.dtype == torch.float32 else torch.int16).numpy()


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
        bits = bits_of(_gaussian(_SAMPLE, n_texts, dtype))
        problem = Problem(n_neurons, n_texts, dtype, np.diff(labels.starts).tolist(), n_columns=n_concepts + 1, bits=bits)
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
