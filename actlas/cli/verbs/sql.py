"""`actlas sql` and `actlas ask`: one query, or one question by its name, with what it may take of the machine."""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import polars as pl

from actlas.allowed import Positive
from actlas.cli.arguments import add_output, add_store, gigabytes, named, number, show
from actlas.cli.output import ProgressLine, step_progress, tell
from actlas.cli.signals import leave
from actlas.errors import QueryError
from actlas.query.schema import MAX_ANSWER
from actlas.query.sql.answer import took_too_long

if TYPE_CHECKING:
    from actlas.query import Atlas

#: Seconds after the deadline in which a query may still end by itself; some functions do not hear that they should.
_GRACE = 1.0
#: Seconds without a line of progress.
_SECONDS_SILENT = 1.0
#: Share of the machine's memory that a query may take unless told otherwise.
_SHARE = 0.5


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verbs to the top parser."""
    _add_sql(verbs)
    ask = verbs.add_parser("ask", help="one of the questions of docs/questions.md that SQL asks with arguments, by its name")
    add_store(ask)
    ask.add_argument("question", nargs="?", help="its name (default: list all)")
    ask.add_argument("arguments", nargs="*", type=_param, metavar="NAME=VALUE", help="its arguments, by name")
    add_limits(ask)
    add_output(ask)
    ask.set_defaults(run=_ask)


def _add_sql(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    sql = verbs.add_parser("sql", help="one read-only SQL query over the tables of a store")
    add_store(sql)
    sql.add_argument("query", nargs="?", type=str, help="the query, or - to read it from standard input")
    sql.add_argument("--file", type=Path, metavar="FILE", help="read the query from a file instead")
    sql.add_argument(
        "--param",
        type=_param,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="value of $NAME in the query",
    )
    sql.add_argument(
        "--table",
        type=_pair,
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="a Parquet, CSV or JSONL file that the query can name like a table; the only such files that are read",
    )
    sql.add_argument(
        "--with",
        type=_pair,
        action="append",
        default=[],
        dest="stores",
        metavar="NAME=STORE",
        help="another store, whose tables the query calls NAME.table",
    )
    sql.add_argument(
        "--explain",
        action="store_true",
        help="say what the query would read of activations and scores, in rows, chunks and bytes, and read nothing",
    )
    add_limits(sql)
    add_output(sql)
    sql.set_defaults(run=_sql)


def add_limits(verb: argparse.ArgumentParser) -> None:
    """What a query may take."""
    verb.add_argument("--timeout", type=number(Positive), default=300, metavar="SECONDS", help="the query is ended after them")
    verb.add_argument("--memory", type=gigabytes, metavar="GB", help="memory that it may take (default: half of the machine's)")
    verb.add_argument("--max-rows", type=number(Positive), default=MAX_ANSWER, metavar="N", help="an answer with more is refused")


def memory_of(options: argparse.Namespace) -> int:
    """Bytes that queries may take."""
    return options.memory or int(_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def _pair(text: str) -> tuple[str, str]:
    name, value = _param(text)
    if not value:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, named(value)


def _param(text: str) -> tuple[str, str]:
    """The same, where a value may be an empty string."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _sql(options: argparse.Namespace) -> None:
    query = _query(options)
    stores, tables = _once("--with", options.stores), _once("--table", options.table)
    params = {name: _value(text) for name, text in _once("--param", options.param).items()}

    def ask(store: Atlas, progress: Callable[[int, int, str], None]) -> pl.DataFrame:
        if not options.explain:
            return store.sql(query, params, tables=tables, stores=stores, progress=progress)
        frame = store.explain(query, params, tables=tables, stores=stores)
        # what is said of no place takes no room on a screen
        return frame if options.format != "table" else frame[[column.name for column in frame if not column.is_null().all()]]

    _answer(options, ask)


def _ask(options: argparse.Namespace) -> None:
    if options.question is None:
        from actlas.query.sql.macro import macros

        rows = [(macro.call, macro.about, ", ".join(macro.reads)) for macro in macros().values()]
        _show(pl.DataFrame(rows, schema=["question", "answer", "reads"], orient="row"), options)
        return
    given = {name: _value(text) for name, text in _once(options.question, options.arguments).items()}
    _answer(options, lambda store, progress: store.ask(options.question, progress=progress, **given))


def _answer(options: argparse.Namespace, ask: Callable[[Atlas, Callable[[int, int, str], None]], pl.DataFrame]) -> None:
    from actlas.query import open_store

    store = open_store(options.store)
    store.timeout, store.max_answer = options.timeout, options.max_rows
    memory = memory_of(options)
    store.memory_limit = f"{memory // 1_000_000}MB"
    # threads and libraries that every query needs are there before the limit, and do not count
    store.sql("SELECT 1")
    with _limited(memory, options.timeout):
        line = ProgressLine(options.quiet or not sys.stderr.isatty())
        frame = ask(store, _once_it_takes_long(step_progress(line, "rows")))
        line.end()
    _show(frame, options)


def _once_it_takes_long(show: Callable[[int, int, str], None]) -> Callable[[int, int, str], None]:
    """The same, silent at first: most answers are there before a line could be read."""
    begun = time.monotonic()

    def show_later(done: int, total: int, what: str) -> None:
        if time.monotonic() - begun > _SECONDS_SILENT:
            show(done, total, what)

    return show_later


def _show(frame: pl.DataFrame, options: argparse.Namespace) -> None:
    show(frame, options)


def _query(options: argparse.Namespace) -> str:
    """The query, from where it was said to be."""
    if (options.query is None) == (options.file is None):
        raise QueryError("give the query itself, or - for standard input, or --file FILE; one of them")
    if options.file is not None:
        try:
            return str(options.file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise QueryError(f"--file {options.file} cannot be read: {why}") from error
    return sys.stdin.read() if options.query == "-" else str(options.query)


def _once(flag: str, pairs: list[tuple[str, str]]) -> dict[str, str]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise QueryError(f"{flag} names {name} twice")
    return dict(pairs)


def _value(text: str) -> Any:
    """A value as JSON writes it (5, true, null, [1, 2]); anything else is a string."""
    try:
        return json.loads(text)
    except ValueError:
        return text


@contextmanager
def _limited(memory: int, seconds: float) -> Iterator[None]:
    """Within it this process may take so much more memory, and so much time.

    DuckDB bounds neither by itself: lists and strings are outside its own limit, and some functions do not hear an interrupt.
    """
    watch = threading.Timer(seconds + _GRACE, _end, [seconds])
    watch.daemon = True
    watch.start()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * os.sysconf("SC_PAGE_SIZE") + memory
        resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    try:
        yield
    finally:
        watch.cancel()
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _end(seconds: float) -> NoReturn:
    tell(f"actlas: {took_too_long(seconds)}")
    leave(1)
