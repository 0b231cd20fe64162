"""Ctrl-C and SIGTERM: real processes end within a second, with one line, the usual status, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from actlas.testing.planted import planted_store

#: A machine that does much else needs longer than the half second that is allowed, and the test is about minutes.
_SOON = 3.0
LINE = b"actlas: %s; what is committed stays, and the same command goes on from there\n"


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    processes: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        # a shell's background jobs ignore Ctrl-C, and so would what they start
        before = signal.signal(signal.SIGINT, signal.SIG_DFL)
        try:
            process = subprocess.Popen(
                [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
            )
        finally:
            signal.signal(signal.SIGINT, before)
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def ended(process: subprocess.Popen[bytes], number: int) -> tuple[int, bytes, float]:
    """Status, standard error, and seconds that it took."""
    os.kill(process.pid, number)
    began = time.monotonic()
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors, time.monotonic() - began


WORKING = """
import sys, time
from actlas.__main__ import main
from actlas.cli.verbs import sql
{setup}
def work(options):
    print("working", flush=True)
    {work}
sql._sql = work
sys.argv[1:] = ["sql", {store!r}, {query!r}]
main()
"""


def working(work: str, setup: str = "", store: str = "store", query: str = "SELECT 1") -> str:
    return WORKING.format(setup=setup, work=work, store=store, query=query)


WAITS = "time.sleep(60)"
#: Finishes what it does first, in a thread that the interpreter waits for.
DEAF = "import threading; threading.Thread(target=time.sleep, args=(60,)).start(); time.sleep(60)"
#: Does not let Python's handlers run, as a long call into C does not.
IN_C = "import ctypes; ctypes.CDLL(None).sleep(30), ctypes.CDLL(None).sleep(30)"


@pytest.mark.parametrize("work", [WAITS, DEAF, IN_C], ids=["waits", "deaf", "in_c"])
@pytest.mark.parametrize(("number", "what"), [(signal.SIGINT, b"interrupted"), (signal.SIGTERM, b"asked to end")])
def test_a_signal_ends_the_command_with_one_line(
    work: str, number: int, what: bytes, started: Callable[..., subprocess.Popen[bytes]]
) -> None:
    process = started("-c", working(work))
    assert process.stdout is not None
    assert process.stdout.readline() == b"working\n"
    status, errors, seconds = ended(process, number)
    assert (status, errors) == (128 + number, LINE % what)
    assert seconds < _SOON


def test_what_was_started_ends_too(started: Callable[..., subprocess.Popen[bytes]]) -> None:
    setup = "from actlas.extract.child import Child"
    work = 'child = Child("actlas.extract.parallel.worker", "a child"); print(child.pid, flush=True); ' + DEAF
    process = started("-c", working(work, setup))
    assert process.stdout is not None
    assert process.stdout.readline() == b"working\n"
    child = int(process.stdout.readline())
    assert ended(process, signal.SIGTERM)[0] == 143
    until = time.monotonic() + _SOON
    while time.monotonic() < until and Path(f"/proc/{child}/cmdline").exists() and Path(f"/proc/{child}/cmdline").read_bytes():
        time.sleep(0.02)
    assert not Path(f"/proc/{child}/cmdline").exists() or not Path(f"/proc/{child}/cmdline").read_bytes()


def test_a_long_query_stops(tmp_path: Path, started: Callable[..., subprocess.Popen[bytes]]) -> None:
    store = planted_store(tmp_path / "s")
    query = "SELECT count(*) FROM range(1000000000000) AS a WHERE hash(a.range) = 1"
    process = started("-c", working("ask(options)", "ask = sql._sql", str(store), query))
    assert process.stdout is not None
    assert process.stdout.readline() == b"working\n"
    time.sleep(0.5)
    assert process.poll() is None
    status, errors, seconds = ended(process, signal.SIGINT)
    assert (status, errors) == (130, LINE % b"interrupted")
    assert seconds < _SOON


def test_output_that_nobody_reads_any_more_is_no_failure(tmp_path: Path) -> None:
    store = planted_store(tmp_path / "s")
    for kind in ("csv", "json", "table"):
        query = "SELECT t.*, r.range FROM texts AS t, range(200) AS r"
        command = (
            f'"{sys.executable}" -m actlas sql "{store}" "{query}" --rows 0 --format {kind} | head -1; exit ${{PIPESTATUS[0]}}'
        )
        done = subprocess.run(["bash", "-c", command], capture_output=True, check=False, timeout=120)
        assert (done.returncode, done.stderr) == (0, b""), kind
