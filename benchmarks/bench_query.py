"""Questions to a store of half a billion scores, beside numpy, pandas, Polars and plain DuckDB: equal answers first, then times.

    python -m benchmarks query --make FOLDER [--scale small]     make the stores, and what peers read
    python -m benchmarks query FOLDER [--rounds 5] [--save]      ask

Four tables: what making the kept answers takes, each in a process of its own; warm questions in one process, arm after arm, round
by round; the first answer of a fresh process; and what one pass over all scores takes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import actlas
from benchmarks.harness import interleave, save
from benchmarks.query_data import SCALES, Scale, make, write_experts
from benchmarks.query_rows import BAR, Questions, kept_answers

#: Runs in a process of its own: one call, its seconds, and the most memory that the process ever had.
MEASURED = """
import json, resource, sys, time
{setup}
start = time.perf_counter()
{call}
seconds = time.perf_counter() - start
peak = int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))) * 1024
print(json.dumps({{"seconds": seconds, "peak_bytes": peak, "answer": answer}}))
"""


def measured(setup: str, call: str) -> dict[str, Any]:
    """Seconds, peak memory and the answer of a call in a process of its own."""
    source = MEASURED.format(setup=setup, call=call)
    ran = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RuntimeError(ran.stderr)
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


def making(folder: Path, scale: Scale) -> list[dict[str, Any]]:
    """What making the kept answers takes, one after the other: each may use what those before it kept."""
    path = folder / "scores.actlas"
    setup = f"import actlas\nfrom benchmarks.query_rows import kept_answers\nstore = actlas.open_store({str(path)!r}, 'a')"
    rows = []
    for name in kept_answers(actlas.open_store(path), scale.k):
        found = measured(setup, f"answer = kept_answers(store, {scale.k})[{name!r}]().height")
        rows.append({"what": name, "arm": "actlas", **found})
        print(f"{name}: {found['seconds']:.1f} s, {found['peak_bytes'] / 2**20:,.0f} MiB, {found['answer']:,} rows", flush=True)
    rows.append({"what": "experts", "arm": "numpy", **measured(*numpy_experts(folder, scale))})
    # of the values beside the scores
    actlas.language_neurons(folder / "values.actlas", keep=True)
    values = actlas.open_store(folder / "values.actlas", "a")
    actlas.top_texts(values, sites=["mlp_out"], n=64)
    write_experts(folder, scale)
    questions = Questions(folder, scale)
    ours = questions.by_set.sum()
    assert rows[-1]["answer"] == int(ours), "numpy ranks other experts"
    return rows


def numpy_experts(folder: Path, scale: Scale) -> tuple[str, str]:
    """The best experts of all languages and concepts by a partition of each: their places, added up."""
    setup = f"import numpy as np\nap = np.load({str(folder / 'peers/ap.npy')!r}, mmap_mode='r')"
    call = (
        "answer = sum(int(np.argpartition(ap[at], -K)[-K:].astype(np.int64).sum()) for at in np.ndindex(*ap.shape[:3]))".replace(
            "K", str(scale.k)
        )
    )
    return setup, call


def warm(questions: Questions, rounds: int) -> list[dict[str, Any]]:
    """All rows, their answers compared before they are timed."""
    rows = []
    for row in questions.rows():
        n_rows = row.check()
        timed = interleave(row.arms, rounds)
        arms = {name: [round(1000 * seconds, 3) for seconds in timing.seconds] for name, timing in timed.items()}
        rows.append({"number": row.number, "question": row.question, "n_rows": n_rows, "ms": arms})
        shown = ", ".join(f"{name} {statistics.median(ms):,.1f}" for name, ms in arms.items())
        print(f"{row.number} {row.question} ({n_rows:,} rows): {shown}", flush=True)
    return rows


def cold(questions: Questions, rounds: int) -> list[dict[str, Any]]:
    """Fresh processes, from their start to their end, the answer written to a file."""
    rows = []
    stores = {"scores": questions.store.path, "values": questions.values.path}
    for row in questions.rows():
        if row.sql is None:
            continue
        command = [
            sys.executable,
            "-m",
            "actlas",
            "sql",
            str(stores[row.store]),
            row.sql,
            "--format",
            "parquet",
            "--out",
            "{out}",
        ]
        seconds = [timed_process(command) for _ in range(rounds + 1)][1:]
        rows.append({"number": row.number, "question": row.question, "arm": "actlas sql", "seconds": seconds})
        print(f"cold {row.number}: {statistics.median(seconds):.2f} s", flush=True)
    path = questions.peer("experts.parquet")
    peers = {
        "DuckDB": f"import duckdb; duckdb.sql(\"FROM read_parquet('{path}') WHERE {where(questions)}\").write_parquet('{{out}}')",
        "Polars": f"import polars as pl; pl.scan_parquet('{path}').sql(\"SELECT * FROM self WHERE {where(questions)}\")"
        ".collect().write_parquet('{out}')",
    }
    for name, source in peers.items():
        seconds = [timed_process([sys.executable, "-c", source]) for _ in range(rounds + 1)][1:]
        rows.append({"number": "1", "question": "row 1", "arm": name, "seconds": seconds})
    return rows


def where(questions: Questions) -> str:
    names = {"checkpoint": questions.last, "language": questions.language, "concept": questions.concept}
    return " AND ".join(f"{name} = '{value}'" for name, value in names.items())


def timed_process(command: list[str]) -> float:
    """Seconds from the start of a process to its end; its answer is not looked at."""
    out = Path("/dev/shm" if Path("/dev/shm").is_dir() else ".") / "actlas-query.parquet"
    start = time.perf_counter()
    subprocess.run([part.replace("{out}", str(out)) for part in command], check=True, capture_output=True)
    seconds = time.perf_counter() - start
    out.unlink(missing_ok=True)
    return round(seconds, 3)


def whole(folder: Path) -> list[dict[str, Any]]:
    """One pass over all scores: how many of each concept at each checkpoint are above a bar."""
    store = f"import actlas\nstore = actlas.open_store({str(folder / 'scores.actlas')!r})"
    query = f"SELECT checkpoint, concept, count(*) AS n FROM scores WHERE ap > {BAR} GROUP BY ALL"
    numpy = f"import numpy as np\nap = np.load({str(folder / 'peers/ap.npy')!r}, mmap_mode='r')"
    counted = f"answer = sorted(int((part[:, c] > {BAR}).sum()) for part in ap for c in range(part.shape[1]))"
    calls = {
        "actlas SQL": (store, f"answer = sorted(store.sql({query!r})['n'].to_list())"),
        "numpy, scores": (numpy, counted),
    }
    found = {arm: measured(*call) for arm, call in calls.items()}
    answers = [[n for n in one.pop("answer") if n] for one in found.values()]
    assert all(answer == answers[0] for answer in answers), "the arms count differently"
    for arm, one in found.items():
        print(f"whole {arm}: {one['seconds']:.1f} s, {one['peak_bytes'] / 2**20:,.0f} MiB", flush=True)
    return [{"arm": arm, **one} for arm, one in found.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--make", type=Path, metavar="FOLDER")
    parser.add_argument("--scale", choices=sorted(SCALES), default="full")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", default="making,warm,cold,whole", help="what is measured now; of the others, what was before")
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    scale = SCALES[options.scale]
    if options.make is not None:
        make(options.make, scale)
    elif options.folder is None:
        parser.error("name a folder, or make one with --make FOLDER")
    else:
        run(options.folder, scale, options.rounds, [part for part in options.parts.split(",") if part], is_saved=options.save)


def run(folder: Path, scale: Scale, rounds: int, parts: list[str], *, is_saved: bool) -> dict[str, Any]:
    """Measure parts, and keep those of an earlier run that are not measured now."""
    notes = folder / f"measured-{'full' if scale is SCALES['full'] else 'small'}.json"
    found: dict[str, Any] = json.loads(notes.read_text()) if notes.is_file() else {}
    steps: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "making": lambda: making(folder, scale),
        "warm": lambda: warm(Questions(folder, scale), rounds),
        "cold": lambda: cold(Questions(folder, scale), rounds),
        "whole": lambda: whole(folder),
    }
    for part in parts:
        found[part] = steps[part]()
        if part == "warm":
            found["load_1min"] = round(os.getloadavg()[0], 2)
        notes.write_text(json.dumps(found))
    if is_saved:
        settings = {
            "n_scores": scale.n_scores,
            "n_neurons": scale.n_neurons,
            "languages": len(scale.languages),
            "concepts": scale.n_concepts,
            "checkpoints": scale.n_checkpoints,
            "k": scale.k,
            "rounds": rounds,
            "bar": BAR,
            "bytes_per_score": bytes_per_score(folder, scale),
        }
        path = save("query", settings, [{"part": part, **row} for part in steps for row in found[part]])
        # that of the warm questions: parts may be saved long after they were measured
        content = json.loads(path.read_text())
        content["machine"]["load_1min"] = found["load_1min"]
        path.write_text(json.dumps(content, indent=1) + "\n")
    return found


def bytes_per_score(folder: Path, scale: Scale) -> float:
    files = (folder / "scores.actlas" / "scores").rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file()) / scale.n_scores


if __name__ == "__main__":
    main()
