"""`Session`: queries over the tables of a store, one after the other, each checked, planned and run in one locked connection."""

from __future__ import annotations

import atexit
import os
import re
import threading
import weakref
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from actlas.errors import DamagedStore, QueryError
from actlas.query.schema import TABLES
from actlas.query.schema.comments import with_comments
from actlas.query.sql.answer import NO_LIMITS, Limits, deadline, distinct_names, read_answer, read_batches
from actlas.query.sql.connection import Connection
from actlas.query.sql.explain import SCHEMA, explained
from actlas.query.sql.guard import ReadOnlyQuery, read_only
from actlas.query.sql.macro import check_call, macros
from actlas.query.sql.named import NamedTables
from actlas.query.sql.plan.rewriting import Rewriting
from actlas.query.sql.sources import TableSources
from actlas.query.sql.stream import Progress, Reading
from actlas.store.files.parquet import read_parquet
from actlas.words import did_you_mean

#: Queries that a session remembers.
_MOST_PARSED = 64
#: Sessions to close before the interpreter goes: DuckDB's binding prints a page of warnings about a connection that outlives it.
_OPEN: weakref.WeakSet[Session] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for session in list(_OPEN):
        session.close()


class Session:
    """One sandboxed connection over one state of a store. Queries from several threads take turns.

    A session in which a query was interrupted (`is_interrupted`) is not used again.

    Args:
        sources: The tables.
        others: Name -> the tables of another store, which a query calls ``name.table``.
        threads: Threads of DuckDB; None for one per core.
        memory_limit: As DuckDB writes it, "4GB"; None for its own default.
    """

    def __init__(
        self,
        sources: TableSources,
        *,
        others: Mapping[str, TableSources] | None = None,
        threads: int | None = None,
        memory_limit: str | None = None,
    ) -> None:
        self.sources = sources
        self.others = dict(others or {})
        #: What the query that runs reads out of cubes, and the errors on the way, which DuckDB would bury in its own.
        self._reading = Reading()
        self._lock = threading.Lock()
        #: Queries that were taken apart before: often the same is asked again with other parameters.
        self._parsed: dict[str, ReadOnlyQuery] = {}
        paths = [path for one in (sources, *self.others.values()) for path in one.paths]
        self._connection = Connection(paths, self.others, threads or os.cpu_count() or 1, memory_limit)
        self._tables = NamedTables(self._connection, sources, self.others, self._reading)
        self._rewriting = Rewriting(self._connection, sources, self._reading)
        _OPEN.add(self)

    @property
    def is_interrupted(self) -> bool:
        """Whether a query of it was interrupted."""
        return self._connection.is_interrupted

    def close(self) -> None:
        """Free the connection; the session cannot be used again."""
        with self._lock:
            self._connection.close()

    def run(
        self,
        query: str,
        params: Mapping[str, Any] | None = None,
        *,
        tables: Mapping[str, pl.DataFrame] | None = None,
        limits: Limits = NO_LIMITS,
        progress: Progress | None = None,
    ) -> pl.DataFrame:
        """The answer to one query.

        Args:
            query: What to run.
            params: Values of its ``$name``.
            tables: Frames that this query can name beside the tables of the store.
            limits: What it may take.
            progress: Is told of the rows that were read out of cubes.

        Raises:
            QueryError: If it is refused, or DuckDB does not understand it.
            TableNotFound: If it names a table that is not there.
            DamagedStore: If a file that it needs is not what was written.
        """
        with self._asked(query, params or {}, tables or {}) as parsed, self._until(limits.seconds):
            self._reading.progress = progress
            return self._execute(parsed, params or {}, limits)

    def batches(
        self, query: str, params: Mapping[str, Any] | None = None, *, limits: Limits = NO_LIMITS
    ) -> Iterator[pl.DataFrame]:
        """The answer to one query in parts of one kind, one at least; see `run`. Other queries wait until it is closed."""
        params = params or {}
        with self._asked(query, params, {}) as parsed, self._until(limits.seconds):
            if parsed.is_explain:
                yield self._execute(parsed, params, limits)
                return
            with self._with_variables(parsed, params), self._rewriting.planned(parsed, params) as (planned, _):
                relation = self._connection.relation(planned, params)
                names = distinct_names(self._columns(parsed, planned, relation.columns, params))
                parts = read_batches(relation, limits)
                while (part := self._connection.interruptible(lambda: next(parts, None))) is not None:
                    part.columns = names
                    yield with_comments(parsed.tree, part)

    def explain(
        self, query: str, params: Mapping[str, Any] | None = None, *, tables: Mapping[str, pl.DataFrame] | None = None
    ) -> pl.DataFrame:
        """What a query would read; see `run`. Nothing is read of cubes, and of other tables what bounds them.

        Returns:
            One row per place that reads a cube, and one per other table.
        """
        with self._asked(query, params or {}, tables or {}) as parsed, self._with_variables(parsed, params or {}):
            if parsed.is_explain:
                raise QueryError("an EXPLAIN reads nothing; explain the query itself")
            with self._rewriting.planned(parsed, params or {}) as (planned, places):
                sources = [
                    *((source.grid.name, leaf.alias, source) for leaf, source in places),
                    *((name, name, source) for name, source in self._tables.grids.items()),
                ]
                select = f"EXPLAIN (FORMAT JSON) {planned}"
                ((_, plan),) = self._connection.run(select, params or {})
                rows = explained(sources, plan)
        named = parsed.tables | {table for name in parsed.functions & macros().keys() for table in macros()[name].reads}
        others = [(name, self.sources) for name in named] + [(name, self.others[label]) for label, name in parsed.elsewhere]
        rows += [
            {"table": name, "of_bytes": sum(path.stat().st_size for path in sources.files[name])}
            for name, sources in sorted(others, key=lambda one: one[0])
            if name in sources.files
        ]
        return pl.DataFrame(rows, schema=SCHEMA)

    @contextmanager
    def _asked(self, query: str, params: Mapping[str, Any], tables: Mapping[str, pl.DataFrame]) -> Iterator[ReadOnlyQuery]:
        """Within it, everything that a query names is there; what goes wrong is told as errors of this library."""
        with self._lock:
            self._reading.progress, self._reading.n_read, self._reading.n_rows = None, 0, 0
            try:
                parsed = self._read_only(query)
                _refuse_missing(parsed.parameters, params)
                with self._beside(tables):
                    self._tables.make_for(parsed, frozenset(tables))
                    if not tables and not parsed.elsewhere:
                        self.sources.tell_unknown(parsed, params)
                    yield parsed
            except RecursionError as error:
                raise QueryError("the query is nested too deeply; take parts of it apart, with WITH name AS (...)") from error
            except duckdb.Error as error:
                if self._reading.refusals:
                    raise self._reading.refusals[-1] from error
                self._refuse_damaged(error)
                raise QueryError(_first_lines(error)) from error
            finally:
                self._reading.refusals.clear()

    def _until(self, seconds: float | None) -> AbstractContextManager[None]:
        """Within it a query has so many seconds; what it leaves behind where it is ended is left with the connection."""

        def give_up() -> None:
            self._connection.is_interrupted = True

        return deadline(self._connection.raw, seconds, give_up)

    def _refuse_damaged(self, error: duckdb.Error) -> None:
        """Raise if it is not the query that is wrong, but a file that cannot be read."""
        if not isinstance(error, duckdb.ParserException | duckdb.BinderException | duckdb.CatalogException):
            for path in (path for sources in (self.sources, *self.others.values()) for path in sources.paths):
                if str(path.resolve()) in str(error):
                    raise DamagedStore(f"{path} cannot be read: {_first_lines(error)}") from error
                read_parquet(path)

    def _read_only(self, query: str) -> ReadOnlyQuery:
        if query not in self._parsed:
            statements = [statement.query for statement in self._connection.raw.extract_statements(query)]
            if len(self._parsed) == _MOST_PARSED:
                self._parsed.clear()
            self._parsed[query] = read_only(statements, serialize=self._connection.serialized, macros=macros())
        return self._parsed[query]

    @contextmanager
    def _beside(self, tables: Mapping[str, pl.DataFrame]) -> Iterator[None]:
        """Within it, these frames are tables too."""
        for name in tables:
            if not re.fullmatch(r"[A-Za-z_]\w*", name):
                raise QueryError(f"{name!r} cannot name a table; take letters, digits and underscores")
            if name.lower() in (*self.sources.names, *TABLES):
                raise QueryError(f"a store has a table {name} of its own; give yours another name")
        try:
            for name, frame in tables.items():
                self._connection.register(name, frame)
            yield
        finally:
            self._connection.unregister(tables)

    def _check_calls(self, calls: Sequence[Mapping[str, Any]], params: Mapping[str, Any]) -> None:
        """Refuse calls of macros whose arguments name what is not there."""
        for call in calls:
            macro = macros()[str(call["function_name"]).lower()]
            values, names = {}, [str(argument["name"]).lower() for argument in call["arguments"]]
            check_call(macro, names.count(""), [name for name in names if name])
            for position, argument in enumerate(call["arguments"]):
                name, expression = argument["name"].lower(), argument["expression"]
                if not name and position < len(macro.parameters):
                    name = macro.parameters[position].name
                try:
                    values[name] = self._value(expression, params)
                except (duckdb.InterruptException, duckdb.OutOfMemoryException):
                    raise
                except duckdb.Error:
                    # a column of another table has no one value
                    continue
            self.sources.check_macro(macro.parameters, macro.reads, values)

    def _value(self, expression: Mapping[str, Any], params: Mapping[str, Any]) -> Any:
        """The value of an expression of a syntax tree."""
        tree = self._connection.tree("SELECT 1")
        tree["statements"][0]["node"]["select_list"] = [expression]
        select = self._connection.written(tree)
        ((value,),) = self._connection.run(select, params)
        return value

    @contextmanager
    def _with_variables(self, parsed: ReadOnlyQuery, params: Mapping[str, Any]) -> Iterator[None]:
        """Within it, the variables that a query sets are set, and its macros are asked for what there is."""
        try:
            for (variable, expression), calls in zip(parsed.variables, parsed.calls, strict=False):
                self._check_calls(calls, params)
                self._connection.run(f"SET VARIABLE {variable} = {expression}", params)
            self._check_calls(parsed.calls[-1], params)
            yield
        finally:
            for variable, _ in parsed.variables if not self.is_interrupted else ():
                self._connection.run(f"RESET VARIABLE {variable}")

    def _execute(self, parsed: ReadOnlyQuery, params: Mapping[str, Any], limits: Limits) -> pl.DataFrame:
        with self._with_variables(parsed, params), self._rewriting.planned(parsed, params) as (query, _):
            if parsed.is_explain:
                rows = self._connection.run(query, params)
                return pl.DataFrame({"plan": [self._unplaced(str(row[-1])) for row in rows]}, schema={"plan": pl.String})
            answer = self._connection.interruptible(lambda: read_answer(self._connection.relation(query, params), limits))
            if query != parsed.query and any("SELECT" in name for name in answer.columns):
                # a column without a name is called by its text, in which tables have other names now
                answer.columns = distinct_names(self._connection.relation(parsed.query, params).columns)
            return with_comments(parsed.tree, answer)

    def _columns(self, parsed: ReadOnlyQuery, planned: str, names: list[str], params: Mapping[str, Any]) -> list[str]:
        """Names of the columns of an answer, given those that the planned query gives them."""
        if planned == parsed.query or not any("SELECT" in name for name in names):
            return names
        # a column without a name is called by its text, in which tables have other names now
        columns: list[str] = self._connection.relation(parsed.query, params).columns
        return columns

    def _unplaced(self, plan: str) -> str:
        """A plan without the folders that the stores lie in, which are not told to those who ask a served one."""
        for sources in (self.sources, *self.others.values()):
            folder = Path(sources.label).resolve()
            plan = plan.replace(f"{folder}/", f"{folder.name}/")
        return plan


def _refuse_missing(asked: Collection[str], params: Mapping[str, Any]) -> None:
    """Refuse parameters that have no value, and values of none."""
    missing, unused = sorted(set(asked) - params.keys()), sorted(params.keys() - set(asked))
    if missing:
        raise QueryError(f"the query has ${missing[0]}, which has no value; give it one: --param {missing[0]}=VALUE")
    if unused:
        there = ", ".join(f"${name}" for name in sorted(asked)) or "no parameter"
        raise QueryError(f"a value was given for {unused[0]}, and the query has {there}")


def _first_lines(error: Exception) -> str:
    lines: Iterator[str] = (line.strip() for line in str(error).splitlines())
    telling = [line for line in lines if line and not line.startswith(("^", "LINE"))]
    said = re.sub(r"^[\w ]+ Error: ", "", " ".join(telling[:2]))
    # where a column is qualified, DuckDB names none of those that are there
    missing = re.search(r'does not have a column named "(\w+)"', said)
    columns = {column for table in TABLES.values() for column in table.columns}
    return f"{said}; {did_you_mean([missing[1]], columns)}".rstrip("; ") if missing else said
