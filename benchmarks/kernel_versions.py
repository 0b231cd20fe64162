"""The CPU engine against other versions of itself: with AVX-512 left out, or out of another checkout.

    python -m benchmarks.kernel_versions                     what AVX-512 is worth; writes kernels_registers.json
    python -m benchmarks.kernel_versions --against CHECKOUT  this checkout against another one; prints the table

Each version runs in a process of its own on one thread. Processes take turns round by round, and their results are compared
before anything is timed: those of two checkouts have to be the same to the bit.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.harness import Timing, save

ROOT = Path(__file__).resolve().parents[1]
#: Run before anything is imported: makes the engine believe that the processor lacks AVX-512.
WITHOUT_AVX512 = "from actlas.kernels.cpu import wide; wide.IS_SUPPORTED = False"
NINE = ("ap", "auroc", "p_active", "p_active_off", "mean", "std", "median", "p90", "best_f1")


@dataclass(frozen=True)
class Case:
    """What is scored; enough neurons for some tenths of a second."""

    name: str
    stats: tuple[str, ...] = ("ap",)
    shape: str = "gaussian"
    n_texts: int = 4000
    n_concepts: int = 20
    prevalence: float = 0.05
    dtype: str = "float16"

    @property
    def n_neurons(self) -> int:
        return max(64, int(6e8 / (self.n_texts * (self.n_concepts + 20) * (2 if len(self.stats) > 1 else 1))))


CASES = (
    Case("centre"),
    Case("90 % zeros", shape="relu90"),
    Case("half positive", prevalence=0.5),
    Case("20,000 texts", n_texts=20_000),
    Case("100 concepts", n_concepts=100),
    Case("float32", dtype="float32"),
    Case("nine statistics", stats=NINE),
    Case("nine statistics, 100 concepts", stats=NINE, n_concepts=100),
    Case("nine statistics, 90 % zeros", stats=NINE, shape="relu90"),
    Case("shape of a checkpoint", n_texts=1700, n_concepts=200, prevalence=0.4),
)


def serve() -> None:
    """Scores a case whenever a line names it: seconds of the thread, and a digest of the numbers."""
    import hashlib

    import numpy as np

    from actlas.kernels import concept_scores
    from benchmarks import kernel_peers

    known: dict[str, tuple[Any, Any]] = {}
    for line in sys.stdin:
        case = CASES[int(line)]
        if case.name not in known:
            values = kernel_peers.make_values(case.shape, case.n_neurons, case.n_texts, case.dtype)
            known[case.name] = values, kernel_peers.make_labels(case.n_texts, case.n_concepts, case.prevalence)
        values, labels = known[case.name]
        started = time.thread_time()
        scores = concept_scores(values, labels, case.stats, backend="cpu", threads=1)
        seconds = time.thread_time() - started
        sums = {stat: float(np.abs(numbers).sum()) for stat, numbers in scores.items()}
        digest = hashlib.sha256(b"".join(scores[stat].tobytes() for stat in case.stats)).hexdigest()
        print(json.dumps({"seconds": seconds, "digest": digest, "sums": sums}), flush=True)


class Version:
    """One version of the engine in a process of its own."""

    def __init__(self, folder: Path, setup: str = "") -> None:
        # `benchmarks` is always this checkout's, `actlas` that of `folder`
        path = f"import sys; sys.path[:0] = [{str(folder)!r}, {str(ROOT)!r}]"
        code = f"{path}; import actlas; {setup or 'pass'}\nsys.path[0] = {str(ROOT)!r}\n"
        code += "from benchmarks.kernel_versions import serve; serve()"
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        if setup:  # the cache knows sources and processors, but not what was changed in memory
            self._cache = TemporaryDirectory()
            environment["NUMBA_CACHE_DIR"] = self._cache.name
        command = [sys.executable, "-c", code]
        self._process = subprocess.Popen(
            command, cwd="/", env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def score(self, case: int) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{case}\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def compare(versions: Mapping[str, Version], numbers: Sequence[int], rounds: int, *, to_the_bit: bool) -> list[dict[str, Any]]:
    """Per case the time of the second version over that of the first, round by round."""
    (first, base), (second, other) = versions.items()
    rows = []
    for number in numbers:
        case = CASES[number]
        one, two = base.score(number), other.score(number)
        if to_the_bit and one["digest"] != two["digest"]:
            raise SystemExit(f"{case.name}: the versions differ; no figure is given")
        if any(abs(one["sums"][stat] - two["sums"][stat]) > 1e-9 * abs(one["sums"][stat]) for stat in case.stats):
            raise SystemExit(f"{case.name}: the versions differ; no figure is given")
        seconds: tuple[list[float], list[float]] = ([], [])
        for _ in range(rounds):
            seconds[0].append(base.score(number)["seconds"])
            seconds[1].append(other.score(number)["seconds"])
        timings = [Timing(tuple(times)) for times in seconds]
        cells = case.n_neurons * case.n_texts * case.n_concepts
        ratio = timings[1].ratio_to(timings[0])
        per_cell = {name: 1e9 * timing.median / cells for name, timing in zip((first, second), timings, strict=True)}
        rows.append({**asdict(case), "ns_per_cell": per_cell, "ratio": ratio, "load_1min": os.getloadavg()[0]})
        spread = f"{ratio['median']:.3f} ({ratio['lowest']:.2f} to {ratio['highest']:.2f})"
        print(f"{case.name}: time of {second!r} over that of {first!r}: {spread}", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="another checkout")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--case", type=int, action="append", help="number of a case; may be repeated (default: all)")
    options = parser.parse_args()
    if options.against:
        versions = {"this": Version(ROOT), "other": Version(options.against.resolve())}
    else:
        versions = {"with AVX-512": Version(ROOT), "without": Version(ROOT, WITHOUT_AVX512)}
    rows = compare(versions, options.case or range(len(CASES)), options.rounds, to_the_bit=bool(options.against))
    for version in versions.values():
        version.close()
    if not options.against:
        print(save("kernels_registers", {"rounds": options.rounds, "clock": "thread"}, rows, threads=1))


if __name__ == "__main__":
    main()
