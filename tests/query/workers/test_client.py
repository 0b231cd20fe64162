"""Queries in processes of their own: the answers of `Store.sql`, limits that hold, and nothing that stays behind."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from actlas.errors import ActlasError, QueryError, StoreNotFound
from actlas.query import Atlas, QueryWorker, open_store
from actlas.query.sql.answer import TOO_LARGE
from actlas.query.workers.messages import Answered
from actlas.query.workers.started import StartedProcess
from tests.bombs import BOMBS

SECONDS = 2.0 if os.environ.get("ACTLAS_BOMBS") else 0.4
#: Never ends by itself.
ENDLESS = "SELECT sum(random()) FROM range(100000000000)"
#: Is in the middle of something that does not hear DuckDB's interrupt.
DEAF = "SELECT levenshtein(repeat('ab', 1000000), repeat('ba', 1000000))"

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="processes are looked at in /proc")


@pytest.fixture(scope="module")
def worker(scored_path: Path) -> Iterator[QueryWorker]:
    with QueryWorker(scored_path, timeout=60, max_rows=1_000_000, n_workers=2, threads=1) as worker:
        yield worker


@pytest.fixture(scope="module")
def strict(scored_path: Path) -> Iterator[QueryWorker]:
    with QueryWorker(scored_path, timeout=SECONDS, memory=500_000_000, max_rows=1_000_000, threads=1) as worker:
        yield worker


@pytest.fixture
def store(scored_path: Path) -> Atlas:
    store = open_store(scored_path)
    store.timeout, store.max_answer = 60, 1_000_000
    return store


def children() -> list[int]:
    """Processes of which this one is the parent, those that ended and were not waited for among them."""
    tasks = Path("/proc/self/task").iterdir()
    return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]


def is_there(pid: int) -> bool:
    """Whether a process runs."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def soon(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    return condition()


QUERIES = [
    "SELECT language, count(*) AS n FROM texts GROUP BY language ORDER BY language",
    "SELECT * FROM texts ORDER BY text_id",
    "SELECT avg(value) AS m FROM activations WHERE layer = 1 AND neuron < 3 AND site = 'mlp_pre'",
    "SELECT * FROM scores WHERE layer = 0 AND neuron = 1 ORDER BY ALL",
    "SHOW TABLES",
    "DESCRIBE scores",
    "SELECT 1 AS a, 2 AS A, [1, NULL] AS b, {'x': 'y'} AS c, DATE '2024-02-29' AS d, 1.5::DECIMAL(4, 2) AS e, NULL AS f, "
    "'a'::ENUM ('b', 'a') AS g, 5::HUGEINT AS h, TIME '01:02:03' AS j, '\\xAA'::BLOB AS k",
    "SELECT 1 AS n WHERE false",
]


@pytest.mark.parametrize("query", QUERIES)
def test_answers_are_those_of_the_store(query: str, worker: QueryWorker, store: Atlas) -> None:
    own, there = store.sql(query), worker.ask(query)
    assert there.schema == own.schema
    assert there.equals(own)


REFUSED = [
    "",
    "SELECT 1; SELECT 2",
    "DROP TABLE texts",
    "COPY texts TO 'x.csv'",
    "SELECT * FROM read_csv('/etc/passwd')",
    "FROM text",
    "FROM best_expert('a', 'b', 'c')",
    "SELECT languag FROM texts",
    "SELECT $a",
    "SELECT 1 / 'x'",
    "FROM range(2000000)",
    "FROM overlap",
]


@pytest.mark.parametrize("query", REFUSED)
def test_refusals_are_those_of_the_store(query: str, worker: QueryWorker, store: Atlas) -> None:
    with pytest.raises(ActlasError) as own:
        store.sql(query)
    with pytest.raises(type(own.value)) as there:
        worker.ask(query)
    assert str(there.value) == str(own.value)


def test_of_a_long_answer_the_first_rows_are_handed_over(worker: QueryWorker, store: Atlas) -> None:
    query = "FROM texts WHERE text_id >= $first ORDER BY text_id"
    whole = store.sql(query, {"first": 4})
    for most in (0, 3, whole.height, 1000):
        rows, n_rows = worker.ask_first(query, {"first": 4}, most=most)
        assert rows.equals(whole.head(most))
        assert n_rows == whole.height
    with pytest.raises(QueryError):
        worker.ask_first("SELECT", most=1)


