"""Opening a store, and what a group per cube costs: format 2 against format 1, in files, bytes and time.

    python -m benchmarks.bench_open [--rounds 9] [--before FOLDER]

Both stores hold the same planted values; the older one is written by today's code in the layout of format 1. Values, scores and
counts that are read from either are compared before anything is timed. With a checkout of an older commit (`--before`), its code
takes turns with today's, each in a process of its own that times every method and gives the median.

Times of reading are those of the processor, of all threads together: files are cached, and other processes do not count.
"""

from __future__ import annotations

import argparse
import inspect
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from actlas.query import open_store, score_neurons
from actlas.store import layout
from actlas.store.files.codecs import CODECS
from actlas.store.files.group_writer import create_groups
from actlas.store.groups import cube_group
from actlas.testing import Planting, planted_store
from benchmarks.harness import Timing, interleave, save

ROOT = Path(__file__).resolve().parent.parent
PLANTING = Planting(
    n_groups=400,
    sites={"mlp_hidden": (8, 1024), "attn_out": (8, 256)},
    steps=(64,),
    sharing=(1.0,),
    token_sites={"resid": (8, 256)},
    texts_per_block=512,
)
CHECKPOINT = PLANTING.checkpoint(64)
STATS = ("ap", "mean", "std", "p_active")
#: Calls per measurement.
N_CALLS = 20


def methods(path: Path | str, checkpoint: str) -> dict[str, Callable[[], Any]]:
    """What is timed. Its source runs in other processes, too, with the code of an older commit."""
    from actlas.store import Store

    cube = Store(path).cube(checkpoint, "mlp_hidden")
    return {
        "open the store": lambda: Store(path),
        "open a cube": lambda: Store(path).cube(checkpoint, "mlp_hidden"),
        "read one neuron": lambda: cube.read(5, 77),
        "open the store, read one neuron": lambda: Store(path).cube(checkpoint, "mlp_hidden").read(5, 77),
        "open scores, read one neuron": lambda: Store(path).scores(checkpoint, "mlp_hidden").read("ap", neurons=77),
    }


#: Runs in a process whose PYTHONPATH decides whose code it is.
CHILD = f"""
from __future__ import annotations
import json, statistics, sys, time

{inspect.getsource(methods)}

found = {{}}
for name, method in methods(sys.argv[1], sys.argv[2]).items():
    seconds = []
    for _ in range(6):
        start = time.process_time()
        for _ in range({N_CALLS}):
            method()
        seconds.append((time.process_time() - start) / {N_CALLS})
    found[name] = statistics.median(seconds[1:])
print(json.dumps(found))
"""


def repeated(method: Callable[[], Any]) -> Callable[[], None]:
    def calls() -> None:
        for _ in range(N_CALLS):
            method()

    return calls


def written(path: Path, store_format: int) -> Path:
    """A store in one of the formats."""
    with mock.patch.object(layout, "FORMAT_VERSION", store_format):
        planted_store(path, PLANTING)
    score_neurons(path, stats=STATS)
    return path


def check(old: Path, new: Path) -> None:
    """Both stores answer alike."""
    one, other = open_store(old), open_store(new)
    assert (one.about["format"], other.about["format"]) == (1, 2)
    for site in PLANTING.sites:
        np.testing.assert_array_equal(one.cube(CHECKPOINT, site).read(), other.cube(CHECKPOINT, site).read())
        for stat in STATS:
            scores = [store.scores(CHECKPOINT, site).read(stat) for store in (one, other)]
            np.testing.assert_array_equal(*scores)
    np.testing.assert_array_equal(one.token_counts(CHECKPOINT).active, other.token_counts(CHECKPOINT).active)


