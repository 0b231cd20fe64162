"""Queries of table `activations`: small answers beside the array read, bytes read, peak memory, and xarray-sql on the same cube.

    python -m benchmarks.activation_queries small | bytes | memory | peers  [--store FOLDER] [--rounds 9]

The store is planted: 2 checkpoints of a site of 4 layers x 4,096 neurons, 4,000 texts in 4 languages, float16, with noise in all
bits so that it compresses as little as real values. It is made where `--store` says there is none. `peers` needs ``pip install
xarray-sql`` beside actlas. Answers are compared before anything is timed; bytes are those that `os.preadv` gave; memory is the
highest resident size of a fresh process per query, less what it was before, when it had answered ``SELECT 1``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import polars as pl

from actlas.query import Atlas, open_store
from actlas.store.files import shard_reader
from actlas.store.files.shard_reader import counting
from actlas.testing import Planting, planted_store
from benchmarks.harness import Timing, interleave, save

PLANTING = Planting(
    languages=("en", "es", "fr", "zh"),
    n_groups=1000,
    sites={"mlp_pre": (4, 4096)},
    steps=(0, 1),
    sharing=(0.0, 1.0),
    token_sites={},
    grid=0.0,
    texts_per_block=1000,
)
CHECKPOINT, SITE = PLANTING.checkpoint(0), "mlp_pre"
OF_CUBE = f"checkpoint = '{CHECKPOINT}' AND site = '{SITE}'"
OF_LAYER = f"{OF_CUBE} AND layer = 1"
NEURONS = [5, 300, 700, 1500, 3000, 4000]
SIX = f"neuron IN ({', '.join(map(str, NEURONS))})"
SETTINGS = {"layers": 4, "neurons": 4096, "texts": 4000, "checkpoints": 2, "dtype": "float16"}


def keys() -> pl.DataFrame:
    """100 neurons of one layer."""
    neurons = np.random.default_rng(0).choice(4096, 100, replace=False)
    return pl.DataFrame({"layer": np.ones(100, np.int32), "neuron": neurons.astype(np.int32)})


def small(store: Atlas, rounds: int) -> list[dict[str, Any]]:
    """Small answers beside the read of the same values."""
    cube = store.cube(CHECKPOINT, SITE)
    one = f"SELECT text_id, value FROM activations WHERE {OF_LAYER} AND neuron = 5 AND language = 'en'"
    six = f"SELECT neuron, text_id, value FROM activations WHERE {OF_LAYER} AND {SIX}"
    of_layer = pl.col("checkpoint") == CHECKPOINT, pl.col("site") == SITE, pl.col("layer") == 1
    scan_one = store.scan("activations").filter(*of_layer, neuron=5, language="en").select("text_id", "value")
    scan_six = store.scan("activations").filter(*of_layer, pl.col("neuron").is_in(NEURONS)).select("neuron", "text_id", "value")
    texts = store.corpus.language_slice("en")
    cases: list[tuple[str, Callable[[], np.ndarray], str, pl.LazyFrame]] = [
        ("6 neurons of a layer", lambda: cube.read(1, NEURONS), six, scan_six),
        ("1 neuron in 1 language", lambda: cube.read(1, 5, texts), one, scan_one),
    ]
    rows: list[dict[str, Any]] = []
    for what, read, query, frame in cases:
        for answer in (store.sql(query), frame.collect()):
            np.testing.assert_array_equal(answer["value"].to_numpy(), read().ravel().astype(np.float32))
        timings = interleave({"read": read, "sql": lambda q=query: store.sql(q), "scan": frame.collect}, rounds)
        for way in ("sql", "scan"):
            rows.append({"what": what, "way": way, **_beyond(timings[way], timings["read"])})
    command = [sys.executable, "-m", "actlas", "sql", str(store.path), "SELECT 1"]
    ways: dict[str, Callable[[], object]] = {
        "sql": lambda: store.sql("SELECT 1"),
        "process": lambda: subprocess.run(command, stdout=subprocess.DEVNULL, check=True),
    }
    for way, ask in ways.items():
        # one after the other: a fresh process leaves caches cold for whatever comes next
        timing = interleave({way: ask}, min(rounds, 15))[way]
        rows.append({"what": "SELECT 1", "way": way, "ms": 1e3 * timing.median, "read_ms": None, "beyond_ms": None})
    return rows


def _beyond(way: Timing, read: Timing) -> dict[str, Any]:
    """What a way takes, and what that is beyond 1.5 of the read, round by round."""
    beyond = sorted(1e3 * (a - 1.5 * b) for a, b in zip(way.seconds, read.seconds, strict=True))
    return {
        "ms": 1e3 * way.median,
        "read_ms": 1e3 * read.median,
        "beyond_ms": {"median": beyond[len(beyond) // 2], "lowest": beyond[0], "highest": beyond[-1]},
    }


#: Conditions beside checkpoint, site and layer, and the neurons and the language that they leave.
PREDICATES: tuple[tuple[str, list[int], str | None], ...] = (
    ("neuron = 5", [5], None),
    ("neuron = 5 OR neuron = 6", [5, 6], None),
    ("neuron BETWEEN 5 AND 6", [5, 6], None),
    ("neuron + 0 = 5", [5], None),
    ("neuron = '5'", [5], None),
    ("neuron = 5.0", [5], None),
    ("neuron % 512 = 0", list(range(0, 4096, 512)), None),
    ("(layer, neuron) IN ((1, 5), (1, 700))", [5, 700], None),
    ("(layer = 1 AND neuron = 5) OR (layer = 1 AND neuron = 700)", [5, 700], None),
    ("neuron = 5 AND language = 'es'", [5], "es"),
    ("neuron = 5 AND text_id BETWEEN 1000 AND 1999", [5], "es"),
    ("neuron = 5 AND language NOT IN ('en', 'fr', 'zh')", [5], "es"),
    ("neuron = 5 AND lower(site) = 'mlp_pre'", [5], None),
    ("neuron = 5 AND checkpoint = (SELECT min(checkpoint) FROM checkpoints)", [5], None),
    ("neuron IN (SELECT neuron FROM mine)", sorted(keys()["neuron"].to_list()), None),
    ("value > 1 AND neuron = 5", [5], None),
)
#: Whole queries, and the same.
QUERIES: tuple[tuple[str, list[int], str | None], ...] = (
    (
        f"SELECT avg(value) FROM activations JOIN mine USING (layer, neuron) WHERE {OF_CUBE}",
        sorted(keys()["neuron"].to_list()),
        None,
    ),
    (
        "SELECT avg(value) FROM activations a JOIN texts t USING (text_id) "
        f"WHERE {OF_LAYER} AND neuron = 5 AND t.language = 'es'",
        [5],
        "es",
    ),
    (
        "SELECT corr(a.value, b.value) FROM activations a JOIN activations b USING (site, layer, neuron, text_id) "
        f"WHERE a.checkpoint = '{CHECKPOINT}' AND b.checkpoint = '{CHECKPOINT}' AND a.layer = 1 AND a.neuron = 5",
        [5, 5],
        None,
    ),
    (f"SELECT count(*) FROM activations WHERE {OF_LAYER}", [], None),
    (f"SELECT max(neuron), min(text_id) FROM activations WHERE {OF_LAYER}", [], None),
    ("SELECT DISTINCT checkpoint, layer FROM activations", [], None),
)


@contextmanager
def bytes_read() -> Iterator[list[int]]:
    """Counts the bytes of chunks that are read within it."""
    sizes: list[int] = []
    preadv = os.preadv

    def counted(fd: int, buffers: Any, offset: int) -> int:
        size = preadv(fd, buffers, offset)
        sizes.append(size)
        return size

    # chunk by chunk: what compiled loops read is not seen
    with mock.patch.object(os, "preadv", counted), mock.patch.object(shard_reader, "is_worth_it", return_value=False):
        yield sizes


def bytes_of(store: Atlas, _: int) -> list[dict[str, Any]]:
    """Bytes that queries read, and those of the chunks that hold what they need."""
    rows = []
    asked = [(f"SELECT avg(value) FROM activations WHERE {OF_LAYER} AND ({what})", what, *of) for what, *of in PREDICATES]
    for query, what, neurons, language in [*asked, *((query, query, *of) for query, *of in QUERIES)]:
        texts = slice(None) if language is None else store.corpus.language_slice(language)
        with counting() as needed:
            for some in [neurons] if len(set(neurons)) == len(neurons) else [[one] for one in neurons]:
                store.cube(CHECKPOINT, SITE).read(1, some, texts)
        tables = {"mine": keys()} if "mine" in query else {}
        said = store.explain(query, tables=tables)["bytes"].sum()
        with bytes_read() as sizes:
            store.sql(query, tables=tables)
        rows.append({"query": what, "bytes": sum(sizes), "needed": needed.n_bytes, "explained": said})
    return rows


#: What a fresh process does for the table of memory, and the rows of `activations` that it reads.
IN_MEMORY: Mapping[str, tuple[str, str]] = {
    "SELECT 1": ("", "SELECT 1"),
    "avg(value), max(neuron)": ("one layer", f"SELECT avg(value), max(neuron) FROM activations WHERE {OF_LAYER}"),
    "GROUP BY neuron, language": (
        "one layer",
        f"SELECT neuron, language, avg(value) FROM activations WHERE {OF_LAYER} GROUP BY neuron, language",
    ),
    "JOIN labels GROUP BY neuron, is_concept": (
        "one layer",
        "SELECT neuron, is_concept, avg(value) FROM activations JOIN labels USING (text_id) "
        f"WHERE {OF_LAYER} AND concept = 'fire' GROUP BY ALL",
    ),
    "* LIMIT 5": ("one layer", f"SELECT * FROM activations WHERE {OF_LAYER} LIMIT 5"),
    "avg(value) of everything": ("everything", "SELECT avg(value) FROM activations"),
    "GROUP BY language of everything": ("everything", "SELECT language, avg(value) FROM activations GROUP BY language"),
    "GROUP BY checkpoint, layer, neuron, language of everything": (
        "everything",
        "SELECT checkpoint, layer, neuron, language, avg(value) FROM activations GROUP BY ALL",
    ),
    "value > 3 of everything": ("everything", "SELECT count(*) FROM activations WHERE value > 3"),
    "ORDER BY value DESC LIMIT 10 of everything": ("everything", "SELECT * FROM activations ORDER BY value DESC LIMIT 10"),
    "polars mean by language": ("everything", "scan-group"),
    "polars join with labels, mean by neuron": ("everything", "scan-join"),
    "polars filter on values and labels": ("everything", "scan-filter"),
}


def _ask(store: Atlas, query: str) -> pl.DataFrame:
    if not query.startswith("scan-"):
        return store.sql(query)
    scan = store.scan("activations")
    mean = pl.col("value").mean()
    plans = {
        "scan-group": scan.group_by("checkpoint", "language").agg(mean),
        "scan-join": scan.join(store.scan("labels").filter(concept="fire"), on="text_id")
        .group_by("neuron", "is_concept")
        .agg(mean),
        "scan-filter": scan.filter(pl.col("value") > 3, pl.col("language") != "en").group_by("layer").agg(pl.len()),
    }
    return plans[query].collect(engine="streaming")


def child(store: Atlas, what: str) -> None:
    """Answer one query and say what it took of memory and time."""
    import time

    store.sql("SELECT 1")
    base, start = _highest(), time.perf_counter()
    _ask(store, IN_MEMORY[what][1])
    print(json.dumps({"base": base, "highest": _highest(), "seconds": time.perf_counter() - start}))


def _highest() -> float:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in status.splitlines() if line.startswith("VmHWM"))


def memory(store: Atlas, rounds: int) -> list[dict[str, Any]]:
    """Peak memory of queries, each in processes of its own; the highest of three."""
    rows = []
    for what, (scope, _) in IN_MEMORY.items():
        command = [sys.executable, "-m", "benchmarks.activation_queries", "child", "--store", str(store.path), "--what", what]
        runs = [json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(3)]
        highest = max(run["highest"] - run["base"] for run in runs)
        rows.append({"query": what, "reads": scope, "megabytes": highest, "seconds": min(run["seconds"] for run in runs)})
    return rows


def peers(store: Atlas, rounds: int) -> list[dict[str, Any]]:
    """The same questions of one cube, asked of xarray-sql in DuckDB and in DataFusion."""
    import duckdb
    import xarray
    import xarray_sql

    cube = store.cube(CHECKPOINT, SITE).to_xarray().swap_dims(text="text_id").rename("value").to_dataset()
    # neither engine takes float16 from it; decoded to float32 it is still read lazily
    cube["value"].attrs["scale_factor"] = np.float32(1)
    cube = xarray.decode_cf(cube)
    # of the sizes tried, the one at which it is fastest
    chunks = {"layer": 1, "neuron": 512, "text_id": 4000}
    connection, context = duckdb.connect(), xarray_sql.XarrayContext()
    xarray_sql.register(connection, "acts", cube, chunks=chunks)
    context.from_dataset("acts", cube, chunks=chunks)
    connection.register("mine", keys())
    context.from_arrow(keys().to_arrow(), name="mine")
    questions = {
        "6 neurons of a layer": ("SELECT neuron, text_id, value FROM {acts} WHERE {cube} layer = 1 AND " + SIX),
        "JOIN of 100 neurons": (
            "SELECT a.neuron, avg(a.value) AS mean FROM {acts} a JOIN mine m ON a.layer = m.layer AND a.neuron = m.neuron "
            "WHERE {cube} true GROUP BY a.neuron"
        ),
        "scan of a layer": "SELECT neuron, avg(value) AS mean FROM {acts} WHERE {cube} layer = 1 GROUP BY neuron",
        "scan of the cube": "SELECT layer, neuron, avg(value) AS mean FROM {acts} WHERE {cube} true GROUP BY layer, neuron",
    }
    rows = []
    for what, question in questions.items():
        own = question.format(acts="activations", cube=f"{OF_CUBE} AND")
        other = question.format(acts="acts", cube="")
        ways: dict[str, Callable[[], pl.DataFrame]] = {
            "actlas": lambda q=own: store.sql(q, tables={"mine": keys()} if "mine" in q else None),
            "xarray-sql in DuckDB": lambda q=other: connection.sql(q).pl(),
            "xarray-sql in DataFusion": lambda q=other: context.sql(q).to_polars(),
        }
        answers = {name: _sorted(way()) for name, way in ways.items()}
        for name, answer in answers.items():
            assert answer.shape == answers["actlas"].shape, name
            for column in answer.columns:
                np.testing.assert_allclose(answer[column], answers["actlas"][column], rtol=1e-5, atol=1e-6)
        timings = interleave(ways, rounds)
        for name in list(ways)[1:]:
            ratio = timings[name].ratio_to(timings["actlas"])
            rows.append({"what": what, "peer": name, "ms": 1e3 * timings["actlas"].median, "peer_time_over_ours": ratio})
    return rows


def _sorted(frame: pl.DataFrame) -> pl.DataFrame:
    labels = [name for name in frame.columns if name in ("layer", "neuron", "text_id")]
    return frame.sort(labels)


PARTS: Mapping[str, Callable[[Atlas, int], list[dict[str, Any]]]] = {
    "small": small,
    "bytes": bytes_of,
    "memory": memory,
    "peers": peers,
}


def main() -> None:
    """Run one part and save its result."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("part", choices=[*PARTS, "child"])
    arguments.add_argument("--store", type=Path, default=Path(tempfile.gettempdir()) / "activation_queries.actlas")
    arguments.add_argument("--rounds", type=int, default=9)
    arguments.add_argument("--what", help="of `child`: which query")
    options = arguments.parse_args()
    if not options.store.exists():
        planted_store(options.store, PLANTING)
    store = open_store(options.store)
    if options.part == "child":
        child(store, options.what)
        return
    rows = PARTS[options.part](store, options.rounds)
    print(save(f"activation_{options.part}", {**SETTINGS, "rounds": options.rounds}, rows))
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
