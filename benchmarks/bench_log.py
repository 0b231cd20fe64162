"""What the log and its digests cost: extracting, scoring, opening, reading and verifying, by this code and an older commit's.

    python -m benchmarks.bench_log --before FOLDER [--now FOLDER] [--rounds 7] [--texts 1000]

`--before` is a checkout of a commit whose stores have no log, `--now` one of a commit whose stores do: this one, or an earlier
one that does less beside it. Each code runs in a process of its own that stays, so that compiling and importing are done before
anything counts, and the two take turns, step by step. Both extract a random Llama over the same texts, score the same concepts,
and what they read back is compared in every round. Checks of the model are left out.

Times are those of the processor, of all threads together: what other processes do does not count, waiting for a disk neither.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.bench_extract import read_texts, write_checkpoint
from benchmarks.bench_open import ROOT, ratio
from benchmarks.harness import Timing, save

LAYERS, WIDTH, VOCABULARY = 6, 256, 4000
#: Steps that take next to no time, and how often one measurement does them.
OFTEN, N_CALLS = ("open the store", "open the store, read one neuron"), 30


def steps(folder: Path, n_calls: int) -> dict[str, Any]:
    """What is timed, in the order in which it has to run. Its source also runs with the code of an older commit."""
    import hashlib
    import shutil
    from pathlib import Path

    import polars as pl

    import actlas
    from actlas.extract.options import ExtractOptions
    from actlas.store import Store, verify

    store, model = Path(folder) / "store", Path(folder).parent / "model"
    texts, labels = (pl.read_parquet(Path(folder).parent / f"{name}.parquet") for name in ("texts", "labels"))
    corpus = actlas.corpus_from_frames(texts, labels)
    options = {"sites": ["mlp_pre", "mlp_hidden"], "dtype": "float16", "device": "cpu", "max_tokens": 64}
    # both count at the same site; the older code has no proofs to leave out
    options |= {"count_sites": ["mlp_hidden"], "fidelity_texts": 0}
    options |= {"proves_sites": False} if "proves_sites" in ExtractOptions.__dataclass_fields__ else {}

    def extract() -> None:
        shutil.rmtree(store, ignore_errors=True)
        actlas.extract_activations(model, corpus, store, **options)

    def opened() -> None:
        for _ in range(n_calls):
            Store(store)

    def read() -> None:
        for _ in range(n_calls):
            Store(store).cube(Store(store).checkpoints[0], "mlp_hidden").read(3, 77)

    def digest() -> str:
        here = Store(store)
        cube = here.cube(here.checkpoints[0], "mlp_hidden").read()
        scores = here.scores(here.checkpoints[0], "mlp_hidden").read("ap")
        return hashlib.sha256(cube.tobytes() + scores.tobytes()).hexdigest()

    return {
        "extract": extract,
        "score": lambda: actlas.score_neurons(store),
        "open the store": opened,
        "open the store, read one neuron": read,
        "verify": lambda: verify(store),
        "digest": digest,
    }


#: Stays, is told the name of a step per line, and answers with its result or its seconds. PYTHONPATH decides whose code it is.
CHILD = f"""
from __future__ import annotations
import json, sys, time
import torch
torch.set_num_threads(1)

{inspect.getsource(steps)}

of = steps(sys.argv[1], {N_CALLS})
for line in sys.stdin:
    start = time.process_time()
    result = of[line.strip()]()
    print(json.dumps(result if isinstance(result, str) else time.process_time() - start), flush=True)
"""


class Code:
    """A process that runs steps with the code of a checkout."""

    def __init__(self, checkout: Path, folder: Path) -> None:
        folder.mkdir()
        self._child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(folder)],
            env={**os.environ, "PYTHONPATH": str(checkout), "TQDM_DISABLE": "1"},
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, step: str) -> Any:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(f"{step}\n")
        self._child.stdin.flush()
        return json.loads(self._child.stdout.readline())

    def end(self) -> None:
        self._child.communicate()


def measured(codes: dict[str, Code], rounds: int) -> list[dict[str, Any]]:
    """A row per step, of `rounds` rounds after one that does not count."""
    names = ("extract", "score", *OFTEN, "verify")
    seconds: dict[str, dict[str, list[float]]] = {name: {code: [] for code in codes} for name in names}
    for turn in range(rounds + 1):
        for name in names:
            for code in list(codes) if turn % 2 else list(reversed(codes)):
                taken = codes[code].run(name)
                if turn:
                    seconds[name][code].append(taken)
        found = {code: codes[code].run("digest") for code in codes}
        assert len(set(found.values())) == 1, f"what was stored is not the same: {found}"
    rows = []
    for name, of in seconds.items():
        now, before = (Timing(tuple(of[code])) for code in ("now", "before"))
        calls = N_CALLS if name in OFTEN else 1
        ms = {code: round(1000 * timing.median / calls, 3) for code, timing in (("now", now), ("before", before))}
        rows.append({"what": name, "ms": ms["now"], "ms_before": ms["before"], "time_over_before": ratio(now, before)})
    return rows


def commit_of(checkout: Path) -> str:
    """Short name of the commit that is checked out in a folder."""
    asked = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(asked, cwd=checkout, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="checkout of a commit whose stores have no log")
    parser.add_argument("--now", type=Path, default=ROOT, help="checkout of a commit whose stores have one (default: this)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--texts", type=int, default=1000)
    options = parser.parse_args()
    commits = {"before": commit_of(options.before), "now": commit_of(options.now)}
    with tempfile.TemporaryDirectory(prefix="actlas-bench-") as name:
        folder = Path(name)
        corpus = read_texts(None, options.texts)
        write_checkpoint(folder / "model", corpus, LAYERS, WIDTH, VOCABULARY)
        corpus.texts.write_parquet(folder / "texts.parquet")
        thirds = pl.lit("thirds").alias("concept"), (pl.col("text_id") % 3 == 0).alias("is_concept")
        labels = corpus.texts.select("text_id", *thirds)
        labels.write_parquet(folder / "labels.parquet")
        codes = {"before": Code(options.before, folder / "before"), "now": Code(options.now, folder / "now")}
        rows = measured(codes, options.rounds)
        for code in codes.values():
            code.end()
    for row in rows:
        print(row)
    settings = {"rounds": options.rounds, "texts": options.texts, "layers": LAYERS, "width": WIDTH, **commits}
    print("->", save("log", settings, rows, 1))


if __name__ == "__main__":
    main()