def sizes(old: Path, new: Path) -> list[dict[str, object]]:
    """Files and bytes of each kind of group, without the shards that both formats have."""
    rows = []
    site = "mlp_hidden"
    for kind, name in (("cubes", f"{site}.max"), ("tokens", "resid"), ("counts", site), ("scores", f"{site}.max")):
        files = [_small_files(store / kind / CHECKPOINT / name) for store in (old, new)]
        rows.append(
            {
                "group": kind,
                "files_format_1": len(files[0]),
                "files_format_2": len(files[1]),
                "bytes_format_1": sum(files[0].values()),
                "bytes_format_2": sum(files[1].values()),
                "bytes_in_a_list_at_the_root": sum(n for file, n in files[1].items() if file.endswith("/zarr.json")),
            }
        )
    return rows


def _small_files(group: Path) -> dict[str, int]:
    """Files of metadata and coordinates of a group, and their bytes."""
    files = {str(file.relative_to(group)): file.stat().st_size for file in group.rglob("*") if file.is_file()}
    values = {"c", "value", *STATS}
    return {file: size for file, size in files.items() if file.endswith("zarr.json") or file.split("/")[0] not in values}


def child(code: Path, store: Path) -> dict[str, float]:
    """Median seconds of every method, by the code in a folder."""
    command = [sys.executable, "-c", CHILD, str(store), CHECKPOINT]
    environment = {**os.environ, "PYTHONPATH": str(code)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd="/")
    seconds: dict[str, float] = json.loads(done.stdout)
    return seconds


def in_turn(codes: dict[str, tuple[Path, Path]], rounds: int) -> dict[str, dict[str, Timing]]:
    """Method -> who -> its times, processes taking turns."""
    seconds: dict[str, dict[str, list[float]]] = defaultdict(lambda: {name: [] for name in codes})
    for turn in range(rounds):
        order = list(codes) if turn % 2 else list(reversed(codes))
        for name in order:
            for method, value in child(*codes[name]).items():
                seconds[method][name].append(value)
    return {method: {name: Timing(tuple(of)) for name, of in parts.items()} for method, parts in seconds.items()}


def creation(folder: Path, rounds: int) -> dict[str, Any]:
    """Creating the group of a cube of 20,000 texts, every file flushed to disk: time on the clock, which is what it waits for."""
    numbers = itertools.count()
    group = cube_group("cubes/c/s.max", layout.cube_plan(24, 4096, 20_000, 1024, "float16"), np.arange(20_000))

    def create(store_format: int) -> None:
        create_groups(folder / f"group-{next(numbers)}", [group], CODECS["lz4"], store_format=store_format)

    times = interleave({"old": lambda: create(1), "new": lambda: create(2)}, rounds)
    ms = round(1000 * times["new"].median, 3)
    return {"what": "create a group, flushed to disk", "ms": ms, "time_over_format_1": ratio(times["new"], times["old"])}


def ratio(new: Timing, old: Timing) -> dict[str, float]:
    return {name: round(value, 3) for name, value in new.ratio_to(old).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--before", type=Path, help="checkout of an older commit, which reads the store of format 1")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="actlas-bench-") as folder:
        old, new = written(Path(folder) / "old", 1), written(Path(folder) / "new", 2)
        check(old, new)
        rows = []
        both = [methods(path, CHECKPOINT) for path in (old, new)]
        for name in both[0]:
            pair = {"old": repeated(both[0][name]), "new": repeated(both[1][name])}
            times = interleave(pair, options.rounds, clock=time.process_time)
            ms = round(1000 * times["new"].median / N_CALLS, 3)
            rows.append({"what": name, "ms": ms, "time_over_format_1": ratio(times["new"], times["old"])})
        if options.before is not None:
            turns = in_turn({"before": (options.before, old), "now": (ROOT, new)}, options.rounds)
            for row in rows:
                of = turns[row["what"]]
                row["time_over_before"] = ratio(of["now"], of["before"])
        rows.append(creation(Path(folder), 3 * options.rounds))
        groups = sizes(old, new)
        for row in (*rows, *groups):
            print(row)
    print("->", save("open", {"rounds": options.rounds, "calls": N_CALLS}, rows, 1), save("open_files", {}, groups, 1))


if __name__ == "__main__":
    main()
