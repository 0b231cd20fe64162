"""Tables of a store in SQL: an in-memory DuckDB with views over Parquet and over cubes, behind a sandbox.

There is no database file, which a reader and a writer could not share. What SQL can reach is fixed before the first query: the
Parquet files of this store, by exact name. Views, macros and lazily read cubes are made when a query names them, so that a
query over a small table starts nothing else.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import threading
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import polars as pl

from actlas.errors import DamagedStore, QueryError
from actlas.query.schema import TABLES
from actlas.query.schema.comments import table_comments, with_comments
from actlas.query.sql.answer import NO_LIMITS, Limits, deadline, distinct_names, hear_ctrl_c, read_answer, read_batches
from actlas.query.sql.explain import SCHEMA, explained
from actlas.query.sql.grids import Grid
from actlas.query.sql.guard import ReadOnlyQuery, identifier, quoted, read_only
from actlas.query.sql.macro import check_call, macros
from actlas.query.sql.plan.once import Part, unsteady_ctes, unsteady_selects
from actlas.query.sql.plan.places import Leaf
from actlas.query.sql.plan.planner import MOST_KEYS, Asker, planned_places
from actlas.query.sql.sources import RECORD_TABLES, TableSources
from actlas.query.sql.stream import GridSource, Progress, Reading
from actlas.store.files.parquet import read_parquet
from actlas.store.layout import partition_of
from actlas.words import did_you_mean

#: What an interrupted query has to end, before it is left to itself.
_SECONDS_TO_STOP = 0.5
#: Queries that a session remembers.
_MOST_PARSED = 64
#: Sessions to close before the interpreter goes: DuckDB's binding prints a page of warnings about a connection that outlives it.
_OPEN: weakref.WeakSet[Session] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for session in list(_OPEN):
        session.close()


Work = TypeVar("Work")


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
        #: What a query calls a grid -> what it reads there, unless a place of its own was found for it.
        self._grids: dict[str, GridSource] = {}
        self._lock = threading.Lock()
        self._made: set[tuple[str, str]] = set()
        #: Queries that were taken apart before: often the same is asked again with other parameters.
        self._parsed: dict[str, ReadOnlyQuery] = {}
        self._checked: set[tuple[str, str]] = set()
        self._numbers = count()
        self._commented: set[tuple[str, str]] = set()
        self.is_interrupted = False
        self._connection = duckdb.connect(":memory:", config={"python_enable_replacements": "false"})
        _OPEN.add(self)
        self._lock_down(threads or os.cpu_count() or 1, memory_limit)

    def _lock_down(self, threads: int, memory_limit: str | None) -> None:
        """The order matters: allowed paths and temp_directory cannot be changed once external access is off."""
        # DuckDB asks for both: what it is told to read, and what it then finds
        paths = [path for sources in (self.sources, *self.others.values()) for path in sources.paths]
        files = sorted({one for path in paths for one in (quoted(str(path.resolve())), _literal(path))})
        steps = [
            f"SET threads = {threads}",
            "SET enable_progress_bar = false",
            "SET temp_directory = ''",
            "SET parquet_metadata_cache = true",
            *([f"SET memory_limit = {quoted(memory_limit)}"] if memory_limit else []),
            f"SET allowed_paths = [{', '.join(files)}]",
            "SET enable_external_access = false",
            "SET autoinstall_known_extensions = false",
            "SET autoload_known_extensions = false",
            "SET allow_community_extensions = false",
            "SET allow_persistent_secrets = false",
            "SET lock_configuration = true",
        ]
        for step in steps:
            self._connection.execute(step)
        for label in self.others:
            self._connection.execute(f"CREATE SCHEMA {identifier(label)}")

    def close(self) -> None:
        """Free the connection; the session cannot be used again."""
        with self._lock:
            if "_connection" in self.__dict__:
                self._connection.close()
                del self._connection

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
        with self._asked(query, params or {}, tables or {}) as parsed, deadline(self._connection, limits.seconds):
            self._reading.progress = progress
            return self._execute(parsed, params or {}, limits)

    def batches(
        self, query: str, params: Mapping[str, Any] | None = None, *, limits: Limits = NO_LIMITS
    ) -> Iterator[pl.DataFrame]:
        """The answer to one query in parts of one kind, one at least; see `run`. Other queries wait until it is closed."""
        params = params or {}
        with self._asked(query, params, {}) as parsed, deadline(self._connection, limits.seconds):
            if parsed.is_explain:
                yield self._execute(parsed, params, limits)
                return
            with self._with_variables(parsed, params), self._planned(parsed, params) as (planned, _):
                relation = self._connection.sql(planned, params=_used(planned, params))
                names = distinct_names(self._columns(parsed, planned, relation.columns, params))
                parts = read_batches(relation, limits)
                while (part := self._interruptible(lambda: next(parts, None))) is not None:
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
            with self._planned(parsed, params or {}) as (planned, places):
                sources = [
                    *((source.grid.name, leaf.alias, source) for leaf, source in places),
                    *((name, name, source) for name, source in self._grids.items()),
                ]
                select = f"EXPLAIN (FORMAT JSON) {planned}"
                ((_, plan),) = self._connection.execute(select, _used(select, params or {})).fetchall()
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
                    self._make_for(parsed, frozenset(tables))
                    if not tables and not parsed.elsewhere:
                        self.sources.tell_unknown(parsed, params)
                    yield parsed
            except duckdb.Error as error:
                if self._reading.refusals:
                    raise self._reading.refusals[-1] from error
                self._refuse_damaged(error)
                raise QueryError(_first_lines(error)) from error
            finally:
                self._reading.refusals.clear()

    def _refuse_damaged(self, error: duckdb.Error) -> None:
        """Raise if it is not the query that is wrong, but a file that cannot be read."""
        if not isinstance(error, duckdb.ParserException | duckdb.BinderException | duckdb.CatalogException):
            for path in (path for sources in (self.sources, *self.others.values()) for path in sources.paths):
                if str(path.resolve()) in str(error):
                    raise DamagedStore(f"{path} cannot be read: {_first_lines(error)}") from error
                read_parquet(path)

    def _make_of(self, label: str, name: str) -> None:
        """The same of a table of another store."""
        if label not in self.others:
            stores = ", ".join(sorted(self.others)) or "none"
            raise QueryError(f"no store was given the name {label} (named: {stores}); name it: --with {label}=STORE")
        if (label, name) not in self._checked:
            self.others[label].check(name)
            self._checked.add((label, name))
        self._make(name, label)

    def _read_only(self, query: str) -> ReadOnlyQuery:
        if query not in self._parsed:
            statements = [statement.query for statement in self._connection.extract_statements(query)]
            if len(self._parsed) == _MOST_PARSED:
                self._parsed.clear()
            self._parsed[query] = read_only(statements, serialize=self._serialize, macros=macros())
        return self._parsed[query]

    def _serialize(self, select: str) -> str:
        # fetchall, not fetchone: a result that is not read to its end blocks the connection
        return str(self._connection.execute("SELECT json_serialize_sql(?)", [select]).fetchall()[0][0])

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
            for name in tables if not self.is_interrupted else ():
                self._connection.unregister(name)

    def _make_for(self, parsed: ReadOnlyQuery, given: Collection[str]) -> None:
        if parsed.shows_all:
            for name in self.sources.names:
                self._make(name)
            self._comment()
        for label, name in sorted(parsed.elsewhere):
            self._make_of(label, name)
        for name in sorted(parsed.tables - parsed.catalog - {one.lower() for one in given}):
            # a name may stand for a table here and for a common table expression there
            if name in self.sources.names or name not in parsed.defined:
                self._check(name)
                self._make(name)
        for name in sorted(parsed.functions & macros().keys()):
            for table in macros()[name].reads:
                self._check(table)
                self._make(table)
            self._make_macro(name)
        if "duckdb_functions" in parsed.functions:
            # DuckDB binds a macro without arguments when it is made, so its tables have to be there
            for name in (name for name, macro in macros().items() if {*macro.reads} <= {*self.sources.names}):
                for table in macros()[name].reads:
                    self._make(table)
                self._make_macro(name)
                self._connection.execute(f"COMMENT ON MACRO TABLE {identifier(name)} IS {quoted(macros()[name].about)}")

    def _make_macro(self, name: str) -> None:
        if ("macro", name) not in self._made:
            self._connection.execute(macros()[name].sql)
            self._made.add(("macro", name))

    def _comment(self) -> None:
        """Let every table say what it and its columns mean; only where tables are listed, because that takes a while."""
        for label, name in sorted(self._made - self._commented):
            if label != "macro":
                kind = "TABLE" if name in self.sources.frames else "VIEW"
                called = identifier(name) if name in self.sources.grids else f"{identifier(label)}.{identifier(name)}"
                # a store need not have every statistic that table scores can have
                existing = [str(row[0]) for row in self._connection.execute(f"DESCRIBE {called}").fetchall()]
                for statement in table_comments(kind, called, name, existing):
                    self._connection.execute(statement)
                self._commented.add((label, name))

    def _check(self, name: str) -> None:
        """Refuse a table that outlived its scores. Once: a session is of one state of the store."""
        if ("main", name) not in self._checked:
            self.sources.check(name)
            self._checked.add(("main", name))

    def _make(self, name: str, label: str = "main") -> None:
        """Create the view `name`, and first what it is made of; `label` is the schema of the store that has it."""
        if (label, name) in self._made:
            return
        sources = self.others.get(label, self.sources)
        called, frame_name = f"{identifier(label)}.{identifier(name)}", f"source_{label}_{name}"
        if name in sources.files:
            self._connection.execute(f"CREATE VIEW {called} AS {_read_table(sources, name)}")
        elif name in sources.by_settings:
            self._connection.execute(f"CREATE VIEW {called} AS {_read_by_settings(sources, name)}")
        elif name in sources.joined:
            select, _ = sources.joined[name]
            # a view looks for what it is made of in its own schema first
            for table in sorted(set(re.findall(r"\w+", select)) & {*sources.files, *sources.frames}):
                self._make(table, label)
            self._connection.execute(f"CREATE VIEW {called} AS {select}")
        elif name in sources.frames:
            self._connection.register(frame_name, sources.frames[name]())
            self._connection.execute(f"CREATE TABLE {called} AS SELECT * FROM {identifier(frame_name)}")
            self._connection.unregister(frame_name)
        elif name in sources.grids and label == "main":
            # the source itself, because a filter does not reach it through a view
            self._register_grid(name, sources.grids[name](), name)
        elif name in sources.grids:
            self._register_grid(frame_name, sources.grids[name](), f"{label}.{name}")
            self._connection.execute(f"CREATE VIEW {called} AS FROM {identifier(frame_name)}")
        else:
            raise sources.missing(name)
        self._made.add((label, name))

    def _register_grid(self, registered_as: str, grid: Grid, called: str) -> None:
        self._grids[called] = GridSource(grid, self._reading)
        self._connection.register(registered_as, self._grids[called])

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
                # a column of another table has no one value
                with suppress(duckdb.Error):
                    values[name] = self._value(expression, params)
            self.sources.check_macro(macro.parameters, macro.reads, values)

    def _value(self, expression: Mapping[str, Any], params: Mapping[str, Any]) -> Any:
        """The value of an expression of a syntax tree."""
        tree = json.loads(self._serialize("SELECT 1"))
        tree["statements"][0]["node"]["select_list"] = [expression]
        select = self._written(tree)
        ((value,),) = self._connection.execute(select, _used(select, params)).fetchall()
        return value

    @contextmanager
    def _with_variables(self, parsed: ReadOnlyQuery, params: Mapping[str, Any]) -> Iterator[None]:
        """Within it, the variables that a query sets are set, and its macros are asked for what there is."""
        try:
            for (variable, expression), calls in zip(parsed.variables, parsed.calls, strict=False):
                self._check_calls(calls, params)
                self._connection.execute(f"SET VARIABLE {variable} = {expression}", _used(expression, params))
            self._check_calls(parsed.calls[-1], params)
            yield
        finally:
            for variable, _ in parsed.variables if not self.is_interrupted else ():
                self._connection.execute(f"RESET VARIABLE {variable}")

    def _execute(self, parsed: ReadOnlyQuery, params: Mapping[str, Any], limits: Limits) -> pl.DataFrame:
        values = _used(parsed.query, params)
        with self._with_variables(parsed, params), self._planned(parsed, params) as (query, _):
            if parsed.is_explain:
                rows = self._connection.execute(query, values).fetchall()
                return pl.DataFrame({"plan": [self._unplaced(str(row[-1])) for row in rows]}, schema={"plan": pl.String})
            answer = self._interruptible(lambda: read_answer(self._connection.sql(query, params=values), limits))
            if query != parsed.query and any("SELECT" in name for name in answer.columns):
                # a column without a name is called by its text, in which tables have other names now
                answer.columns = distinct_names(self._connection.sql(parsed.query, params=values).columns)
            return with_comments(parsed.tree, answer)

    def _columns(self, parsed: ReadOnlyQuery, planned: str, names: list[str], params: Mapping[str, Any]) -> list[str]:
        """Names of the columns of an answer, given those that the planned query gives them."""
        if planned == parsed.query or not any("SELECT" in name for name in names):
            return names
        # a column without a name is called by its text, in which tables have other names now
        columns: list[str] = self._connection.sql(parsed.query, params=_used(parsed.query, params)).columns
        return columns

    @contextmanager
    def _planned(self, parsed: ReadOnlyQuery, params: Mapping[str, Any]) -> Iterator[tuple[str, list[tuple[Leaf, GridSource]]]]:
        """Within it, every place of the query that names a grid reads the part of it that the place can need.

        Gives the query in which they do, and the places with what each is read from.
        """
        grids = {name: grid for name, grid in self.sources.grids.items() if name in parsed.tables}
        if not grids:
            yield parsed.query, []
            return
        with self._asked_once(parsed, grids, params) as once, self._placed(once, grids, params) as planned:
            yield planned

    @contextmanager
    def _placed(
        self, parsed: ReadOnlyQuery, grids: Mapping[str, Callable[[], Grid]], params: Mapping[str, Any]
    ) -> Iterator[tuple[str, list[tuple[Leaf, GridSource]]]]:
        """The same for a query whose parts are the same whenever they are asked."""
        places = planned_places(grids, parsed.tree, self._asker(params))
        names = {f"{place.name} {number}": place for number, place in enumerate(places)}
        read = []
        try:
            for name, place in names.items():
                source = GridSource(
                    grids[place.name](),
                    self._reading,
                    place.region,
                    decided=place.decided,
                    top=place.top,
                    is_set=place.is_set,
                )
                self._connection.register(name, source)
                read.append((place.leaf, source))
            yield _with_names(parsed, {name: place.leaf for name, place in names.items()}), read
        finally:
            for name in names if not self.is_interrupted else ():
                self._connection.unregister(name)

    @contextmanager
    def _asked_once(self, parsed: ReadOnlyQuery, grids: Collection[str], params: Mapping[str, Any]) -> Iterator[ReadOnlyQuery]:
        """Within it, what need not be the same rows twice is kept; gives the query that reads it from there."""
        kept: list[str] = []
        tried: set[str] = set()
        try:
            # one after the other, because the next one may name the one before
            while part := next((one for one in unsteady_ctes(parsed.tree, grids, self._tree) if one[0] not in tried), None):
                tried.add(part[0])
                parsed = self._with_kept(parsed, [part[1]], kept, params)
            yield self._with_kept(parsed, list(unsteady_selects(parsed.tree, grids)), kept, params)
        finally:
            for name in kept if not self.is_interrupted else ():
                self._connection.execute(f"DROP TABLE IF EXISTS {identifier(name)}")

    def _with_kept(
        self, parsed: ReadOnlyQuery, parts: Sequence[Part], kept: list[str], params: Mapping[str, Any]
    ) -> ReadOnlyQuery:
        """A query that reads parts of it from tables of their own, as far as these can be made; `kept` takes their names."""
        texts: dict[tuple[int, int], str] = {}
        for part in parts:
            name = f"actlas kept {next(self._numbers)}"
            kept.append(name)
            is_whole = all(behind or self._is_select(_text(parsed, start, n)) for start, n, behind in part.places)
            if is_whole and self._keep(name, part, parsed, params):
                texts |= {(start, n): _in_place(identifier(name), behind) for start, n, behind in part.places}
        if not texts:
            return parsed
        query = _with_texts(parsed, texts)
        n_bytes = parsed.n_bytes + len(query.encode()) - len(parsed.query.encode())
        return replace(parsed, query=query, n_bytes=n_bytes, tree=self._tree(query.encode()[-n_bytes:].decode()))

    def _keep(self, name: str, part: Part, parsed: ReadOnlyQuery, params: Mapping[str, Any]) -> bool:
        """Write the rows of a part of a query to a table; whether they are few, and need nothing of what is around the part."""
        tree = {**parsed.tree, "statements": [{**parsed.tree["statements"][0], "node": part.select}]}
        try:
            select = self._written(tree)
            alone = replace(parsed, query=select, tree=self._tree(select), n_bytes=len(select.encode()))
            with self._planned(alone, params) as (planned, _):
                table = f"CREATE TEMP TABLE {identifier(name)} AS SELECT * FROM ({planned}) LIMIT {MOST_KEYS + 1}"
                self._connection.execute(table, _used(planned, params))
            ((n_rows,),) = self._connection.execute(f"SELECT count(*) FROM {identifier(name)}").fetchall()
        except (duckdb.InterruptException, duckdb.OutOfMemoryException):
            raise
        except duckdb.Error:
            return False
        return bool(n_rows <= MOST_KEYS)

    def _is_select(self, text: str) -> bool:
        """Whether a text is a query in brackets: of ``x = ANY (SELECT ...)`` a place is all of it."""
        return not self._tree(text[1:-1])["error"]

    def _tree(self, select: str) -> dict[str, Any]:
        tree: dict[str, Any] = json.loads(self._serialize(select))
        return tree

    def _asker(self, params: Mapping[str, Any]) -> Asker:
        def run(sql: str, frames: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
            for name, frame in frames.items():
                self._connection.register(name, frame)
            try:
                return read_answer(self._connection.sql(sql, params=_used(sql, params)))
            finally:
                # what a part of a query cannot do is no error of the query
                self._reading.refusals.clear()
                for name in frames:
                    self._connection.unregister(name)

        return Asker(run, self._tree, self._written, params)

    def _written(self, tree: Mapping[str, Any]) -> str:
        ((select,),) = self._connection.execute("SELECT json_deserialize_sql(?::JSON)", [json.dumps(tree)]).fetchall()
        return str(select)

    def _unplaced(self, plan: str) -> str:
        """A plan without the folders that the stores lie in, which are not told to those who ask a served one."""
        for sources in (self.sources, *self.others.values()):
            folder = Path(sources.label).resolve()
            plan = plan.replace(f"{folder}/", f"{folder.name}/")
        return plan

    def _interruptible(self, work: Callable[[], Work]) -> Work:
        """Do it in a thread, so that Ctrl-C is heard at once: DuckDB's binding hears it when the query is over."""
        if threading.current_thread() is not threading.main_thread():
            return work()  # where Ctrl-C does not arrive
        done: Future[Work] = Future()

        def run() -> None:
            try:
                done.set_result(work())
            except BaseException as error:
                done.set_exception(error)

        thread = threading.Thread(target=run, name="actlas-sql", daemon=True)
        thread.start()
        hear_ctrl_c()
        try:
            return done.result()
        except KeyboardInterrupt:
            self.is_interrupted = True
            self._connection.interrupt()
            thread.join(_SECONDS_TO_STOP)
            raise