def test_parameters_arrive(worker: QueryWorker, store: Atlas) -> None:
    query, params = "SELECT $a AS a, $b AS b, $c AS c, $d AS d", {"a": [1, 2], "b": None, "c": "x'; --", "d": 0.5}
    assert worker.ask(query, params).equals(store.sql(query, params))
    with pytest.raises(QueryError, match="a value was given for a"):
        worker.ask("SELECT 1", {"a": 1})


def test_what_is_warned_of_is_heard_where_it_was_asked(worker: QueryWorker, caplog: pytest.LogCaptureFixture) -> None:
    worker.ask("SELECT count(*) AS n FROM texts WHERE language = 'eng'")
    assert "eng" in caplog.text


def test_what_is_kept_later_is_seen(bare: Path) -> None:
    with QueryWorker(bare) as worker:
        with pytest.raises(ActlasError, match="was not computed yet"):
            worker.ask("SELECT count(*) FROM scores")
        from actlas.query import score_neurons

        score_neurons(bare)
        assert worker.ask("SELECT count(*) AS n FROM scores").item() > 0


@pytest.mark.parametrize("query", BOMBS if os.environ.get("ACTLAS_BOMBS") else [BOMBS[1], DEAF])
def test_what_would_run_away_is_ended(query: str, strict: QueryWorker) -> None:
    assert strict.ask("SELECT 6 AS n").item() == 6
    began = time.monotonic()
    with pytest.raises(QueryError) as said:
        strict.ask(query)
    assert time.monotonic() - began < SECONDS + 4
    assert "\n" not in str(said.value)
    assert strict.ask("SELECT 7 AS n").item() == 7


def test_a_late_query_is_refused_as_by_the_store(strict: QueryWorker, store: Atlas) -> None:
    store.timeout = SECONDS
    with pytest.raises(QueryError) as own:
        store.sql(ENDLESS)
    with pytest.raises(QueryError) as there:
        strict.ask(ENDLESS)
    assert str(there.value) == str(own.value)


def test_a_limit_on_memory_holds_where_duckdb_has_none(strict: QueryWorker) -> None:
    with pytest.raises(QueryError, match="needs more memory than is allowed"):
        strict.ask("SELECT len(list_sort(range(100000000)))")


def test_threads_get_their_own_answers(worker: QueryWorker, store: Atlas) -> None:
    query = "SELECT text_id, text FROM texts WHERE text_id % 10 = $at ORDER BY text_id"
    expected = [store.sql(query, {"at": at}) for at in range(10)]
    with ThreadPoolExecutor(10) as threads:
        answers = list(threads.map(lambda at: worker.ask(query, {"at": at % 10}), range(100)))
    assert all(answer.equals(expected[at % 10]) for at, answer in enumerate(answers))


@pytest.mark.usefixtures("ctrl_c_interrupts")
def test_ctrl_c_ends_the_query_at_once(scored_path: Path) -> None:
    with QueryWorker(scored_path, timeout=60) as worker:
        assert worker.ask("SELECT 7 AS n").item() == 7
        (pid,) = (process._popen.pid for process in worker._processes)
        threading.Timer(0.2, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)).start()
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            worker.ask(DEAF)
        assert time.monotonic() - began < 2
        assert not is_there(pid)
        assert worker.ask("SELECT 7 AS n").item() == 7


@pytest.mark.usefixtures("ctrl_c_interrupts")
def test_ctrl_c_ends_a_query_that_waits(scored_path: Path) -> None:
    with QueryWorker(scored_path, timeout=60) as worker, ThreadPoolExecutor(1) as threads:
        running = threads.submit(worker.ask, ENDLESS)
        assert soon(lambda: bool(worker._running))
        threading.Timer(0.2, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)).start()
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            worker.ask("SELECT 7 AS n")
        assert time.monotonic() - began < 5
        assert worker.cancel() == 1
        with pytest.raises(QueryError, match="cancelled"):
            running.result(5)


