"""`QueryWorker`: queries in processes of their own, which can be ended whatever they do."""

from __future__ import annotations

import io
import logging
import os
import signal
import threading
import weakref
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import polars as pl

from actlas.allowed import Bytes, Count, Positive, PositiveNumber, checks_arguments
from actlas.errors import QueryError, error_named
from actlas.query.schema import MAX_ANSWER
from actlas.query.sql.answer import TOO_LARGE, hear_ctrl_c, took_too_long
from actlas.query.workers.messages import NO_MEMORY, Answered, Asked, Settings, packed
from actlas.query.workers.started import StartedProcess
from actlas.store.store import Store

#: What ends a process that is given no more memory.
_FOR_MEMORY = (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS)
#: What is answered for want of memory.
_NO_MEMORY_LEFT = (QueryError.__name__, TOO_LARGE)

Stores = Mapping[str, Path | str] | None
FileKind = Literal["csv", "jsonl", "parquet", "arrow"]


@dataclass(eq=False)
class _Query:
    """A query that runs, or waits for a process.

    Attributes:
        name: What it is cancelled by.
        process: Where it runs.
        is_cancelled: Whether it was.
    """

    name: str | None
    process: StartedProcess | None = None
    is_cancelled: bool = False


class QueryWorker:
    """Answers queries over one store in processes of their own, within limits that hold whatever a query does.

    `Store.sql` asks DuckDB to keep its limits, which some functions do not hear and lists and strings do not count for. Here the
    system keeps them: a process that goes on after the deadline is ended, and gets no memory beyond its share. Another one takes
    its place. Answers and refusals are those of `Store.sql`. Threads may ask at once: as many queries run as there are
    processes, the others wait in the order in which they came.

    The processes end with this object, and with the process that made it, however that ends.

    Args:
        store: Folder of the store.
        timeout: Seconds that one query may take, from when it runs.
        memory: Bytes that each process may take beyond those it starts with. Systems that do not limit the address
            space, such as macOS, leave this to DuckDB.
        max_rows: Rows that an answer may have.
        n_workers: Processes, so that as many queries run at once.
        threads: Threads of DuckDB in each; None for the cores of the machine, divided among them.

    Raises:
        StoreNotFound: If there is no store at that path.
        QueryError: If a limit is not a positive number.

    Example:
        >>> with QueryWorker(store.path, timeout=30, memory=500_000_000) as worker:
        ...     worker.ask("SELECT count(*) AS n FROM experts WHERE rank <= $most", {"most": 2}).item()
        66
    """

    @checks_arguments(QueryError)
    def __init__(
        self,
        store: Path | str,
        *,
        timeout: PositiveNumber = 300.0,
        memory: Bytes = 1_000_000_000,
        max_rows: Positive = MAX_ANSWER,
        n_workers: Positive = 1,
        threads: Positive | None = None,
    ) -> None:
        Store(store)  # refuses a path without one
        threads = threads or max((os.cpu_count() or 1) // n_workers, 1)
        self._settings = Settings(str(store), float(timeout), memory, max_rows, threads)
        self._folder = os.getcwd()
        self._changed = threading.Condition()
        self._waiting: deque[_Query] = deque()
        self._running: set[_Query] = set()
        self._idle: list[StartedProcess | None] = []
        self._is_closed = False
        self._made_by = os.getpid()
        #: All that were started and not yet waited for; also ended when this object is forgotten.
        self._processes: set[StartedProcess] = set()
        self._end_all = weakref.finalize(self, _end_all, self._processes, self._made_by)
        # the others are started when a query finds none that is free: a machine has other things to do at first
        self._idle += [*[None] * (n_workers - 1), self._started()]

    def ask(
        self, query: str, params: Mapping[str, Any] | None = None, *, stores: Stores = None, name: str | None = None
    ) -> pl.DataFrame:
        """The answer to one query, as `Store.sql` gives it.

        Ctrl-C ends the query at once.

        Args:
            query: What `Store.sql` takes.
            params: Values of its ``$name``.
            stores: Name -> folder of another store, whose tables the query can name as ``name.table``.
            name: What it can be cancelled by, such as who asks.

        Returns:
            The rows, in the columns of the query.

        Raises:
            QueryError: If the query is refused or wrong, takes too long, too much memory or too many rows, or was cancelled.
            TableNotFound: If it names a table that was not computed.
            StaleTable: If it names a table that stands on scores that changed since.

        Example:
            >>> with QueryWorker(store.path) as worker:
            ...     worker.ask("SELECT count(*) AS n FROM texts").item()
            144
        """
        return pl.read_ipc_stream(io.BytesIO(self.ask_arrow(query, params, stores=stores, name=name)))

    def ask_arrow(
        self, query: str, params: Mapping[str, Any] | None = None, *, stores: Stores = None, name: str | None = None
    ) -> bytes:
        """The answer as a stream of Arrow's IPC format, to be handed on as it is.

        Args:
            query: As in `ask`.
            params: Likewise.
            stores: Likewise.
            name: Likewise.

        Returns:
            The bytes.

        Raises:
            QueryError: As in `ask`, and so are the others.

        Example:
            >>> with QueryWorker(store.path) as worker:
            ...     pl.read_ipc_stream(worker.ask_arrow("SELECT 7 AS n")).item()
            7
        """
        return self._asked(Asked(query, stores=_folders(stores)), params, name)[1]

    def ask_first(
        self,
        query: str,
        params: Mapping[str, Any] | None = None,
        *,
        most: Count,
        stores: Stores = None,
        name: str | None = None,
    ) -> tuple[pl.DataFrame, int]:
        """The first rows of the answer, and how many there are: the others are not handed over.

        Args:
            query: As in `ask`.
            params: Likewise.
            most: How many rows at most.
            stores: As in `ask`.
            name: Likewise.

        Returns:
            The rows, and the number of all.

        Raises:
            QueryError: As in `ask`, and so are the others.

        Example:
            >>> with QueryWorker(store.path) as worker:
            ...     rows, n_rows = worker.ask_first("FROM texts ORDER BY text_id", most=2)
            >>> rows.height, n_rows
            (2, 144)
        """
        answered, body = self._asked(Asked(query, most, _folders(stores)), params, name)
        return pl.read_ipc_stream(io.BytesIO(body)), answered.n_rows

    def ask_file(
        self,
        query: str,
        params: Mapping[str, Any] | None = None,
        *,
        kind: FileKind,
        stores: Stores = None,
        name: str | None = None,
    ) -> Iterator[bytes]:
        """The answer as a file, in parts of some megabytes: the next is made when there is room for it, and none is kept.

        A process works for this query alone until the last part was taken, or the iterator closed, which ends it.

        Args:
            query: As in `ask`.
            params: Likewise.
            kind: csv (nothing in it is computed by a spreadsheet or obeyed by a terminal), jsonl, parquet or arrow.
            stores: As in `ask`.
            name: Likewise.

        Returns:
            The bytes of the file.

        Raises:
            QueryError: As in `ask`, and so are the others; also on the way, when what came before is no whole file.

        Example:
            >>> with QueryWorker(store.path) as worker:
            ...     b"".join(worker.ask_file("SELECT 7 AS n", kind="csv"))
            b'n\\n7\\n'
        """
        asked, row, waiting = Asked(query, stores=_folders(stores), kind=kind), packed(params or {}), _Query(name)
        hear_ctrl_c()
        for is_new in (False, True):
            answered, n_parts = Answered(is_part=True), 0
            with self._process_for(waiting, is_new=is_new) as process:
                try:
                    answered, body = self._answer_of(process, waiting, asked, row)
                    while answered.is_part:
                        yield body
                        n_parts += 1
                        answered, body = self._answer_of(process, waiting)
                finally:
                    if answered.is_part:
                        process.kill()
            # queries before this one may have kept of its memory
            if n_parts or answered.error != _NO_MEMORY_LEFT or process.n_asked == 1:
                break
        _tell(answered)

    def cancel(self, name: str | None = None) -> int:
        """End queries at once, from another thread; who asked them gets a `QueryError`.

        Args:
            name: Those that were asked under it; None for all.

        Returns:
            How many there were.

        Example:
            >>> with QueryWorker(store.path) as worker:
            ...     worker.cancel("a client that left")
            0
        """
        with self._changed:
            found = [one for one in (*self._waiting, *self._running) if name is None or one.name == name]
            for one in found:
                one.is_cancelled = True
                if one.process is not None:
                    one.process.kill()
            self._changed.notify_all()
        return len(found)

    def close(self) -> None:
        """End the processes, and the queries that run in them; returns when they are gone.

        Example:
            >>> worker = QueryWorker(store.path)
            >>> worker.close()
        """
        self._is_closed = True
        if os.getpid() == self._made_by:
            self.cancel()
            with self._changed:
                self._changed.wait_for(lambda: not self._running)
        self._end_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _asked(self, asked: Asked, params: Mapping[str, Any] | None, name: str | None) -> tuple[Answered, bytes]:
        """What a process answers."""
        row = packed(params or {})
        hear_ctrl_c()
        waiting = _Query(name)
        with self._process_for(waiting) as process:
            answered, body = self._answer_of(process, waiting, asked, row)
        # queries before this one may have kept of its memory
        if answered.error == _NO_MEMORY_LEFT and process.n_asked > 1:
            with self._process_for(waiting, is_new=True) as process:
                answered, body = self._answer_of(process, waiting, asked, row)
        _tell(answered)
        return answered, body

    def _answer_of(
        self, process: StartedProcess, waiting: _Query, asked: Asked | None = None, row: bytes | memoryview = b""
    ) -> tuple[Answered, bytes]:
        """What one process answers, or says next; that it had no memory is an answer, too."""
        try:
            answered, body = process.hear() if asked is None else process.ask(asked, row)
        except (EOFError, OSError) as error:
            # all that is left of it is how it ended
            status = process.end()
            if not waiting.is_cancelled and (status == NO_MEMORY or -status in _FOR_MEMORY):
                return Answered(_NO_MEMORY_LEFT), b""
            raise self._ended(waiting, status) from error
        except BaseException:
            process.kill()
            raise
        if answered.is_last:
            process.end()
        return answered, body

    @contextmanager
    def _process_for(self, asked: _Query, *, is_new: bool = False) -> Iterator[StartedProcess]:
        """Within it, a process works for one query alone; what takes its place afterwards can be asked again.

        Args:
            asked: The query.
            is_new: Whether it must be one that was asked nothing before.
        """
        if os.getpid() != self._made_by:
            raise QueryError("a QueryWorker belongs to the process that made it; make another one after a fork")
        process: StartedProcess | None = None
        try:
            with self._changed:
                self._waiting.append(asked)
                self._changed.wait_for(lambda: self._is_over(asked) or bool(self._idle and self._waiting[0] is asked))
                self._refuse_over(asked)
                self._waiting.remove(asked)
                self._running.add(asked)
                # the one that was used last has what it needs at hand
                process = self._idle.pop()
                self._changed.notify_all()
            if is_new and process is not None and process.n_asked:
                process.kill()
            process = self._next(process)
            with self._changed:
                asked.process = process
                self._refuse_over(asked)
            if process is None:
                raise QueryError("the system starts no process for the query now; ask again later")
            yield process
        finally:
            has_slot = asked in self._running
            after: StartedProcess | None = None
            try:
                after = self._next(process) if has_slot and not self._is_closed else process
            finally:
                # whatever happened: who waits, and who closes, waits for this
                with self._changed:
                    if has_slot:
                        self._running.remove(asked)
                        self._idle.append(after)
                    else:
                        self._waiting.remove(asked)
                    self._changed.notify_all()

    def _is_over(self, asked: _Query) -> bool:
        return self._is_closed or asked.is_cancelled

    def _refuse_over(self, asked: _Query) -> None:
        if self._is_closed:
            raise QueryError("this QueryWorker was closed; make another one")
        if asked.is_cancelled:
            raise QueryError("the query was cancelled")

    def _ended(self, asked: _Query, status: int) -> QueryError:
        """What is said of a query whose process ended."""
        if asked.is_cancelled:
            return QueryError("the query was cancelled")
        if status == -signal.SIGALRM:
            return QueryError(took_too_long(self._settings.timeout))
        how = f"with status {status}" if status >= 0 else f"by {signal.Signals(-status).name}"
        return QueryError(f"the process that ran the query was ended {how}; another one has taken its place, ask again")

    def _started(self) -> StartedProcess | None:
        """Another process; None where the system has none to give now."""
        with suppress(OSError):
            process = StartedProcess(self._settings, self._folder)
            self._processes.add(process)
            return process
        return None

    def _next(self, process: StartedProcess | None) -> StartedProcess | None:
        """The same process, or the one that takes its place."""
        if process is not None and process.is_running:
            return process
        if process is not None:
            process.end()
            self._processes.discard(process)
        return self._started()


def _tell(answered: Answered) -> None:
    """Warn of what was warned of, and raise what went wrong."""
    for logger, text in answered.warnings:
        logging.getLogger(logger).warning("%s", text)
    if answered.error is not None:
        kind, text = answered.error
        raise error_named(kind, text) or QueryError(f"the query failed: {kind}: {text}")


def _folders(stores: Stores) -> dict[str, str]:
    return {label: os.fspath(folder) for label, folder in (stores or {}).items()}


def _end_all(processes: set[StartedProcess], made_by: int) -> None:
    """End all; nothing in a process that was forked from the one that made them."""
    if os.getpid() != made_by:
        return
    for process in processes:
        process.kill()
    while processes:
        processes.pop().end()
