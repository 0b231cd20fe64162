"""`NamedTables`: the views, macros and grids of a store, made in a connection when a query names them.

A query over a small table starts nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from actlas.errors import QueryError
from actlas.query.schema import TABLES
from actlas.query.schema.comments import table_comments
from actlas.query.sql.connection import Connection, file_literal
from actlas.query.sql.grids import Grid
from actlas.query.sql.guard import ReadOnlyQuery, identifier, quoted
from actlas.query.sql.macro import macros
from actlas.query.sql.sources import RECORD_TABLES, TableSources
from actlas.query.sql.stream import GridSource, Reading
from actlas.store.layout import partition_of


class NamedTables:
    """What was made of the tables of one store, and of others beside it, in one connection.

    Args:
        connection: Where it is made.
        sources: The tables.
        others: Name -> the tables of another store, which a query calls ``name.table``.
        reading: What is read out of grids is counted there.

    Attributes:
        grids: What a query calls a grid -> what it reads there, unless a place of its own was found for it.
    """

    def __init__(
        self, connection: Connection, sources: TableSources, others: Mapping[str, TableSources], reading: Reading
    ) -> None:
        self._connection, self._sources, self._others, self._reading = connection, sources, others, reading
        self.grids: dict[str, GridSource] = {}
        self._made: set[tuple[str, str]] = set()
        self._checked: set[tuple[str, str]] = set()
        self._commented: set[tuple[str, str]] = set()

    def make_for(self, parsed: ReadOnlyQuery, given: Collection[str]) -> None:
        """Make all that a query names, but for the tables that it was given."""
        if parsed.shows_all:
            for name in self._sources.names:
                self._make(name)
            self._comment()
        for label, name in sorted(parsed.elsewhere):
            self._make_of(label, name)
        for name in sorted(parsed.tables - parsed.catalog - {one.lower() for one in given}):
            # a name may stand for a table here and for a common table expression there
            if name in self._sources.names or name not in parsed.defined:
                self._check(name)
                self._make(name)
        for name in sorted(parsed.functions & macros().keys()):
            for table in macros()[name].reads:
                self._check(table)
                self._make(table)
            self._make_macro(name)
        if "duckdb_functions" in parsed.functions:
            # DuckDB binds a macro without arguments when it is made, so its tables have to be there
            for name in (name for name, macro in macros().items() if {*macro.reads} <= {*self._sources.names}):
                for table in macros()[name].reads:
                    self._make(table)
                self._make_macro(name)
                self._connection.run(f"COMMENT ON MACRO TABLE {identifier(name)} IS {quoted(macros()[name].about)}")

    def _make_of(self, label: str, name: str) -> None:
        """Make a table of another store."""
        if label not in self._others:
            stores = ", ".join(sorted(self._others)) or "none"
            raise QueryError(f"no store was given the name {label} (named: {stores}); name it: --with {label}=STORE")
        if (label, name) not in self._checked:
            self._others[label].check(name)
            self._checked.add((label, name))
        self._make(name, label)

    def _check(self, name: str) -> None:
        """Refuse a table that outlived its scores. Once: a session is of one state of the store."""
        if ("main", name) not in self._checked:
            self._sources.check(name)
            self._checked.add(("main", name))

    def _make(self, name: str, label: str = "main") -> None:
        """Create the view `name`, and first what it is made of; `label` is the schema of the store that has it."""
        if (label, name) in self._made:
            return
        sources = self._others.get(label, self._sources)
        called, frame_name = f"{identifier(label)}.{identifier(name)}", f"source_{label}_{name}"
        if name in sources.files:
            self._connection.run(f"CREATE VIEW {called} AS {_read_table(sources, name)}")
        elif name in sources.by_settings:
            self._connection.run(f"CREATE VIEW {called} AS {_read_by_settings(sources, name)}")
        elif name in sources.joined:
            select, _ = sources.joined[name]
            # a view looks for what it is made of in its own schema first
            for table in sorted(set(re.findall(r"\w+", select)) & {*sources.files, *sources.frames}):
                self._make(table, label)
            self._connection.run(f"CREATE VIEW {called} AS {select}")
        elif name in sources.frames:
            self._connection.register(frame_name, sources.frames[name]())
            self._connection.run(f"CREATE TABLE {called} AS SELECT * FROM {identifier(frame_name)}")
            self._connection.unregister([frame_name])
        elif name in sources.grids and label == "main":
            # the source itself, because a filter does not reach it through a view
            self._register_grid(name, sources.grids[name](), name)
        elif name in sources.grids:
            self._register_grid(frame_name, sources.grids[name](), f"{label}.{name}")
            self._connection.run(f"CREATE VIEW {called} AS FROM {identifier(frame_name)}")
        else:
            raise sources.missing(name)
        self._made.add((label, name))

    def _register_grid(self, registered_as: str, grid: Grid, called: str) -> None:
        self.grids[called] = GridSource(grid, self._reading)
        self._connection.register(registered_as, self.grids[called])

    def _make_macro(self, name: str) -> None:
        if ("macro", name) not in self._made:
            self._connection.run(macros()[name].sql)
            self._made.add(("macro", name))

    def _comment(self) -> None:
        """Let every table say what it and its columns mean; only where tables are listed, because that takes a while."""
        for label, name in sorted(self._made - self._commented):
            if label != "macro":
                kind = "TABLE" if name in self._sources.frames else "VIEW"
                called = identifier(name) if name in self._sources.grids else f"{identifier(label)}.{identifier(name)}"
                # a store need not have every statistic that table scores can have
                existing = [str(row[0]) for row in self._connection.run(f"DESCRIBE {called}")]
                for statement in table_comments(kind, called, name, existing):
                    self._connection.run(statement)
                self._commented.add((label, name))


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


def _read_parts(paths: Sequence[Path], columns: Collection[str]) -> str:
    """SELECT of a table in ``checkpoint=<id>`` folders. DuckDB's own partitioning would make columns of the folders above too."""
    checkpoints = ", ".join(quoted(str(partition_of(path))) for path in paths)
    source = (
        f"SELECT *, ([{checkpoints}])[file_index::BIGINT + 1] AS checkpoint "
        f"FROM read_parquet([{_files(paths)}], hive_partitioning = false)"
    )
    return f"SELECT {', '.join(map(identifier, columns)) or '*'} FROM ({source})"


def _files(paths: Sequence[Path]) -> str:
    return ", ".join(map(file_literal, paths))