def test_a_query_is_cancelled_by_its_name_and_others_go_on(worker: QueryWorker) -> None:
    with ThreadPoolExecutor(4) as threads:
        running = [threads.submit(worker.ask, ENDLESS, name="gone") for _ in range(2)]
        assert soon(lambda: len(worker._running) == 2)
        waiting = threads.submit(worker.ask, "SELECT 6 AS n", name="gone")
        other = threads.submit(worker.ask, "SELECT 7 AS n", name="here")
        assert soon(lambda: len(worker._waiting) == 2)
        assert worker.cancel("gone") == 3
        for one in (*running, waiting):
            with pytest.raises(QueryError, match="^the query was cancelled$"):
                one.result(5)
        assert other.result(5).item() == 7
    assert worker.cancel() == 0


def test_a_process_that_dies_is_replaced(scored_path: Path) -> None:
    with QueryWorker(scored_path, timeout=60) as worker, ThreadPoolExecutor(1) as threads:
        assert worker.ask("SELECT 7 AS n").item() == 7
        (process,) = worker._processes
        os.kill(process._popen.pid, signal.SIGKILL)
        assert soon(lambda: process._popen.poll() is not None)
        # one that died while it had nothing to do is not missed
        assert worker.ask("SELECT 7 AS n").item() == 7
        (process,) = worker._processes
        asked = threads.submit(worker.ask, ENDLESS)
        assert soon(lambda: bool(worker._running))
        time.sleep(0.1)
        os.kill(process._popen.pid, signal.SIGKILL)
        with pytest.raises(QueryError, match="was ended by SIGKILL; another one has taken its place"):
            asked.result(5)
        assert worker.ask("SELECT 7 AS n").item() == 7


def test_a_process_that_used_up_its_memory_is_replaced(scored_path: Path, store: Atlas) -> None:
    query = "SELECT * FROM scores WHERE layer = 0 AND neuron < 4 ORDER BY ALL"
    expected = store.sql(query)
    with QueryWorker(scored_path, timeout=60, memory=200_000_000, threads=1) as worker:
        pids = set()
        for _ in range(3):
            pids |= {process._popen.pid for process in worker._processes}
            assert worker.ask(query).equals(expected)
        assert len(pids) > 1
    assert not pids & set(children())


