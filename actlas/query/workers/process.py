"""The process of one worker: it answers queries until it is told no more, or until the one that started it is gone.

Queries run in a thread, so that the main one hears at once that the connection was closed. The deadline is the kernel's: an alarm
that is not heard ends the process, whatever it is in.
"""

from __future__ import annotations

import logging
import os
import resource
import signal
import sys
import threading
from contextlib import closing, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue

import msgspec
import polars as pl

from actlas.errors import ActlasError, QueryError, is_no_memory
from actlas.query.atlas import Atlas
from actlas.query.formats import file_parts
from actlas.query.sql.answer import TOO_LARGE
from actlas.query.workers.messages import NO_MEMORY, Answered, Asked, Settings, arrow, receive, send, unpacked

#: Seconds after the deadline in which a query may still end by itself; some functions do not hear that they should.
_GRACE = 0.5
#: Seconds more that opening the store may take, on a machine that has much to do.
_TO_OPEN = 60.0
#: Share of its memory with which a worker goes on after a query. What is more may have been lost to it in pieces.
_MOST_KEPT = 0.5

Queries = SimpleQueue[tuple[Asked, bytes]]


def main(descriptor: str, settings: str) -> None:
    """Serve one connection; does not return."""
    # the one that started this hears Ctrl-C, and says what it means
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    asked = msgspec.json.decode(settings, type=Settings)
    signal.setitimer(signal.ITIMER_REAL, asked.timeout + _TO_OPEN)
    connection = Connection(int(descriptor))
    queries: Queries = SimpleQueue()
    threading.Thread(target=_serve, args=(connection, asked, queries), daemon=True).start()
    with suppress(EOFError, OSError):
        while True:
            queries.put(receive(connection, Asked))
    os._exit(0)


def _serve(connection: Connection, settings: Settings, queries: Queries) -> None:
    status = 0
    try:
        warned = _Warnings()
        logging.getLogger("actlas").addHandler(warned)
        try:
            store = _opened(settings)
        except Exception as error:
            send(connection, Answered((type(error).__name__, str(error)), is_last=True))
            return
        most = _limit(settings.memory)
        signal.setitimer(signal.ITIMER_REAL, 0)
        send(connection, Answered())
        while True:
            asked, params = queries.get()
            signal.setitimer(signal.ITIMER_REAL, settings.timeout + _GRACE)
            answered, body = _answer(store, asked, params, connection)
            signal.setitimer(signal.ITIMER_REAL, 0)
            left = most - _address_space() if most else settings.memory
            is_last = left < _MOST_KEPT * settings.memory
            answered = msgspec.structs.replace(answered, warnings=warned.taken(), is_last=is_last)
            send(connection, answered, body)
            if answered.is_last:
                return
    except BaseException as error:
        # an answer for which there was no memory when it was to be handed over; libraries in Rust panic for that
        status = NO_MEMORY if is_no_memory(error) or type(error).__name__ == "PanicException" else 1
    finally:
        # a thread that ends must not leave a process behind that answers nothing
        os._exit(status)


def _opened(settings: Settings) -> Atlas:
    """The store, with everything loaded that a query needs: what is there before the limit does not count."""
    store = Atlas(settings.store)
    store.timeout, store.max_answer, store.threads = settings.timeout, settings.max_rows, settings.threads
    store.memory_limit = f"{max(settings.memory // 1_000_000, 1)}MB"
    arrow(store.sql("SELECT count(*) AS n FROM checkpoints"))
    return store


def _answer(store: Atlas, asked: Asked, params: bytes, connection: Connection) -> tuple[Answered, bytes | memoryview]:
    """What is said last to a query; the parts of a file are sent before."""
    try:
        if asked.kind is not None:
            with closing(store.sql_batches(asked.query, unpacked(params), stores=asked.stores)) as frames:  # type: ignore[type-var]
                for part in file_parts(frames, asked.kind):
                    # who asked takes them when there is room for more
                    send(connection, Answered(is_part=True), part)
            return Answered(), b""
        frame = store.sql(asked.query, unpacked(params), stores=asked.stores)
        return Answered(n_rows=frame.height), arrow(frame if asked.most is None else frame.head(asked.most))
    except ActlasError as error:
        failure = type(error).__name__, str(error)
    except pl.exceptions.PolarsError as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        failure = QueryError.__name__, f"the answer cannot be handed over: {first}"
    except Exception as error:
        failure = (QueryError.__name__, TOO_LARGE) if is_no_memory(error) else (type(error).__name__, str(error))
    return Answered(failure), b""


def _limit(memory: int) -> int:
    """Let this process take so many bytes more; gives how many it may have, 0 where the system knows no limit."""
    with suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        most = _address_space() + memory
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))
        return most
    return 0


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


class _Warnings(logging.Handler):
    """Keeps what is warned of, to be told where the query was asked."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._kept: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._kept.append((record.name, record.getMessage()))

    def taken(self) -> list[tuple[str, str]]:
        kept, self._kept = self._kept, []
        return kept


if __name__ == "__main__":
    main(*sys.argv[1:])