def _with_names(parsed: ReadOnlyQuery, leaves: Mapping[str, Leaf]) -> str:
    """A query in which tables are called otherwise, at the places where it names them."""
    texts = {(leaf.start, leaf.length): f"{identifier(name)} AS {identifier(leaf.written)}" for name, leaf in leaves.items()}
    return _with_texts(parsed, texts)


def _with_texts(parsed: ReadOnlyQuery, texts: Mapping[tuple[int, int], str]) -> str:
    """A query with other texts at some places: where they start, and how long they are."""
    text = parsed.query.encode()
    # places are counted from where the SELECT begins
    before = len(text) - parsed.n_bytes
    for (start, length), other in sorted(texts.items(), reverse=True):
        text = text[: before + start] + other.encode() + text[before + start + length :]
    return text.decode()


def _text(parsed: ReadOnlyQuery, start: int, length: int) -> str:
    """What a query says at a place."""
    return parsed.query.encode()[-parsed.n_bytes :][start : start + length].decode()


def _in_place(name: str, behind: str) -> str:
    """A table in the place of another one, or of a sub-query."""
    return name + behind if behind else f"(FROM {name})"


def _used(sql: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Those parameters that a statement names: DuckDB refuses others."""
    return {name: value for name, value in params.items() if re.search(rf"\${re.escape(name)}\b", sql)}


def _refuse_missing(asked: Collection[str], params: Mapping[str, Any]) -> None:
    """Refuse parameters that have no value, and values of none."""
    missing, unused = sorted(set(asked) - params.keys()), sorted(params.keys() - set(asked))
    if missing:
        raise QueryError(f"the query has ${missing[0]}, which has no value; give it one: --param {missing[0]}=VALUE")
    if unused:
        there = ", ".join(f"${name}" for name in sorted(asked)) or "no parameter"
        raise QueryError(f"a value was given for {unused[0]}, and the query has {there}")


def _read_table(sources: TableSources, name: str) -> str:
    paths = tuple(map(sources.checked, sources.files[name]))
    if partition_of(paths[0]) is None:
        columns = ", ".join(map(identifier, TABLES[name].columns)) if name in RECORD_TABLES else "*"
        return f"SELECT {columns} FROM read_parquet([{_files(paths)}], hive_partitioning = false)"
    return _read_parts(paths, TABLES[name].columns if name in TABLES else {})


def _read_by_settings(sources: TableSources, name: str) -> str:
    """All parts of a table, each with the id of the settings that it was made with."""
    paths: dict[str, list[Path]] = {}
    table = sources.by_settings[name]
    for part in sources.parts(table):
        paths.setdefault(part.id, []).append(part.path)
    columns = TABLES[table].columns
    selects = [f"SELECT *, {quoted(one)} AS settings FROM ({_read_parts(of_one, columns)})" for one, of_one in paths.items()]
    return " UNION ALL ".join(selects)


def _files(paths: Sequence[Path]) -> str:
    return ", ".join(map(_literal, paths))


def _literal(path: Path) -> str:
    """A path for read_parquet, in which ``[``, ``*`` and ``?`` stand for themselves."""
    return quoted(re.sub(r"([\[*?])", r"[\1]", str(path.resolve())))


def _read_parts(paths: Sequence[Path], columns: Collection[str]) -> str:
    """SELECT of a table in ``checkpoint=<id>`` folders. DuckDB's own partitioning would make columns of the folders above too."""
    checkpoints = ", ".join(quoted(str(partition_of(path))) for path in paths)
    source = (
        f"SELECT *, ([{checkpoints}])[file_index::BIGINT + 1] AS checkpoint "
        f"FROM read_parquet([{_files(paths)}], hive_partitioning = false)"
    )
    return f"SELECT {', '.join(map(identifier, columns)) or '*'} FROM ({source})"


def _first_lines(error: Exception) -> str:
    lines: Iterator[str] = (line.strip() for line in str(error).splitlines())
    telling = [line for line in lines if line and not line.startswith(("^", "LINE"))]
    said = re.sub(r"^[\w ]+ Error: ", "", " ".join(telling[:2]))
    # where a column is qualified, DuckDB names none of those that are there
    missing = re.search(r'does not have a column named "(\w+)"', said)
    columns = {column for table in TABLES.values() for column in table.columns}
    return f"{said}; {did_you_mean([missing[1]], columns)}".rstrip("; ") if missing else said