def test_memory_that_earlier_queries_kept_refuses_none(
    worker: QueryWorker, store: Atlas, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = "SELECT count(*) AS n FROM texts"
    real, pids = StartedProcess.ask, []

    def ask(process: StartedProcess, *given: Any) -> Any:
        pids.append(process._popen.pid)
        answered, body = real(process, *given)
        is_full = process.n_asked > 1 or not is_enough
        return (Answered((QueryError.__name__, TOO_LARGE)), b"") if is_full else (answered, body)

    is_enough = True
    assert worker.ask(query).equals(store.sql(query))
    monkeypatch.setattr(StartedProcess, "ask", ask)
    assert worker.ask(query).equals(store.sql(query))
    assert len(set(pids)) == 2
    # a new one had no more of it: asked once
    is_enough = False
    with pytest.raises(QueryError, match="more memory than is allowed"):
        worker.ask(query)
    assert len(pids) == 4
    with QueryWorker(worker._settings.store) as new, pytest.raises(QueryError, match="more memory than is allowed"):
        new.ask(query)
    assert len(pids) == 5


def test_little_memory_is_never_told_as_damage(scored_path: Path, store: Atlas) -> None:
    query = "SELECT * FROM scores WHERE layer = 0 AND neuron < 4 ORDER BY ALL"
    for memory in (60_000_000, 90_000_000, 110_000_000):
        with QueryWorker(scored_path, timeout=60, memory=memory, threads=1) as worker:
            said = None
            try:
                frame = worker.ask(query)
            except QueryError as error:
                said = str(error)
            assert said == TOO_LARGE or (said is None and frame.equals(store.sql(query)))


def test_no_process_is_left(scored_path: Path) -> None:
    with QueryWorker(scored_path, n_workers=2, timeout=5) as worker, ThreadPoolExecutor(1) as threads:
        assert worker.ask("SELECT 7 AS n").item() == 7
        own = {process._popen.pid for process in worker._processes}
        assert own <= set(children())
        asked = threads.submit(worker.ask, DEAF)
        assert soon(lambda: bool(worker._running))
        worker.close()
        with pytest.raises(QueryError, match="cancelled|closed"):
            asked.result(5)
    assert not own & set(children())
    with pytest.raises(QueryError, match="was closed"):
        worker.ask("SELECT 7")
    forgotten = QueryWorker(scored_path)
    own = {process._popen.pid for process in forgotten._processes}
    del forgotten
    assert soon(lambda: not own & set(children()))


PARENT = """
import sys, threading, time
from actlas.query import QueryWorker
worker = QueryWorker(sys.argv[1], timeout=60)
worker.ask("SELECT 7")
threading.Thread(target=worker.ask, args=(sys.argv[2],), daemon=True).start()
time.sleep(0.3)
print(*(process._popen.pid for process in worker._processes), flush=True)
time.sleep(60)
"""


def test_processes_end_with_the_one_that_started_them(scored_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(scored_path), DEAF]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_there(pid)
        parent.kill()
    assert soon(lambda: not is_there(pid), 3)


def test_a_worker_is_refused_without_a_store_or_limits(scored_path: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreNotFound):
        QueryWorker(tmp_path)
    with pytest.raises(QueryError, match="timeout must be above 0"):
        QueryWorker(scored_path, timeout=0)


def test_a_store_that_went_away_is_said(bare: Path) -> None:
    with QueryWorker(bare, timeout=10) as worker:
        bare.rename(bare.with_name("moved.actlas"))
        with pytest.raises(ActlasError) as said:
            worker.ask("SELECT count(*) FROM texts")
    assert "\n" not in str(said.value)


def test_a_file_comes_in_parts_that_are_the_answer(worker: QueryWorker, store: Atlas) -> None:
    query = "SELECT site, layer, text_id, value, [value] AS listed FROM activations WHERE site = 'mlp_pre' AND layer = 1"
    wanted = store.sql(query)
    readers = {"parquet": pl.read_parquet, "arrow": pl.read_ipc_stream, "csv": pl.read_csv, "jsonl": pl.read_ndjson}
    for kind, read in readers.items():
        found = read(io.BytesIO(b"".join(worker.ask_file(query, kind=kind))))  # type: ignore[arg-type]
        assert found.drop("listed").cast(dict(wanted.drop("listed").schema)).equals(wanted.drop("listed"))
    nothing = b"".join(worker.ask_file("SELECT 1 AS a, 'b' AS b WHERE false", kind="parquet"))
    assert pl.read_parquet(io.BytesIO(nothing)).schema == {"a": pl.Int32, "b": pl.String}
    with pytest.raises(QueryError, match="more than 1,000,000 rows"):
        list(worker.ask_file("FROM range(3000000)", kind="arrow"))


def test_a_file_that_is_not_taken_ends_its_process_and_one_that_fails_says_so(worker: QueryWorker, strict: QueryWorker) -> None:
    many = "SELECT range AS n, repeat('a', 500) AS a FROM range(900000)"
    parts = worker.ask_file(many, kind="arrow")
    next(parts)
    before = set(children())
    parts.close()  # type: ignore[attr-defined]
    assert before - set(children())
    parts = worker.ask_file(many, kind="arrow", name="mine")
    next(parts)
    worker.cancel("mine")
    with pytest.raises(QueryError, match="cancelled"):
        list(parts)
    slow = (time.sleep(SECONDS) for _ in strict.ask_file(many, kind="arrow"))
    with pytest.raises(QueryError, match="ended after"):
        list(slow)
    assert strict.ask("SELECT 1 AS n").item() == 1


def test_a_number_that_fits_no_more_is_told(worker: QueryWorker) -> None:
    query = "SELECT sum(range::HUGEINT * 1000000000) OVER (ORDER BY range) AS total FROM range(400000)"
    with pytest.raises(QueryError, match="a number in column total is larger than those before it; ask for total::DOUBLE"):
        list(worker.ask_file(query, kind="arrow"))
